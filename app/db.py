"""The database: connections, transactions, the write lock, and column types that both databases share."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Dialect, Engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnElement
from sqlalchemy.types import TypeDecorator
from sqlmodel import Session, SQLModel

from app.beacon import CHANNEL, FileState, Listener, shared_beacon
from app.errors import Busy, ReadOnly, StorageFull, failure_of
from app.metrics import CONNECTIONS, WRITE_WAIT_SECONDS
from app.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
WRITE_LOCK = 0x7C0A117104  # PostgreSQL advisory lock of everyone who writes to the record
SERIALISED = "tracker_writing"

POSTGRESQL = {
    "options": "-c timezone=UTC -c idle_in_transaction_session_timeout=60000",
    "connect_timeout": 5,
    "tcp_user_timeout": 20_000,
}
"""How a connection to PostgreSQL is made; a server that is silent is given up, not waited for."""

READERS = 3
"""How many readings run at once in a process: more would only slow each other, and the writer, down."""

SQLModel.metadata.naming_convention = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


clock: Callable[[], datetime] = partial(datetime.now, UTC)
"""Where the current instant comes from; tests set it."""


def utc_now() -> datetime:
    """Return the current instant, aware, in UTC: the only place where the clock is read."""
    return clock()


class UTCDateTime(TypeDecorator[datetime]):
    """An aware UTC instant; SQLite would otherwise hand it back naive."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("naive datetime")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class TextEnum(TypeDecorator[StrEnum]):
    """A vocabulary word kept as text: a new word needs no migration on either database."""

    impl = sa.String(40)
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.words(value)


class JSONText(TypeDecorator[Any]):
    """A JSON value kept as canonical text, so that both databases hold the same bytes."""

    impl = sa.Text()
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else canonical_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


def canonical_json(value: object) -> str:
    """Return the one spelling of a JSON value: sorted keys, no blanks, UTF-8 as it is (cf. RFC 8785)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


class _Values(ColumnElement[Any]):
    """The numbers of a JSON array, as a list to be looked in."""

    inherit_cache = True

    def __init__(self, listed: sa.ColumnElement[str]) -> None:
        self.listed = listed


@compiles(_Values, "sqlite")
def _in_sqlite(values: _Values, compiler: Any, **options: Any) -> str:
    return f"(SELECT value FROM json_each({compiler.process(values.listed, **options)}))"


@compiles(_Values, "postgresql")
def _in_postgresql(values: _Values, compiler: Any, **options: Any) -> str:
    listed = compiler.process(values.listed, **options)
    return f"(SELECT CAST(value AS bigint) FROM json_array_elements_text(CAST({listed} AS json)))"


def among(column: Any, values: Collection[int]) -> sa.ColumnElement[bool]:
    """Return the condition that a column is one of many numbers, however many: they go as one parameter."""
    return sa.type_coerce(column, sa.BigInteger).op("IN", is_comparison=True)(
        _Values(sa.literal(json.dumps(sorted(values)), sa.String))
    )


class Database:
    """One database: where it is, and the two ways of using it.

    `reading` gives a snapshot; `writing` gives the write lock and one transaction. Reading never
    waits for writing.
    """

    def __init__(self, settings: Settings) -> None:
        self.url = database_url(settings)
        self.write_wait = settings.write_wait_seconds
        self.is_embedded = self.url.get_backend_name() == "sqlite"
        self.engine = make_engine(self.url, self.write_wait)
        self.has_refused = False
        """Whether the last write met a disk that is full or cannot be written to."""

        self._writer = threading.Lock()
        self._readers = threading.BoundedSemaphore(READERS)
        self.beacon = shared_beacon()
        path = self.url.database
        self._file = FileState(path) if self.is_embedded and path and _is_file(self.url) else None
        self._listener: Listener | None = None

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session that sees one state of the record throughout.

        Raises `Busy` when its turn does not come in time.
        """
        if not self._readers.acquire(timeout=self.write_wait):
            raise Busy(headers={"Retry-After": "2"})
        try:
            with self._reading() as session:
                yield session
        finally:
            self._readers.release()

    def _reading(self) -> Session:
        engine = self.engine
        if not self.is_embedded:
            engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        return Session(engine)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Give a session under the write lock; it commits on leaving, rolls back on any error.

        Raises `Busy` when the lock is not had in time. The lock of this process comes before the
        database's, because SQLite's own waiting is not fair.
        """
        begun = time.monotonic()
        if not self._writer.acquire(timeout=self.write_wait):
            raise Busy(headers={"Retry-After": "2"})
        try:
            engine = self.engine.execution_options(**{SERIALISED: True})
            with Session(engine, expire_on_commit=False) as session, session.begin():
                if not self.is_embedded:
                    wait = int(self.write_wait * 1000)
                    session.execute(sa.text(f"SET LOCAL lock_timeout = {wait}"))
                    # Others are told when this commits, and only then.
                    lock = sa.func.pg_advisory_xact_lock(WRITE_LOCK)
                    session.execute(sa.select(lock, sa.func.pg_notify(CHANNEL, "")))
                session.connection()
                WRITE_WAIT_SECONDS.observe(time.monotonic() - begun)
                yield session
            self.has_refused = False
        except DBAPIError as error:
            self.has_refused = isinstance(failure_of(error), ReadOnly | StorageFull)
            raise
        finally:
            # Whatever came of it: even a commit that failed may have been one.
            self.beacon.renew()
            self._writer.release()

    def risks(self) -> list[str]:
        """Return the settings of a PostgreSQL server that let it lose what it has acknowledged."""
        if self.is_embedded:
            return []
        switched_off = sa.text(
            "SELECT name FROM pg_settings WHERE setting = 'off' "
            "AND name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name"
        )
        with self.engine.connect() as connection:
            return list(connection.execute(switched_off).scalars())

    def probe(self) -> None:
        """Write something that changes nothing; raises what a write of anything would meet."""
        with self.writing() as session:
            session.execute(sa.text("UPDATE alembic_version SET version_num = version_num"))

    def check_writable(self) -> None:
        """Raise what a write would meet; writes itself only where the last write was refused.

        So an idle database stays idle, however often its readiness is asked for.
        """
        if not self.is_embedded:
            standby = "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool"
            # A standby does not even begin a transaction that does not say that it only reads.
            with self.engine.execution_options(postgresql_readonly=True).connect() as connection:
                if connection.execute(sa.text(standby)).scalar_one():
                    raise ReadOnly("The database is a standby.", headers={"Retry-After": "30"})
        if self.has_refused:
            self.probe()

    def state(self) -> bytes | None:
        """Return a name for the record's state, or None while it cannot be told.

        It is another one after every write, by whomever: at the latest when the writer is answered
        where the writer is of this machine, else within `beacon.PATIENCE` seconds.
        """
        if self._file is not None:
            return self._file.name()
        return self.beacon.name() if self._listener is not None and self._listener.is_sure else None

    def listen(self) -> None:
        """Begin to hear of writes by other machines; ends with `close`."""
        if not self.is_embedded:
            url = self.url.set(drivername="postgresql")
            self._listener = Listener(url.render_as_string(hide_password=False), self.beacon)
            self._listener.start()

    def migrate(self, revision: str = "head") -> None:
        """Bring the schema to `revision`; several processes may do so at once (see migrations/env.py)."""
        if self.is_embedded and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        with self.engine.connect() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            current = MigrationContext.configure(connection).get_current_revision()
            connection.rollback()
            if revision == "head" or current is None or (revision != "base" and revision > current):
                command.upgrade(config, revision)
            else:
                command.downgrade(config, revision)

    def schema_is_current(self) -> bool:
        """Tell whether the schema is the one that this release was written for."""
        head = ScriptDirectory.from_config(alembic_config()).get_current_head()
        with self.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision() == head

    def close(self) -> None:
        """Close every connection; SQLite then moves its write-ahead log into the file."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
        if self._file is not None:
            self._file.close()
        self.engine.dispose()


def _is_file(url: URL) -> bool:
    return bool(url.database) and url.database != ":memory:" and "uri" not in url.query


def alembic_config() -> Config:
    """Return Alembic's configuration, kept in pyproject.toml."""
    return Config(toml_file=ROOT / "pyproject.toml")


def database_url(settings: Settings) -> URL:
    """Return where the record is kept; a bare `postgresql://` means the driver that we ship."""
    url = make_url(settings.database_url)
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    return url


def make_engine(url: URL, write_wait: float = 5.0) -> Engine:
    """Return an engine whose transactions begin as this product needs them to."""
    engine = (
        sa.create_engine(url, connect_args={"check_same_thread": False})
        if url.get_backend_name() == "sqlite"
        else sa.create_engine(url, pool_pre_ping=True, connect_args=POSTGRESQL)
    )
    event.listen(engine, "checkout", lambda *_: CONNECTIONS.inc())
    event.listen(engine, "checkin", lambda *_: CONNECTIONS.dec())
    if url.get_backend_name() != "sqlite":
        return engine

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        # Python would begin transactions by itself, and never with the lock that a writer needs.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {int(write_wait * 1000)}")
        if _write_ahead(connection, write_wait) not in ("wal", "memory"):
            # As the driver's own errors, so that it is answered like them.
            raise sqlite3.OperationalError("no write-ahead log can be kept here (a network file system?)")
        connection.execute("PRAGMA synchronous = FULL")  # an acknowledged write survives power loss
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails at once when another one wrote.
        serialised = connection.get_execution_options().get(SERIALISED)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if serialised else "BEGIN")

    return engine


def _write_ahead(connection: Any, patience: float) -> str:
    """Ask for a write-ahead log and return the mode; SQLite itself does not wait for others here."""
    deadline = time.monotonic() + patience
    while True:
        try:
            mode: str = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            return mode
        except sqlite3.OperationalError as error:
            in_vain = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)
            if error.sqlite_errorcode & 0xFF in in_vain or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
