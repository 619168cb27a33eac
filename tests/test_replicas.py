import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from starlette.testclient import TestClient

import app.db
from app.auth import create_key
from app.client import Tracker
from app.db import Database, Need, Replicas
from app.in_process import ADDRESS, InProcess
from app.main import create_app
from app.settings import Settings, address
from app.verify import verify
from app.vocabulary import Scope
from tests import make
from tests.conftest import client, empty
from tests.replicating import NAME, PASSWORD, Server, until

Make = Callable[[str], Server]


@dataclass(frozen=True)
class Pair:
    """A primary and a replica that follows it."""

    primary: Server
    replica: Server

    def url(self, *servers: Server, database: str = "tracker", **options: str) -> str:
        asked = "&".join(f"{name}={value}" for name, value in options.items())
        hosts = ",".join(server.address for server in servers)
        return f"postgresql://{NAME}:{quote(PASSWORD, safe='')}@{hosts}/{database}?{asked}"

    def catch_up(self) -> None:
        """Wait until the replica has what the primary has."""
        written = self.primary.ask("SELECT pg_current_wal_lsn()")
        until(lambda: self.replica.ask(f"SELECT pg_last_wal_replay_lsn() >= '{written}'"))

    def fall_behind(self) -> None:
        """Have the replica stand still where the primary is now."""
        self.catch_up()
        self.replica.ask("SELECT pg_wal_replay_pause()")
        until(lambda: self.replica.ask("SELECT pg_get_wal_replay_pause_state() = 'paused'"))

    def go_on(self) -> None:
        """Have the replica follow again."""
        self.replica.ask("SELECT pg_wal_replay_resume()")


def settings(database_url: str, read_database_url: str | None = None) -> Settings:
    return Settings(database_url=database_url, read_database_url=read_database_url, _env_file=None)


@pytest.fixture(scope="module")
def make_server(postgresql_url: str, postgresql_tools: Path) -> Iterator[Make]:
    assert postgresql_url  # its server has made the user whom servers run as
    with ExitStack() as stack:

        def make_one(name: str) -> Server:
            # Not among pytest's own folders, which the server's user may not enter.
            folder = stack.enter_context(TemporaryDirectory(prefix="tracker-", ignore_cleanup_errors=True))
            if os.geteuid() == 0:
                shutil.chown(folder, "pgserver")
            return Server(postgresql_tools, Path(folder) / name)

        yield make_one


@pytest.fixture(scope="module")
def running(make_server: Make) -> Iterator[Pair]:
    pair = Pair(make_server("primary"), make_server("replica"))
    pair.primary.make()
    pair.primary.start()
    pair.primary.ask("CREATE DATABASE tracker")
    database = Database(Settings(database_url=pair.url(pair.primary), _env_file=None))
    database.migrate()
    database.close()
    pair.replica.follow(pair.primary)
    pair.replica.start()
    yield pair
    pair.replica.stop()
    pair.primary.stop()


@pytest.fixture
def pair(running: Pair) -> Pair:
    """The two servers, with an empty record of its own."""
    database = Database(settings(running.url(running.primary)))
    empty(database)
    database.close()
    if not running.replica.is_running:
        running.replica.start()
    running.go_on()
    running.catch_up()
    return running


@pytest.fixture
def tracker(pair: Pair) -> Iterator[FastAPI]:
    found = create_app(settings(pair.url(pair.primary), pair.url(pair.replica)))
    yield found
    found.state.database.close()


@pytest.fixture
def behind(pair: Pair, contributor: TestClient) -> Pair:
    """A replica that has entry 1, where the primary has two."""
    make.state(contributor)
    pair.fall_behind()
    make.state(contributor, country="FR", source=make.SOURCE | {"url": "https://example.org/b"})
    return pair


def seen(anyone: TestClient, **headers: str) -> int:
    answer = anyone.get(
        "/v1/positions", headers={name.replace("_", "-"): each for name, each in headers.items()}
    )
    assert answer.status_code == 200, answer.text
    seq: int = answer.json()["meta"]["seq"]
    assert answer.headers["ledger-seq"] == str(seq)
    return seq


def test_reads_come_from_the_replica(behind: Pair, anyone: TestClient) -> None:
    before = seen(anyone)
    behind.go_on()
    behind.catch_up()

    assert before == 1
    assert seen(anyone) == 2


@pytest.mark.usefixtures("behind")
def test_who_has_seen_an_entry_is_answered_with_it(anyone: TestClient) -> None:
    assert seen(anyone, ledger_min_seq="1") == 1
    assert seen(anyone, ledger_min_seq="2") == 2
    assert seen(anyone, ledger_min_seq="3") == 2


@pytest.mark.parametrize(
    "question",
    [
        "/v1/changes/2",
        "/v1/positions?seq=2",
        "/v1/changes?after=2",
        "/v1/export/changes.ndjson?seq=2",
        "/v1/export/positions.csv?seq=2",
        "/v1/diff?axis=recorded&from=1&to=2",
        "/v1/sources",
        "/v1/sources/2",
        "/v1/export/sources.csv",
        "/v1/positions?known_at={second}",
        "/v1/diff?axis=recorded&from={first}&to={second}",
    ],
)
def test_what_the_replica_lacks_the_primary_answers(behind: Pair, anyone: TestClient, question: str) -> None:
    everything = anyone.get("/v1/changes", headers={"Ledger-Min-Seq": "2"}).json()["items"]
    first, second = (each["recorded_at"] for each in everything)
    url = question.format(first=first, second=second)
    answer = anyone.get(url)
    primary = create_app(settings(behind.url(behind.primary)))
    wanted = client(primary).get(url)
    primary.state.database.close()

    assert answer.status_code == wanted.status_code == 200
    assert answer.content == wanted.content
    assert answer.headers["ledger-seq"] == "2"


def test_where_writes_are_heard_of_nothing_older_is_answered_and_so_none_is_cached(
    behind: Pair, tracker: FastAPI, anyone: TestClient, contributor: TestClient
) -> None:
    database: Database = tracker.state.database
    database.listen()
    until(database.state)
    found = [seen(anyone)]
    sources = anyone.get("/v1/sources").json()["meta"]["total"]
    contributor.post("/v1/sources", json={"title": "C", "publisher": "Gazette"})
    more = anyone.get("/v1/sources").json()["meta"]["total"]
    behind.go_on()
    behind.catch_up()
    found.append(seen(anyone))
    behind.primary.stop()
    by_the_replica = anyone.get("/v1/countries").json()["meta"]["seq"]
    behind.primary.start()

    assert found == [2, 2]
    assert (sources, more) == (2, 3)
    assert by_the_replica == 2


def test_the_client_never_goes_backwards(behind: Pair, tracker: FastAPI) -> None:
    with tracker.state.database.writing() as session:
        key = create_key(session, "another", Scope.CONTRIBUTE)
    with Tracker(ADDRESS, key, transport=InProcess(tracker)) as writer:
        before = writer.positions().meta.seq
        seq = writer.state(make.body(country="DE")).change.seq
        after = writer.positions().meta.seq
    with Tracker(ADDRESS, transport=InProcess(tracker)) as reader:
        first = reader.positions().meta.seq
        asked = reader.changes(seq=3).meta.seq
        again = reader.positions().meta.seq
    behind.go_on()

    assert (before, seq, after) == (1, 3, 3)
    assert (first, asked, again) == (1, 3, 3)


def test_a_lost_replica_is_not_missed_and_comes_back(
    behind: Pair, anyone: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.db, "REPLICA_REST", 0.0)
    found = [seen(anyone)]
    behind.replica.stop()
    found += [seen(anyone), seen(anyone)]
    behind.replica.start()
    behind.fall_behind()
    with_key = create_app(settings(behind.url(behind.primary)))
    with with_key.state.database.writing() as session:
        key = create_key(session, "another", Scope.CONTRIBUTE)
    make.state(client(with_key, key), country="DE")
    with_key.state.database.close()
    found.append(seen(anyone))

    assert found == [1, 2, 2, 2]


def test_a_lost_replica_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replicas = Replicas(address("postgresql://127.0.0.1:1/none"))
    found = replicas.find(Need())

    def fail(_: sa.Engine) -> sa.orm.Session:
        raise AssertionError("it was tried again")

    monkeypatch.setattr(app.db, "_snapshot", fail)

    assert found is replicas.find(Need()) is None
    assert caplog.messages == ["no replica can be asked, the primary answers: OperationalError"]


def test_a_failover_needs_no_restart(pair: Pair, make_server: Make) -> None:
    third = make_server("third")
    third.follow(pair.primary)
    third.start()
    both = Pair(pair.primary, third)
    writes = pair.url(pair.primary, third, target_session_attrs="read-write")
    reads = pair.url(third, pair.primary, target_session_attrs="prefer-standby")
    tracker = create_app(settings(writes, reads))
    database: Database = tracker.state.database
    database.listen()
    until(database.state)
    with database.writing() as session:
        key = create_key(session, "writer", Scope.CONTRIBUTE)
    writer = client(tracker, key)
    make.state(writer)
    both.catch_up()
    before = writer.get("/v1/changes").json()["meta"]
    pair.primary.stop()
    meanwhile = writer.post("/v1/positions", json=make.body(country="FR"))
    read = writer.get("/v1/changes").json()["meta"]
    third.promote()
    seq = make.state(writer, country="DE")
    until(database.state)
    after = writer.get("/v1/changes").json()["meta"]["seq"]
    ready = writer.get("/readyz").status_code
    with database.reading() as session:
        found = verify(session, head=before["digest"])
    database.close()
    third.stop()
    pair.primary.start()

    assert (meanwhile.status_code, meanwhile.headers["retry-after"]) == (503, "2")
    assert read == before
    assert (seq, after, ready) == (2, 2, 200)
    assert (found.seq, found.finding) == (2, None)


@pytest.mark.parametrize("value", ["-1", "1.0", "+1", "1_0", "x", "9" * 20, "٣"])
def test_what_was_seen_is_a_number(value: str) -> None:
    tracker = create_app(settings("sqlite://"))
    answer = client(tracker).get("/v1/positions", headers=[(b"ledger-min-seq", value.encode())])
    tracker.state.database.close()

    assert answer.status_code == 422
    assert [each["parameter"] for each in answer.json()["errors"]] == ["Ledger-Min-Seq"]


def test_every_question_about_the_record_takes_it() -> None:
    tracker = create_app(settings("sqlite://"))
    takes = {
        path: any(each["name"] == "Ledger-Min-Seq" for each in operations["get"].get("parameters", ()))
        for path, operations in tracker.openapi()["paths"].items()
        if "get" in operations
    }
    tracker.state.database.close()
    others = {"/v1/vocabulary", "/problems/{code}", "/healthz", "/readyz", "/metrics"}

    assert {path for path, is_taken in takes.items() if not is_taken} == others


def test_several_hosts_are_named_as_postgresql_names_them() -> None:
    url = address("postgresql://me:a%40b@one:5433,[::1]:5434,three/name?target_session_attrs=read-write")
    arguments = sa.create_engine(url).dialect.create_connect_args(url)[1]
    wanted = {
        "host": "one,::1,three",
        "port": "5433,5434,",
        "user": "me",
        "password": "a@b",
        "dbname": "name",
        "target_session_attrs": "read-write",
    }

    assert {name: arguments[name] for name in wanted} == wanted
    assert "a@b" not in url.render_as_string() + str(url)


@pytest.mark.parametrize("url", ["sqlite:///file.db", "nonsense", "postgresql://[one,two/name"])
def test_only_replicas_of_postgresql_are_taken(url: str) -> None:
    with pytest.raises(ValueError, match="read_database_url"):
        Settings(read_database_url=url, _env_file=None)


def test_a_replica_of_something_else_answers_nothing(pair: Pair, contributor: TestClient) -> None:
    make.state(contributor)
    wrong = pair.url(pair.replica, database="postgres")
    elsewhere = create_app(settings(pair.url(pair.primary), wrong))
    found = seen(client(elsewhere))
    elsewhere.state.database.close()

    assert found == 1
