from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from httpx2 import Response
from sqlalchemy import event
from starlette.testclient import TestClient

from app.db import Database
from app.retries import KEPT_FOR
from app.writers import SERIALISED
from tests import make
from tests.conftest import RECORD, Clock

Body = dict[str, Any] | list[dict[str, Any]]
FIRST = {"url": "https://example.org/first", "title": "First"}
OTHER = {"url": "https://example.org/b", "title": "Another"}

# For each route a request, and another one, on a record whose only entry is number 1.
REQUESTS: dict[str, tuple[Body, Body]] = {
    "/v1/positions": (make.body(), make.body(country="FR")),
    "/v1/positions/bulk": ([make.body(), make.body(country="FR")], [make.body()]),
    "/v1/sources": (make.SOURCE, OTHER),
    "/v1/changes/{seq}/correction": (
        {"reason": "A slip.", "statement": {"firmness": "committed", "source": {"title": "Second"}}},
        {"reason": "A slip.", "statement": {"firmness": "signalled"}},
    ),
    "/v1/changes/{seq}/retraction": ({"reason": "Never said."}, {"reason": "A hoax."}),
}
every_write = pytest.mark.parametrize("path", REQUESTS)


@pytest.fixture
def author(contributor: TestClient, clock: Clock) -> TestClient:
    make.state(contributor, country="GB", source=FIRST)
    clock.pass_(minutes=1)
    return contributor


def post(
    client: TestClient, path: str, body: Body, key: str | None = "a-key", *, dry_run: bool = False
) -> Response:
    headers = {"Idempotency-Key": key} if key else {}
    asked = {"dry_run": "true"} if dry_run else {}
    return client.post(path.format(seq=1), json=body, headers=headers, params=asked)


def contents(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table that anything is written to."""
    with database.engine.connect() as connection:
        return {
            table: sorted(map(tuple, connection.execute(sa.text(f"SELECT * FROM {table}"))), key=repr)
            for table in RECORD.split(", ")
        }


def kept_answers(database: Database) -> int:
    return len(contents(database)["kept_answer"])


def unnumbered(answer: Any, newest: int) -> Any:
    """Return an answer without the numbers of entries and sources above `newest`."""
    if isinstance(answer, list):
        return [unnumbered(each, newest) for each in answer]
    if not isinstance(answer, dict):
        return answer
    found = {name: unnumbered(value, newest) for name, value in answer.items()}
    for name in {"seq", "first_seq", "last_seq"} & found.keys():
        found[name] = None if found[name] and found[name] > newest else found[name]
    if "seqs" in found:
        found["seqs"] = [seq for seq in found["seqs"] if seq <= newest]
    if "digest" in found:
        found["digest"] = None
    if found.get("source") and found["source"]["id"] and found["source"]["id"] > newest:
        found["source"]["id"] = None
    return found


@contextmanager
def failing_commits(database: Database) -> Iterator[None]:
    def fail(connection: sa.Connection) -> None:
        if connection.get_execution_options().get(SERIALISED):
            raise RuntimeError("the disk is gone")

    event.listen(database.engine, "commit", fail)
    yield
    event.remove(database.engine, "commit", fail)


def test_every_write_is_tried_here(anyone: TestClient) -> None:
    paths = anyone.get("/openapi.json").json()["paths"]

    assert {path for path, operations in paths.items() if "post" in operations} == REQUESTS.keys()


@every_write
def test_a_retry_is_given_the_first_answer_again(author: TestClient, path: str, database: Database) -> None:
    body, _ = REQUESTS[path]
    first = post(author, path, body)
    before = contents(database)
    again = post(author, path, body)

    assert first.status_code == 201
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.status_code == first.status_code
    assert again.content == first.content
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert contents(database) == before


@every_write
def test_a_key_is_not_for_another_request(author: TestClient, path: str, database: Database) -> None:
    body, other = REQUESTS[path]
    post(author, path, body)
    before = contents(database)
    reused = post(author, path, other)

    assert (reused.status_code, reused.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert contents(database) == before


def test_a_key_is_not_for_another_route_or_another_way_of_asking(author: TestClient) -> None:
    post(author, "/v1/sources", make.SOURCE)
    retraction = REQUESTS["/v1/changes/{seq}/retraction"][0]
    answers = [
        post(author, "/v1/changes/{seq}/retraction", retraction),
        post(author, "/v1/sources", make.SOURCE, dry_run=True),
    ]

    assert [each.json()["type"] for each in answers] == ["/problems/idempotency-key-reused"] * 2


def test_a_source_that_was_known_is_answered_again_as_known(author: TestClient) -> None:
    first = post(author, "/v1/sources", FIRST)
    again = post(author, "/v1/sources", FIRST)

    assert (first.status_code, again.status_code) == (200, 200)
    assert again.headers["Location"] == "/v1/sources/1"
    assert again.content == first.content


def test_two_writers_may_use_the_same_key(contributor: TestClient, curator: TestClient) -> None:
    mine = post(contributor, "/v1/positions", make.body())
    theirs = post(curator, "/v1/positions", make.body(country="FR"))

    assert [mine.json()["change"]["seq"], theirs.json()["change"]["seq"]] == [1, 2]
    assert post(curator, "/v1/positions", make.body(country="FR")).content == theirs.content


@every_write
def test_a_refused_request_keeps_nothing(author: TestClient, path: str, database: Database) -> None:
    body, _ = REQUESTS[path]
    malformed = post(author, path, {"nonsense": 1})
    before = contents(database)
    unknown = post(author, path, body | {"nonsense": 1} if isinstance(body, dict) else [{"nonsense": 1}])

    assert (malformed.status_code, unknown.status_code) == (422, 422)
    assert contents(database) == before
    assert before["kept_answer"] == []
    assert post(author, path, body).status_code == 201


def test_a_duplicate_keeps_nothing(author: TestClient, database: Database) -> None:
    refused = post(author, "/v1/positions", make.body(country="GB", source=FIRST))

    assert refused.status_code == 409
    assert kept_answers(database) == 0
    assert post(author, "/v1/positions", make.body()).status_code == 201


def test_an_answer_is_kept_for_two_days_and_let_go_later(
    author: TestClient, clock: Clock, database: Database
) -> None:
    first = post(author, "/v1/positions", make.body())
    clock.pass_(hours=48, minutes=1)
    again = post(author, "/v1/positions", make.body())
    clock.now += KEPT_FOR - timedelta(hours=48)
    too_late = post(author, "/v1/positions", make.body())
    before = kept_answers(database)
    other = post(author, "/v1/positions", make.body(country="FR"), "another-key")

    assert again.content == first.content
    assert (too_late.status_code, too_late.json()["existing"]) == (409, "/v1/changes/2")
    assert other.status_code == 201
    assert (before, kept_answers(database)) == (1, 1)


def test_a_key_that_was_let_go_may_be_used_for_another_request(author: TestClient, clock: Clock) -> None:
    post(author, "/v1/positions", make.body())
    clock.now += KEPT_FOR + timedelta(seconds=1)
    answers = [post(author, "/v1/positions", make.body(country="FR")) for _ in range(2)]

    assert [each.json()["change"]["seq"] for each in answers] == [3, 3]
    assert [each.headers.get("Idempotent-Replayed") for each in answers] == [None, "true"]


@every_write
def test_a_write_that_is_not_committed_leaves_neither_record_nor_answer(
    author: TestClient, path: str, database: Database
) -> None:
    body, _ = REQUESTS[path]
    before = contents(database)
    with failing_commits(database):
        failed = post(author, path, body)
    after = contents(database)
    retried = post(author, path, body)

    assert failed.status_code == 500
    assert after == before
    assert retried.status_code == 201
    assert "Idempotent-Replayed" not in retried.headers
    assert kept_answers(database) == 1


def test_equal_requests_at_once_make_one_record(author: TestClient, database: Database) -> None:
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: post(author, "/v1/positions", make.body()), range(32)))

    assert {each.status_code for each in answers} == {201}
    assert len({each.content for each in answers}) == 1
    assert sorted(each.headers.get("Idempotent-Replayed", "") for each in answers) == ["", *["true"] * 31]
    assert len(contents(database)["change"]) == 2


@every_write
def test_a_dry_run_answers_what_the_write_then_does_and_writes_nothing(
    author: TestClient, path: str, database: Database
) -> None:
    body, _ = REQUESTS[path]
    before = contents(database)
    tried = post(author, path, body, "dry", dry_run=True)
    after = contents(database)
    done = post(author, path, body, "real")
    promised, found = tried.json(), done.json()
    if path == "/v1/sources":
        found["id"] = None

    assert (tried.status_code, done.status_code) == (200, 201)
    assert "Location" not in tried.headers
    assert after == before
    assert promised == unnumbered(found, 1)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/positions", make.body(country="ZZ", stated_on="2999-01-01", firmness="declared")),
        ("/v1/positions", make.body(country="GB", source=FIRST)),
        ("/v1/positions", make.body(source={"url": "https://example.org/untitled"})),
        ("/v1/positions/bulk", [make.body(), make.body(), make.body(country="ZZ")]),
        ("/v1/sources", {"url": "https://example.org/untitled"}),
        ("/v1/changes/{seq}/correction", {"reason": "A slip.", "statement": {"kind": "refusal"}}),
        ("/v1/changes/7/retraction", {"reason": "Never said."}),
    ],
)
def test_a_dry_run_refuses_what_the_write_would(
    author: TestClient, path: str, body: Body, database: Database
) -> None:
    before = contents(database)
    tried = post(author, path, body, None, dry_run=True).json()
    refused = post(author, path, body, None).json()
    for each in (tried, refused):
        each.pop("instance", None)

    assert tried == refused
    assert contents(database) == before
