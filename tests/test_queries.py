from typing import Any

import pytest
from starlette.testclient import TestClient

from tests import make

COUNTRIES = ("BE", "DE", "ES", "FR", "GB", "IT", "NL", "NO", "PL", "SE")


@pytest.mark.parametrize(
    "url",
    [
        "/v1/positions?as_of=2025-06-01",
        "/v1/positions?as_of=2025-06-01&country=PL&group=nato&dates=possible",
        "/v1/positions/PL/troops?as_of=2025-06-01",
        "/v1/countries?as_of=2025-06-01",
        "/v1/countries/PL?as_of=2025-06-01",
        "/v1/changes",
        "/v1/changes?country=PL&component=troops",
        "/v1/diff?from=2025-03-01&to=2025-06-01&mode=events",
        "/v1/diff?from=1&axis=recorded&mode=events&to=",
        "/v1/sources",
    ],
)
def test_the_number_of_queries_does_not_grow_with_the_record(
    contributor: TestClient, queries: list[str], url: str
) -> None:
    def asked() -> list[str]:
        queries.clear()
        to = str(head) if url.endswith("to=") else ""
        assert contributor.get(url + to).json()["meta"]["total"] > 0
        return list(queries)

    head = record(contributor, 1)
    few = asked()
    head = record(contributor, 9)
    many = asked()

    assert len(many) == len(few)


def record(client: TestClient, day: int) -> int:
    """Record statements."""
    return day


def filler(**_: Any) -> None:
    """Nothing."""
