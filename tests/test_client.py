import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import httpx
import pytest

from app import calling
from app.auth import create_key
from app.calling import Kept, backoff, events, retry_after
from app.client import Tracker, TrackerFailure, TrackerProblem, TrackerUnreachable
from app.db import ROOT, Database
from app.in_process import ADDRESS, InProcess
from app.main import create_app
from app.settings import Settings
from app.vocabulary import Component, Scope
from tests import make, serving

BASE: dict[str, Any] = {"as_of": "2025-03-31", "seq": 7}
"""What every test finds, whichever ran before it."""


@dataclass(frozen=True)
class Live:
    """A running server, and a key that may do everything there."""

    url: str
    key: str
    database_url: str


def with_key(migrated: Path, folder: Path) -> tuple[str, str]:
    """Return the address of a new empty database, and a key of it."""
    shutil.copy(migrated, folder / "tracker.db")
    url = f"sqlite:///{folder / 'tracker.db'}"
    database = Database(Settings(database_url=url, _env_file=None))
    with database.writing() as session:
        key = create_key(session, "tester", Scope.CURATE)
    database.close()
    return url, key


@pytest.fixture(scope="module")
def live(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    database_url, key = with_key(migrated, folder)
    with serving.served(database_url, folder) as url:
        with Tracker(url, key) as tracker:
            for number, country in enumerate(("DE", "DK", "EE", "FI", "FR", "IT", "NO"), 1):
                tracker.state(make.body(country=country, stated_on=f"2025-03-0{number}"))
        yield Live(url, key, database_url)


@pytest.fixture
def tracker(live: Live) -> Iterator[Tracker]:
    with Tracker(live.url, live.key) as found:
        yield found


class Watched(httpx.HTTPTransport):
    """The network, with a note of what went over it."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[httpx.Request] = []
        self.statuses: list[int] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = super().handle_request(request)
        self.statuses.append(response.status_code)
        return response


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made; none is."""
    made: list[float] = []
    monkeypatch.setattr(calling, "pause", made.append)
    return made


def answering(*answers: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """Return a network that gives these answers one after the other, and the requests it meets."""
    left, met = list(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        met.append(request)
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return httpx.MockTransport(answer), met


META = {
    "as_of": "2025-03-28",
    "known_at": None,
    "seq": 0,
    "digest": "0" * 64,
    "first_recorded_at": None,
    "total": 0,
}


def page(following: str | None = None, **headers: str) -> httpx.Response:
    return httpx.Response(200, json={"meta": META, "items": [], "next": following}, headers=headers)


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"type": f"/problems/{code}", "title": "A title", "status": status, "detail": "A detail."}
    return httpx.Response(status, json=body, headers=headers)


def test_a_list_comes_from_all_its_pages(live: Live) -> None:
    network = Watched()
    with Tracker(live.url, transport=network) as tracker:
        paged = [each.country for each in tracker.positions(**BASE, limit=3)]

    assert paged == ["DE", "DK", "EE", "FI", "FR", "IT", "NO"]
    assert len(network.requests) == 3


def test_the_ledger_is_walked_to_its_end(tracker: Tracker) -> None:
    seqs = [change.seq for change in tracker.changes(after=2, limit=2)]

    assert seqs == list(range(3, tracker.changes().meta.seq + 1))


def test_items_are_typed_and_can_be_dumped(tracker: Tracker) -> None:
    position = next(iter(tracker.positions(country="FI", as_of="2025-03-31")))

    assert position.since == date(2025, 3, 4)
    assert position.firmness == "planned"
    assert position.source.title == "After the summit"
    assert position.model_dump(mode="json")["country_name"] == "Finland"


def test_every_list_says_what_it_is_of(tracker: Tracker) -> None:
    asked: list[Any] = [
        tracker.positions(),
        tracker.countries(),
        tracker.changes(),
        tracker.diff("2025-03-01", "2025-03-31"),
        tracker.summary(),
        tracker.timeline(),
        tracker.sources(),
    ]

    assert len({answers.meta.digest for answers in asked}) == 1
    assert all(answers.meta.total > 0 for answers in asked)


def test_a_list_without_items_is_false(tracker: Tracker) -> None:
    assert not tracker.positions(as_of="2024-01-01")
    assert tracker.positions(as_of="2025-03-31")


def test_a_diff_has_both_ends(tracker: Tracker) -> None:
    answers = tracker.diff(date(2025, 3, 3), date(2025, 3, 4))
    difference = next(iter(answers))

    assert (answers.meta.from_, answers.meta.to) == (date(2025, 3, 3), date(2025, 3, 4))
    assert (difference.op, difference.country, difference.before) == ("added", "FI", None)
    assert difference.after is not None
    assert difference.after.kind == "troops"


def test_a_diff_runs_along_recorded_time(tracker: Tracker) -> None:
    answers = tracker.diff(4, 5, axis="recorded", as_of="2025-03-31")

    assert [(each.country, each.cause) for each in answers] == [("FR", "stated")]
    assert (answers.meta.from_, answers.meta.to) == (4, 5)


def test_one_position_stands_among_its_history(tracker: Tracker) -> None:
    answer = tracker.position("fin", "troops", **BASE)

    assert answer.position is not None
    assert [step.op for step in answer.history] == ["added"]
    assert tracker.position("FI", "sea").position is None


def test_one_country_comes_whole(tracker: Tracker) -> None:
    answer = tracker.country("EST", **BASE)

    assert answer.name == "Estonia"
    assert answer.counts.positions == 1
    assert answer.meta.as_of == date(2025, 3, 31)


def test_counts_and_sources_are_typed(tracker: Tracker) -> None:
    summary = tracker.summary(**BASE, component="troops")
    points = list(tracker.timeline(from_=date(2025, 3, 1), to="2025-03-02", interval="day", seq=7))

    assert [(each.kind, each.count) for each in summary] == [("troops", 7)]
    assert summary.meta.none_recorded[Component.SEA] == 7
    assert [sum(each.count for each in point.counts) for point in points] == [1, 2]
    assert [source.title for source in tracker.sources()] == ["After the summit"]


def test_an_object_shows_itself_in_a_line(tracker: Tracker) -> None:
    shown = [
        *tracker.positions(country="FI", as_of="2025-03-31"),
        *tracker.changes(country="FI", seq=7),
        *tracker.diff("2025-03-03", "2025-03-04"),
        *tracker.sources(),
        tracker.country("FI"),
        tracker.positions(**BASE),
        tracker,
    ]

    assert repr(shown[0]) == "<Position FI troops: troops, planned, government, since 2025-03-04>"
    assert repr(shown[1]) == "<Change 4: state FI troops, planned>"
    assert repr(shown[-2]) == "<Position answers: 7 as of 2025-03-31, known at seq 7>"
    assert [each for each in map(repr, shown) if len(each) > 110] == []


def test_an_unchanged_answer_is_revalidated_and_not_sent_again(live: Live) -> None:
    network = Watched()
    with Tracker(live.url, live.key, transport=network) as tracker:
        first = list(tracker.positions(country="EE"))
        again = list(tracker.positions(country="EE"))
        tracker.state(make.body(country="EE", kind="sea"))
        after = list(tracker.positions(country="EE"))

    assert network.statuses == [200, 304, 201, 200]
    assert first == again
    assert len(after) == len(first) + 1


def test_a_pinned_answer_is_not_asked_for_again(live: Live) -> None:
    network = Watched()
    with Tracker(live.url, transport=network) as tracker:
        first = list(tracker.positions(as_of="2025-03-31", seq=3))
        again = list(tracker.positions(as_of="2025-03-31", seq=3))

    assert first == again
    assert len(network.requests) == 1


def test_what_is_kept_is_bounded() -> None:
    kept = Kept()
    request = httpx.Request("GET", "http://tracker/")
    for number in range(calling.MOST_KEPT + 5):
        kept.keep(str(number), httpx.Response(200, headers={"ETag": '"a"'}, request=request))
    big = b" " * (calling.MOST_BYTES // 4)
    for number in range(5):
        kept.keep(f"big {number}", httpx.Response(200, headers={"ETag": '"a"'}, content=big))
    kept.keep("too big", httpx.Response(200, headers={"ETag": '"a"'}, content=big + b" "))
    kept.keep("no-store", httpx.Response(200, headers={"ETag": '"a"', "Cache-Control": "no-store"}))

    assert [name for name in ("0", "big 0", "too big", "no-store") if kept.find(name)] == []
    assert kept.find("big 4") is not None


def test_a_busy_server_is_asked_again_when_it_said(pauses: list[float]) -> None:
    network, met = answering(problem(503, "busy", **{"Retry-After": "7"}), page())

    with Tracker(transport=network) as tracker:
        assert not tracker.positions()

    assert len(met) == 2
    assert 7 <= pauses[0] <= 7 + calling.FIRST_PAUSE


@pytest.mark.parametrize("status", calling.WORTH_RETRYING)
def test_what_is_for_later_is_tried_so_many_times(status: int, pauses: list[float]) -> None:
    network, met = answering(*[problem(status, "busy") for _ in range(3)])

    with Tracker(transport=network, tries=3) as tracker, pytest.raises(TrackerProblem) as caught:
        tracker.positions()

    assert caught.value.status == status
    assert (len(met), len(pauses)) == (3, 2)


def test_a_server_that_asks_for_too_long_is_not_waited_for(pauses: list[float]) -> None:
    network, _ = answering(problem(429, "quota", **{"Retry-After": "3600"}))

    with Tracker(transport=network) as tracker, pytest.raises(TrackerProblem) as caught:
        tracker.positions()

    assert caught.value.retry_after == 3600
    assert pauses == []


def test_a_refusal_is_not_tried_again(pauses: list[float]) -> None:
    network, met = answering(problem(422, "invalid"))

    with Tracker(transport=network) as tracker, pytest.raises(TrackerProblem):
        tracker.positions()

    assert (len(met), pauses) == (1, [])


def test_a_wait_can_be_given_as_an_instant() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    waits = [retry_after(httpx.Response(503, headers={"Retry-After": each})) for each in (later, "soon")]

    assert waits[0] is not None
    assert 55 < waits[0] <= 60
    assert waits[1] is None


def test_waits_grow_and_are_bounded() -> None:
    longest = [max(backoff(failures) for _ in range(200)) for failures in (1, 3, 50)]

    assert longest[0] <= calling.FIRST_PAUSE < longest[1] <= 4 * calling.FIRST_PAUSE
    assert longest[2] <= calling.LONGEST_PAUSE


def test_nobody_there_is_said_in_a_sentence(pauses: list[float]) -> None:
    url = f"http://127.0.0.1:{serving.free_port()}"

    with Tracker(url, tries=3) as tracker, pytest.raises(TrackerUnreachable, match=f"No answer from {url}"):
        tracker.positions()

    assert len(pauses) == 2


class Losing(Watched):
    """A network that loses the answer to the first request, after the server has given it."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if len(self.requests) == 1:
            response.close()
            raise httpx.ReadError("the connection was reset")
        return response


def test_a_write_whose_answer_was_lost_is_recorded_once(live: Live, pauses: list[float]) -> None:
    network = Losing()
    with Tracker(live.url, live.key, transport=network) as tracker:
        recorded = tracker.state(make.body(country="SE"))
        another = tracker.state(make.body(country="SE", kind="air"))
        changes = list(tracker.changes(country="SE"))

    keys = [request.headers["idempotency-key"] for request in network.requests[:3]]
    assert len(pauses) == 1
    assert network.statuses[:3] == [201, 201, 201]
    assert keys[0] == keys[1] != keys[2]
    assert [change.seq for change in changes] == [recorded.change.seq, another.change.seq]


def test_many_statements_are_recorded_at_once(tracker: Tracker) -> None:
    bodies = [make.body(country=country, kind="air") for country in ("LU", "MT")]
    tried = tracker.state_all(bodies, dry_run=True)
    recorded = tracker.state_all(bodies)

    assert (tried.count, tried.first_seq) == (2, None)
    assert recorded.first_seq is not None
    assert recorded.last_seq == recorded.first_seq + 1
    assert {entry.country for entry in recorded.diff} == {"LU", "MT"}


def test_a_source_is_recorded_once(tracker: Tracker) -> None:
    first = tracker.add_source(url="https://example.org/new", title="New", publisher="Example")
    again = tracker.add_source(url="https://example.org/new")

    assert (again.id, again.title) == (first.id, "New")


def test_every_route_that_writes_has_a_method(tracker: Tracker) -> None:
    paths = httpx.get(f"{tracker.url}/openapi.json").json()["paths"]

    assert {path for path, operations in paths.items() if "post" in operations} == {
        "/v1/positions",  # state
        "/v1/positions/bulk",  # state_all
        "/v1/changes/{seq}/correction",  # correct
        "/v1/changes/{seq}/retraction",  # retract
        "/v1/sources",  # add_source
    }


def test_a_key_of_ones_own_makes_a_script_safe_to_run_twice(tracker: Tracker) -> None:
    first = tracker.state(make.body(country="LT"), idempotency_key="import-1")
    again = tracker.state(make.body(country="LT"), idempotency_key="import-1")

    assert again == first


def test_the_key_goes_with_writes_only(live: Live) -> None:
    network = Watched()
    with Tracker(live.url, live.key, transport=network) as tracker:
        tracker.positions()
        tracker.state(make.body(country="LV"), dry_run=True)

    assert "authorization" not in network.requests[0].headers
    assert network.requests[1].headers["authorization"] == f"Bearer {live.key}"


def test_a_statement_is_corrected_and_retracted(tracker: Tracker) -> None:
    stated = tracker.state(country="PT", **{k: v for k, v in make.body().items() if k != "country"})
    assert stated.change.seq is not None
    corrected = tracker.correct(stated.change.seq, "A slip.", firmness="committed", speaker=None)
    assert corrected.change.seq is not None
    retracted = tracker.retract(corrected.change.seq, "Never said.")

    assert [each.firmness for each in stated.positions] == ["planned"]
    assert [each.cause for each in corrected.diff] == ["corrected"]
    assert retracted.positions == []
    assert tracker.change(stated.change.seq).replaced_by == corrected.change.seq


def test_a_dry_run_writes_nothing(tracker: Tracker) -> None:
    before = tracker.changes().meta.seq
    answer = tracker.state(make.body(country="RO", stated_on=date(2025, 3, 9)), dry_run=True)

    assert answer.change.seq is None
    assert [each.op for each in answer.diff] == ["added"]
    assert tracker.changes().meta.seq == before


def test_a_typo_is_an_exception_that_names_it(tracker: Tracker) -> None:
    with pytest.raises(TrackerProblem) as caught:
        tracker.positions(contry="PL", as_of="yesterday")

    assert caught.value.code == "invalid"
    assert [error.parameter for error in caught.value.errors] == ["as_of", "contry"]
    assert "contry: There is no such parameter; check its spelling." in str(caught.value)


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda tracker: tracker.country("XX"), "not-found"),
        (lambda tracker: tracker.position("../changes", "troops"), "not-found"),
        (lambda tracker: tracker.change(99_999), "not-found"),
        (lambda tracker: tracker.diff(1, 99_999, axis="recorded"), "invalid"),
        (lambda tracker: tracker.retract(99_999, "x"), "not-found"),
        (lambda tracker: next(tracker.follow(colour="red")), "invalid"),
        (lambda tracker: next(tracker.export("countries")), "not-found"),
    ],
)
def test_a_refusal_carries_its_code(tracker: Tracker, ask: Callable[[Tracker], Any], code: str) -> None:
    with pytest.raises(TrackerProblem) as caught:
        ask(tracker)

    assert caught.value.code == code


def test_a_write_without_a_key_is_refused(live: Live) -> None:
    with Tracker(live.url) as tracker, pytest.raises(TrackerProblem, match="401 unauthenticated"):
        tracker.state(make.body())


def test_a_duplicate_links_to_what_is_there(tracker: Tracker) -> None:
    seq = tracker.state(make.body(country="BG")).change.seq
    with pytest.raises(TrackerProblem) as caught:
        tracker.state(make.body(country="BG"))

    assert (caught.value.code, caught.value.existing) == ("duplicate", f"/v1/changes/{seq}")
    assert f"See /v1/changes/{seq}." in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(404, html="<h1>Nothing here</h1>"), r"Not Found \(404 about:blank\)"),
        (httpx.Response(301, headers={"Location": "https://elsewhere/"}), "elsewhere: https://elsewhere/"),
        (httpx.Response(200, html="<h1>Hello</h1>"), "does not answer as a tracker does"),
        (httpx.Response(200, json=["a"]), "does not answer as a tracker does"),
        (httpx.Response(200, json={"meta": {}, "items": [], "next": None}), "is it of the server's release"),
    ],
)
def test_what_is_no_tracker_is_said_to_be_none(answer: httpx.Response, words: str) -> None:
    network, _ = answering(answer)

    with Tracker(transport=network) as tracker, pytest.raises(TrackerFailure, match=words):
        tracker.positions()


def test_only_the_address_that_was_given_is_asked() -> None:
    first = httpx.Response(
        200, json={"meta": META, "items": [{}], "next": "https://elsewhere/v1/positions?cursor=a%20b&seq=3"}
    )
    network, met = answering(first, page())
    with Tracker("http://127.0.0.1:1/prefix/", transport=network) as tracker:
        assert len(list(tracker.positions().pages())) == 2

    assert str(met[0].url) == "http://127.0.0.1:1/prefix/v1/positions?limit=1000"
    assert str(met[1].url) == "http://127.0.0.1:1/prefix/v1/positions?cursor=a+b&seq=3"


def test_filters_are_spelt_as_the_api_has_them() -> None:
    network, met = answering(page())
    instant = datetime(2025, 3, 27, tzinfo=UTC)
    with Tracker(transport=network) as tracker:
        tracker.positions(
            country=["PL", "FR"], group=None, contested=True, as_of=date(2025, 3, 27), known_at=instant
        )
        with pytest.raises(ValueError, match="time zone"):
            tracker.positions(known_at=datetime(2025, 3, 27))  # noqa: DTZ001

    assert met[0].url.params.multi_items() == [
        ("limit", "1000"),
        ("country", "PL"),
        ("country", "FR"),
        ("contested", "true"),
        ("as_of", "2025-03-27"),
        ("known_at", "2025-03-27T00:00:00+00:00"),
    ]


def test_a_key_that_cannot_be_one_is_refused_at_once() -> None:
    assert "secret" not in repr(Tracker(key=" secret\n"))
    with pytest.raises(ValueError, match="no API key"):
        Tracker(key="schlüssel")


def test_a_list_comes_as_csv_with_one_header(tracker: Tracker) -> None:
    whole = "".join(tracker.text("/v1/positions", **BASE))
    paged = "".join(tracker.text("/v1/positions", limit=2, **BASE))
    ledger = "".join(tracker.text("/v1/changes", limit=2, seq=7))
    lines = "".join(tracker.text("/v1/changes", format="ndjson", limit=2, seq=7))

    assert paged == whole
    assert whole.count("country_alpha3") == ledger.count("country_alpha3") == 1
    assert [json.loads(line)["seq"] for line in lines.splitlines()] == list(range(1, 8))


def test_a_table_is_exported_as_it_arrives(tracker: Tracker) -> None:
    table = b"".join(tracker.export("history", format="ndjson", **BASE))

    assert [json.loads(line)["valid_from"] for line in table.splitlines()] == [
        f"2025-03-0{number}" for number in range(1, 8)
    ]


def test_events_are_read_whatever_the_pieces() -> None:
    text = 'retry: 2000\n\n: alive\n\nid: 3\nevent: change\ndata: {"a":\ndata: "é"}\r\n\r\nid: 4\ndata: lost'
    raw = text.encode()

    for size in (1, 2, 7, len(raw)):
        pieces = (raw[start : start + size] for start in range(0, len(raw), size))
        assert list(events(pieces)) == [
            {"retry": "2000"},
            {"id": "3", "event": "change", "data": '{"a":\n"é"}'},
        ]


def test_following_begins_at_the_newest_entry(tracker: Tracker) -> None:
    following = tracker.follow()
    seq = tracker.state(make.body(country="SI")).change.seq

    assert next(following).seq == seq


def test_following_keeps_to_its_filters(tracker: Tracker) -> None:
    following = tracker.follow(after=0, country=["NO", "DK"])

    assert [next(following).seq for _ in range(2)] == [2, 7]


class Breaking(httpx.SyncByteStream):
    """A stream that ends in the middle of an event."""

    def __init__(self, *pieces: str) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            yield piece.encode()
        raise httpx.ReadError("the connection was reset")


def test_a_broken_stream_is_taken_up_where_it_broke(tracker: Tracker, pauses: list[float]) -> None:
    one, two = (change.model_dump_json() for change in tracker.changes(seq=2))
    head = httpx.Response(200, json={"meta": META | {"as_of": None, "seq": 2}, "items": [], "next": None})
    network, met = answering(
        head,
        httpx.Response(
            200, stream=Breaking("retry: 3000\n\n", f"id: 1\ndata: {one}\n\nid: 2\ndata: {two[:20]}")
        ),
        httpx.ConnectError("refused"),
        problem(503, "busy"),
        httpx.Response(200, stream=Breaking(f"id: 2\ndata: {two}\n\n")),
    )

    with Tracker(transport=network) as broken:
        following = broken.follow(after=0)
        assert [next(following).seq, next(following).seq] == [1, 2]

    assert [request.headers.get("last-event-id") for request in met] == [None, "0", "1", "1", "1"]
    assert len(pauses) == 3
    assert min(pauses) >= 3


def start(database_url: str, folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Serve a database at `port`."""
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app"]
    options = ["--port", str(port), "--log-level", "critical", "--timeout-graceful-shutdown", "1"]
    process = subprocess.Popen([*command, *options], cwd=folder, env=serving.environment(database_url))
    serving.wait_until_ready(process, f"http://127.0.0.1:{port}")
    return process


def write_in_process(database_url: str, key: str, **fields: Any) -> None:
    """State a position while nobody serves the database."""
    application = create_app(Settings(database_url=database_url, _env_file=None))
    with Tracker(ADDRESS, key, transport=InProcess(application)) as tracker:
        tracker.state(make.body(**fields))
    application.state.database.close()


@pytest.mark.parametrize("signal", [SIGKILL, SIGTERM], ids=["killed", "stopped"])
def test_following_outlives_a_restart_of_the_server(migrated: Path, tmp_path: Path, signal: int) -> None:
    database_url, key = with_key(migrated, tmp_path)
    port = serving.free_port()
    url = f"http://127.0.0.1:{port}"
    server = start(database_url, tmp_path, port)
    try:
        with Tracker(url, key) as writer, Tracker(url) as reader:
            following = reader.follow(after=0)
            writer.state(make.body(country="DE"))
            writer.state(make.body(country="DK"))
            seen = [next(following).seq, next(following).seq]
            server.send_signal(signal)
            server.wait(20)
            write_in_process(database_url, key, country="EE")
            server = start(database_url, tmp_path, port)
            writer.state(make.body(country="FI"))
            seen += [next(following).seq, next(following).seq]
            writer.state(make.body(country="FR"))
            seen.append(next(following).seq)
    finally:
        server.kill()
        server.wait()

    assert seen == [1, 2, 3, 4, 5]


def test_the_client_brings_no_server_along() -> None:
    script = "import sys, app.client; print([each for each in sys.modules if each.startswith('app.')])"
    loaded = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True)

    assert "app.client" in loaded
    assert [
        name for name in ("app.main", "app.deps", "app.routes", "app.auth", "app.recording") if name in loaded
    ] == []
