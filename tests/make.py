"""Builders: a test names only what it is about."""

from typing import Any

from httpx2 import Response
from starlette.testclient import TestClient

Asked = list[tuple[str, Any]]
"""SQL statements, each with its parameters."""

SOURCE = {
    "url": "https://example.org/a",
    "title": "After the summit",
    "publisher": "Example Gazette",
    "published_on": "2025-03-28",
}


def body(**fields: Any) -> dict[str, Any]:
    """Return a body for POST /v1/positions: Poland's government plans troops, unless said otherwise."""
    return {
        "country": "PL",
        "kind": "troops",
        "firmness": "planned",
        "stated_on": "2025-03-27",
        "summary": "A statement.",
        "authority": "head_of_government",
        "source": SOURCE,
    } | fields


def refusal(**fields: Any) -> dict[str, Any]:
    """Return a body that refuses troops, unless said otherwise."""
    return body(**({"kind": "refusal", "refuses": ["troops"], "firmness": "declared"} | fields))


def state(client: TestClient, **fields: Any) -> int:
    """State a position and return its seq."""
    return kept(client.post("/v1/positions", json=body(**fields)))


def refuse(client: TestClient, **fields: Any) -> int:
    """State a refusal and return its seq."""
    return kept(client.post("/v1/positions", json=refusal(**fields)))


def correct(client: TestClient, entry: int, **fields: Any) -> int:
    """Correct an entry and return the seq of the correction."""
    url = f"/v1/changes/{entry}/correction"
    return kept(client.post(url, json={"reason": "A slip.", "statement": fields}))


def retract(client: TestClient, entry: int) -> int:
    """Retract an entry and return the seq of the retraction."""
    return kept(client.post(f"/v1/changes/{entry}/retraction", json={"reason": "Never said."}))


def kept(response: Response) -> int:
    """Return the seq of a write that was kept; fail with the problem if it was not."""
    assert response.status_code == 201, response.text
    seq: int = response.json()["change"]["seq"]
    return seq
