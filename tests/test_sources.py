import json
from typing import Any

import pytest
from httpx2 import Response
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app import fields
from app.fields import canonical_url
from tests import make

SAME = [
    "HTTPS://Example.ORG/a?x=1&y=2",
    "https://example.org:443/a?x=1&y=2",
    "https://example.org/a?x=1&y=2#part",
    "https://example.org/a?utm_source=s&x=1&utm_medium=m&y=2",
    "https://example.org/a?x=1&y=2&fbclid=abc&gclid=def",
    "https://example.org/a?x=1&y=2&UTM_Campaign=c",
    "https://example.org/b/../a?x=1&y=2",
]
OTHERS = [
    "http://example.org/a?x=1&y=2",
    "https://www.example.org/a?x=1&y=2",
    "https://example.org:8443/a?x=1&y=2",
    "https://example.org/A?x=1&y=2",
    "https://example.org/a?y=2&x=1",
    "https://example.org/a?x=1",
    "https://example.org/a?x=1&y=2&utm=3",
    "https://example.org/a?x=1&y=2&q=a%2Bb",
    "https://example.org/a?x=1&y=2&q=a+b",
]
REFUSED = [
    "ftp://example.org/a",
    "javascript:alert(1)",
    "//example.org/a",
    "example.org/a",
    "https://",
    "https:///a",
    "https://exam ple.org/a",
    " https://example.org/a",
    "https://example.org/a\n",
    "https://example.org/\x00",
    "https://example.org/\ud800",
    'https://example.org/"a"',
    "https://example.org\\@example.com/",
    "https://reader:secret@example.org/a",
    "https://reader@example.org/a",
    "https://example.org:99999/a",
    "https://example.org:0/a",
    "https://example.org:x/a",
    "http://[::1",
    "https://example.org/" + "a" * 2000,
]


def post(client: TestClient, **fields: Any) -> Response:
    return client.post("/v1/sources", json=make.SOURCE | fields)


def made(client: TestClient, name: str) -> int:
    answer = post(client, url=f"https://example.org/{name}", title=name)
    assert answer.status_code == 201
    identity: int = answer.json()["id"]
    return identity


def titles(client: TestClient, **asked: Any) -> list[str]:
    return [source["title"] for source in client.get("/v1/sources", params=asked).json()["items"]]


def test_spellings_of_one_address_are_the_same() -> None:
    assert {canonical_url(url) for url in SAME} == {"https://example.org/a?x=1&y=2"}


def test_other_addresses_stay_apart() -> None:
    assert len({canonical_url(url) for url in [*OTHERS, SAME[0]]}) == len(OTHERS) + 1


def test_the_canonical_address_is_its_own() -> None:
    urls = [*SAME, *OTHERS, "http://example.org:80", "https://exämple.org/ä?q=ä", "https://example.org/a%2fb"]

    assert [url for url in urls if canonical_url(canonical_url(url)) != canonical_url(url)] == []


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.sampled_from(("http", "https")),
    st.lists(st.from_regex(r"[a-z0-9]{1,9}(-[a-z0-9]{1,9})?", fullmatch=True), min_size=1, max_size=3),
    st.from_regex(r"[a-z]{2,8}", fullmatch=True),
    st.from_regex(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,9}){0,4}/?", fullmatch=True),
)
def test_an_address_that_is_taken_as_canonical_at_sight_is(
    scheme: str, labels: list[str], top: str, path: str
) -> None:
    url = f"{scheme}://{'.'.join(labels)}.{top}{path or '/'}"

    assert fields._PLAIN.fullmatch(url)
    assert fields._canonical_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a/../b",
        "https://example.org/a/./b",
        "https://example.org/a//b",
        "https://example.org/a/..",
        "https://example.org/?utm_source=s",
        "https://Example.org/",
        "https://example.org:443/",
        "https://example.org",
        "https://xn--exmple-cua.org/",
    ],
)
def test_no_other_address_is_taken_at_sight(url: str) -> None:
    assert fields._PLAIN.fullmatch(url) is None


def test_posting_a_known_address_answers_the_source_that_is_there(contributor: TestClient) -> None:
    first = post(contributor, url="https://example.org/a?utm_source=s#top")
    again = post(contributor, url="HTTPS://example.org:443/a", title="Another title")

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert first.json()["url"] == "https://example.org/a?utm_source=s#top"
    assert first.headers["Location"] == f"/v1/sources/{first.json()['id']}"


def test_without_an_address_a_source_is_found_by_what_it_is_called(contributor: TestClient) -> None:
    paper = {"url": None, "title": "Front page", "publisher": "Paper", "published_on": "2025-03-28"}
    first = post(contributor, **paper)
    again = post(contributor, **paper, reliability="B", notes="Another reader.")
    others = [
        post(contributor, **(paper | other))
        for other in ({"title": "Page two"}, {"publisher": "Press"}, {"published_on": None})
    ]

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert [other.status_code for other in others] == [201, 201, 201]


def test_a_source_with_an_address_is_not_found_by_what_it_is_called(contributor: TestClient) -> None:
    first = post(contributor)

    assert post(contributor, url=None).json()["id"] != first.json()["id"]


def test_an_address_that_no_reader_could_open_is_refused(contributor: TestClient) -> None:
    answers = {
        url: contributor.post(
            "/v1/sources",
            content=json.dumps({"title": "T", "url": url}),
            headers={"Content-Type": "application/json"},
        )
        for url in REFUSED
    }

    assert {url: each.status_code for url, each in answers.items() if each.status_code != 422} == {}
    assert {each.json()["errors"][0]["pointer"] for each in answers.values()} == {"/url"}


def test_a_new_source_says_enough_to_be_found_again(contributor: TestClient) -> None:
    answers = [
        contributor.post("/v1/sources", json=fields)
        for fields in ({"url": "https://example.org/a"}, {"title": "Front page"}, {})
    ]

    assert [each.status_code for each in answers] == [422, 422, 422]
    assert [[fault["pointer"] for fault in each.json()["errors"]] for each in answers] == [
        ["/title"],
        ["/publisher"],
        ["/title", "/publisher"],
    ]


def test_a_source_shows_the_live_entries_that_rest_on_it(contributor: TestClient) -> None:
    first = make.state(contributor)
    second = make.state(contributor, kind="sea")
    make.retract(contributor, first)
    (source,) = contributor.get("/v1/sources").json()["items"]
    (before,) = contributor.get("/v1/sources", params={"seq": second}).json()["items"]

    assert [each["seq"] for each in source["supports"]] == [second]
    assert [each["seq"] for each in before["supports"]] == [first, second]


def test_a_source_posted_between_two_entries_is_listed_at_once_but_not_in_what_was_pinned(
    contributor: TestClient,
) -> None:
    seq = make.state(contributor)
    pinned = contributor.get("/v1/sources", params={"seq": seq})
    made(contributor, "between")
    pinned_again = contributor.get("/v1/sources", params={"seq": seq})
    make.state(contributor, kind="sea")

    assert titles(contributor) == ["After the summit", "between"]
    assert titles(contributor, seq=seq) == ["After the summit"]
    assert titles(contributor, seq=seq + 1) == ["After the summit", "between"]
    assert pinned_again.content == pinned.content
    assert pinned_again.headers["ETag"] == pinned.headers["ETag"]


def test_a_list_that_nobody_pinned_is_asked_anew_when_a_source_was_posted(contributor: TestClient) -> None:
    made(contributor, "a")
    tag = contributor.get("/v1/sources").headers["ETag"]
    unchanged = contributor.get("/v1/sources", headers={"If-None-Match": tag})
    made(contributor, "b")

    assert unchanged.status_code == 304
    assert contributor.get("/v1/sources", headers={"If-None-Match": tag}).status_code == 200


def test_pages_end_where_the_list_ended_when_it_was_asked_for(contributor: TestClient) -> None:
    names = ["a", "b", "c"]
    for name in names:
        made(contributor, name)
    page = contributor.get("/v1/sources", params={"limit": 2}).json()
    made(contributor, "meanwhile")
    found = [page["items"]]
    while page["next"]:
        page = contributor.get(page["next"]).json()
        found.append(page["items"])

    assert [[source["title"] for source in each] for each in found] == [["a", "b"], ["c"]]
    assert page["meta"]["total"] == 3
    assert titles(contributor) == [*names, "meanwhile"]


def test_a_source_is_not_there_before_it_was_posted(contributor: TestClient) -> None:
    seq = make.state(contributor)
    later = made(contributor, "later")

    assert contributor.get(f"/v1/sources/{later}").status_code == 200
    assert contributor.get(f"/v1/sources/{later}", params={"seq": seq}).status_code == 404
