"""Queries that are asked all the time: written with SQLAlchemy, compiled once, and then only run.

Building a query and finding its compiled form again takes ten times as long as most of the answers.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

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
        return told if self.order is None else tuple(told[name] for name in self.order)

    def converted(self, row: Any) -> list[Any]:
        cells = list(row)
        for place, convert in self.out_of:
            if cells[place] is not None:
                cells[place] = convert(cells[place])
        return cells


class Prepared:
    """A query of fixed shape: what differs from one asking to the next are its named parameters.

    Where it is not the same for both databases, it is given as what makes it for a dialect's name.
    """

    def __init__(self, query: sa.Select[Any] | Callable[[str], sa.Select[Any]]) -> None:
        self._query = query
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, session: Session, **values: Any) -> Sequence[Any]:
        """Return the rows, each a sequence of what the query's columns mean."""
        connection = session.connection()
        query = self._in_words_of(connection.dialect)
        found = run(connection, query.sql, query.parameters(values))
        return list(map(query.converted, found)) if query.out_of else found

    def named(self, session: Session, **values: Any) -> list[Any]:
        """Return the same rows, each with its columns by their names."""
        row = self._in_words_of(session.connection().dialect).row
        return list(map(row._make, self.rows(session, **values)))

    def first(self, session: Session, **values: Any) -> Any:
        """Return the first of these rows, or None if there is none."""
        return next(iter(self.named(session, **values)), None)

    def _in_words_of(self, dialect: Dialect) -> _Compiled:
        found = self._compiled.get(dialect.name)
        if found is None:
            query = self._query if isinstance(self._query, sa.Select) else self._query(dialect.name)
            found = self._compiled[dialect.name] = _compiled(query, dialect)
        return found


def run(connection: Connection, sql: str, parameters: Any) -> Sequence[Any]:
    """Return the rows that the driver answers with; its errors come as SQLAlchemy's own do."""
    try:
        cursor = connection.connection.cursor()
        cursor.execute(sql, parameters)
        return cursor.fetchall()
    except connection.dialect.loaded_dbapi.Error as error:
        is_lost = connection.dialect.is_disconnect(error, connection.connection.dbapi_connection, None)
        if is_lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            sql,
            parameters,
            error,
            connection.dialect.loaded_dbapi.Error,
            connection_invalidated=is_lost,
            dialect=connection.dialect,
        ) from error


def _compiled(query: sa.Select[Any], dialect: Dialect) -> _Compiled:
    compiled: Any = query.compile(dialect=dialect)
    binds = {name: bind.type.dialect_impl(dialect) for bind, name in compiled.bind_names.items()}
    into = {name: kind.bind_processor(dialect) for name, kind in binds.items()}
    out_of = (
        (place, column.type.dialect_impl(dialect).result_processor(dialect, None))
        for place, column in enumerate(query.selected_columns)
    )
    return _Compiled(
        sql=str(compiled),
        given=compiled.params,
        order=tuple(compiled.positiontup) if compiled.positional else None,
        into={name: convert for name, convert in into.items() if convert is not None},
        out_of=tuple((place, convert) for place, convert in out_of if convert is not None),
        row=namedtuple("row", [column.key or "" for column in query.selected_columns], rename=True),
    )
