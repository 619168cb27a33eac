import csv
import io
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import hypothesis
import jsonschema_rs
import pytest
import schemathesis
from fastapi import FastAPI
from httpx2 import Response
from hypothesis import strategies as st
from schemathesis import engine
from schemathesis.engine import events
from schemathesis.hooks import unregister
from starlette.testclient import TestClient

from app.auth import create_key
from app.bulk import COLUMNS
from app.changes import head_of
from app.dates import BadDate, parse_edtf
from app.db import Database
from app.settings import Settings
from app.vocabulary import FORCE, OFFERS, REFUSALS, SUPPORT, Firmness, Scope
from tests import make
from tests.conftest import BACKENDS, address, client, on_empty_record

EXAMPLES = int(os.environ.get("TRACKER_FUZZ_EXAMPLES", "0"))
"""Cases for each operation in the long mode; nought asks for the short one."""

FEW = [
    "/v1/changes/{seq}",
    "/v1/changes/{seq}/retraction",
    "/v1/sources/{source_id}",
    "/v1/vocabulary",
    "/readyz",
]
"""Paths of which the short mode tries every boundary too."""

ENDLESS = "/v1/changes/stream"
"""Never ends: a client in the same process would wait for ever (tests/test_following.py)."""

CODES = ("PL", "DE", "FR", "GB", "TR", "XK", "uk", "EST")
DAYS = ("2025-03-27", "2025-03", "2025", "2025-03-24/2025-03-27", "../2025-03-28", "2024-XX", "2025-03-27~")
ADDRESSES = (
    "https://example.org/a",
    "https://example.org/b?c=d",
    "http://example.com:8080/",
    "https://example.net",
)
INSTANT = "2026-01-01T00:00:00Z"
SPEAKERS = itertools.count()


@dataclass(frozen=True)
class World:
    tracker: FastAPI
    database: Database
    key: str
    curator: TestClient
    promises: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def head(self) -> int:
        with self.database.reading() as session:
            return head_of(session).seq


@pytest.fixture(params=BACKENDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = address(request, request.param, tmp_path_factory.mktemp("fuzz") / "tracker.db")
    tracker = on_empty_record(Settings(database_url=url, _env_file=None))
    database: Database = tracker.state.database
    with database.writing() as session:
        key = create_key(session, "curator", Scope.CURATE)
    with client(tracker, key) as curator:
        record(curator)
        yield World(tracker, database, key, curator)
    database.close()


def record(curator: TestClient) -> None:
    """Record something of every sort: offers, refusals, reports, what is contested, corrected, retracted."""
    first = make.state(curator, conditions=[{"type": "ceasefire"}, {"type": "other", "text": "After it."}])
    make.refuse(curator, country="DE", refuses=["troops", "air"], stated_on="2025-03")
    make.state(
        curator, kind="support", component="logistics", caveats=[{"type": "non_combat"}], location="home"
    )
    make.state(curator, authority="media", firmness="considering", quote="Perhaps.", quote_language="en")
    make.state(
        curator, country="FR", stated_on="../2025-03-28", quantity={"min": 1, "max": 2, "unit": "ships"}
    )
    make.refuse(curator, country="FR", authority="head_of_state", stated_on="2025-03-29")
    make.state(
        curator, country="DE", kind="sea", firmness="withdrawn", source={"title": "T", "publisher": "P"}
    )
    make.correct(curator, first, firmness="committed", relates_to=[{"seq": 3, "relation": "clarifies"}])
    make.retract(curator, make.state(curator, country="TR", kind="air", voice="government", authority=None))


# What the document cannot say: the rules between one field and another, and what the record holds.
# A case that the document allows is brought in line with them; then it has to be accepted.


def chosen(words: Any, seed: Any) -> Any:
    """Return one of `words`, always the same for the same `seed`."""
    listed = list(words)
    return listed[sum(str(seed).encode(errors="replace")) % len(listed)]


def text(given: str, *, lines: bool = False) -> str:
    kept = "".join(each for each in given if each.isprintable() or (lines and each == "\n"))
    return kept if kept.strip() else "Something."


def whole(given: Any) -> Any:
    """Return a body without 1.0: an integer to JSON Schema, but we take one spelling of a number only."""
    if isinstance(given, dict):
        return {name: whole(value) for name, value in given.items()}
    if isinstance(given, list):
        return [whole(value) for value in given]
    return int(given) if isinstance(given, float) and given.is_integer() else given


def day(given: str) -> str:
    try:
        return given if parse_edtf(given).latest_on <= date(2026, 1, 1) else chosen(DAYS, given)
    except BadDate:
        return str(chosen(DAYS, given))


def source(given: dict[str, Any]) -> dict[str, Any]:
    mended = {"title": "Untitled", "publisher": "Anonymous"}
    mended |= {name: value for name, value in given.items() if value is not None}
    if "url" in mended:
        mended["url"] = chosen(ADDRESSES, mended["url"])
    if "published_on" in mended:
        mended["published_on"] = day(mended["published_on"])
    return {
        name: text(value, lines=name == "notes") if name in ("title", "publisher", "notes") else value
        for name, value in mended.items()
    }


def marks(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": each["type"], "text": text(each.get("text") or "")} for each in given]


def statement(given: dict[str, Any]) -> dict[str, Any]:
    """Return a statement that says the same, as far as the rules between its fields allow."""
    mended = {name: value for name, value in given.items() if value is not None}
    mended["country"] = chosen(CODES, mended.get("country"))
    mended["stated_on"] = day(mended.get("stated_on", ""))
    kind = mended.setdefault("kind", "troops")
    mended.setdefault("summary", "Something.")
    for name in ("summary", "quote", "notes", "speaker", "speaker_role", "locator"):
        if name in mended:
            mended[name] = text(mended[name], lines=name in ("summary", "quote", "notes"))
    rungs = (*(REFUSALS if kind == "refusal" else OFFERS), Firmness.WITHDRAWN)
    if mended.get("firmness") not in rungs:
        mended["firmness"] = chosen(rungs, mended["summary"])
    if kind == "refusal":
        mended.pop("component", None)
        # Without it, a refusal might end an offer that stands.
        mended.setdefault("refuses", list(FORCE))
    else:
        mended.pop("refuses", None)
        if kind == "support" and mended.get("component") not in SUPPORT:
            mended["component"] = chosen(SUPPORT, mended["summary"])
        if kind != "support":
            mended.pop("component", None)
    # Nobody says the same twice: a duplicate would be refused.
    mended["speaker"] = f"{mended.get('speaker', 'Speaker')[:150]} {next(SPEAKERS)}"
    if "voice" not in mended:
        mended.setdefault("authority", "ministry")
    for name in ("conditions", "caveats"):
        if name in mended:
            mended[name] = marks(mended[name])
    if "quantity" in mended:
        quantity = {name: value for name, value in mended["quantity"].items() if value is not None}
        low, high = quantity.get("min"), quantity.get("max")
        if low is not None and high is not None:
            quantity |= {"min": min(low, high), "max": max(low, high)}
        mended["quantity"] = {
            name: text(value) if isinstance(value, str) else value for name, value in quantity.items()
        }
    if "relates_to" in mended:
        # A repeat must be of the same country and voice; entry 2 holds a statement for good.
        mended["relates_to"] = [{"seq": 2, "relation": "clarifies"} for _ in mended["relates_to"]]
    if "source_id" in mended:
        mended |= {"source_id": 1}
        mended.pop("source", None)
    else:
        mended["source"] = source(mended.get("source", {}))
    return mended


def body(path: str, given: Any) -> Any:
    match path.rpartition("/")[2]:
        case "positions":
            return statement(given)
        case "bulk":
            return [statement(row) for row in given]
        case "sources":
            return source(given)
        case "correction":
            return {"reason": text(given["reason"]), "statement": statement(given["statement"])}
        case _:
            return {"reason": text(given["reason"])}


def query(path: str, given: dict[str, Any], head: int) -> dict[str, Any]:
    mended = {name: value for name, value in given.items() if value is not None and name != "cursor"}
    if "known_at" in mended:
        mended["known_at"] = INSTANT
    if "seq" in mended:
        mended["seq"] = int(mended["seq"]) % (head + 1)
        mended.pop("known_at", None)
    if "country" in mended:
        mended["country"] = [chosen(CODES, each) for each in mended["country"]]
    if "q" in mended:
        mended["q"] = text(mended["q"])
    if mended.get("excel") and "/export/" not in path:
        mended["format"] = "csv"
    if path == "/v1/diff":
        ends = {name: mended.get(name) for name in ("from", "to")}
        if mended.get("axis") == "recorded":
            mended.pop("known_at", None)
            mended.pop("seq", None)
            mended |= {name: str(chosen(range(head + 1), end)) for name, end in ends.items()}
        else:
            mended.pop("as_of", None)
            mended |= {name: f"2025-0{chosen(range(1, 10), end)}-01" for name, end in ends.items()}
        if mended.get("mode") == "events":
            mended["from"], mended["to"] = sorted(
                [mended["from"], mended["to"]], key=lambda end: (len(end), end)
            )
    if path == "/v1/timeline":
        mended |= {
            name: f"2025-0{chosen(range(1, 10), mended[name])}-01"
            for name in ("from", "to")
            if name in mended
        }
        mended.setdefault("from", "2025-01-01")
    return mended


def document(tracker: FastAPI) -> dict[str, Any]:
    """Return the document without what is tested in another way."""
    found: dict[str, Any] = json.loads(json.dumps(tracker.openapi()))
    del found["paths"][ENDLESS]
    # It calls CSV and NDJSON "a string": which string, no schema can say. See the last test here.
    content = found["paths"]["/v1/positions/bulk"]["post"]["requestBody"]["content"]
    for media in set(content) - {"application/json"}:
        del content[media]
    # Nor are ten thousand rows recorded at every boundary.
    del content["application/json"]["schema"]["maxItems"]
    return found


def load(world: World) -> Any:
    config = schemathesis.Config.from_dict(
        {
            "seed": 20250327,
            "continue-on-failure": True,
            "auth": {"openapi": {"key": {"bearer": world.key}}},
            "generation": {"max-examples": EXAMPLES or 6, "deterministic": not EXAMPLES},
            # Every boundary of every parameter makes thousands of cases: the short mode tries a few paths.
            "operations": []
            if EXAMPLES
            else [{"exclude-path": FEW, "phases": {"coverage": {"enabled": False}}}],
            # 404: a drawn id or code is seldom one that exists. 409: or it is no longer live, or a duplicate.
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 304, 404, 409]}},
        }
    )
    schema = schemathesis.openapi.from_dict(document(world.tracker), config=config)
    schema.app = world.tracker

    return schema


@pytest.fixture
def mending(world: World) -> Iterator[None]:
    """Bring what the document allows in line with the rules that it cannot say."""

    def before_call(_: Any, case: Any, __: Any) -> None:
        if case.meta is None or not case.meta.generation.mode.is_positive:
            return
        if case.path_parameters:
            # A dry run answers a null for a number; a chain of requests would go on with that.
            case.path_parameters = {name: value or "1" for name, value in case.path_parameters.items()}
        if isinstance(case.query, dict):
            case.query = query(case.operation.path, case.query, world.head())
        if isinstance(case.body, dict | list):
            case.body = body(case.operation.path, whole(case.body))

    schemathesis.hook(before_call)
    yield
    unregister(before_call)


@dataclass
class Run:
    cases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    found: dict[tuple[str, ...], str] = field(default_factory=dict)

    def told(self) -> list[str]:
        return [f"{' '.join(key)}\n{told}" for key, told in self.found.items()]

    def note(self, event: Any) -> None:
        if isinstance(event, events.NonFatalError | events.FatalError):
            self.found["error", type(event).__name__] = str(getattr(event, "info", event))
        if isinstance(event, events.ScenarioFinished):
            for identity, interaction in event.recorder.interactions.items():
                self.cases[event.phase.value] += 1
                if interaction.response is not None:
                    self.statuses[interaction.response.status_code] += 1
                for check in event.recorder.checks.get(identity, ()):
                    if check.failure_info is not None:
                        failure = check.failure_info.failure
                        key = (check.name, str(failure.operation), failure.title)
                        self.found.setdefault(key, f"{failure.message}\n{check.failure_info.code_sample}")


def run(schema: Any) -> Run:
    found = Run()
    for event in engine.from_schema(schema).execute():
        found.note(event)
    return found


@pytest.mark.usefixtures("mending")
def test_the_application_keeps_what_its_document_promises(world: World) -> None:
    found = run(load(world))
    print(found.cases, found.statuses)

    assert not found.found, "\n\n".join(found.told())
    assert sum(found.cases.values()) >= (10_000 if EXAMPLES >= 200 else 300)
    assert set(found.cases) == {"examples", "coverage", "fuzzing", "stateful"}
    assert set(found.statuses) <= {200, 201, 304, 401, 404, 405, 406, 409, 415, 422}
    assert min(found.statuses[200], found.statuses[201], found.statuses[422]) >= 5


# Texts that come near to what a table holds, and stray from it.
CELLS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            *(
                "",
                "PL",
                "ZZ",
                "troops",
                "refusal",
                "support",
                "planned",
                "declared",
                "government",
                "ministry",
            ),
            *(
                "2025-03-27",
                "2025-02-30",
                "../2025",
                "2025/..",
                "ceasefire;other:x",
                "other",
                ";",
                ":",
                "repeats:1",
            ),
            *(
                "clarifies:99999999999999999999",
                "troops;air",
                "https://example.org/t",
                "http://[::1",
                "1",
                "1e9",
            ),
            *("-1", "0", "9" * 30, "true", "null", "\x00", "\ud7ff", '"', "'", "=1+1", "\r", "\n", "\ufeff"),
        ]
    ),
)
HEADINGS = st.lists(st.one_of(st.sampled_from(COLUMNS), st.text(max_size=5)), max_size=8)
JSONS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), CELLS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(COLUMNS), st.text(max_size=5)), inner, max_size=6),
    ),
    max_leaves=12,
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(draw(HEADINGS))
    writer.writerows(draw(st.lists(st.lists(CELLS, max_size=8), max_size=4)))
    return out.getvalue().encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    rows = [json.dumps(row) for row in draw(st.lists(JSONS, max_size=4))]
    return draw(st.sampled_from(["\n", "\r\n", "\n\n", " ", ","])).join(rows).encode()


BULKS = st.one_of(
    st.tuples(st.just("text/csv"), st.one_of(tables(), st.binary(max_size=60))),
    st.tuples(st.just("application/x-ndjson"), st.one_of(lines(), st.binary(max_size=60))),
    st.tuples(st.just("application/json"), st.one_of(lines(), st.binary(max_size=60))),
)


def test_no_text_that_is_sent_as_a_table_does_any_harm(world: World) -> None:
    answers: Counter[int] = Counter()

    @hypothesis.settings(
        max_examples=EXAMPLES * 10 or 150, derandomize=not EXAMPLES, database=None, deadline=None
    )
    @hypothesis.given(BULKS)
    def send(bulk: tuple[str, bytes]) -> None:
        media, content = bulk
        answer = world.curator.post("/v1/positions/bulk", content=content, headers={"Content-Type": media})
        answers[answer.status_code] += 1

        assert answer.status_code in (201, 422)
        promised(world, "/v1/positions/bulk", "post", answer)
        assert answer.status_code == 201 or answer.json()["errors"]

    send()

    assert answers[422] >= 100


def closed(schema: Any) -> Any:
    """Return a schema by which an object holds what is described and nothing else."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(each) for name, each in schema.items()}
    if "properties" in found and "additionalProperties" not in found:
        found["additionalProperties"] = False
    return found


def promised(world: World, path: str, method: str, answer: Response) -> None:
    """Fail unless the document describes an answer: its status, its type, and all that it holds."""
    media = answer.headers.get("Content-Type", "").partition(";")[0]
    promise = (path, method, str(answer.status_code), media)
    if promise not in world.promises:
        world.promises[promise] = validator(world.tracker.openapi(), *promise)
    is_json = media in ("application/json", "application/problem+json")
    faults = world.promises[promise].iter_errors(answer.json()) if is_json else ()

    assert [f"{answer.request.url} {each.instance_path}: {each.message[:300]}" for each in faults] == []


def validator(described: dict[str, Any], path: str, method: str, status: str, media: str) -> Any:
    responses = described["paths"][path][method]["responses"]

    assert status in responses, f"{method} {path} {status}"
    contents = responses[status].get("content", {"": {}})
    assert media in contents, f"{method} {path} {status} {media}"
    schema = {**contents[media].get("schema", {}), "components": described["components"]}
    return jsonschema_rs.Draft202012Validator(closed(schema), validate_formats=True)


def questions(world: World) -> Iterator[tuple[str, str]]:
    """Yield each path that can be read, with questions to it: each parameter, and each of its words."""
    described = world.tracker.openapi()
    for path, operations in described["paths"].items():
        if "get" not in operations or path == ENDLESS:
            continue
        taken = operations["get"].get("parameters", [])
        filled = {each["name"]: each["schema"]["examples"][0] for each in taken if each["required"]}
        asked = {each["name"]: each["schema"] for each in taken if each["in"] == "query"}
        needed = "".join(f"&{name}={filled[name]}" for name in asked if name in filled)
        url = path.format(**filled) + "?"
        for given in ("", "&nonsense=1", *(f"&{name}=%00" for name in asked)):
            yield path, url + needed + given
        for name, schema in asked.items():
            each_word = [f"&{name}={word}" for word in words(described, schema)]
            # A list takes all of its words at once.
            for some in ["".join(each_word)] if schema.get("type") == "array" else each_word:
                yield path, url + needed + some
        if "seq" in asked:
            yield from ((path, f"{url}{needed}&seq={seq}") for seq in (0, 3, world.head(), 99))
        if "as_of" in asked:
            days = ("0001-01-01", "2025-03-26", "2025-03-28", "2025-03-31", "9999-12-31")
            yield from ((path, f"{url}{needed}&as_of={as_of}") for as_of in days)
        if "known_at" in asked:
            instants = ("0001-01-01T00:00:00Z", "2026-01-01T00:00:00.5%2B02:00", "9999-12-31T00:00:00Z")
            yield from ((path, f"{url}{needed}&known_at={known_at}") for known_at in instants)


def words(described: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """Return every word of the closed set that a parameter is of, if it is of one."""
    inner = [schema, schema.get("items", {}), *schema.get("anyOf", [])]
    schemas = described["components"]["schemas"]
    named = [schemas[each["$ref"].rpartition("/")[2]] for each in inner if "$ref" in each]
    found = [word for each in [*inner, *named] for word in each.get("enum", [])]
    return found + ["true", "false"] * any(each.get("type") == "boolean" for each in inner)


MORE = (
    "/v1/positions?country=PL&country=FR&dates=possible&as_of=2025-03-15",
    "/v1/positions?limit=1",
    "/v1/positions?format=csv&excel=1",
    "/v1/positions/FR/troops?as_of=2025-06-01",
    "/v1/positions/ZZ/troops",
    "/v1/positions/PL/tanks",
    "/v1/countries/FR",
    "/v1/countries/ZZ",
    "/v1/countries?q=land&limit=2",
    "/v1/changes?limit=2&after=1",
    "/v1/changes/99",
    "/v1/changes/9",
    "/v1/changes/x",
    "/v1/sources/99",
    "/v1/diff?from=2025-01-01&to=2025-12-31&mode=events",
    "/v1/diff?from=2025-12-31&to=2025-01-01",
    "/v1/diff?from=0&to=9&axis=recorded&mode=events",
    "/v1/diff?from=9&to=0&axis=recorded&limit=2",
    "/v1/timeline?from=2025-01-01&to=2025-04-30&interval=week",
    "/v1/timeline?interval=day&from=0001-01-01&to=9999-12-31",
    "/v1/export/positions.ndjson",
    "/v1/export/history.ndjson",
    "/v1/export/changes.ndjson",
    "/v1/export/sources.ndjson",
    "/v1/export/positions.pdf",
    "/problems/busy",
    "/problems/nothing",
)


def path_of(world: World, url: str) -> str:
    """Return the path of the document that a URL belongs to: the most literal one."""
    asked = url.partition("?")[0].split("/")

    def fits(path: str) -> bool:
        steps = path.split("/")
        literal = [step.partition("{")[0] for step in steps]
        return len(steps) == len(asked) and all(map(str.startswith, asked, literal))

    paths: list[str] = list(world.tracker.openapi()["paths"])
    return min(filter(fits, paths), key=lambda path: path.count("{"))


def test_every_answer_to_a_question_is_what_the_document_promises(world: World) -> None:
    asked = [*questions(world), *((path_of(world, url), url) for url in MORE)]
    answers: Counter[int] = Counter()
    for path, url in asked:
        answer = world.curator.get(url)
        answers[answer.status_code] += 1
        promised(world, path, "get", answer)
        if "as_of" in url and "ETag" in answer.headers:
            fresh = world.curator.get(url, headers={"If-None-Match": answer.headers["ETag"]})
            assert (fresh.status_code, fresh.content) == (304, b""), url
            promised(world, path, "get", fresh)

    assert set(answers) == {200, 404, 422}
    assert min(answers.values()) >= 5
    assert answers[200] >= 200


def test_every_answer_to_a_write_is_what_the_document_promises(world: World) -> None:
    new, again = make.body(country="NO"), make.body(country="SE")
    writes: list[tuple[str, str, Any, int]] = [
        ("/v1/positions", "/v1/positions?dry_run=1", new, 200),
        ("/v1/positions", "/v1/positions", new, 201),
        ("/v1/positions", "/v1/positions", new, 409),
        ("/v1/positions", "/v1/positions", make.refusal(country="NO", authority="head_of_state"), 201),
        ("/v1/positions", "/v1/positions", {}, 422),
        ("/v1/positions/bulk", "/v1/positions/bulk?dry_run=1", [again], 200),
        ("/v1/positions/bulk", "/v1/positions/bulk", [again], 201),
        ("/v1/positions/bulk", "/v1/positions/bulk", [again], 422),
        ("/v1/sources", "/v1/sources?dry_run=1", {"url": "https://example.org/n", "title": "N"}, 200),
        ("/v1/sources", "/v1/sources", {"url": "https://example.org/n", "title": "N"}, 201),
        ("/v1/sources", "/v1/sources", {"url": "https://example.org/n"}, 200),
        ("/v1/changes/{seq}/correction", "/v1/changes/2/correction", correction(location="home"), 201),
        ("/v1/changes/{seq}/correction", "/v1/changes/2/correction", correction(location="home"), 409),
        ("/v1/changes/{seq}/correction", "/v1/changes/99/correction", correction(location="home"), 404),
        (
            "/v1/changes/{seq}/retraction",
            "/v1/changes/3/retraction?dry_run=1",
            {"reason": "Never said."},
            200,
        ),
        ("/v1/changes/{seq}/retraction", "/v1/changes/3/retraction", {"reason": "Never said."}, 201),
        ("/v1/changes/{seq}/retraction", "/v1/changes/3/retraction", {"reason": "Never said."}, 409),
    ]
    for path, url, sent, status in writes:
        answer = world.curator.post(url, json=sent)

        assert answer.status_code == status, answer.text
        promised(world, path, "post", answer)
        for headers, refused in (
            ({"Authorization": ""}, 401),
            ({"Content-Type": "text/plain"}, 415),
            ({"Content-Length": "999999999"}, 413),
        ):
            answer = world.curator.post(url, json=sent, headers=headers)

            assert answer.status_code == refused
            promised(world, path, "post", answer)


def correction(**fields: Any) -> dict[str, Any]:
    return {"reason": "A slip.", "statement": fields}
