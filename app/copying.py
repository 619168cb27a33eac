"""Moving a record to another database: every row as it is stored, in one transaction.

Nothing is recorded anew, so numbers, instants and digests stay, and with them every answer.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, SQLModel

from app.changes import head_of
from app.db import Database, JSONText, TextEnum, tell_how_much
from app.verify import Verified, verify

GIVEN = ("country", "membership")
"""Tables that the migrations fill: they are compared, not copied."""
STRETCH = 5_000
"""How many rows are on their way at a time."""


class CannotCopy(Exception):
    """The record cannot be copied there; nothing was written."""


def copy_record(
    source: Database, target: Database, progress: Callable[[str, int, int], object] = lambda *_: None
) -> Verified:
    """Copy the record of one database into another that holds none, and walk the copy's chain.

    The target is migrated as needed. All of it is there at the end, or nothing; where the copy is
    not sound, nothing. Raises `CannotCopy`. `progress` is told what is being done, how much of it
    is done, and how much there is.
    """
    if not target.is_embedded or Path(target.url.database or "").exists():
        with target.engine.connect() as connection:
            _refuse_occupied(connection)
    target.migrate()
    with target.writing(is_long=True) as there:
        _refuse_occupied(there.connection())
        with source.reading(is_long=True) as here:
            digest = head_of(here).digest
            _copy_rows(here, there, progress)
        tell_how_much(there)
        total = there.scalar(sa.text("SELECT count(*) FROM change")) or 0
        done = 0

        def walked(more: int) -> None:
            nonlocal done
            done += more
            progress("Verifying", done, total)

        found = verify(there, head=digest, progress=walked)
        if found.finding is not None:
            raise CannotCopy(f"Entry {found.finding.seq} is not sound: {found.finding.what}.")
    return found


def _refuse_occupied(connection: sa.Connection) -> None:
    """Raise `CannotCopy` for a database that holds a record already, or something else."""
    present = set(sa.inspect(connection).get_table_names())
    if present and "alembic_version" not in present:
        raise CannotCopy("That database holds tables of something else.")
    for name in sorted(present & set(SQLModel.metadata.tables) - set(GIVEN)):
        if connection.scalar(sa.select(sa.literal(1)).select_from(sa.table(name)).limit(1)):
            raise CannotCopy(f"That database is not empty: there are rows in {name}.")


def _copy_rows(here: Session, there: Session, progress: Callable[[str, int, int], object]) -> None:
    tables = SQLModel.metadata.sorted_tables  # what is referred to comes first
    known = {table.name for table in tables} | {"alembic_version"}
    if unknown := set(sa.inspect(here.connection()).get_table_names()) - known:
        raise CannotCopy(f"The record has tables that this release does not know: {', '.join(unknown)}.")
    copied = [table for table in tables if table.name not in GIVEN]
    counts = [here.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in copied]
    done, total = 0, sum(counts)
    for table in tables:
        stored = _as_stored(table)
        rows = sa.select(stored).order_by(*(stored.c[key.name] for key in table.primary_key))
        if table.name in GIVEN:
            if here.execute(rows).all() != there.execute(rows).all():
                raise CannotCopy(f"The two databases differ in {table.name}.")
            continue
        found = here.execute(rows, execution_options={"yield_per": STRETCH})
        for stretch in found.mappings().partitions():
            there.execute(stored.insert(), [dict(row) for row in stretch])
            done += len(stretch)
            progress("Copying", done, total)


def _as_stored(table: sa.Table) -> sa.TableClause:
    """Return a table whose words and JSON are read and written as the text that they are."""

    def plain(column: sa.Column[Any]) -> Any:
        return column.type.impl if isinstance(column.type, TextEnum | JSONText) else column.type

    return sa.table(table.name, *(sa.column(column.name, plain(column)) for column in table.columns))
