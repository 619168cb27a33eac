"""A question in its usual spelling is answered as the framework would have it answered."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.concurrency import run_in_threadpool
from starlette.testclient import TestClient

from app.db import Database
from tests import make

QUESTIONS = (
    "/v1/positions?country=PL&country=FR&as_of=2025-06-01",
    "/v1/positions?country=PL&sort=-since&sort=country&limit=1",
    "/v1/positions?country=PL&&as_of=2025-06-01&",
    "/v1/positions?stale=yes&contested=0",
    "/v1/positions?country=PL&format=csv&excel=true",
    "/v1/positions/PL/troops?as_of=2025-06-01",
    "/v1/positions/PL/tanks?as_of=2025-06-01",
    "/v1/changes?after=0&limit=2",
    "/v1/changes/1?seq=1",
    "/v1/diff?from=2025-03-01&to=2025-06-01",
    "/v1/export/positions.csv?as_of=2025-06-01",
    "/v1/summary?as_of=2025-06-01&min_firmness=planned",
)
REFUSED = (
    "/v1/positions?country=",
    "/v1/positions?country",
    "/v1/positions?as_of=",
    "/v1/positions?as_of=2025-06-01&as_of=2025-06-02",
    "/v1/positions?limit=0",
    "/v1/positions?limit=1e2",
    "/v1/positions?coutry=PL",
    "/v1/positions?stale=perhaps",
    "/v1/positions?kind=tanks&firmness=firm",
    "/v1/changes?after=-1",
    "/v1/diff",
)


@pytest.fixture
def recorded(contributor: TestClient, anyone: TestClient) -> TestClient:
    """Somebody without a key, and a record."""
    make.state(contributor, conditions=[{"type": "ceasefire"}])
    make.state(contributor, country="FR", stated_on="2025-04", firmness="committed")
    make.refuse(contributor, country="DE")
    return anyone


def spelt_otherwise(url: str) -> str:
    """Return the same question with an escape that it does not need."""
    path, _, query = url.partition("?")
    return f"{path}?{'%' + query[0].encode().hex()}{query[1:]}" if query else url


@pytest.mark.parametrize("url", [*QUESTIONS, *REFUSED])
def test_the_spelling_of_a_question_does_not_matter(recorded: TestClient, url: str) -> None:
    usual = recorded.get(url, headers={"X-Request-ID": "the-same"})
    for other, headers in ((spelt_otherwise(url), {}), (url, {"Ledger-Min-Seq": "0"})):
        answer = recorded.get(other, headers={"X-Request-ID": "the-same"} | headers)

        assert (answer.status_code, answer.content) == (usual.status_code, usual.content)
        assert answer.headers == usual.headers
    assert usual.status_code == (422 if url in REFUSED else 404 if "tanks" in url else 200)


def test_only_what_is_light_is_answered_where_it_was_asked(
    recorded: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_over: list[str] = []

    async def noting(function: Callable[..., Any], **given: Any) -> Any:
        handed_over.append(given["request"].url.query)
        return await run_in_threadpool(function, **given)

    monkeypatch.setattr("app.read_route.run_in_threadpool", noting)
    for query in ("country=PL", "country=PL&country=FR", "country=PL&dates=possible", "component=air"):
        assert recorded.get(f"/v1/positions?{query}").status_code == 200
    for query in ("after=1", "after=1&limit=100&seq=2", "limit=101", "limit=5&country=PL"):
        assert recorded.get(f"/v1/changes?{query}").status_code == 200

    light = {"country=PL", "after=1", "after=1&limit=100&seq=2"} if database.is_embedded else set()
    assert (
        set(handed_over)
        == {
            *("country=PL", "country=PL&country=FR", "country=PL&dates=possible", "component=air"),
            *("after=1", "after=1&limit=100&seq=2", "limit=101", "limit=5&country=PL"),
        }
        - light
    )
