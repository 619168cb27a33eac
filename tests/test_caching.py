"""What is kept in memory is what would be answered anew: to the byte, and never for too long."""

import asyncio
import random
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from app import beacon
from app.caching import Cache
from app.db import Database
from app.main import create_app
from app.metrics import CACHE_EVICTIONS, REQUESTS, tell_hits
from app.settings import Settings
from tests import make
from tests.conftest import Clock, client, looked_up, wait_until_sure

QUESTIONS = (
    "/v1/positions",
    "/v1/positions?as_of=2025-06-01",
    "/v1/positions?as_of=2025-06-01&seq=3",
    "/v1/positions?country=PL&country=FR&component=troops&limit=1",
    "/v1/positions?kind=refusal&firmness=declared&sort=-since&dates=possible",
    "/v1/positions?min_firmness=planned&conditional=false&contested=false&stale=true&voice=government&q=a",
    "/v1/positions?source=1&changed_since=2025-01-01&group=nato&condition=ceasefire",
    "/v1/positions?format=csv&excel=true",
    "/v1/positions?as_of=2025-06-01&known_at=2026-11-20T00:00:00Z&format=ndjson",
    "/v1/positions/PL/troops",
    "/v1/countries?group=eu",
    "/v1/countries/PL",
    "/v1/changes",
    "/v1/changes?after=2&limit=1",
    "/v1/changes?country=PL&component=troops&action=correct&q=a&format=csv",
    "/v1/changes/1",
    "/v1/changes.atom",
    "/v1/diff?from=2025-03-01&to=2025-06-01",
    "/v1/diff?from=0&to=3&axis=recorded&mode=events&as_of=2025-06-01",
    "/v1/sources",
    "/v1/sources/1",
    "/v1/summary",
    "/v1/timeline?interval=month",
    "/v1/vocabulary",
    "/",
    "/countries/PL",
)
FORMATS: tuple[dict[str, str], ...] = (
    {"Accept": "text/csv"},
    {"Accept": "application/x-ndjson"},
    {"Accept-Encoding": "identity"},
    {"Origin": "https://example.org"},
)


on_postgresql = pytest.mark.parametrize("backend", ["postgresql"])
"""SQLite counts every commit itself: there is nothing to hear of."""


def parts(answer: Response) -> tuple[int, bytes, dict[str, str]]:
    """Return all of an answer but its id."""
    headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    return answer.status_code, answer.content, headers


@pytest.fixture
def kept(tracker: FastAPI, contributor: TestClient) -> Iterator[TestClient]:
    """An application with a small record, which keeps its answers; nobody is authorised."""
    make.state(contributor, conditions=[{"type": "ceasefire"}])
    make.refuse(contributor, country="FR")
    make.correct(contributor, 1, firmness="committed")
    make.state(contributor, country="DE", stated_on="2025-03", authority="media")
    with TestClient(tracker, base_url="http://testserver") as found:
        wait_until_sure(tracker)
        yield found


def test_an_answer_that_was_kept_is_the_same_to_the_byte(kept: TestClient, settings: Settings) -> None:
    plain = create_app(settings.model_copy(update={"cache_bytes": 0}))
    anew = TestClient(plain, base_url="http://testserver")
    for url, headers in (*((url, {}) for url in QUESTIONS), *product(QUESTIONS, FORMATS)):
        expected = parts(anew.get(url, headers=headers))
        first = parts(kept.get(url, headers=headers))
        before = looked_up("hit")
        again = parts(kept.get(url, headers=headers))

        assert (url, headers, first) == (url, headers, expected)
        assert again == first
        # The codebook has no ETag, and is not kept.
        is_kept = first[0] == 200 and "etag" in first[2]
        assert looked_up("hit") - before == is_kept, (url, headers)
    plain.state.database.close()


def test_a_write_shows_in_the_next_answer(kept: TestClient, contributor: TestClient) -> None:
    for number in range(5):
        assert kept.get("/v1/changes").json()["meta"]["seq"] == 4 + number
        make.state(contributor, country="SE", stated_on=f"2025-04-0{number + 1}")


def test_a_new_source_shows_though_the_ledger_stands(kept: TestClient, contributor: TestClient) -> None:
    assert kept.get("/v1/sources").json()["meta"]["total"] == 1
    source = {"url": "https://example.org/new", "title": "New"}
    assert contributor.post("/v1/sources", json=source).status_code == 201

    assert kept.get("/v1/sources").json()["meta"]["total"] == 2


def test_what_is_pinned_outlives_a_write(kept: TestClient, contributor: TestClient) -> None:
    pinned, floating = "/v1/positions?as_of=2025-06-01&seq=3", "/v1/positions?as_of=2025-06-01"
    first = [kept.get(url) for url in (pinned, floating)]
    make.state(contributor, country="SE")
    before = looked_up("hit")

    assert kept.get(pinned).content == first[0].content
    assert looked_up("hit") == before + 1
    assert kept.get(floating).content != first[1].content
    assert looked_up("hit") == before + 1


def test_today_ends(kept: TestClient, clock: Clock) -> None:
    today = kept.get("/v1/positions").json()["meta"]["as_of"]
    clock.pass_(days=1)

    assert kept.get("/v1/positions").json()["meta"]["as_of"] > today


def test_a_client_that_has_the_answer_is_told_so(kept: TestClient) -> None:
    first = kept.get("/v1/positions")
    before = looked_up("hit")
    for known in (first.headers["ETag"], f'"x", {first.headers["ETag"]}', "*"):
        answer = kept.get("/v1/positions", headers={"If-None-Match": known})

        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == first.headers["ETag"]
        assert answer.headers["Cache-Control"] == first.headers["Cache-Control"]
    assert looked_up("hit") == before + 3
    assert kept.get("/v1/positions", headers={"If-None-Match": '"x"'}).status_code == 200


def test_not_modified_alone_is_no_answer_for_others(kept: TestClient) -> None:
    tag = kept.get("/v1/positions").headers["ETag"]
    make_room = {"If-None-Match": tag, "Origin": "https://example.org"}
    assert [kept.get("/v1/positions", headers=make_room).status_code for _ in range(2)] == [304, 304]

    answer = kept.get("/v1/positions", headers={"Origin": "https://example.org"})

    assert answer.status_code == 200
    assert answer.json()["items"]


def test_head_is_answered_from_what_was_kept_for_get(kept: TestClient) -> None:
    whole = kept.get("/v1/positions")
    before = looked_up("hit")
    head = kept.head("/v1/positions")

    assert looked_up("hit") == before + 1
    assert head.content == b""
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]


def test_each_answer_has_its_own_id(kept: TestClient) -> None:
    ids = {kept.get("/v1/positions").headers["X-Request-ID"] for _ in range(3)}

    assert len(ids) == 3
    assert kept.get("/v1/positions", headers={"X-Request-ID": "mine"}).headers["X-Request-ID"] == "mine"


def test_what_was_kept_is_counted_and_logged_by_its_route(
    kept: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    def answered(status: str) -> float:
        tell_hits()
        found: float = REQUESTS.labels("GET", "/v1/positions/{code}/{component}", status)._value.get()
        return found

    before, hits = (answered("200"), answered("304")), looked_up("hit")
    with caplog.at_level("INFO", logger="tracker.access"):
        tags = [kept.get("/v1/positions/PL/troops").headers["ETag"] for _ in range(3)]
        kept.get("/v1/positions/PL/troops", headers={"If-None-Match": tags[0]})

    assert looked_up("hit") == hits + 3
    assert (answered("200"), answered("304")) == (before[0] + 3, before[1] + 1)
    events = [record.__dict__ for record in caplog.records if record.name == "tracker.access"]
    assert [(event["route"], event["status"]) for event in events] == [
        *[("/v1/positions/{code}/{component}", 200)] * 3,
        ("/v1/positions/{code}/{component}", 304),
    ]


@pytest.mark.parametrize("url", ["/healthz", "/readyz", "/metrics", "/v1/export/positions.csv", "/v1/none"])
def test_some_answers_are_never_kept(kept: TestClient, url: str) -> None:
    kept.get(url)
    before = looked_up("hit")
    kept.get(url)

    assert looked_up("hit") == before


@pytest.mark.usefixtures("kept")
def test_who_shows_credentials_is_answered_anew(contributor: TestClient) -> None:
    contributor.get("/v1/positions")
    before = looked_up("hit"), looked_up("miss")
    contributor.get("/v1/positions")

    assert (looked_up("hit"), looked_up("miss")) == before


@pytest.mark.usefixtures("tracker")
def test_what_was_not_asked_for_lately_makes_room(settings: Settings) -> None:
    limit = 40_000
    small = create_app(settings.model_copy(update={"cache_bytes": limit}))
    before = CACHE_EVICTIONS._value.get()
    with TestClient(small) as anyone:
        wait_until_sure(small)
        for day in range(1, 31):
            anyone.get(f"/v1/positions?as_of=2025-06-{day:02d}")
        hits = looked_up("hit")
        anyone.get("/v1/positions?as_of=2025-06-30")
        assert looked_up("hit") == hits + 1
        anyone.get("/v1/positions?as_of=2025-06-01")
        assert looked_up("hit") == hits + 1

    assert CACHE_EVICTIONS._value.get() > before


@pytest.fixture
def pair(
    contributor: TestClient, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[FastAPI]]:
    """Two processes of one server, as far as their memory goes, on a record with a key."""
    assert contributor.headers["Authorization"]
    shared = tmp_path / "state"
    beacon.new_beacon_file(shared)
    monkeypatch.setenv(beacon.SHARED, str(shared))
    apps = [create_app(settings), create_app(settings)]
    with TestClient(apps[0]), TestClient(apps[1]):
        for app in apps:
            wait_until_sure(app)
        yield apps


def test_whoever_was_answered_sees_it_at_the_other_process_too(
    pair: list[FastAPI], contributor: TestClient, settings: Settings
) -> None:
    drawn = random.Random(1)
    key = contributor.headers["Authorization"].removeprefix("Bearer ")
    writers = [client(app, key) for app in pair]
    readers = [TestClient(app, base_url="http://testserver") for app in pair]
    plain = create_app(settings.model_copy(update={"cache_bytes": 0}))
    anew = TestClient(plain, base_url="http://testserver")
    for number in range(40):
        writer = drawn.choice(writers)
        if drawn.random() < 0.5:
            firmness = drawn.choice(("planned", "committed", "signalled"))
            country = drawn.choice(("PL", "FR"))
            make.state(writer, country=country, firmness=firmness, speaker=f"Speaker {number}")
        url = drawn.choice(QUESTIONS[:2] + QUESTIONS[7:11])
        expected = anew.get(url)
        for reader in readers:
            assert reader.get(url).content == expected.content
    plain.state.database.close()


@on_postgresql
def test_a_write_from_elsewhere_shows_within_its_time(kept: TestClient, tracker: FastAPI) -> None:
    database: Database = tracker.state.database
    assert kept.get("/v1/sources").json()["meta"]["total"] == 1
    with database.engine.begin() as connection:  # as from another machine, and the notification is lost
        connection.execute(
            sa.text(
                "INSERT INTO change "
                "(seq, action, recorded_at, recorded_by_id, recorded_by_name, chain, digest) "
                "VALUES (5, 'retract', now() + interval '20 years', 'x', 'x', 1, 'x')"
            )
        )
    deadline = time.monotonic() + beacon.PATIENCE + 2
    while kept.get("/v1/changes").json()["meta"]["seq"] != 5:
        assert time.monotonic() < deadline, "the answer stayed old"
        time.sleep(0.05)


@on_postgresql
@pytest.mark.usefixtures("kept")
def test_a_notification_is_heard(tracker: FastAPI) -> None:
    database: Database = tracker.state.database
    before = database.state()
    with database.engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_notify(beacon.CHANNEL, "")))
    deadline = time.monotonic() + 30
    while database.state() == before:
        assert time.monotonic() < deadline, "the notification was not heard"
        time.sleep(0.005)


@on_postgresql
def test_nothing_is_kept_while_the_state_cannot_be_told(
    kept: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.get("/v1/positions")
    monkeypatch.setattr(beacon, "PATIENCE", -1.0)
    before = looked_up("hit")
    assert kept.get("/v1/positions").status_code == 200
    assert looked_up("hit") == before


@on_postgresql
@pytest.mark.usefixtures("kept")
def test_the_listener_comes_back_when_its_connection_was_cut(tracker: FastAPI) -> None:
    database: Database = tracker.state.database
    with database.engine.begin() as connection:
        cut = connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'LISTEN%' OR query = 'SELECT max(seq) FROM change'"
            )
        ).all()
    assert cut
    wait_until_sure(tracker)
    before = database.state()
    with database.engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_notify(beacon.CHANNEL, "")))
    deadline = time.monotonic() + 30
    while database.state() in (before, None):
        assert time.monotonic() < deadline, "nothing is heard any more"
        time.sleep(0.005)


class Slow:
    """An application that makes an answer when it is let, and counts how often it was asked."""

    def __init__(self, *, is_kept: bool) -> None:
        self.asked = 0
        self.go = asyncio.Event()
        self.headers = [(b"etag", b'W/"1"')] if is_kept else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer once it is let; what is not kept begins at once."""
        self.asked += 1
        start: Message = {"type": "http.response.start", "status": 200, "headers": self.headers}
        if not self.headers:
            await send(start)
        await self.go.wait()
        if self.headers:
            await send(start)
        await send({"type": "http.response.body", "body": b"answer"})


async def asked_together(slow: Slow, count: int) -> list[bytes]:
    """Ask the same `count` times at once; let the application answer when all have asked."""
    cache = Cache(slow, state=lambda: b"a state", limit=100_000)
    bodies: list[bytes] = []

    async def send(message: Message) -> None:
        bodies.append(message.get("body", b""))

    scope = {"type": "http", "method": "GET", "scheme": "http", "query_string": b"", "headers": []}
    asking = [asyncio.create_task(cache(dict(scope), _nothing, send)) for _ in range(count)]
    await asyncio.sleep(0.01)
    slow.go.set()
    await asyncio.gather(*asking)
    return [body for body in bodies if body]


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


@pytest.mark.parametrize(("is_kept", "asked"), [(True, 1), (False, 5)])
def test_who_asks_the_same_at_once_waits_for_one_answer(is_kept: bool, asked: int) -> None:
    async def ask() -> None:
        slow = Slow(is_kept=is_kept)

        assert await asked_together(slow, 5) == [b"answer"] * 5
        assert slow.asked == asked

    asyncio.run(ask())


def test_the_record_is_looked_at_once_for_requests_that_are_there_together() -> None:
    asked: list[bytes] = []
    record = b"one"

    def state() -> bytes:
        asked.append(record)
        return record

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"etag", b'W/"1"')]})
        await send({"type": "http.response.body", "body": record})

    async def ask() -> None:
        nonlocal record
        cache, bodies = Cache(app, state=state, limit=100_000), []

        async def send(message: Message) -> None:
            bodies.append(message.get("body"))

        def request() -> "asyncio.Task[None]":
            scope = {"type": "http", "method": "GET", "scheme": "http", "query_string": b"", "headers": []}
            return asyncio.create_task(cache(scope, _nothing, send))

        await asyncio.gather(*(request() for _ in range(5)))
        assert asked == [b"one"]

        first = request()
        await asyncio.sleep(0)  # it has looked by now, and nobody has forgotten what it saw
        record = b"two"
        await asyncio.gather(first, request())
        assert asked == [b"one", b"one", b"two"]
        assert bodies[-1] == b"two"

    asyncio.run(ask())
