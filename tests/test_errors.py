import json
from collections.abc import Iterator
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

import app.routes.positions
from app.auth import create_key, revoke_key
from app.db import Database
from app.errors import every_error
from app.settings import Settings
from app.vocabulary import Scope
from tests import make
from tests.conftest import Clock

JSON = {"Content-Type": "application/json"}
GOOD = json.dumps(make.body()).encode()


def problem(response: Response) -> tuple[int, str]:
    body = response.json()
    assert response.headers["Content-Type"] == "application/problem+json"
    assert body["status"] == response.status_code
    assert body["title"]
    return response.status_code, body["type"].removeprefix("/problems/")


def faults(response: Response) -> list[tuple[str | None, str]]:
    errors = response.json().get("errors", [])
    return [(each.get("pointer", each.get("parameter")), each["code"]) for each in errors]


def post(client: TestClient, content: bytes, headers: dict[str, Any] | None = None) -> Response:
    return client.post("/v1/positions", content=content, headers=JSON | (headers or {}))


def recorded(client: TestClient) -> int:
    total: int = client.get("/v1/changes").json()["meta"]["total"]
    return total


def test_what_is_not_there_is_not_found(anyone: TestClient) -> None:
    paths = [
        "/v1/nothing",
        "/v1/countries/ZZ",
        "/v1/positions/ZZ/troops",
        "/v1/positions/PL/tanks",
        "/v1/changes/1",
        "/v1/sources/1",
        "/problems/nothing",
    ]

    assert {path: problem(anyone.get(path)) for path in paths} == dict.fromkeys(paths, (404, "not-found"))


def test_a_method_that_a_path_does_not_take_is_answered_with_all_that_it_takes(anyone: TestClient) -> None:
    allowed = {
        "DELETE /v1/positions": "GET, HEAD, POST",
        "PATCH /v1/sources": "GET, HEAD, POST",
        "PUT /v1/changes/1": "GET, HEAD",
        "POST /v1/countries": "GET, HEAD",
        "GET /v1/changes/1/correction": "POST",
        "HEAD /v1/changes/1/retraction": "POST",
    }
    answers = {asked: anyone.request(*asked.split(" ")) for asked in allowed}

    assert {asked: each.headers.get("Allow") for asked, each in answers.items()} == allowed
    assert problem(answers["DELETE /v1/positions"]) == (405, "method-not-allowed")


def test_every_question_refuses_a_parameter_that_it_does_not_know(anyone: TestClient) -> None:
    answers = {}
    for path, operations in anyone.get("/openapi.json").json()["paths"].items():
        question = operations.get("get")
        # A stream that took the question would never end.
        if question is not None and "text/event-stream" not in question["responses"]["200"]["content"]:
            needed = [each for each in question.get("parameters", []) if each["required"]]
            given = {each["name"]: each["schema"]["examples"][0] for each in needed}
            asked = {each["name"]: given[each["name"]] for each in needed if each["in"] == "query"}
            answers[path] = anyone.get(path.format(**given), params=asked | {"nonsense": "1"})

    assert len(answers) >= 13
    assert [path for path, each in answers.items() if faults(each) != [("nonsense", "unknown")]] == []


def test_a_write_refuses_a_parameter_that_it_does_not_know(contributor: TestClient) -> None:
    answers = [
        contributor.post(path, params={"dryrun": "true"}, json=body)
        for path, body in (
            ("/v1/positions", make.body()),
            ("/v1/sources", make.SOURCE),
            ("/v1/changes/1/correction", {"reason": "A slip.", "statement": {"firmness": "committed"}}),
            ("/v1/changes/1/retraction", {"reason": "Never said."}),
        )
    ]

    assert [problem(each) for each in answers] == [(422, "invalid")] * 4
    assert recorded(contributor) == 0


def test_a_body_that_can_be_read_in_two_ways_is_malformed(contributor: TestClient) -> None:
    bodies = {
        "nothing": b"",
        "broken off": b'{"country":',
        "something after it": GOOD + b"x",
        "the same name twice": b'{"country": "FR", ' + GOOD[1:],
        "not a number": GOOD[:-1] + b', "credibility": NaN}',
        "an endless number": GOOD[:-1] + b', "credibility": 1e400}',
        "a number of 5000 digits": GOOD[:-1] + b', "credibility": ' + b"1" * 5000 + b"}",
        "another encoding": json.dumps(make.body()).encode("utf-16"),
        "no encoding at all": b'{"country": "\xff"}',
        "very deep": b"[" * 100_000,
    }
    answers = {what: post(contributor, body) for what, body in bodies.items()}

    assert {what: problem(each) for what, each in answers.items()} == dict.fromkeys(bodies, (422, "invalid"))
    assert [what for what, each in answers.items() if faults(each) != [("", "malformed")]] == []


def test_a_body_that_is_not_plain_json_is_not_read(contributor: TestClient) -> None:
    answers = [
        post(contributor, GOOD, headers)
        for headers in (
            {"Content-Type": "text/plain"},
            {"Content-Type": ""},
            {"Content-Type": "application/x-www-form-urlencoded"},
            {"Content-Type": "application/json; charset=utf-16"},
            {"Content-Encoding": "gzip"},
        )
    ]

    assert [problem(each) for each in answers] == [(415, "unsupported-media-type")] * 5


def test_a_body_may_have_the_size_that_is_set_and_no_byte_more(
    contributor: TestClient, settings: Settings
) -> None:
    largest = GOOD.ljust(settings.body_limit_bytes)

    def in_pieces() -> Iterator[bytes]:
        yield largest
        yield b" "

    assert post(contributor, largest).status_code == 201
    assert problem(post(contributor, largest + b" ")) == (413, "too-large")
    assert problem(contributor.post("/v1/positions", content=in_pieces(), headers=JSON)) == (
        413,
        "too-large",
    )


def test_a_body_that_is_announced_too_large_is_not_waited_for(contributor: TestClient) -> None:
    answer = post(contributor, GOOD, {"Content-Length": "99999999999999999999999"})

    assert problem(answer) == (413, "too-large")


def test_a_write_needs_a_key(contributor: TestClient, anyone: TestClient) -> None:
    header = contributor.headers["Authorization"]
    headers: dict[str, dict[str, Any]] = {
        "none": {},
        "empty": {"Authorization": ""},
        "another scheme": {"Authorization": header.replace("Bearer", "Basic")},
        "no key": {"Authorization": "Bearer "},
        "no scheme": {"Authorization": header.removeprefix("Bearer ")},
        "unknown": {"Authorization": "Bearer cct_0123456789ab_" + "0" * 48},
        "one character less": {"Authorization": header[:-1]},
        "one character more": {"Authorization": header + "0"},
        "only its public part": {"Authorization": header.rpartition("_")[0] + "_"},
        "not ascii": {"Authorization": b"Bearer cct_\xff\xe9_\xc3\xa9"},
        "not ascii in the secret": {"Authorization": header.encode()[:-1] + b"\xe9"},
        "another header": {"X-API-Key": header.removeprefix("Bearer ")},
    }
    answers = {what: post(anyone, GOOD, each) for what, each in headers.items()}

    assert {what: problem(each) for what, each in answers.items()} == dict.fromkeys(
        headers, (401, "unauthenticated")
    )
    assert {each.headers["WWW-Authenticate"] for each in answers.values()} == {'Bearer realm="tracker"'}
    assert recorded(anyone) == 0


def test_every_write_needs_a_key(anyone: TestClient) -> None:
    paths = anyone.get("/openapi.json").json()["paths"]
    writes = [path.format(seq=1) for path, operations in paths.items() if "post" in operations]

    assert len(writes) >= 4
    assert [problem(anyone.post(path, json={})) for path in writes] == [(401, "unauthenticated")] * len(
        writes
    )


def test_a_revoked_key_is_refused_from_the_next_request_on(
    contributor: TestClient, database: Database
) -> None:
    before = post(contributor, GOOD).status_code
    with database.writing() as session:
        revoke_key(session, contributor.headers["Authorization"].split("_")[1])

    assert before == 201
    assert problem(post(contributor, GOOD)) == (401, "unauthenticated")


def test_a_key_is_good_on_its_last_day_and_not_after_it(
    anyone: TestClient, database: Database, clock: Clock
) -> None:
    with database.writing() as session:
        key = create_key(session, "guest", Scope.CONTRIBUTE, clock.now.date())
    header = {"Authorization": f"Bearer {key}"}
    on_the_day = post(anyone, GOOD, header)
    clock.pass_(days=1)

    assert on_the_day.status_code == 201
    assert problem(post(anyone, GOOD, header)) == (401, "unauthenticated")


def test_who_writes_is_decided_before_what_is_sent(anyone: TestClient, settings: Settings) -> None:
    too_large = b" " * (settings.body_limit_bytes + 1)
    answers = [
        post(anyone, b"{"),
        post(anyone, too_large),
        post(anyone, GOOD, {"Content-Type": "text/plain"}),
        anyone.post("/v1/changes/7/retraction", json={}),
    ]

    assert [problem(each) for each in answers] == [(401, "unauthenticated")] * 4


def test_a_fault_is_named_by_its_place_and_its_code(contributor: TestClient) -> None:
    body = make.body(firmness="maybe", conditions=[{"type": "other", "text": 5}], sumary="", refuses="all")
    del body["country"]

    assert set(faults(post(contributor, json.dumps(body).encode()))) == {
        ("/country", "missing"),
        ("/firmness", "enum"),
        ("/refuses", "list_type"),
        ("/conditions/0/text", "string_type"),
        ("/sumary", "unknown"),
    }


def test_text_that_no_database_holds_is_refused(contributor: TestClient) -> None:
    fields = ["country", "summary", "speaker", "quote", "quote_language", "stated_on", "kind", "notes"]
    bodies = [make.body(**{field: text}) for field in fields for text in ("XX\ud800XX", "XX\x00XX")]
    bodies += [{"XX\ud800XX": 1}, {"source": {"XX\x00XX": 1}}]
    answers = [post(contributor, json.dumps(body).encode()) for body in bodies]

    assert [problem(each) for each in answers] == [(422, "invalid")] * len(bodies)


def test_text_that_was_refused_is_not_echoed(contributor: TestClient) -> None:
    fields = ["country", "summary", "speaker", "quote", "kind", "authority", "locator"]
    bodies = [make.body(**{field: "secret\ud800"}) for field in fields]
    answers = {
        field: post(contributor, json.dumps(body).encode())
        for field, body in zip(fields, bodies, strict=True)
    }

    assert [field for field, each in answers.items() if "secret" in each.text] == []


def test_a_value_that_cannot_be_meant_is_refused(anyone: TestClient) -> None:
    urls = [
        "/v1/positions?country=%00",
        "/v1/positions?country=%ED%A0%80",
        "/v1/positions?country=ZZ",
        "/v1/positions?limit=-1",
        "/v1/positions?limit=0",
        "/v1/positions?limit=1001",
        "/v1/positions?as_of=1767225600",
        "/v1/positions?as_of=2025-02-30",
        f"/v1/positions?seq={2**63}",
        "/v1/positions?seq=1e3",
        "/v1/positions?known_at=2025-03-27",
        "/v1/positions?known_at=0001-01-01T00:00:00%2B14:00",
        "/v1/countries?q=%00",
        "/v1/changes?after=-1",
        "/v1/changes?source=%D9%A3",
        "/v1/changes/1_0",
        "/v1/changes/+1",
        "/v1/changes/0",
        f"/v1/changes/{2**63}",
        "/v1/sources/1.0",
    ]

    assert {url: problem(anyone.get(url)) for url in urls} == dict.fromkeys(urls, (422, "invalid"))


def test_an_error_of_ours_tells_nothing_of_its_cause(
    anyone: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the secret cause")

    monkeypatch.setattr(app.routes.positions, "positions_joined", fail)
    answer = anyone.get("/v1/positions")

    assert problem(answer) == (500, "internal")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_every_answer_carries_its_request_id(anyone: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.routes.positions, "positions_joined", None)
    asked = {"X-Request-ID": "mine-1"}
    answers = [anyone.get(path, headers=asked) for path in ("/healthz", "/nothing", "/v1/positions")]

    assert [each.status_code for each in answers] == [200, 404, 500]
    assert [each.headers.get("X-Request-ID") for each in answers] == ["mine-1"] * 3


def test_a_write_that_waits_too_long_is_told_to_try_again(
    contributor: TestClient, database: Database
) -> None:
    database.write_wait = 0.05
    with database.writing():
        answer = post(contributor, GOOD)

    assert problem(answer) == (503, "busy")
    assert int(answer.headers["Retry-After"]) >= 1
    assert recorded(contributor) == 0


def test_every_error_type_opens_a_page_that_explains_it(anyone: TestClient) -> None:
    pages = {error.code: anyone.get(f"/problems/{error.code}") for error in every_error()}

    assert {code: page.status_code for code, page in pages.items()} == dict.fromkeys(pages, 200)
    assert [error.code for error in every_error() if error.cure not in pages[error.code].text] == []
    assert [error.code for error in every_error() if str(error.status) not in pages[error.code].text] == []


def test_an_error_is_never_kept(anyone: TestClient) -> None:
    assert anyone.get("/v1/countries/ZZ").headers["Cache-Control"] == "no-store"
