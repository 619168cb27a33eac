import asyncio
import base64
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient
from starlette.types import Message
from starlette.types import Scope as Connection

from app.db import ROOT, Database
from app.settings import Settings
from app.vocabulary import Scope
from tests import make
from tests.conftest import BACKENDS, RECORD, address, client, on_empty_record, with_key

Place = str | None
Fault = tuple[Place, str]

MARKER = "hunter2-never-say-this-back"
JSON = {"Content-Type": "application/json"}
LIVE, CORRECTED, RETRACTED, RETRACTION, OFFER, FOREIGN = 2, 1, 3, 4, 5, 6
"""Entries of the record that every bad request meets."""


@dataclass(frozen=True)
class World:
    tracker: FastAPI
    database: Database
    anyone: TestClient
    contributor: TestClient
    record: dict[str, int]

    def rows(self) -> dict[str, int]:
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in RECORD.split(", "))
        used = "(SELECT count(last_used_at) FROM api_key), (SELECT max(seq) FROM change)"
        with self.database.engine.connect() as connection:
            row = connection.execute(sa.text(f"SELECT {counts}, {used}")).one()
        return dict(zip([*RECORD.split(", "), "used", "head"], row, strict=True))

    def send(self, asked: str, content: Any = None, headers: Any = None) -> Response:
        method, url = asked.split(" ", 1)
        marked = [("Cookie", f"key={MARKER}"), ("X-Note", MARKER)]
        given = list(headers.items()) if isinstance(headers, dict) else (headers or [])
        return self.contributor.request(method, url, content=content, headers=[*marked, *given])


@pytest.fixture(scope="module", params=BACKENDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    # One record for all of them: none of the requests here may leave a trace in it.
    url = address(request, request.param, tmp_path_factory.mktemp("bad_input") / "tracker.db")
    tracker = on_empty_record(Settings(database_url=url, _env_file=None))
    database: Database = tracker.state.database
    contributor = with_key(tracker, "contributor", Scope.CONTRIBUTE)
    curator = with_key(tracker, "curator", Scope.CURATE)
    first = make.state(contributor, notes="To be corrected.")
    make.correct(contributor, first, firmness="committed")
    make.retract(contributor, make.state(contributor, country="FR", kind="air"))
    make.state(contributor, country="DE", kind="sea", firmness="considering")
    make.state(curator, country="GB", source={"url": "https://example.org/b", "title": "Elsewhere"})
    with contributor, client(tracker) as anyone:
        found = World(tracker, database, anyone, contributor, {})
        found.record.update(found.rows())
        yield found
    database.close()


def faults(answer: Response) -> list[Fault]:
    errors = answer.json().get("errors", [])
    return [(each.get("pointer", each.get("parameter", each.get("column"))), each["code"]) for each in errors]


def check(world: World, answer: Response, status: int, kind: str, *expected: Fault) -> None:
    body = answer.json()
    text = answer.text + str(answer.headers)

    assert (answer.status_code, body["type"]) == (status, f"/problems/{kind}"), body
    assert body["status"] == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-ID"] in body["instance"]
    assert faults(answer) == list(expected)
    assert [word for word in (MARKER, "Traceback", str(ROOT), "site-packages", ".py") if word in text] == []
    assert len(answer.content) < 20_000
    assert world.rows() == world.record


BIG = str(2**63)
QUESTIONS: dict[str, tuple[str, str, str]] = {
    "a misspelt parameter": ("/v1/positions?as-of=2025-01-01", "as-of", "unknown"),
    "a parameter in another case": ("/v1/positions?Country=PL", "Country", "unknown"),
    "a parameter of another question": ("/v1/sources?country=PL", "country", "unknown"),
    "a parameter with brackets": ("/v1/positions?country[]=PL", "country[]", "unknown"),
    "a parameter without a name": ("/v1/positions?=PL", "", "unknown"),
    "a parameter with a very long name": (f"/v1/positions?{'x' * 9000}=1", "x" * 200, "unknown"),
    "a parameter where none is taken": ("/healthz?verbose=1", "verbose", "unknown"),
    "a parameter of the codebook": ("/v1/vocabulary?language=fr", "language", "unknown"),
    "a parameter of a problem's page": ("/problems/invalid?as=html", "as", "unknown"),
    "a parameter of the first page": ("/?country=PL", "country", "unknown"),
    "a day twice": ("/v1/positions?as_of=2025-01-01&as_of=2025-01-02", "as_of", "repeated"),
    "the same day twice": ("/v1/positions?as_of=2025-01-01&as_of=2025-01-01", "as_of", "repeated"),
    "a day twice in two spellings": (
        "/v1/positions?as_of=2025-01-01&as%5Fof=2025-01-02",
        "as_of",
        "repeated",
    ),
    "a seq twice": ("/v1/changes?seq=1&seq=2", "seq", "repeated"),
    "a limit twice": ("/v1/countries?limit=1&limit=1000", "limit", "repeated"),
    "a cursor twice": ("/v1/sources?cursor=a&cursor=b", "cursor", "repeated"),
    "a format twice": ("/v1/positions?format=csv&format=json", "format", "repeated"),
    "a start twice": ("/v1/diff?from=2025-01-01&to=2025-02-01&from=2025-01-02", "from", "repeated"),
    "a text twice": ("/v1/countries?q=a&q=b", "q", "repeated"),
    "a place in the stream twice": ("/v1/changes/stream?after=1&after=2", "after", "repeated"),
    "a day that is no day": ("/v1/positions?as_of=2025-02-30", "as_of", "impossible_date"),
    "a leap day of a common year": ("/v1/countries?as_of=2025-02-29", "as_of", "impossible_date"),
    "the year nought": ("/v1/positions?as_of=0000-01-01", "as_of", "impossible_date"),
    "a day in a thirteenth month": ("/v1/summary?as_of=2025-13-01", "as_of", "impossible_date"),
    "a Unix time for a day": ("/v1/positions?as_of=1767225600", "as_of", "not_a_date"),
    "nought for a day": ("/v1/positions?as_of=0", "as_of", "not_a_date"),
    "a month for a day": ("/v1/positions?as_of=2025-03", "as_of", "not_a_date"),
    "a week for a day": ("/v1/positions?as_of=2025-W13-4", "as_of", "not_a_date"),
    "a day in basic format": ("/v1/positions?as_of=20250327", "as_of", "not_a_date"),
    "a day with a time": ("/v1/positions?as_of=2025-03-27T00:00:00Z", "as_of", "not_a_date"),
    "a day that is uncertain": ("/v1/positions?as_of=2025-03-27~", "as_of", "not_a_date"),
    "a day with a blank after it": ("/v1/positions?as_of=2025-03-27%20", "as_of", "not_a_date"),
    "a day with a line feed after it": ("/v1/positions?as_of=2025-03-27%0A", "as_of", "not_a_date"),
    "a day in words": ("/v1/positions?as_of=today", "as_of", "not_a_date"),
    "a day left empty": ("/v1/positions?as_of=", "as_of", "not_a_date"),
    "a day in Arabic digits": ("/v1/positions?as_of=%D9%A2%D9%A0%D9%A2%D9%A5-01-01", "as_of", "not_a_date"),
    "a day in fullwidth digits": ("/v1/positions?as_of=%EF%BC%92025-01-01", "as_of", "not_a_date"),
    "a day with NUL in it": ("/v1/positions?as_of=2025-01-01%00", "as_of", "not_a_date"),
    "a day of five digits' year": ("/v1/positions?as_of=12025-01-01", "as_of", "not_a_date"),
    "a negative year": ("/v1/positions?as_of=-2025-01-01", "as_of", "not_a_date"),
    "a quoted day": ("/v1/positions?as_of=%222025-01-01%22", "as_of", "not_a_date"),
    "a seq beyond the record": ("/v1/positions?seq=7", "seq", "beyond_head"),
    "the largest seq": (f"/v1/positions?seq={2**63 - 1}", "seq", "beyond_head"),
    "a seq beyond 63 bits": (f"/v1/positions?seq={BIG}", "seq", "less_than_equal"),
    "a seq of twenty digits": (f"/v1/positions?seq={10**19}", "seq", "not_a_number"),
    "a seq of ten thousand digits": (f"/v1/positions?seq={'9' * 10_000}", "seq", "not_a_number"),
    "a negative seq": ("/v1/positions?seq=-1", "seq", "not_a_number"),
    "a seq with a sign": ("/v1/positions?seq=%2B1", "seq", "not_a_number"),
    "a seq with an underscore": ("/v1/positions?seq=1_0", "seq", "not_a_number"),
    "a seq with a fraction": ("/v1/positions?seq=1.0", "seq", "not_a_number"),
    "a seq with an exponent": ("/v1/positions?seq=1e0", "seq", "not_a_number"),
    "a seq in hexadecimal": ("/v1/positions?seq=0x1", "seq", "not_a_number"),
    "a seq with blanks around it": ("/v1/positions?seq=%201%20", "seq", "not_a_number"),
    "a seq in Arabic digits": ("/v1/positions?seq=%D9%A1", "seq", "not_a_number"),
    "a seq left empty": ("/v1/positions?seq=", "seq", "not_a_number"),
    "a seq that is true": ("/v1/positions?seq=true", "seq", "not_a_number"),
    "a seq that is not a number": ("/v1/positions?seq=NaN", "seq", "not_a_number"),
    "an instant without an offset": (
        "/v1/positions?known_at=2025-03-27T12:00:00",
        "known_at",
        "not_an_instant",
    ),
    "a day for an instant": ("/v1/positions?known_at=2025-03-27", "known_at", "not_an_instant"),
    "a Unix time for an instant": ("/v1/positions?known_at=1767225600", "known_at", "not_an_instant"),
    "an instant whose plus is a blank": (
        "/v1/positions?known_at=2025-03-27T12:00:00+02:00",
        "known_at",
        "not_an_instant",
    ),
    "an instant without seconds": ("/v1/positions?known_at=2025-03-27T12:00Z", "known_at", "not_an_instant"),
    "an hour of twenty-five": ("/v1/positions?known_at=2025-03-27T25:00:00Z", "known_at", "not_an_instant"),
    "a leap second": ("/v1/positions?known_at=2016-12-31T23:59:60Z", "known_at", "not_an_instant"),
    "an instant before all time": (
        "/v1/positions?known_at=0001-01-01T00:00:00%2B14:00",
        "known_at",
        "not_an_instant",
    ),
    "an instant after all time": (
        "/v1/positions?known_at=9999-12-31T23:59:59-14:00",
        "known_at",
        "not_an_instant",
    ),
    "an instant in the future": ("/v1/positions?known_at=9999-01-01T00:00:00Z", "known_at", "in_the_future"),
    "an instant left empty": ("/v1/changes?known_at=", "known_at", "not_an_instant"),
    "an instant and a seq": ("/v1/positions?known_at=2025-03-27T12:00:00Z&seq=1", "seq", "exclusive"),
    "a limit of nought": ("/v1/positions?limit=0", "limit", "greater_than_equal"),
    "a negative limit": ("/v1/positions?limit=-1", "limit", "not_a_number"),
    "a limit above the greatest": ("/v1/positions?limit=1001", "limit", "less_than_equal"),
    "a limit beyond 63 bits": (f"/v1/changes?limit={BIG}", "limit", "less_than_equal"),
    "a limit in words": ("/v1/sources?limit=abc", "limit", "not_a_number"),
    "no limit": ("/v1/countries?limit=null", "limit", "not_a_number"),
    "a cursor of ours for nothing": ("/v1/positions?cursor=WyJ4Il0", "cursor", "bad_cursor"),
    "a cursor that is not base64": ("/v1/positions?cursor=%21%21", "cursor", "bad_cursor"),
    "a cursor that is not JSON": ("/v1/positions?cursor=AAAA", "cursor", "bad_cursor"),
    "a cursor that is a number": ("/v1/positions?cursor=MQ", "cursor", "bad_cursor"),
    "a cursor nested too deep": (f"/v1/positions?cursor={'W1tb' * 240}", "cursor", "bad_cursor"),
    "a cursor left empty": ("/v1/positions?cursor=", "cursor", "bad_cursor"),
    "a cursor with NUL in it": ("/v1/sources?cursor=%00", "cursor", "bad_cursor"),
    "a cursor beyond ASCII": ("/v1/countries?cursor=%C3%A9", "cursor", "bad_cursor"),
    "a cursor that is too long": (f"/v1/positions?cursor={'A' * 1001}", "cursor", "string_too_long"),
    "a format that we do not write": ("/v1/positions?format=xml", "format", "enum"),
    "a format in another case": ("/v1/changes?format=CSV", "format", "enum"),
    "Excel without CSV": ("/v1/positions?excel=1", "excel", "needs_csv"),
    "Excel with NDJSON": ("/v1/positions?excel=1&format=ndjson", "excel", "needs_csv"),
    "Excel, perhaps": ("/v1/positions?excel=perhaps&format=csv", "excel", "bool_parsing"),
    "a kind in another case": ("/v1/positions?kind=Troops", "kind", "enum"),
    "a kind that is none": ("/v1/positions?kind=tanks", "kind", "enum"),
    "two kinds in one": ("/v1/positions?kind=troops,air", "kind", "enum"),
    "a component that is none": ("/v1/changes?component=space", "component", "enum"),
    "a component left empty": ("/v1/positions?component=", "component", "enum"),
    "a firmness that is none": ("/v1/positions?firmness=maybe", "firmness", "enum"),
    "a least firmness that is none": ("/v1/positions?min_firmness=firm", "min_firmness", "enum"),
    "a condition that is none": ("/v1/positions?condition=peace", "condition", "enum"),
    "a group that is none": ("/v1/countries?group=efta", "group", "enum"),
    "a group with a blank": ("/v1/countries?group=nato%20", "group", "enum"),
    "an action that is none": ("/v1/changes?action=delete", "action", "enum"),
    "dates of another sort": ("/v1/positions?dates=all", "dates", "literal_error"),
    "contested, perhaps": ("/v1/positions?contested=maybe", "contested", "bool_parsing"),
    "tracked, twice over": ("/v1/countries?tracked=2", "tracked", "bool_parsing"),
    "a country that is none": ("/v1/positions?country=ZZ", "country", "unknown_country"),
    "a country by its name": ("/v1/positions?country=Poland", "country", "unknown_country"),
    "two countries in one": ("/v1/positions?country=UK,FR", "country", "unknown_country"),
    "a country in many words": (f"/v1/positions?country={'x' * 101}", "country", "string_too_long"),
    "a country of one letter": ("/v1/changes?country=P", "country", "unknown_country"),
    "a country left empty": ("/v1/positions?country=", "country", "blank"),
    "a country that is NUL": ("/v1/positions?country=%00", "country", "control_character"),
    "a country in Greek letters": ("/v1/positions?country=%CE%91%CE%A4", "country", "unknown_country"),
    "three hundred and one countries": (
        f"/v1/positions?{'&'.join(['country=PL'] * 301)}",
        "country",
        "too_long",
    ),
    "a source that is none of ours": ("/v1/changes?source=abc", "source", "not_a_number"),
    "source nought": ("/v1/changes?source=0", "source", "greater_than_equal"),
    "a source beyond 63 bits": (f"/v1/changes?source={BIG}", "source", "less_than_equal"),
    "a place before the record": ("/v1/changes?after=-1", "after", "not_a_number"),
    "a place beyond 63 bits": (f"/v1/changes?after={BIG}", "after", "less_than_equal"),
    "a text left empty": ("/v1/countries?q=", "q", "blank"),
    "a text of blanks": ("/v1/countries?q=%20%09", "q", "control_character"),
    "a text of a no-break space": ("/v1/countries?q=%C2%A0", "q", "blank"),
    "a text that is NUL": ("/v1/countries?q=pol%00and", "q", "control_character"),
    "a text of lone surrogates": ("/v1/countries?q=%ED%A0%80", "q", "not_utf8"),
    "a text in overlong UTF-8": ("/v1/countries?q=%C0%AF", "q", "not_utf8"),
    "a text in Latin-1": ("/v1/countries?q=%E9", "q", "not_utf8"),
    "a name in Latin-1": ("/v1/countries?%E9=1", "%E9", "not_utf8"),
    "a text cut off within a character": ("/v1/countries?q=%F0%9F%98", "q", "not_utf8"),
    "a text with a control character of C1": ("/v1/countries?q=%C2%85", "q", "control_character"),
    "a text that is too long": (f"/v1/countries?q={'a' * 81}", "q", "string_too_long"),
    "a diff from nowhere": ("/v1/diff?to=2025-01-01", "from", "missing"),
    "a diff to nowhere": ("/v1/diff?from=2025-01-01", "to", "missing"),
    "a diff from no day": ("/v1/diff?from=yesterday&to=2025-01-01", "from", "not_a_date"),
    "a diff to no day": ("/v1/diff?from=2025-01-01&to=2025-02-30", "to", "impossible_date"),
    "a diff from a seq by days": ("/v1/diff?from=1&to=2025-01-01", "from", "not_a_date"),
    "a diff along another axis": ("/v1/diff?from=1&to=2&axis=time", "axis", "enum"),
    "a diff in another mode": ("/v1/diff?from=2025-01-01&to=2025-01-02&mode=all", "mode", "enum"),
    "events backwards": ("/v1/diff?from=2025-01-02&to=2025-01-01&mode=events", "from", "reversed"),
    "events backwards in the record": ("/v1/diff?from=2&to=1&axis=recorded&mode=events", "from", "reversed"),
    "a day along the axis of days": (
        "/v1/diff?from=2025-01-01&to=2025-01-02&as_of=2025-01-01",
        "as_of",
        "not_on_this_axis",
    ),
    "a seq along recorded time": ("/v1/diff?from=0&to=1&axis=recorded&seq=1", "seq", "not_on_this_axis"),
    "an instant along recorded time": (
        "/v1/diff?from=0&to=1&axis=recorded&known_at=2026-01-01T00:00:00Z",
        "known_at",
        "not_on_this_axis",
    ),
    "a diff to a seq beyond the record": ("/v1/diff?from=0&to=7&axis=recorded", "to", "beyond_head"),
    "a diff to a seq beyond 63 bits": (f"/v1/diff?from=0&to={BIG}&axis=recorded", "to", "beyond_head"),
    "a diff from a day of the record": (
        "/v1/diff?from=2025-01-01&to=1&axis=recorded",
        "from",
        "not_a_moment",
    ),
    "a diff from Arabic digits": ("/v1/diff?from=%D9%A1&to=1&axis=recorded", "from", "not_a_moment"),
    "a diff from the future": (
        "/v1/diff?from=9999-01-01T00:00:00Z&to=1&axis=recorded",
        "from",
        "in_the_future",
    ),
    "an end of a diff that is NUL": ("/v1/diff?from=%00&to=2025-01-01", "from", "control_character"),
    "an interval that is none": ("/v1/timeline?interval=year", "interval", "enum"),
    "a timeline from no day": ("/v1/timeline?from=2025", "from", "not_a_date"),
    "a timeline backwards": ("/v1/timeline?from=2025-04-30&to=2025-04-01", "from", "reversed"),
    "a stream after what is no seq": ("/v1/changes/stream?after=x", "after", "not_a_number"),
    "a timeline without end": (
        "/v1/timeline?from=0001-01-01&to=9999-12-31&interval=day",
        "interval",
        "too_many",
    ),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_that_cannot_be_meant_is_refused(world: World, name: str) -> None:
    url, parameter, code = QUESTIONS[name]

    check(world, world.send(f"GET {url}"), 422, "invalid", (parameter, code))


def cursor_of(world: World, url: str) -> str:
    following = world.anyone.get(url).json()["next"]
    found: str = parse_qs(urlsplit(following).query)["cursor"][0]
    return found


CURSORS: dict[str, Callable[[str, World], str]] = {
    "with something after it": lambda own, _: own + "A",
    "with much after it": lambda own, _: own + "AAAA",
    "with padding": lambda own, _: own + "=" * (-len(own) % 4 or 4),
    "with a line feed after it": lambda own, _: own + "%0A",
    "with a blank in it": lambda own, _: own[:8] + "%20" + own[8:],
    "without its last character": lambda own, _: own[:-1],
    "without its first character": lambda own, _: own[1:],
    "twice over": lambda own, _: own + own,
    "in capitals": lambda own, _: own.upper(),
    "with another first character": lambda own, _: chr(ord(own[0]) ^ 1) + own[1:],
    "with another last character": lambda own, _: own[:-1] + ("A" if own[-1] != "A" else "B"),
    "that goes on from a text": lambda own, _: rewritten(own, "nowhere"),
    "that goes on from a number": lambda own, _: rewritten(own, 1),
    "that goes on from nothing": lambda own, _: rewritten(own, None),
    "that goes on from nowhere": lambda own, _: rewritten(own),
    "that goes on from two places": lambda own, _: rewritten(own, 1, 2, 3),
    "that goes on from an object": lambda own, _: rewritten(own, {"id": 1}),
    "of another list": lambda _, world: cursor_of(world, "/v1/countries?limit=1"),
    "of another day": lambda _, world: cursor_of(world, "/v1/positions?limit=1&as_of=2025-04-01"),
    "of another state of the record": lambda _, world: cursor_of(world, "/v1/positions?limit=1&seq=5"),
    "of another choice": lambda _, world: cursor_of(world, "/v1/positions?limit=1&group=nato"),
}


def rewritten(own: str, *key: Any) -> str:
    """Return a cursor in our own spelling that goes on from another place."""
    mark, *_ = json.loads(base64.urlsafe_b64decode(own + "=" * (-len(own) % 4)))
    text = json.dumps([mark, *key], separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize("name", CURSORS)
def test_a_cursor_is_good_for_its_own_question_and_in_its_own_spelling_only(world: World, name: str) -> None:
    # Countries go on from a code, sources from two numbers: what fits the one does not fit the other.
    lists = {
        "/v1/positions?limit=1": [],
        "/v1/sources?limit=1": [],
        "/v1/countries?limit=1": ["PL", "country"],
    }
    for url, fitting in lists.items():
        bad = CURSORS[name](cursor_of(world, url), world)
        if not any(word in name for word in fitting) and bad != cursor_of(world, url):
            check(world, world.send(f"GET {url}&cursor={bad}"), 422, "invalid", ("cursor", "bad_cursor"))


PATHS: dict[str, tuple[str, int, str, list[Fault]]] = {
    "an entry beyond the record": ("GET /v1/changes/7", 404, "not-found", []),
    "entry nought": ("GET /v1/changes/0", 422, "invalid", [("seq", "greater_than_equal")]),
    "the largest entry": (f"GET /v1/changes/{2**63 - 1}", 404, "not-found", []),
    "an entry beyond 32 bits": (f"GET /v1/changes/{2**31}", 404, "not-found", []),
    "an entry beyond 63 bits": (f"GET /v1/changes/{BIG}", 422, "invalid", [("seq", "less_than_equal")]),
    "an entry of four thousand digits": (
        f"GET /v1/changes/{'1' * 4000}",
        422,
        "invalid",
        [("seq", "not_a_number")],
    ),
    "a negative entry": ("GET /v1/changes/-1", 422, "invalid", [("seq", "not_a_number")]),
    "an entry with a sign": ("GET /v1/changes/+1", 422, "invalid", [("seq", "not_a_number")]),
    "an entry with an underscore": ("GET /v1/changes/1_0", 422, "invalid", [("seq", "not_a_number")]),
    "an entry with a fraction": ("GET /v1/changes/1.0", 422, "invalid", [("seq", "not_a_number")]),
    "an entry that is NUL": ("GET /v1/changes/%00", 422, "invalid", [("seq", "not_a_number")]),
    "an entry in Arabic digits": ("GET /v1/changes/%D9%A1", 422, "invalid", [("seq", "not_a_number")]),
    "an entry that is no text": ("GET /v1/changes/%FF", 422, "invalid", [("seq", "not_a_number")]),
    "a path within an entry": ("GET /v1/changes/1%2F2", 404, "not-found", []),
    "source nought": ("GET /v1/sources/0", 422, "invalid", [("source_id", "greater_than_equal")]),
    "a source beyond the record": ("GET /v1/sources/99", 404, "not-found", []),
    "the largest source": (f"GET /v1/sources/{2**63 - 1}", 404, "not-found", []),
    "a source beyond 63 bits": (f"GET /v1/sources/{BIG}", 422, "invalid", [("source_id", "less_than_equal")]),
    "a source with a sign": ("GET /v1/sources/+1", 422, "invalid", [("source_id", "not_a_number")]),
    "a source that is junk": (
        "GET /v1/sources/'%20OR%201=1",
        422,
        "invalid",
        [("source_id", "not_a_number")],
    ),
    "a country that is none": ("GET /v1/countries/ZZ", 404, "not-found", []),
    "a country by its name": ("GET /v1/countries/Poland", 404, "not-found", []),
    "a country that is NUL": ("GET /v1/countries/%00", 404, "not-found", []),
    "a country with NUL after it": ("GET /v1/countries/PL%00", 404, "not-found", []),
    "a country with a blank after it": ("GET /v1/countries/PL%20", 404, "not-found", []),
    "a country that is no text": ("GET /v1/countries/%ED%A0%80", 404, "not-found", []),
    "a country in fullwidth letters": ("GET /v1/countries/%EF%BC%B0%EF%BC%AC", 404, "not-found", []),
    "a country of nine thousand letters": (f"GET /v1/countries/{'P' * 9000}", 404, "not-found", []),
    "a path that climbs": ("GET /v1/countries/..%2F..%2Fetc%2Fpasswd", 404, "not-found", []),
    "a component that is none": ("GET /v1/positions/PL/tanks", 404, "not-found", []),
    "a component in another case": ("GET /v1/positions/PL/Troops", 404, "not-found", []),
    "a component that is NUL": ("GET /v1/positions/PL/%00", 404, "not-found", []),
    "a kind that is no component": ("GET /v1/positions/PL/refusal", 404, "not-found", []),
    "a position of no country": ("GET /v1/positions/ZZ/troops", 404, "not-found", []),
    "a position without a component": ("GET /v1/positions/PL/", 404, "not-found", []),
    "a position within a position": ("GET /v1/positions/PL/troops/now", 404, "not-found", []),
    "a problem that is none": ("GET /problems/nothing", 404, "not-found", []),
    "a problem that is NUL": ("GET /problems/%00", 404, "not-found", []),
    "an export in another format": ("GET /v1/export/positions.xlsx", 404, "not-found", []),
    "an export of nothing": ("GET /v1/export/keys.csv", 404, "not-found", []),
    "a file that climbs": ("GET /web/..%2F..%2Fpyproject.toml", 404, "not-found", []),
    "a file that is NUL": ("GET /web/%00", 404, "not-found", []),
    "another version": ("GET /v2/positions", 404, "not-found", []),
    "a slash too many": ("GET /v1//positions", 404, "not-found", []),
    "a path in another case": ("GET /V1/positions", 404, "not-found", []),
    "a path of nine thousand slashes": (f"GET /v1{'/' * 9000}", 404, "not-found", []),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_leads_nowhere_says_so(world: World, name: str) -> None:
    asked, status, kind, expected = PATHS[name]

    check(world, world.send(asked), status, kind, *expected)


@pytest.mark.parametrize("path", ["/v1/positions", "/v1/changes/1", "/v1/sources/1", "/v1/positions/bulk"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PURGE"])
def test_nothing_that_was_recorded_can_be_changed_or_deleted(world: World, method: str, path: str) -> None:
    answer = world.send(f"{method} {path}", b'{"firmness": "binding"}', JSON)

    check(world, answer, 405, "method-not-allowed")
    assert set(answer.headers["Allow"].split(", ")) <= {"GET", "HEAD", "POST"}


OTHER = {"url": "https://example.org/other", "title": "Another source"}
DEEP: Any = "x"
for _ in range(500):
    DEEP = [DEEP]
STATEMENTS: dict[str, tuple[dict[str, Any], Place, str]] = {
    "a field that is not ours": ({"colour": MARKER}, "/colour", "unknown"),
    "a field in another case": ({"Country": "PL"}, "/Country", "unknown"),
    "a number of our own": ({"seq": 1}, "/seq", "unknown"),
    "an instant of our own": ({"recorded_at": "2020-01-01T00:00:00Z"}, "/recorded_at", "unknown"),
    "a day that we derive": ({"effective_on": "2020-01-01"}, "/effective_on", "unknown"),
    "a name with a lone surrogate": ({"\ud800": MARKER}, "", "string_unicode"),
    "a name with NUL": ({"a\x00b": MARKER}, "/a?b", "unknown"),
    "a name with a slash and a tilde": ({"a/b~c": MARKER}, "/a~1b~0c", "unknown"),
    "a name left empty": ({"": MARKER}, "/", "unknown"),
    "a name of ten thousand letters": ({"x" * 10_000: MARKER}, "/" + "x" * 199, "unknown"),
    "no country": ({"country": None}, "/country", "string_type"),
    "a country that is none": ({"country": "ZZ"}, "/country", "unknown_country"),
    "a country by its name": ({"country": "Poland"}, "/country", "unknown_country"),
    "a country left empty": ({"country": ""}, "/country", "blank"),
    "a country of blanks": ({"country": "  "}, "/country", "blank"),
    "a country with a lone surrogate": ({"country": "P\ud800"}, "/country", "control_character"),
    "a country in fullwidth letters": ({"country": "\uff30\uff2c"}, "/country", "unknown_country"),
    "a country that is a number": ({"country": 616}, "/country", "string_type"),
    "a country that is a list": ({"country": ["PL"]}, "/country", "string_type"),
    "no kind": ({"kind": None}, "/kind", "enum"),
    "a kind that is none": ({"kind": "tanks"}, "/kind", "enum"),
    "a kind in another case": ({"kind": "Troops"}, "/kind", "enum"),
    "a kind that is true": ({"kind": True}, "/kind", "enum"),
    "a kind that is an object": ({"kind": {"troops": MARKER}}, "/kind", "enum"),
    "a kind with a lone surrogate": ({"kind": "\udfff"}, "/kind", "string_unicode"),
    "a firmness that is none": ({"firmness": "firm"}, "/firmness", "enum"),
    "a firmness left empty": ({"firmness": ""}, "/firmness", "enum"),
    "a refusal's firmness for an offer": ({"firmness": "declared"}, "/firmness", "wrong_ladder"),
    "an offer's firmness for a refusal": (
        {"kind": "refusal", "refuses": ["troops"], "firmness": "planned"},
        "/firmness",
        "wrong_ladder",
    ),
    "an authority that is none": ({"authority": "king"}, "/authority", "enum"),
    "neither authority nor voice": ({"authority": None}, "/authority", "missing"),
    "a voice that is none": ({"voice": "people"}, "/voice", "enum"),
    "an attribution that is none": ({"attribution": "gossip"}, "/attribution", "enum"),
    "a location that is none": ({"location": "moon"}, "/location", "enum"),
    "a component that is none": ({"kind": "support", "component": "tanks"}, "/component", "enum"),
    "support of no type": ({"kind": "support"}, "/component", "missing"),
    "support by troops": ({"kind": "support", "component": "troops"}, "/component", "enum"),
    "troops by air": ({"component": "air"}, "/component", "contradicts_kind"),
    "a refusal with a component": (
        {"kind": "refusal", "firmness": "declared", "refuses": ["troops"], "component": "air"},
        "/component",
        "not_for_refusal",
    ),
    "an offer that refuses": ({"refuses": ["air"]}, "/refuses", "only_for_refusal"),
    "a refusal of nothing": (
        {"kind": "refusal", "firmness": "declared", "refuses": []},
        "/refuses",
        "too_short",
    ),
    "a refusal of a word": (
        {"kind": "refusal", "firmness": "declared", "refuses": "troops"},
        "/refuses",
        "list_type",
    ),
    "a refusal of no component": (
        {"kind": "refusal", "firmness": "declared", "refuses": ["tanks"]},
        "/refuses/0",
        "enum",
    ),
    "a refusal of a hundred components": (
        {"kind": "refusal", "firmness": "declared", "refuses": ["air"] * 100},
        "/refuses",
        "too_long",
    ),
    "a refusal that would end an offer": (
        {"country": "DE", "kind": "refusal", "firmness": "declared", "stated_on": "2025-04-01"},
        "/refuses",
        "ends_an_offer",
    ),
    "no day": ({"stated_on": None}, "/stated_on", "string_type"),
    "a day that is a number": ({"stated_on": 0}, "/stated_on", "string_type"),
    "a Unix time for a day": ({"stated_on": "1767225600"}, "/stated_on", "not_a_date"),
    "a day that is no day": ({"stated_on": "2025-02-30"}, "/stated_on", "impossible_date"),
    "the year nought": ({"stated_on": "0000"}, "/stated_on", "impossible_date"),
    "a day with a time": ({"stated_on": "2025-03-27T12:00:00Z"}, "/stated_on", "not_a_date"),
    "a day in basic format": ({"stated_on": "20250327"}, "/stated_on", "not_a_date"),
    "a day in Arabic digits": ({"stated_on": "٢٠٢٥-٠٣-٢٧"}, "/stated_on", "not_a_date"),
    "a day in the local way": ({"stated_on": "27.03.2025"}, "/stated_on", "not_a_date"),
    "a day with a blank after it": ({"stated_on": "2025-03-27 "}, "/stated_on", "not_a_date"),
    "a day with a line feed after it": ({"stated_on": "2025-03-27\n"}, "/stated_on", "not_a_date"),
    "a day that is NUL": ({"stated_on": "\x00"}, "/stated_on", "not_a_date"),
    "a day with a lone surrogate": ({"stated_on": "2025-03-2\ud800"}, "/stated_on", "not_a_date"),
    "a season": ({"stated_on": "2025-21"}, "/stated_on", "impossible_date"),
    "two qualifiers": ({"stated_on": "2025-03-27~?"}, "/stated_on", "not_a_date"),
    "an unknown month of a known day": ({"stated_on": "2025-XX-27"}, "/stated_on", "not_a_date"),
    "a date of level two": ({"stated_on": "2025-?03-27"}, "/stated_on", "not_a_date"),
    "a set of days": ({"stated_on": "[2025-03-27,2025-03-28]"}, "/stated_on", "not_a_date"),
    "a very long year": ({"stated_on": "Y170000002"}, "/stated_on", "not_a_date"),
    "a negative year": ({"stated_on": "-0001"}, "/stated_on", "not_a_date"),
    "an open end": ({"stated_on": "2025-03-27/.."}, "/stated_on", "open_end"),
    "an unknown end": ({"stated_on": "2025-03-27/"}, "/stated_on", "open_end"),
    "an unknown start": ({"stated_on": "/2025-03-27"}, "/stated_on", "unknown_start"),
    "nothing but open ends": ({"stated_on": "../.."}, "/stated_on", "open_end"),
    "a slash": ({"stated_on": "/"}, "/stated_on", "open_end"),
    "an interval backwards": ({"stated_on": "2025-03-28/2025-03-27"}, "/stated_on", "reversed_interval"),
    "an interval of three": ({"stated_on": "2025-01/2025-02/2025-03"}, "/stated_on", "not_a_date"),
    "the day after tomorrow's century": ({"stated_on": "2199-01-01"}, "/stated_on", "in_the_future"),
    "the last day of all": ({"stated_on": "9999-12-31"}, "/stated_on", "in_the_future"),
    "a summary left empty": ({"summary": ""}, "/summary", "blank"),
    "a summary of blanks": ({"summary": " \n "}, "/summary", "blank"),
    "a summary of a no-break space": ({"summary": "\u00a0"}, "/summary", "blank"),
    "no summary": ({"summary": None}, "/summary", "string_type"),
    "a summary that is too long": ({"summary": MARKER * 100}, "/summary", "string_too_long"),
    "a summary with NUL": ({"summary": f"{MARKER}\x00"}, "/summary", "control_character"),
    "a summary with a bell": ({"summary": f"{MARKER}\x07"}, "/summary", "control_character"),
    "a summary with an escape": ({"summary": "\x1b[31m"}, "/summary", "control_character"),
    "a summary with a carriage return": ({"summary": "a\r\nb"}, "/summary", "control_character"),
    "a summary with a control character of C1": ({"summary": "a\x85b"}, "/summary", "control_character"),
    "a summary with a line separator": ({"summary": "a\u2028b"}, "/summary", "control_character"),
    "a summary with a high surrogate": ({"summary": f"{MARKER}\ud800"}, "/summary", "control_character"),
    "a summary with a low surrogate": ({"summary": f"{MARKER}\udfff"}, "/summary", "control_character"),
    "a summary with a noncharacter": ({"summary": "a\uffff"}, "/summary", "control_character"),
    "a summary that is a number": ({"summary": 1}, "/summary", "string_type"),
    "a summary that is an object": ({"summary": {"text": MARKER}}, "/summary", "string_type"),
    "a summary five hundred lists deep": ({"summary": DEEP}, "/summary", "string_type"),
    "a speaker on two lines": ({"speaker": "A\nB"}, "/speaker", "control_character"),
    "a speaker with a tab": ({"speaker": "A\tB"}, "/speaker", "control_character"),
    "a speaker that is too long": ({"speaker": "a" * 201}, "/speaker", "string_too_long"),
    "a speaker of blanks": ({"speaker": "   "}, "/speaker", "blank"),
    "a role that is too long": ({"speaker_role": "a" * 201}, "/speaker_role", "string_too_long"),
    "a role with NUL": ({"speaker_role": "\x00"}, "/speaker_role", "control_character"),
    "a quote that is too long": ({"quote": "a" * 5001}, "/quote", "string_too_long"),
    "a quote with a lone surrogate": ({"quote": "\udc00"}, "/quote", "control_character"),
    "a language that is a name": (
        {"quote_language": "Polish language"},
        "/quote_language",
        "string_pattern_mismatch",
    ),
    "a language with a line feed": ({"quote_language": "pl\n"}, "/quote_language", "string_pattern_mismatch"),
    "a language with a lone surrogate": ({"quote_language": "\ud800"}, "/quote_language", "string_unicode"),
    "a locator that is too long": ({"locator": "a" * 201}, "/locator", "string_too_long"),
    "a locator with a line feed": ({"locator": "a\nb"}, "/locator", "control_character"),
    "notes that are too long": ({"notes": MARKER * 200}, "/notes", "string_too_long"),
    "notes with NUL": ({"notes": f"{MARKER}\x00"}, "/notes", "control_character"),
    "notes that are a list": ({"notes": [MARKER]}, "/notes", "string_type"),
    "conditions that are a word": ({"conditions": "ceasefire"}, "/conditions", "list_type"),
    "a condition that is a word": ({"conditions": ["ceasefire"]}, "/conditions/0", "object_type"),
    "a condition that is none": ({"conditions": [{"type": "peace"}]}, "/conditions/0/type", "enum"),
    "a condition without a type": ({"conditions": [{"text": MARKER}]}, "/conditions/0/type", "missing"),
    "another condition without a text": (
        {"conditions": [{"type": "ceasefire"}, {"type": "other"}]},
        "/conditions/1/text",
        "missing",
    ),
    "a condition with NUL in its text": (
        {"conditions": [{"type": "other", "text": "\x00"}]},
        "/conditions/0/text",
        "control_character",
    ),
    "a condition with a text too long": (
        {"conditions": [{"type": "other", "text": "a" * 501}]},
        "/conditions/0/text",
        "string_too_long",
    ),
    "a condition with a field too many": (
        {"conditions": [{"type": "ceasefire", "until": MARKER}]},
        "/conditions/0/until",
        "unknown",
    ),
    "twenty-one conditions": ({"conditions": [{"type": "ceasefire"}] * 21}, "/conditions", "too_long"),
    "a caveat that is none": ({"caveats": [{"type": "never"}]}, "/caveats/0/type", "enum"),
    "another caveat without a text": ({"caveats": [{"type": "other"}]}, "/caveats/0/text", "missing"),
    "another caveat of blanks": ({"caveats": [{"type": "other", "text": " "}]}, "/caveats/0/text", "blank"),
    "caveats that are an object": ({"caveats": {"type": "non_combat"}}, "/caveats", "list_type"),
    "a quantity that is a number": ({"quantity": 1000}, "/quantity", "object_type"),
    "a quantity of less than nothing": ({"quantity": {"min": -1}}, "/quantity/min", "greater_than_equal"),
    "a quantity that is true": ({"quantity": {"min": True}}, "/quantity/min", "int_type"),
    "a quantity with a fraction": ({"quantity": {"min": 1.0}}, "/quantity/min", "int_type"),
    "a quantity in quotes": ({"quantity": {"max": "5"}}, "/quantity/max", "int_type"),
    "a quantity beyond 63 bits": ({"quantity": {"max": 10**19}}, "/quantity/max", "less_than_equal"),
    "a quantity of four thousand digits": (
        {"quantity": {"max": 10**4000}},
        "/quantity/max",
        "less_than_equal",
    ),
    "a quantity backwards": ({"quantity": {"min": 2, "max": 1}}, "/quantity/max", "reversed_range"),
    "a unit that is too long": ({"quantity": {"unit": "a" * 61}}, "/quantity/unit", "string_too_long"),
    "a unit with a line feed": ({"quantity": {"unit": "a\nb"}}, "/quantity/unit", "control_character"),
    "words of a quantity with NUL": (
        {"quantity": {"verbatim": "\x00"}},
        "/quantity/verbatim",
        "control_character",
    ),
    "a quantity with a field too many": ({"quantity": {"exactly": 5}}, "/quantity/exactly", "unknown"),
    "a credibility of nought": ({"credibility": 0}, "/credibility", "greater_than_equal"),
    "a credibility of seven": ({"credibility": 7}, "/credibility", "less_than_equal"),
    "a credibility beyond 63 bits": ({"credibility": 10**19}, "/credibility", "less_than_equal"),
    "a credibility in quotes": ({"credibility": "5"}, "/credibility", "int_type"),
    "a credibility that is true": ({"credibility": True}, "/credibility", "int_type"),
    "a credibility with a fraction": ({"credibility": 1.0}, "/credibility", "int_type"),
    "a credibility that is a list": ({"credibility": [1]}, "/credibility", "int_type"),
    "a relation to no entry": (
        {"relates_to": [{"seq": 99, "relation": "clarifies"}]},
        "/relates_to/0/seq",
        "unknown_entry",
    ),
    "a relation to a retraction": (
        {"relates_to": [{"seq": RETRACTION, "relation": "clarifies"}]},
        "/relates_to/0/seq",
        "unknown_entry",
    ),
    "a relation to entry nought": (
        {"relates_to": [{"seq": 0, "relation": "clarifies"}]},
        "/relates_to/0/seq",
        "greater_than_equal",
    ),
    "a relation beyond 63 bits": (
        {"relates_to": [{"seq": 2**63, "relation": "clarifies"}]},
        "/relates_to/0/seq",
        "less_than_equal",
    ),
    "a relation that is none": (
        {"relates_to": [{"seq": LIVE, "relation": "likes"}]},
        "/relates_to/0/relation",
        "enum",
    ),
    "a relation that is a number": ({"relates_to": [LIVE]}, "/relates_to/0", "object_type"),
    "a repeat of another country": (
        {"relates_to": [{"seq": OFFER, "relation": "repeats"}]},
        "/relates_to/0/seq",
        "not_repeatable",
    ),
    "neither source nor source_id": ({"source": None}, "/source", "missing"),
    "both source and source_id": ({"source_id": 1}, "/source_id", "ambiguous"),
    "a source that is none": ({"source": None, "source_id": 99}, "/source_id", "unknown_source"),
    "source nought": ({"source": None, "source_id": 0}, "/source_id", "greater_than_equal"),
    "a source beyond 63 bits": ({"source": None, "source_id": 2**63}, "/source_id", "less_than_equal"),
    "a source that is true": ({"source": None, "source_id": True}, "/source_id", "int_type"),
    "a source that is an address": ({"source": "https://example.org/a"}, "/source", "object_type"),
    "a source without a title": ({"source": {"publisher": "P"}}, "/source/title", "missing"),
    "a new source without a title": ({"source": {"url": OTHER["url"]}}, "/source/title", "missing"),
    "a new source without a publisher": ({"source": {"title": "T"}}, "/source/publisher", "missing"),
    "a source with a field too many": ({"source": OTHER | {"id": 7}}, "/source/id", "unknown"),
    "a source with a title left empty": ({"source": OTHER | {"title": ""}}, "/source/title", "blank"),
    "a source with a title too long": (
        {"source": OTHER | {"title": "a" * 501}},
        "/source/title",
        "string_too_long",
    ),
    "a source with NUL in its title": (
        {"source": OTHER | {"title": "\x00"}},
        "/source/title",
        "control_character",
    ),
    "a source with a publisher of two lines": (
        {"source": OTHER | {"publisher": "a\nb"}},
        "/source/publisher",
        "control_character",
    ),
    "a source published on no day": (
        {"source": OTHER | {"published_on": "soon"}},
        "/source/published_on",
        "not_a_date",
    ),
    "a source published on a Unix time": (
        {"source": OTHER | {"published_on": 1767225600}},
        "/source/published_on",
        "string_type",
    ),
    "a source of no reliability": ({"source": OTHER | {"reliability": "G"}}, "/source/reliability", "enum"),
    "a source with a lone surrogate in its notes": (
        {"source": OTHER | {"notes": "\ud800"}},
        "/source/notes",
        "control_character",
    ),
}
ADDRESSES: dict[str, str] = {
    "a script": "javascript:alert(1)",
    "a script in capitals": "JavaScript:alert(1)",
    "a file over FTP": "ftp://example.org/a",
    "a page within the address": "data:text/html,<script>alert(1)</script>",
    "a file": "file:///etc/passwd",
    "no scheme": "example.org/a",
    "a scheme left open": "//example.org/a",
    "a scheme and nothing else": "https://",
    "a path and no host": "https:///a",
    "a query and no host": "https://?a=1",
    "a name and a password": f"https://reader:{MARKER}@example.org/a",
    "a name": f"https://{MARKER}@example.org/a",
    "a password hidden by a strange letter": f"https://a\u2100b:{MARKER}@example.org/a",
    "a name left empty": "https://@example.org/a",
    "a port that is a word": f"https://example.org:{MARKER}/a",
    "port nought": "https://example.org:0/a",
    "a port that is too large": "https://example.org:99999/a",
    "a negative port": "https://example.org:-1/a",
    "a bracket left open": "http://[::1",
    "a bracket around no address": f"http://[{MARKER}]/",
    "a bracket after the host": "http://example.org]/",
    "a blank": "https://example.org/a b",
    "a blank before it": " https://example.org/a",
    "a line feed after it": "https://example.org/a\n",
    "a tab": "https://example.org/a\tb",
    "NUL": "https://example.org/\x00",
    "a lone surrogate": "https://example.org/\ud800",
    "a no-break space": "https://example.org/a\u00a0b",
    "a space of no width": "https://example.org/a\u200bb",
    "a letter that turns the text around": "https://example.org/\u202efdp.exe",
    "a quotation mark": 'https://example.org/"onclick="alert(1)',
    "an angle bracket": "https://example.org/<script>",
    "a backslash": "https://example.org\\@example.com/",
    "a brace": "https://example.org/{id}",
    "a host that is a percent sign": "https://%00/a",
    "a host with two dots": "https://example..org/a",
    "a host that is a dot": "https://./a",
    "a host of three hundred letters": f"https://{'a' * 300}.org/",
    "a host with a comma": "https://example,org/a",
    "nothing": "",
    "three thousand characters": "https://example.org/" + "a" * 3000,
    "two thousand characters that become twenty thousand": "https://example.org/" + "\U0001f600" * 1900,
}


def as_json(body: Any) -> bytes:
    # ensure_ascii: so that a lone surrogate can be sent at all.
    return json.dumps(body).encode()


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_that_cannot_be_meant_is_refused(world: World, name: str) -> None:
    fields, pointer, code = STATEMENTS[name]
    body = make.body(**({"notes": MARKER} | fields))

    check(world, world.send("POST /v1/positions", as_json(body), JSON), 422, "invalid", (pointer, code))


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_that_cannot_be_meant_takes_the_whole_bulk_with_it(world: World, name: str) -> None:
    fields, pointer, code = STATEMENTS[name]
    rows = [make.body(country="NO"), make.body(**({"notes": MARKER} | fields)), make.body(country="SE")]
    answer = world.send("POST /v1/positions/bulk", as_json(rows), JSON)

    check(world, answer, 422, "invalid", (pointer, code))
    assert [each["row"] for each in answer.json()["errors"]] == [2]


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_that_no_reader_could_open_is_refused(world: World, name: str) -> None:
    url = ADDRESSES[name]
    code = {"three thousand characters": "string_too_long", "a lone surrogate": "string_unicode"}.get(
        name, "bad_url"
    )
    source = as_json({"url": url, "title": "T"})
    body = as_json(make.body(source={"url": url, "title": "T"}))

    check(world, world.send("POST /v1/sources", source, JSON), 422, "invalid", ("/url", code))
    check(world, world.send("POST /v1/positions", body, JSON), 422, "invalid", ("/source/url", code))


GOOD = as_json(make.body(notes=MARKER))
MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b" \r\n\t ",
    "a word": MARKER.encode(),
    "a body that breaks off": GOOD[:-1],
    "a body with something after it": GOOD + b"{}",
    "two bodies": GOOD + b"\n" + GOOD,
    "single quotes": b"{'country': 'PL'}",
    "a comma too many": b'{"country": "PL",}',
    "a comment": b'{"country": "PL" /* why not */}',
    "a name without quotes": b'{country: "PL"}',
    "the same name twice": b'{"country": "FR", ' + GOOD[1:],
    "the same name twice in two spellings": b'{"c\\u006funtry": "FR", ' + GOOD[1:],
    "the same name twice within the source": b'{"source": {"url": null, "url": null}}',
    "a number that is none": GOOD[:-1] + b', "credibility": NaN}',
    "an infinite number": GOOD[:-1] + b', "credibility": Infinity}',
    "a number below all numbers": GOOD[:-1] + b', "credibility": -Infinity}',
    "a number too large for a number": GOOD[:-1] + b', "credibility": 1e400}',
    "a number too large below nought": GOOD[:-1] + b', "quantity": {"min": -1e999}}',
    "a number of five thousand digits": GOOD[:-1] + b', "credibility": ' + b"1" * 5000 + b"}",
    "a number with a nought before it": GOOD[:-1] + b', "credibility": 01}',
    "a number with a plus": GOOD[:-1] + b', "credibility": +1}',
    "a number in hexadecimal": GOOD[:-1] + b', "credibility": 0x1}',
    "a raw line feed in a text": b'{"summary": "a\nb"}',
    "a raw NUL in a text": b'{"summary": "a\x00b"}',
    "NUL after the body": GOOD + b"\x00",
    "an escape that is none": b'{"summary": "\\x41"}',
    "an escape cut short": b'{"summary": "\\u00"}',
    "bytes that are no text": b'{"country": "\xff"}',
    "a surrogate in UTF-8": b'{"country": "\xed\xa0\x80"}',
    "overlong UTF-8": b'{"country": "\xc0\xaf"}',
    "Latin-1": b'{"summary": "caf\xe9"}',
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without a mark": GOOD.decode().encode("utf-16-le"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD,
    "something compressed": gzip.compress(GOOD),
    "a hundred thousand lists": b"[" * 100_000,
    "a hundred thousand objects": b'{"a":' * 100_000,
    "a thousand lists, closed": b"[" * 1000 + b"]" * 1000,
    "a thousand lists in a field": GOOD[:-1] + b', "notes2": ' + b"[" * 1000 + b"]" * 1000 + b"}",
}
WRITES = ("/v1/positions", "/v1/sources", f"/v1/changes/{LIVE}/correction", f"/v1/changes/{LIVE}/retraction")


@pytest.mark.parametrize("name", MALFORMED)
def test_a_body_that_is_not_json_in_one_way_only_is_refused(world: World, name: str) -> None:
    for path in ("/v1/positions", "/v1/positions/bulk"):
        answer = world.send(f"POST {path}", MALFORMED[name], JSON)

        check(world, answer, 422, "invalid", ("", "malformed"))


@pytest.mark.parametrize("body", [b"[]", b"null", b"true", b"1", b'"text"', b"[" + GOOD + b"]"])
def test_a_body_that_is_no_object_is_refused(world: World, body: bytes) -> None:
    for path in WRITES:
        check(world, world.send(f"POST {path}", body, JSON), 422, "invalid", ("", "object_type"))


TYPES: dict[str, list[tuple[str, str]]] = {
    "no type": [],
    "an empty type": [("Content-Type", "")],
    "plain text": [("Content-Type", "text/plain")],
    "a form": [("Content-Type", "application/x-www-form-urlencoded")],
    "a form with files": [("Content-Type", "multipart/form-data; boundary=x")],
    "XML": [("Content-Type", "application/xml")],
    "bytes": [("Content-Type", "application/octet-stream")],
    "a type of JSON that is not ours": [("Content-Type", "application/problem+json")],
    "a type that only begins like JSON": [("Content-Type", "application/jsonp")],
    "half a type": [("Content-Type", "application")],
    "any type": [("Content-Type", "*/*")],
    "two types in one": [("Content-Type", "application/json, text/plain")],
    "JSON in UTF-16": [("Content-Type", "application/json; charset=utf-16")],
    "JSON in Latin-1": [("Content-Type", "application/json; charset=latin-1")],
    "JSON in a charset that is none": [("Content-Type", f"application/json; charset={MARKER}")],
    "JSON, compressed": [*JSON.items(), ("Content-Encoding", "gzip")],
    "JSON, compressed with something new": [*JSON.items(), ("Content-Encoding", "zstd")],
    "JSON, compressed twice": [*JSON.items(), ("Content-Encoding", "identity, gzip")],
    "JSON, compressed and not": [
        *JSON.items(),
        ("Content-Encoding", "identity"),
        ("Content-Encoding", "gzip"),
    ],
    "JSON and a form": [*JSON.items(), ("Content-Type", "text/csv")],
}


@pytest.mark.parametrize("name", TYPES)
def test_a_body_of_another_type_is_not_read(world: World, name: str) -> None:
    for path in WRITES:
        answer = world.send(f"POST {path}", gzip.compress(GOOD), TYPES[name])

        check(world, answer, 415, "unsupported-media-type")


KEYS: dict[str, list[tuple[str, bytes]]] = {
    "empty": [("Idempotency-Key", b"")],
    "a blank": [("Idempotency-Key", b"a b")],
    "a tab": [("Idempotency-Key", b"a\tb")],
    "a letter beyond ASCII": [("Idempotency-Key", "\u00e9".encode())],
    "bytes that are no text": [("Idempotency-Key", b"\xff\xfe")],
    "256 characters": [("Idempotency-Key", b"k" * 256)],
    "a hundred thousand characters": [("Idempotency-Key", b"k" * 100_000)],
    "two of them": [("Idempotency-Key", b"one"), ("Idempotency-Key", b"two")],
}


@pytest.mark.parametrize("name", KEYS)
def test_an_idempotency_key_that_cannot_be_kept_is_refused(world: World, name: str) -> None:
    headers = [*JSON.items(), *KEYS[name]]

    for asked, body in (
        ("POST /v1/positions", GOOD),
        ("POST /v1/sources", as_json(OTHER)),
        (f"POST /v1/changes/{LIVE}/retraction", as_json({"reason": "Never said."})),
        ("POST /v1/positions/bulk", b"[" + GOOD + b"]"),
    ):
        answer = world.send(asked, body, headers)

        check(world, answer, 422, "invalid", ("Idempotency-Key", "bad_idempotency_key"))


@pytest.mark.parametrize(
    "accept",
    ["text/html", "application/xml", "image/*", "application/json;q=0", "", "text", "*", "a" * 60_000],
)
def test_a_format_that_no_list_has_is_not_acceptable(world: World, accept: str) -> None:
    answers = [
        world.send(f"GET {path}", headers={"Accept": accept}) for path in ("/v1/positions", "/v1/summary")
    ]

    for answer in answers:
        check(world, answer, 406, "not-acceptable")


CORRECTIONS: dict[str, tuple[int, Any, int, str, list[Fault]]] = {
    "no reason": (LIVE, {"statement": {"firmness": "planned"}}, 422, "invalid", [("/reason", "missing")]),
    "null for a reason": (
        LIVE,
        {"reason": None, "statement": {"firmness": "planned"}},
        422,
        "invalid",
        [("/reason", "string_type")],
    ),
    "a blank reason": (
        LIVE,
        {"reason": " \n", "statement": {"firmness": "planned"}},
        422,
        "invalid",
        [("/reason", "blank")],
    ),
    "a reason that is too long": (
        LIVE,
        {"reason": MARKER * 100, "statement": {"firmness": "planned"}},
        422,
        "invalid",
        [("/reason", "string_too_long")],
    ),
    "a reason with NUL": (
        LIVE,
        {"reason": "a\x00", "statement": {"firmness": "planned"}},
        422,
        "invalid",
        [("/reason", "control_character")],
    ),
    "no statement": (LIVE, {"reason": "A slip."}, 422, "invalid", [("/statement", "missing")]),
    "null for a statement": (
        LIVE,
        {"reason": "A slip.", "statement": None},
        422,
        "invalid",
        [("/statement", "object_type")],
    ),
    "a statement that is a list": (
        LIVE,
        {"reason": "A slip.", "statement": []},
        422,
        "invalid",
        [("/statement", "object_type")],
    ),
    "an empty statement": (
        LIVE,
        {"reason": "A slip.", "statement": {}},
        422,
        "invalid",
        [("/statement", "nothing_to_correct")],
    ),
    "a field too many": (
        LIVE,
        {"reason": "A slip.", "statement": {"firmness": "planned"}, "seq": 1},
        422,
        "invalid",
        [("/seq", "unknown")],
    ),
    "a field of a statement too many": (
        LIVE,
        {"reason": "A slip.", "statement": {"colour": MARKER}},
        422,
        "invalid",
        [("/statement/colour", "unknown")],
    ),
    **{
        f"null for its {name}": (
            LIVE,
            {"reason": "A slip.", "statement": {name: None}},
            422,
            "invalid",
            [(f"/statement/{name}", "missing")],
        )
        for name in ("country", "kind", "firmness", "stated_on", "summary", "source", "authority")
    },
    "a firmness of the other ladder": (
        LIVE,
        {"reason": "A slip.", "statement": {"firmness": "binding"}},
        422,
        "invalid",
        [("/statement/firmness", "wrong_ladder")],
    ),
    "another kind on the old ladder": (
        LIVE,
        {"reason": "A slip.", "statement": {"kind": "refusal"}},
        422,
        "invalid",
        [("/statement/firmness", "wrong_ladder")],
    ),
    "a day in the future": (
        LIVE,
        {"reason": "A slip.", "statement": {"stated_on": "2199"}},
        422,
        "invalid",
        [("/statement/stated_on", "in_the_future")],
    ),
    "a source that is none": (
        LIVE,
        {"reason": "A slip.", "statement": {"source_id": 99}},
        422,
        "invalid",
        [("/statement/source_id", "unknown_source")],
    ),
    "a source without a title": (
        LIVE,
        {"reason": "A slip.", "statement": {"source": {"title": None}}},
        422,
        "invalid",
        [("/statement/source/title", "missing")],
    ),
    "a new source without a title": (
        LIVE,
        {"reason": "A slip.", "statement": {"source": {"url": OTHER["url"]}}},
        422,
        "invalid",
        [("/statement/source/title", "missing")],
    ),
    "a repeat of itself": (
        LIVE,
        {"reason": "A slip.", "statement": {"relates_to": [{"seq": LIVE, "relation": "repeats"}]}},
        422,
        "invalid",
        [("/statement/relates_to/0/seq", "circular")],
    ),
    "a relation to no entry": (
        LIVE,
        {"reason": "A slip.", "statement": {"relates_to": [{"seq": 99, "relation": "denies"}]}},
        422,
        "invalid",
        [("/statement/relates_to/0/seq", "unknown_entry")],
    ),
    "an entry beyond the record": (
        99,
        {"reason": "A slip.", "statement": {"firmness": "planned"}},
        404,
        "not-found",
        [],
    ),
    "the largest entry": (
        2**63 - 1,
        {"reason": "A slip.", "statement": {"firmness": "planned"}},
        404,
        "not-found",
        [],
    ),
    "an entry nought": (
        0,
        {"reason": "A slip.", "statement": {"firmness": "planned"}},
        422,
        "invalid",
        [("seq", "greater_than_equal")],
    ),
    "an entry that was corrected": (
        CORRECTED,
        {"reason": "A slip.", "statement": {"firmness": "planned"}},
        409,
        "not-live",
        [],
    ),
    "an entry that was retracted": (
        RETRACTED,
        {"reason": "A slip.", "statement": {"firmness": "planned"}},
        409,
        "not-live",
        [],
    ),
    "a retraction": (
        RETRACTION,
        {"reason": "A slip.", "statement": {"firmness": "planned"}},
        409,
        "not-live",
        [],
    ),
    "an entry of another key": (
        FOREIGN,
        {"reason": "A slip.", "statement": {"firmness": "considering"}},
        403,
        "forbidden",
        [],
    ),
}


@pytest.mark.parametrize("name", CORRECTIONS)
def test_a_correction_that_cannot_be_meant_is_refused(world: World, name: str) -> None:
    entry, body, status, kind, expected = CORRECTIONS[name]

    for query in ("", "?dry_run=true"):
        answer = world.send(f"POST /v1/changes/{entry}/correction{query}", as_json(body), JSON)

        check(world, answer, status, kind, *expected)


RETRACTIONS: dict[str, tuple[int, Any, int, str, list[Fault]]] = {
    "no reason": (LIVE, {}, 422, "invalid", [("/reason", "missing")]),
    "a blank reason": (LIVE, {"reason": "\u2003"}, 422, "invalid", [("/reason", "blank")]),
    "a reason with a lone surrogate": (
        LIVE,
        {"reason": "\ud800"},
        422,
        "invalid",
        [("/reason", "control_character")],
    ),
    "a reason that is a number": (LIVE, {"reason": 1}, 422, "invalid", [("/reason", "string_type")]),
    "a statement": (
        LIVE,
        {"reason": "A slip.", "statement": {}},
        422,
        "invalid",
        [("/statement", "unknown")],
    ),
    "an entry beyond the record": (99, {"reason": "Never said."}, 404, "not-found", []),
    "an entry that was corrected": (CORRECTED, {"reason": "Never said."}, 409, "not-live", []),
    "an entry that was retracted": (RETRACTED, {"reason": "Never said."}, 409, "not-live", []),
    "a retraction": (RETRACTION, {"reason": "Never said."}, 409, "not-live", []),
    "an entry of another key": (FOREIGN, {"reason": "Never said."}, 403, "forbidden", []),
}


@pytest.mark.parametrize("name", RETRACTIONS)
def test_a_retraction_that_cannot_be_meant_is_refused(world: World, name: str) -> None:
    entry, body, status, kind, expected = RETRACTIONS[name]
    answer = world.send(f"POST /v1/changes/{entry}/retraction", as_json(body), JSON)

    check(world, answer, status, kind, *expected)


def test_what_the_record_holds_already_is_refused(world: World) -> None:
    again = as_json(make.body(firmness="committed"))

    check(world, world.send("POST /v1/positions", again, JSON), 409, "duplicate")
    check(
        world,
        world.send("POST /v1/positions/bulk", b"[" + again + b"]", JSON),
        422,
        "invalid",
        ("", "duplicate"),
    )


HEADER = "country,kind,firmness,stated_on,summary,authority,source_url,source_title\r\n"
ROW = "NO,troops,planned,2025-03-27,A statement.,ministry,https://example.org/n,Elsewhere\r\n"
CSV, NDJSON, ARRAY = "text/csv", "application/x-ndjson", "application/json"
FINE = as_json(make.body(country="NO")).decode()
BULK: dict[str, tuple[str, str | bytes, list[tuple[int | None, Place, str]]]] = {
    "an empty array": (ARRAY, "[]", [(None, "", "empty")]),
    "an object": (ARRAY, FINE, [(None, "", "malformed")]),
    "null": (ARRAY, "null", [(None, "", "malformed")]),
    "a text": (ARRAY, '"rows"', [(None, "", "malformed")]),
    "10,001 rows": (ARRAY, "[" + ",".join(["{}"] * 10_001) + "]", [(None, "", "too_many")]),
    "a row that is no object": (ARRAY, f"[{FINE}, 7]", [(2, "", "object_type")]),
    "a row that is null": (ARRAY, f"[null, {FINE}]", [(1, "", "object_type")]),
    "a row that is an array": (ARRAY, f"[[{FINE}]]", [(1, "", "object_type")]),
    "the same row twice": (ARRAY, f"[{FINE}, {FINE}]", [(2, "", "duplicate")]),
    "the same name twice in a row": (
        ARRAY,
        f'[{FINE}, {{"country": "PL", "country": "FR"}}]',
        [(None, "", "malformed")],
    ),
    "no lines": (NDJSON, "", [(None, "", "empty")]),
    "blank lines": (NDJSON, "\n\r\n \n", [(None, "", "empty")]),
    "a broken line": (NDJSON, f"{FINE}\n{FINE[:-1]}\n", [(2, "", "malformed")]),
    "two rows on a line": (NDJSON, f"{FINE} {FINE}\n", [(1, "", "malformed")]),
    "an array of lines": (NDJSON, f"[{FINE}]\n", [(1, "", "object_type")]),
    "a line that is a number": (NDJSON, f"{FINE}\n\n7\n", [(3, "", "object_type")]),
    "a line that is not a number": (NDJSON, f"{FINE}\nNaN\n", [(2, "", "malformed")]),
    "a line that nests too deep": (NDJSON, f"{FINE}\n{'[' * 100_000}\n", [(2, "", "malformed")]),
    "the same line twice": (NDJSON, f"{FINE}\n{FINE}\n", [(2, "", "duplicate")]),
    "lines that are no text": (NDJSON, b"\xff\n", [(None, "", "malformed")]),
    "lines in UTF-16": (NDJSON, FINE.encode("utf-16"), [(None, "", "malformed")]),
    "10,001 lines": (NDJSON, "1\n" * 10_001, [(None, "", "too_many")]),
    "no table": (CSV, "", [(None, "", "empty")]),
    "a table of nothing but a header": (CSV, HEADER, [(None, "", "empty")]),
    "a table without a header": (CSV, "NO\r\nSE\r\n", [(1, "NO", "unknown")]),
    "an unknown column": (CSV, HEADER.replace("summary", "colour") + ROW, [(1, "colour", "unknown")]),
    "a column of ours in another case": (CSV, HEADER.replace("kind", "Kind") + ROW, [(1, "Kind", "unknown")]),
    "a column without a name": (CSV, HEADER.replace("kind", "") + ROW, [(1, "", "unknown")]),
    "a column twice": (CSV, HEADER.replace("summary", "kind") + ROW, [(1, "kind", "twice")]),
    "a row too short": (CSV, HEADER + ROW + "SE,troops\r\n", [(3, None, "ragged")]),
    "a row too long": (CSV, HEADER + ROW.replace("\r\n", ",more\r\n"), [(2, None, "ragged")]),
    "a quote left open": (CSV, HEADER + ROW + '"SE,troops\r\n', [(3, None, "malformed")]),
    "a quote in the middle": (
        CSV,
        HEADER + ROW.replace("A statement.", '"A" statement.'),
        [(2, None, "malformed")],
    ),
    "a cell that is too large": (
        CSV,
        HEADER + ROW.replace("A statement.", "a" * 200_000),
        [(2, None, "malformed")],
    ),
    "NUL in a cell": (
        CSV,
        HEADER + ROW.replace("A statement.", "A\x00b"),
        [(2, "summary", "control_character")],
    ),
    "NUL in the header": (CSV, HEADER.replace("kind", "ki\x00nd") + ROW, [(1, "ki\x00nd", "unknown")]),
    "a table that is no text": (CSV, b"\xff\xfe", [(None, "", "malformed")]),
    "a table in UTF-16": (CSV, (HEADER + ROW).encode("utf-16"), [(None, "", "malformed")]),
    "semicolons between cells": (CSV, (HEADER + ROW).replace(",", ";"), [(1, None, "malformed")]),
    "a bad cell": (CSV, HEADER + ROW.replace("troops", "tanks"), [(2, "kind", "enum")]),
    "a bad address": (CSV, HEADER + ROW.replace("https:", "ftp:"), [(2, "source_url", "bad_url")]),
    "a day that is none": (
        CSV,
        HEADER + ROW.replace("2025-03-27", "2025-02-30"),
        [(2, "stated_on", "impossible_date")],
    ),
    "the same row of a table twice": (CSV, HEADER + ROW + ROW, [(3, None, "duplicate")]),
    "a row without a country": (CSV, HEADER + ROW.replace("NO,", ","), [(2, "country", "missing")]),
}


@pytest.mark.parametrize("name", BULK)
def test_a_bulk_that_cannot_be_meant_is_refused_whole(world: World, name: str) -> None:
    media, text, expected = BULK[name]
    content = text.encode() if isinstance(text, str) else text
    answer = world.send("POST /v1/positions/bulk", content, {"Content-Type": media})

    check(world, answer, 422, "invalid", *((place, code) for _, place, code in expected))
    assert [each.get("row") for each in answer.json()["errors"]] == [row for row, *_ in expected]


def test_every_bad_row_of_a_bulk_is_named(world: World) -> None:
    rows = [
        {"country": "ZZ"} if number % 2 else make.body(country="NO", summary=f"{number}")
        for number in range(20)
    ]
    answer = world.send("POST /v1/positions/bulk", as_json(rows), JSON)

    assert answer.status_code == 422
    assert world.rows() == world.record
    named = {each["row"] for each in answer.json()["errors"]}
    # The good rows say the same of the same source, so all but the first of them are duplicates.
    assert named == set(range(2, 21))


def test_no_body_makes_an_answer_much_longer_than_a_person_would_read(world: World) -> None:
    names = as_json({f"k{number}": 1 for number in range(80_000)})
    rows = as_json([{f"k{number}": 1 for number in range(100)}] * 1_500)
    one = world.send("POST /v1/positions", names, JSON)
    many = world.send("POST /v1/positions/bulk", rows, JSON)

    assert (one.status_code, many.status_code) == (422, 422)
    assert len(one.content) < 10_000
    assert len(many.content) < 300_000
    assert {each["row"] for each in many.json()["errors"]} == set(range(1, 1_501))
    assert world.rows() == world.record


@pytest.mark.parametrize(
    "length", ["99999999999999999999999", "1048577", "00000000000000000000001048577", "\u00b2"]
)
def test_a_body_is_not_waited_for_when_its_length_is_announced_too_large(world: World, length: str) -> None:
    headers = [*JSON.items(), ("Content-Length", length.encode("latin-1"))]

    for path in WRITES:
        answer = world.send(f"POST {path}", b"x" if length.isascii() else b"[" * 1_048_577, headers)

        check(world, answer, 413, "too-large")


def test_a_body_of_no_announced_length_is_read_up_to_the_limit_only(world: World) -> None:
    def pieces() -> Iterator[bytes]:
        yield from [b" " * 65_536] * 17

    for path in WRITES:
        check(world, world.send(f"POST {path}", pieces(), JSON), 413, "too-large")


def test_a_bulk_may_be_larger_than_another_body_but_not_endless(world: World) -> None:
    def pieces(number: int) -> Iterator[bytes]:
        yield from [b" " * 1_048_576] * number

    check(world, world.send("POST /v1/positions/bulk", pieces(2), JSON), 422, "invalid", ("", "malformed"))
    check(world, world.send("POST /v1/positions/bulk", pieces(33), JSON), 413, "too-large")


@pytest.mark.parametrize(
    "name", ["X-Request-ID", "Accept-Language", "If-None-Match", "Origin", "Cookie", "Range", "Host"]
)
@pytest.mark.parametrize("value", [b"", b"\xff\xfe", b"\"'<>\\", b"a" * 60_000, b"W/,,,*,", b"bytes=5-1"])
def test_a_header_that_makes_no_sense_does_no_harm(world: World, name: str, value: bytes) -> None:
    answers = [
        world.send(f"GET {path}", headers=[(name, value)])
        for path in ("/v1/positions?seq=1&as_of=2025-01-01", "/healthz")
    ]

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["X-Request-ID"].isalnum() for answer in answers} == {True}


def test_the_largest_numbers_there_are_do_no_harm(world: World) -> None:
    most = 2**63 - 1
    answers = [
        world.anyone.get(url)
        for url in (
            f"/v1/changes?after={most}",
            f"/v1/changes?after={2**31}",
            f"/v1/changes?source={most}&source={2**31}",
            f"/v1/positions?source={most}",
            "/v1/positions?as_of=9999-12-31",
            "/v1/positions?as_of=0001-01-01",
            "/v1/diff?from=0001-01-01&to=9999-12-31&mode=events",
            "/v1/diff?from=9999-12-31&to=0001-01-01",
            "/v1/summary?as_of=9999-12-31",
            "/v1/timeline?from=9999-12-01&to=9999-12-31&interval=day",
            "/v1/timeline?from=9999-12-01&to=9999-12-31&interval=week",
            "/v1/timeline?from=0001-01-01&to=0001-03-01&interval=month",
            "/v1/export/history.csv?as_of=9999-12-31",
            "/v1/countries/PL?as_of=0001-01-01",
        )
    ]

    assert [answer.text for answer in answers if answer.status_code != 200] == []


def test_a_body_that_breaks_off_on_its_way_leaves_nothing_behind(world: World) -> None:
    sent: list[Message] = []
    pieces: Iterator[Message] = iter(
        [
            {"type": "http.request", "body": GOOD[:100], "more_body": True},
            {"type": "http.disconnect"},
        ]
    )
    key = world.contributor.headers["Authorization"].encode()
    scope: Connection = {
        **{"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "root_path": ""},
        **{"path": "/v1/positions", "raw_path": b"/v1/positions", "query_string": b""},
        "headers": [
            (b"host", b"testserver"),
            (b"authorization", key),
            (b"content-type", b"application/json"),
        ],
    }

    async def receive() -> Message:
        return next(pieces)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(world.tracker(scope, receive, send))

    assert sent[0]["status"] == 422
    assert world.rows() == world.record


def questions(world: World) -> Iterator[tuple[str, dict[str, str], dict[str, bool]]]:
    """Yield each question's URL, the parameters that it needs, and whether each that it takes is a list."""
    for path, operations in world.tracker.openapi()["paths"].items():
        if "get" not in operations:
            continue
        taken = operations["get"].get("parameters", [])
        filled = {each["name"]: str(each["schema"]["examples"][0]) for each in taken if each["required"]}
        asked = [each for each in taken if each["in"] == "query"]
        needed = {each["name"]: filled[each["name"]] for each in asked if each["required"]}
        yield path.format(**filled), needed, {each["name"]: "items" in each["schema"] for each in asked}


def test_every_question_refuses_every_parameter_that_it_is_given_twice(world: World) -> None:
    accepted = []
    asked = 0
    for url, needed, taken in questions(world):
        for name, is_list in taken.items():
            if not is_list:
                asked += 1
                given = urlencode([*needed.items(), (name, "1"), (name, "1")])
                answer = world.anyone.get(f"{url}?{given}")
                if (answer.status_code, faults(answer)) != (422, [(name, "repeated")]):
                    accepted.append((url, name, answer.status_code))

    assert asked > 100
    assert accepted == []


@pytest.mark.parametrize("value", ["%00", "%ED%A0%80"])
def test_every_question_refuses_every_parameter_that_is_no_text(world: World, value: str) -> None:
    accepted = []
    asked = 0
    for url, needed, taken in questions(world):
        for name in taken:
            asked += 1
            others = "".join(f"&{other}={given}" for other, given in needed.items() if other != name)
            answer = world.anyone.get(f"{url}?{name}={value}{others}")
            if answer.status_code != 422 or {place for place, _ in faults(answer)} != {name}:
                accepted.append((url, name, answer.status_code, answer.text[:200]))

    assert asked > 150
    assert accepted == []


def test_the_record_is_as_it_was_after_all_of_this(world: World) -> None:
    feed = world.anyone.get("/v1/changes").json()

    assert feed["meta"]["seq"] == FOREIGN
    assert [entry["replaced_by"] for entry in feed["items"]] == [LIVE, None, RETRACTION, None, None, None]
    assert world.rows() == world.record
