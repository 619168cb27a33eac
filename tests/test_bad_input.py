import gzip
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from app.db import ROOT, Database
from app.main import create_app
from app.settings import Settings
from app.vocabulary import Scope
from tests import make
from tests.conftest import BACKENDS, RECORD, client, empty, with_key

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
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("bad_input") / "tracker.db"
        shutil.copy(request.getfixturevalue("migrated"), path)
        url = f"sqlite:///{path}"
    else:
        url = request.getfixturevalue("migrated_postgresql")
    tracker = create_app(Settings(database_url=url, _env_file=None))
    database: Database = tracker.state.database
    if not database.is_embedded:
        empty(database)
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
    "a day twice in two spellings": ("/v1/positions?as_of=2025-01-01&as%5Fof=2025-01-02", "as_of", "repeated"),
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
    "a country by its name": ("/v1/positions?country=Poland", "country", "string_too_long"),
    "a country of one letter": ("/v1/changes?country=P", "country", "unknown_country"),
    "a country left empty": ("/v1/positions?country=", "country", "blank"),
    "a country that is NUL": ("/v1/positions?country=%00", "country", "control_character"),
    "a country in Greek letters": ("/v1/positions?country=%CE%91%CE%A4", "country", "unknown_country"),
    "three hundred and one countries": (f"/v1/positions?{'&'.join(['country=PL'] * 301)}", "country", "too_long"),
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
    "a diff from a day of the record": ("/v1/diff?from=2025-01-01&to=1&axis=recorded", "from", "not_a_moment"),
    "a diff from Arabic digits": ("/v1/diff?from=%D9%A1&to=1&axis=recorded", "from", "not_a_moment"),
    "a diff from the future": (
        "/v1/diff?from=9999-01-01T00:00:00Z&to=1&axis=recorded",
        "from",
        "in_the_future",
    ),
    "an end of a diff that is NUL": ("/v1/diff?from=%00&to=2025-01-01", "from", "control_character"),
    "an interval that is none": ("/v1/timeline?interval=year", "interval", "enum"),
    "a timeline from no day": ("/v1/timeline?from=2025", "from", "not_a_date"),
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
    "an entry with a slash after it": ("GET /v1/changes/1%2F", 404, "not-found", []),
    "a path within an entry": ("GET /v1/changes/1%2F2", 404, "not-found", []),
    "source nought": ("GET /v1/sources/0", 422, "invalid", [("source_id", "greater_than_equal")]),
    "a source beyond the record": ("GET /v1/sources/99", 404, "not-found", []),
    "the largest source": (f"GET /v1/sources/{2**63 - 1}", 404, "not-found", []),
    "a source beyond 63 bits": (f"GET /v1/sources/{BIG}", 422, "invalid", [("source_id", "less_than_equal")]),
    "a source with a sign": ("GET /v1/sources/+1", 422, "invalid", [("source_id", "not_a_number")]),
    "a source that is junk": ("GET /v1/sources/'%20OR%201=1", 422, "invalid", [("source_id", "not_a_number")]),
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
    "a slash at the end": ("GET /v1/positions/?country=PL", 404, "not-found", []),
    "a slash too many": ("GET /v1//positions", 404, "not-found", []),
    "a path in another case": ("GET /V1/positions", 404, "not-found", []),
    "a path of nine thousand slashes": (f"GET {'/' * 9000}", 404, "not-found", []),
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
    "a name with a lone surrogate": ({"\ud800": MARKER}, "/?", "unknown"),
    "a name with NUL": ({"a\x00b": MARKER}, "/a?b", "unknown"),
    "a name with a slash and a tilde": ({"a/b~c": MARKER}, "/a~1b~0c", "unknown"),
    "a name left empty": ({"": MARKER}, "/", "unknown"),
    "a name of ten thousand letters": ({"x" * 10_000: MARKER}, "/" + "x" * 199, "unknown"),
    "no country": ({"country": None}, "/country", "string_type"),
    "a country that is none": ({"country": "ZZ"}, "/country", "unknown_country"),
    "a country by its name": ({"country": "Poland"}, "/country", "string_too_long"),
    "a country left empty": ({"country": ""}, "/country", "blank"),
    "a country of blanks": ({"country": "  "}, "/country", "blank"),
    "a country with a lone surrogate": ({"country": "P\ud800"}, "/country", "control_character"),
    "a country in fullwidth letters": ({"country": "ＰＬ"}, "/country", "unknown_country"),
    "a country that is a number": ({"country": 616}, "/country", "string_type"),
    "a country that is a list": ({"country": ["PL"]}, "/country", "string_type"),
    "no kind": ({"kind": None}, "/kind", "enum"),
    "a kind that is none": ({"kind": "tanks"}, "/kind", "enum"),
    "a kind in another case": ({"kind": "Troops"}, "/kind", "enum"),
    "a kind that is true": ({"kind": True}, "/kind", "enum"),
    "a kind that is an object": ({"kind": {"troops": MARKER}}, "/kind", "enum"),
    "a kind with a lone surrogate": ({"kind": "\udfff"}, "/kind", "enum"),
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
    "a language that is a name": ({"quote_language": "Polish language"}, "/quote_language", None or "string_pattern_mismatch"),
    "a language with a line feed": ({"quote_language": "pl\n"}, "/quote_language", "string_pattern_mismatch"),
    "a language with a lone surrogate": ({"quote_language": "\ud800"}, "/quote_language", "string_unicode"),
    "a locator that is too long": ({"locator": "a" * 201}, "/locator", "string_too_long"),
    "a locator with a line feed": ({"locator": "a\nb"}, "/locator", "control_character"),
    "notes that are too long": ({"notes": MARKER * 200}, "/notes", "string_too_long"),
    "notes with NUL": ({"notes": f"{MARKER}\x00"}, "/notes", "control_character"),
    "notes that are a list": ({"notes": [MARKER]}, "/notes", "string_type"),
    "conditions that are a word": ({"conditions": "ceasefire"}, "/conditions", "list_type"),
    "a condition that is a word": ({"conditions": ["ceasefire"]}, "/conditions/0", "model_type"),
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
    "a quantity that is a number": ({"quantity": 1000}, "/quantity", "model_type"),
    "a quantity of less than nothing": ({"quantity": {"min": -1}}, "/quantity/min", "greater_than_equal"),
    "a quantity that is true": ({"quantity": {"min": True}}, "/quantity/min", "int_type"),
    "a quantity with a fraction": ({"quantity": {"min": 1.0}}, "/quantity/min", "int_type"),
    "a quantity in quotes": ({"quantity": {"max": "5"}}, "/quantity/max", "int_type"),
    "a quantity beyond 63 bits": ({"quantity": {"max": 10**19}}, "/quantity/max", "less_than_equal"),
    "a quantity of four thousand digits": ({"quantity": {"max": 10**4000}}, "/quantity/max", "less_than_equal"),
    "a quantity backwards": ({"quantity": {"min": 2, "max": 1}}, "/quantity/max", "reversed_range"),
    "a unit that is too long": ({"quantity": {"unit": "a" * 61}}, "/quantity/unit", "string_too_long"),
    "a unit with a line feed": ({"quantity": {"unit": "a\nb"}}, "/quantity/unit", "control_character"),
    "words of a quantity with NUL": ({"quantity": {"verbatim": "\x00"}}, "/quantity/verbatim", "control_character"),
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
    "a relation that is a number": ({"relates_to": [LIVE]}, "/relates_to/0", "model_type"),
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
    "a source that is an address": ({"source": "https://example.org/a"}, "/source", "model_type"),
    "a source that is empty": ({"source": {}}, "/source/title", "missing"),
    "a new source without a title": ({"source": {"url": OTHER["url"]}}, "/source/title", "missing"),
    "a new source without a publisher": ({"source": {"title": "T"}}, "/source/publisher", "missing"),
    "a source with a field too many": ({"source": OTHER | {"id": 7}}, "/source/id", "unknown"),
    "a source with a title left empty": ({"source": OTHER | {"title": ""}}, "/source/title", "blank"),
    "a source with a title too long": ({"source": OTHER | {"title": "a" * 501}}, "/source/title", "string_too_long"),
    "a source with NUL in its title": ({"source": OTHER | {"title": "\x00"}}, "/source/title", "control_character"),
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
