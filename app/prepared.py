"""What the database is asked all the time: written with SQLAlchemy, compiled once, and then only run.

Building a query and finding its compiled form again takes ten times as long as most of the answers.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from app.sessions import connection_of

Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A query in the words of one kind of database."""

    sql: str
    given: Mapping[str, Any]
    """Every parameter, with the value of those that are part of the query."""
    order: tuple[str, ...] | None
    """The parameters in the order in which the driver takes them; None: by their names."""
    into: Mapping[str, Convert]
    """What turns a parameter into what the driver takes, for those that need it."""
    out_of: tuple[tuple[int, Convert], ...]
    """What turns a column into what it means, by its place, for those that need it."""
    row: Any
    """What makes a row of which each column is known by its name."""

    def parameters(self, values: Mapping[str, Any]) -> Any:
        told = {**self.given, **values}
        for name, convert in self.into.items():
            told[name] = convert(told[name])
        return told if self.order is None else tuple(map(told.__getitem__, self.order))

    def converted(self, row: Any) -> list[Any]:
        cells = list(row)
        for place, convert in self.out_of:
            if cells[place] is not None:
                cells[place] = convert(cells[place])
        return cells


Query = sa.SelectBase | sa.Update | sa.Delete


class Prepared:
    """A query of fixed shape: what differs from one asking to the next are its named parameters.

    Where it is not the same for both databases, it is given as what makes it for a dialect's name.
    """

    def __init__(self, query: Query | Callable[[str], Query]) -> None:
        self._query = query
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, session: Session, **values: Any) -> Sequence[Any]:
        """Return the rows, each a sequence of what the query's columns mean."""
        connection = connection_of(session)
        query = self._in_words_of(connection.dialect)
        found = run(connection, query.sql, query.parameters(values))
        return list(map(query.converted, found)) if query.out_of else found

    def named(self, session: Session, **values: Any) -> list[Any]:
        """Return the same rows, each with its columns by their names."""
        row = self._in_words_of(connection_of(session).dialect).row
        return list(map(row._make, self.rows(session, **values)))

    def first(self, session: Session, **values: Any) -> Any:
        """Return the first of these rows, or None if there is none."""
        return next(iter(self.named(session, **values)), None)

    def change(self, session: Session, *each: Mapping[str, Any]) -> None:
        """Run what changes rows once with each of these values."""
        connection = connection_of(session)
        query = self._in_words_of(connection.dialect)
        run_each(connection, query.sql, [query.parameters(values) for values in each])

    def _in_words_of(self, dialect: Dialect) -> _Compiled:
        found = self._compiled.get(dialect.name)
        if found is None:
            query = self._query(dialect.name) if callable(self._query) else self._query
            found = self._compiled[dialect.name] = _compiled(query, dialect)
        return found


def run(connection: Connection, sql: str, parameters: Any) -> Sequence[Any]:
    """Return the rows that the driver answers with; its errors come as SQLAlchemy's own do."""
    try:
        cursor = connection.connection.cursor()
        cursor.execute(sql, parameters)
        return cursor.fetchall()
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_ours(connection, sql, parameters, error) from error


def run_each(connection: Connection, sql: str, rows: Sequence[Any]) -> None:
    """Have the driver run the same with each of these parameters; its errors come as SQLAlchemy's own do."""
    try:
        cursor = connection.connection.cursor()
        if len(rows) == 1:
            cursor.execute(sql, rows[0])  # PostgreSQL's driver would ask twice for one of many
        else:
            cursor.executemany(sql, rows)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_ours(connection, sql, rows, error) from error


def _as_ours(connection: Connection, sql: str, parameters: Any, error: Any) -> BaseException:
    """Return what SQLAlchemy would raise for an error of the driver; give a lost connection up."""
    is_lost = connection.dialect.is_disconnect(error, connection.connection.dbapi_connection, None)
    if is_lost:
        connection.invalidate(error)
    ours: BaseException = DBAPIError.instance(
        sql,
        parameters,
        error,
        connection.dialect.loaded_dbapi.Error,
        connection_invalidated=is_lost,
        dialect=connection.dialect,
    )
    return ours


def insert_rows(session: Session, table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that hold every column of a table, by one statement of the driver.

    SQLAlchemy would take twice as long for them, because it looks at each row by itself.
    """
    connection = connection_of(session)
    sql, columns, times = _insertion(table, connection.dialect)
    # Many rows share a day or an instant, and for SQLite SQLAlchemy spells each of them in Python.
    shared = {name: cache(convert) for name, convert in times.items()}
    cells = []
    for name, convert in (columns | shared).items():
        given = map(itemgetter(name), rows)
        cells.append(given if convert is None else map(convert, given))
    found: Any = zip(*cells, strict=True)
    if not connection.dialect.positional:
        found = (dict(zip(columns, row, strict=True)) for row in found)
    run_each(connection, sql, list(found))


@lru_cache(100)
def _insertion(table: Any, dialect: Dialect) -> tuple[str, dict[str, Convert | None], dict[str, Convert]]:
    """Return a table's insertion in the words of a database, and what turns each column into the driver's.

    Last come those of these that turn days and instants.
    """
    columns = {each.name: each.type.dialect_impl(dialect).bind_processor(dialect) for each in table.columns}
    kinds = {each.name: getattr(each.type, "impl", each.type) for each in table.columns}
    times = {
        name: convert
        for name, convert in columns.items()
        if convert is not None and isinstance(kinds[name], sa.Date | sa.DateTime)
    }
    return str(table.insert().compile(dialect=dialect, column_keys=list(columns))), columns, times


def _compiled(query: Query, dialect: Dialect) -> _Compiled:
    compiled: Any = query.compile(dialect=dialect)
    columns = list(query.selected_columns) if isinstance(query, sa.SelectBase) else []
    binds = {name: bind.type.dialect_impl(dialect) for bind, name in compiled.bind_names.items()}
    into = {name: kind.bind_processor(dialect) for name, kind in binds.items()}
    out_of = (
        (place, column.type.dialect_impl(dialect).result_processor(dialect, None))
        for place, column in enumerate(columns)
    )
    return _Compiled(
        sql=str(compiled),
        given=compiled.params,
        order=tuple(compiled.positiontup) if compiled.positional else None,
        into={name: convert for name, convert in into.items() if convert is not None},
        out_of=tuple((place, convert) for place, convert in out_of if convert is not None),
        row=namedtuple("row", [column.key or "" for column in columns], rename=True),
    )
