"""Times a bulk request against the bare insertion of the same rows.

    python -m tests.bench.bulk sqlite:///var/bulk.db 10000

Prints the seconds of the processor that one row takes: checked before the lock is taken, recorded
under it, and inserted by the driver alone.
"""

import sys
import time
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

from app.appending import ORDER
from app.as_of import viewer
from app.bulk import NDJSON, read_rows, state_all, validated
from app.changes import Writer
from app.db import Database, canonical_json
from app.settings import Settings
from app.vocabulary import Scope
from tests import make

COUNTRIES = ("PL", "FR", "GB", "DE", "IT", "ES", "NO", "SE", "FI", "DK", "NL", "BE", "EE", "LV", "LT", "CZ")
KINDS = ("troops", "air", "sea")


def rows(count: int) -> bytes:
    """Return a body of `count` statements, twelve to a source."""
    return b"\n".join(
        canonical_json(
            make.body(
                country=COUNTRIES[number % len(COUNTRIES)],
                kind=KINDS[number % 3],
                firmness=("planned", "signalled", "committed")[number % 7 % 3],
                stated_on=f"2025-{number % 9 + 1:02}-{number % 28 + 1:02}",
                speaker=f"Speaker {number}",
                source=make.SOURCE | {"url": f"https://example.org/{number // 12}"},
            )
        ).encode()
        for number in range(count)
    )


def kept(session: Session) -> list[tuple[Any, list[dict[str, Any]]]]:
    """Return what is recorded, table by table."""
    tables = [sa.inspect(each).local_table for each in ORDER]
    return [(table, [dict(row._mapping) for row in session.execute(sa.select(table))]) for table in tables]


def inserted_bare(tables: list[tuple[Any, list[dict[str, Any]]]]) -> float:
    """Return the seconds that a SQLite database in memory takes to be given the same rows by its driver."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        for table, _ in tables:
            table.create(connection)
        begun = time.process_time()
        for table, found in tables:
            if found:
                connection.execute(table.insert(), found)
        connection.commit()
        spent = time.process_time() - begun
    engine.dispose()
    return spent


def main(url: str, size: str) -> None:
    """Time `size` rows at `url`."""
    count = int(size)
    database = Database(Settings(database_url=url, _env_file=None))
    database.migrate()
    body, writer = rows(count), Writer("bench", "bench", Scope.CONTRIBUTE)
    begun = time.process_time()
    read = validated(read_rows(body, NDJSON, most=None))
    checked = time.process_time()
    with database.writing() as session:
        state_all(session, viewer(session, 180), writer, read)
    recorded = time.process_time()
    with database.reading() as session:
        bare = inserted_bare(kept(session))
    database.close()
    for name, spent in (("checked", checked - begun), ("recorded", recorded - checked), ("bare", bare)):
        print(f"{name}: {spent / count * 1000:.3f} ms a row")
    print(f"bare / recorded: {bare / (recorded - checked):.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
