"""Runs the migrations on the connection that `app.db` hands over, or on `TRACKER_DATABASE_URL`.

One process at a time: on PostgreSQL under an advisory lock, on SQLite under the write lock that
the migration's own transaction takes.
"""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from sqlmodel import SQLModel

import app.main  # noqa: F401  (every table is known once the whole application is)
from app.db import JSONText, TextEnum, UTCDateTime, database_url, make_engine
from app.settings import Settings

MIGRATION_LOCK = 0x7C0A117105


def render_item(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Write our column types as what they are in the database: a migration imports nothing of ours."""
    if kind != "type" or not isinstance(item, UTCDateTime | TextEnum | JSONText):
        return False
    return f"sa.{item.impl!r}"


def driver_connection(connection: sa.Connection) -> Any:
    """Return the driver's own connection."""
    return connection.connection.dbapi_connection


def run(connection: sa.Connection) -> None:
    """Run what is asked for, in one transaction for all migrations."""
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:
        # Batch mode remakes tables, and with foreign keys on that would empty their children.
        # The pragma does nothing inside a transaction, so it goes straight to the driver.
        driver_connection(connection).execute("PRAGMA foreign_keys = OFF")
    connection = connection.execution_options(tracker_writing=True)
    with connection.begin():
        # Told before there is a transaction, Alembic would end it after each migration on SQLite, and
        # let another process in between.
        context.configure(
            connection,
            target_metadata=SQLModel.metadata,
            render_as_batch=True,
            render_item=render_item,
            compare_type=True,
        )
        if not is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        context.run_migrations()
    if is_sqlite:
        driver_connection(connection).execute("PRAGMA foreign_keys = ON")


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    run(handed_over)
else:
    engine = make_engine(database_url(Settings()))
    with engine.connect() as own:
        run(own)
    engine.dispose()
