from urllib.parse import urljoin

import pytest
from starlette.testclient import TestClient

from tests import make

ELSEWHERE = {"Origin": "https://elsewhere.example"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/positions", 200),
        ("/v1/positions?format=csv", 200),
        ("/v1/export/changes.ndjson", 200),
        ("/v1/positions?nonsense=1", 422),
        ("/nothing", 404),
    ],
)
def test_an_answer_is_nothing_to_be_opened_framed_or_guessed_at(
    anyone: TestClient, path: str, status: int
) -> None:
    answer = anyone.get(path)

    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_a_page_has_a_policy_of_its_own(anyone: TestClient) -> None:
    policy = anyone.get("/").headers["Content-Security-Policy"]

    assert "style-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_pages_of_any_origin_may_read(anyone: TestClient) -> None:
    answer = anyone.get("/v1/positions", headers=ELSEWHERE)
    asked = ELSEWHERE | {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "if-none-match",
    }
    before = anyone.options("/v1/positions", headers=asked)

    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
    assert before.status_code == 200
    for each in (answer, before):
        assert "Access-Control-Allow-Credentials" not in each.headers


@pytest.mark.parametrize(
    "asked",
    [
        {"Access-Control-Request-Method": "POST"},
        {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"},
    ],
)
def test_pages_of_other_origins_may_neither_write_nor_send_a_key(
    contributor: TestClient, asked: dict[str, str]
) -> None:
    answer = contributor.options("/v1/positions", headers=ELSEWHERE | asked)

    assert answer.status_code == 400
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    assert "authorization" not in answer.headers["Access-Control-Allow-Headers"].lower()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("/v1/positions/?country=PL&as_of=2025-04-01", "/v1/positions?country=PL&as_of=2025-04-01"),
        ("/v1/countries/PL/", "/v1/countries/PL"),
        ("/docs/", "/docs"),
        ("/web", "/web/"),
    ],
)
def test_a_slash_too_many_is_led_on_under_any_address(anyone: TestClient, asked: str, found: str) -> None:
    answer = anyone.get(asked, follow_redirects=False)
    place = answer.headers["Location"]

    assert answer.status_code == 307
    assert "//" not in place
    assert urljoin(f"https://tracker.example/of{asked}", place) == f"https://tracker.example/of{found}"


def test_a_file_that_is_written_to_says_what_it_takes(anyone: TestClient) -> None:
    answer = anyone.delete("/web/tracker.css")

    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert answer.json()["type"] == "/problems/method-not-allowed"


def test_a_request_has_an_id_its_own_if_it_is_plain(anyone: TestClient) -> None:
    given = {"mine-1.a_B": True, "two words": False, "x" * 65: False, "": False}
    found = {each: anyone.get("/healthz", headers={"X-Request-ID": each}) for each in given}

    assert {each: answer.headers["X-Request-ID"] == each for each, answer in found.items()} == given


def test_head_is_answered_as_get_without_a_body(contributor: TestClient) -> None:
    make.state(contributor)
    head, get = contributor.head("/v1/positions"), contributor.get("/v1/positions")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["ETag"] == get.headers["ETag"]


@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "gzip"}, ELSEWHERE, {"Accept-Encoding": "br"}])
def test_an_answer_tells_what_it_depends_on_whoever_asks(anyone: TestClient, headers: dict[str, str]) -> None:
    anyone.headers.pop("Accept-Encoding", None)
    for path in ("/v1/positions", "/v1/vocabulary", "/nothing", "/healthz"):
        varying = [each.strip() for each in anyone.get(path, headers=headers).headers["Vary"].split(",")]

        assert {"Accept-Encoding", "Origin"} <= set(varying), path
        assert len(varying) == len(set(varying)), path
