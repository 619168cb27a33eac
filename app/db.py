"""The database: connections, transactions, the write lock, and column types that both databases share."""

import json
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.conninfo import make_conninfo
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Dialect, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator
from sqlmodel import Session, SQLModel

from app.beacon import FileState, Listener, shared_beacon
from app.errors import Busy, ReadOnly, StorageFull, failure_of
from app.metrics import CONNECTIONS, WRITE_WAIT_SECONDS
from app.sessions import KEPT_READERS, Readers, keep_connection
from app.settings import Settings, address
from app.writers import SERIALISED, Writers

ROOT = Path(__file__).resolve().parent.parent

POSTGRESQL = {
    # Questions are short, and found by keys: to plan one anew, or to compile it, takes longer than answering.
    "options": "-c timezone=UTC -c idle_in_transaction_session_timeout=60000 -c jit=off "
    "-c plan_cache_mode=force_generic_plan",
    "tcp_user_timeout": 15_000,  # milliseconds
}
"""How a connection to PostgreSQL is made; a server that is silent is given up, not waited for."""

READERS = {"sqlite": 2, "postgresql": 3}
"""How many readings run at once in a process: more would only slow each other, and the writer, down.

Two of a SQLite file give half as many answers again, where the database puts a whole list together.
Its driver gives the interpreter up at every row: a third would wait for that more than for the file.
"""

MAPPED = 2 << 30
"""Bytes of a SQLite file, at most, that are read where the system keeps them in memory, not copied.

Most of a reading is pages of the file that were not read just before.
"""

REPLICA_WAIT = 2
"""Seconds after which a replica that does not let us in is given up: libpq's shortest."""
REPLICA_REST = 5.0
"""Seconds for which replicas are left alone after one could not be reached."""
NEWEST = sa.text(
    "SELECT (SELECT coalesce(max(seq), 0) FROM change), (SELECT coalesce(max(id), 0) FROM source), "
    "(SELECT max(recorded_at) FROM change)"
)

_log = logging.getLogger("tracker.replicas")

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
        return "[]" if value == [] else None if value is None else canonical_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return [] if value == "[]" else value and json.loads(value)


RowNumber = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A key that is SQLite's own number of the row, which saves it a seek in an index of its own."""


def canonical_json(value: object) -> str:
    """Return the one spelling of a JSON value: sorted keys, no blanks, UTF-8 as it is (cf. RFC 8785)."""
    return _CANONICAL.encode(value)


_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def table_of(model: type[SQLModel]) -> Any:
    """Return a class's table: asked by its columns, the database is asked sooner than by the class."""
    return sa.inspect(model).local_table


class _Among(FunctionElement[bool]):
    """The condition that a value is among the members of a JSON array.

    It has no type: of a truth SQLite would be asked whether it is 1, and look for it in no index.
    """

    inherit_cache = True

    def __init__(self, column: Any, listed: Any, kind: sa.types.TypeEngine[Any]) -> None:
        super().__init__(column, listed, sa.cast(sa.column("value"), kind))


@compiles(_Among, "sqlite")
def _in_sqlite(among: _Among, compiler: Any, **options: Any) -> str:
    column, listed, _ = (compiler.process(each, **options) for each in among.clauses)
    return f"{column} IN (SELECT value FROM json_each({listed}))"


@compiles(_Among, "postgresql")
def _in_postgresql(among: _Among, compiler: Any, **options: Any) -> str:
    # As an array it is known before the first row is read; IN would join with it, at last.
    column, listed, value = (compiler.process(each, **options) for each in among.clauses)
    return f"{column} = ANY (ARRAY(SELECT {value} FROM json_array_elements_text(CAST({listed} AS json))))"


def among(column: Any, values: Collection[int]) -> sa.ColumnElement[bool]:
    """Return the condition that a column is one of many numbers, however many: they go as one parameter."""
    return among_named(column, None, sa.BigInteger(), sorted(values))


def among_named(
    column: Any, name: str | None, kind: sa.types.TypeEngine[Any], values: Sequence[Any] = ()
) -> sa.ColumnElement[bool]:
    """Return the condition that a column is among the values of a list, which is a parameter of that name."""
    return _Among(column, sa.bindparam(name, values, type_=JSONText()), kind)


_PAIRS = {
    "sqlite": "SELECT json_extract(value, '$[0]') AS first, json_extract(value, '$[1]') AS second "
    "FROM json_each(:pairs)",
    "postgresql": "SELECT CAST(value->>0 AS bigint) AS first, CAST(value->>1 AS bigint) AS second "
    "FROM json_array_elements(CAST(:pairs AS json))",
}


def pairs_given(dialect: str) -> Any:
    """Return pairs of numbers as a table, `first` and `second`: as one parameter, `pairs`, however many."""
    query = sa.text(_PAIRS[dialect]).bindparams(sa.bindparam("pairs", type_=JSONText()))
    return query.columns(first=sa.BigInteger(), second=sa.BigInteger()).subquery("pairs")


def weigh_plans(session: Session) -> None:
    """Have PostgreSQL weigh, for the rest of a transaction, whether what is asked with wants another plan."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("SET LOCAL plan_cache_mode = auto"))


def tell_how_much(session: Session) -> None:
    """Have PostgreSQL look how much there is: what it guesses leads to other plans."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("ANALYZE"))


class Turn:
    """A lock that is had in the order of asking: Python's own lets some wait while others go twice."""

    def __init__(self) -> None:
        self._inner = threading.Lock()
        self._is_held = False
        self._waiting: deque[threading.Lock] = deque()

    def acquire(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for one's turn; tell whether it came."""
        with self._inner:
            if not self._is_held:
                self._is_held = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        if mine.acquire(timeout=timeout):
            return True
        with self._inner:
            if mine not in self._waiting:
                return True  # it was handed over at the last moment
            self._waiting.remove(mine)
            return False

    def release(self) -> None:
        """Hand the turn over to whoever has waited longest."""
        with self._inner:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False


class Newest(NamedTuple):
    """How far a server is: its newest entry and source, and when that entry was recorded."""

    seq: int
    source: int
    recorded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Need:
    """What of the record a reading has to see at least."""

    seq: int = 0
    """This entry."""
    instant: datetime | None = None
    """All entries up to this instant."""
    newest: bool = False
    """Everything that this process can know to be there."""
    sources: bool = False
    """Sources too for which there is no entry yet."""

    def is_met(self, found: Newest, known: Newest | None) -> bool:
        """Tell whether a server that is so far has what is needed; `known` is how far the primary is."""
        if known is not None and (found.seq < known.seq or found.source < known.source):
            return False
        has_instant = self.instant is None or (found.recorded_at or self.instant) > self.instant
        return found.seq >= self.seq and has_instant


class Replicas:
    """Servers that repeat what happens at the primary, each a little later."""

    def __init__(self, url: URL) -> None:
        self._engine = make_engine(url, connect_wait=REPLICA_WAIT)
        self._rests_until = 0.0

    def find(self, need: Need, known: Newest | None = None) -> Session | None:
        """Return a session that sees what is needed, or None: then the primary has to answer.

        Where none can be reached, none is tried for a while, so that not every reader waits.
        """
        if time.monotonic() < self._rests_until:
            return None
        session = _snapshot(self._engine)
        try:
            if need.is_met(Newest(*session.execute(NEWEST).one()), known):
                return session
        except (DBAPIError, PoolTimeout) as error:
            _log.warning("no replica can be asked, the primary answers: %s", type(error).__name__)
            self._rests_until = time.monotonic() + REPLICA_REST
        session.close()
        return None

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


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
        is_file = self.is_embedded and _is_file(self.url)
        self.unmapped = make_engine(self.url, self.write_wait, mapped=0) if is_file else self.engine
        """For what walks through a whole table: a file that is mapped would all stand in our memory."""
        self.has_refused = False
        """Whether the last write met a disk that is full or cannot be written to."""
        replicas = settings.read_database_url
        self.replicas = Replicas(address(replicas)) if replicas and not self.is_embedded else None
        self._known: tuple[bytes, Newest] | None = None
        self._writer = Turn()
        self._may_read = threading.BoundedSemaphore(READERS[self.url.get_backend_name()])
        # In memory each thread has a database of its own.
        self._readers = Readers(self.engine, KEPT_READERS if is_file or not self.is_embedded else 0)
        is_kept = is_file or not self.is_embedded
        self.writers = Writers(self.engine, self.write_wait, is_kept=is_kept)
        self.long_writers = Writers(self.unmapped, self.write_wait, is_long=True)
        self.beacon = shared_beacon()
        self._file = FileState(self.url.database or "") if is_file else None
        self._listener: Listener | None = None

    @contextmanager
    def reading(
        self, need: Need | None = None, *, is_light: bool = False, is_long: bool = False
    ) -> Iterator[Session]:
        """Give a session that sees one state of the record throughout: by default the newest.

        Whoever says what they need may be given a replica that has it, and else the primary.
        Raises `Busy` when its turn does not come in time; what `is_light`, a seek or two, waits for none.
        What `is_long` walks through a table: of a file, it holds no more in memory than a cache.
        """
        if not is_light and not self._may_read.acquire(timeout=self.write_wait):
            raise Busy(headers={"Retry-After": "2"})
        try:
            replica = None if need is None or self.replicas is None else self._replica(need)
            other = _snapshot(self.unmapped) if replica is None and is_long else replica
            if other is not None:
                with other, other.get_transaction() or other.begin():
                    keep_connection(other)
                    yield other
                return
            session = self._readers.take()
            try:
                yield session
            finally:
                self._readers.give_back(session)
        finally:
            if not is_light:
                self._may_read.release()

    def _replica(self, need: Need) -> Session | None:
        """Return a session of a replica that has what is needed; None: the primary has to answer."""
        assert self.replicas is not None
        known = self._newest() if need.newest else None
        return self.replicas.find(need, known) if known or not need.sources else None

    def _newest(self) -> Newest | None:
        """Return how far the primary is, or None while that cannot be told; it is asked once a state.

        Without that, an answer of a replica that is behind would be cached for as long as nothing
        more is written.
        """
        state = self.state()
        if state is None:
            return None
        if self._known is None or self._known[0] != state:
            try:
                with self.engine.connect() as connection:
                    self._known = state, Newest(*connection.execute(NEWEST).one())
            except (DBAPIError, PoolTimeout):
                return None
        return self._known[1]

    @contextmanager
    def writing(self, *, is_long: bool = False) -> Iterator[Session]:
        """Give a session under the write lock; it commits on leaving, rolls back on any error.

        What `is_long` brings many rows: of a file, it holds no more in memory than a cache, and it may
        pause for as long as it needs.
        Raises `Busy` when the lock is not had in time. The lock of this process comes before the
        database's, because SQLite's own waiting is not fair.
        """
        begun = time.monotonic()
        if not self._writer.acquire(timeout=self.write_wait):
            raise Busy(headers={"Retry-After": "2"})
        try:
            writers = self.long_writers if is_long else self.writers
            with writers.session() as session:
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
        if not self.is_embedded and self._listener is None:
            # Not as an address: rendered as one, a password with a blank is none for PostgreSQL's library.
            told = self.engine.dialect.create_connect_args(self.url)[1]
            conninfo = make_conninfo(**{name: each for name, each in told.items() if name != "context"})
            self._listener = Listener(conninfo, self.beacon)
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
        self._readers.close()
        self.writers.close()
        self.engine.dispose()
        self.unmapped.dispose()
        if self.replicas is not None:
            self.replicas.close()


def _snapshot(engine: Engine) -> Session:
    """Return a session that sees one state; of a PostgreSQL server, one that changes nothing."""
    if engine.dialect.name == "sqlite":
        return Session(engine, expire_on_commit=False)
    reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return Session(reading, expire_on_commit=False)


def _is_file(url: URL) -> bool:
    return bool(url.database) and url.database != ":memory:" and "uri" not in url.query


def alembic_config() -> Config:
    """Return Alembic's configuration, kept in pyproject.toml."""
    return Config(toml_file=ROOT / "pyproject.toml")


def database_url(settings: Settings) -> URL:
    """Return where the record is kept."""
    return address(settings.database_url)


def make_engine(url: URL, write_wait: float = 5.0, connect_wait: int = 5, *, mapped: int = MAPPED) -> Engine:
    """Return an engine whose transactions begin as this product needs them to."""
    is_embedded = url.get_backend_name() == "sqlite"
    told: dict[str, Any] = {"check_same_thread": False}
    if not is_embedded:
        told = POSTGRESQL | {"connect_timeout": connect_wait}
    asked = {name: value for name, value in told.items() if name not in url.query}
    # The connection that was given back last knows most already. In memory there is but one.
    pool = {"pool_use_lifo": True} if _is_file(url) or not is_embedded else {}
    engine = sa.create_engine(url, pool_pre_ping=not is_embedded, connect_args=asked, **pool)
    event.listen(engine, "checkout", _count_out)
    event.listen(engine, "checkin", _count_in)
    if not is_embedded:
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
        connection.execute("PRAGMA cache_size = -16384")  # KiB: the indexes of a long record stay in memory
        connection.execute(f"PRAGMA mmap_size = {mapped}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails at once when another one wrote.
        serialised = connection.get_execution_options().get(SERIALISED)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if serialised else "BEGIN")

    return engine


def _count_out(_: object, record: Any, __: object) -> None:
    record.record_info["is_out"] = True
    CONNECTIONS.inc()


def _count_in(_: object, record: Any) -> None:
    # One that could not be made is given back without having been out.
    if record.record_info.pop("is_out", False):
        CONNECTIONS.dec()


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
