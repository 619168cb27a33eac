import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tests import make


def found(client: TestClient, **asked: Any) -> list[str]:
    """Return the positions found, as country and component."""
    answer = client.get("/v1/positions", params=asked)
    assert answer.status_code == 200, answer.text
    return [f"{each['country']} {each['component']}" for each in answer.json()["items"]]


@pytest.fixture
def coalition(contributor: TestClient) -> TestClient:
    """Five countries: one firm, one vague, one that refuses, one contested, one that supports."""
    ceasefire, mandate = {"type": "ceasefire"}, {"type": "un_mandate"}
    bodies = [
        make.body(country="FR", firmness="committed", conditions=[ceasefire]),
        make.body(country="GB", kind="sea", firmness="considering", conditions=[mandate]),
        make.refusal(country="IT", refuses=["troops", "air"]),
        make.body(country="PL", authority="head_of_state"),
        make.refusal(country="PL", firmness="binding"),
        make.body(country="UA", kind="support", component="bases", firmness="deployed"),
    ]
    assert contributor.post("/v1/positions/bulk", json=bodies).json()["count"] == len(bodies)
    return contributor


def test_a_later_statement_replaces_an_earlier_one(contributor: TestClient) -> None:
    make.state(contributor, firmness="signalled", stated_on="2025-03-10")
    later = make.state(contributor, firmness="committed", stated_on="2025-04-01")

    items = contributor.get("/v1/positions", params={"as_of": "2025-05-01"}).json()["items"]

    assert [item["seq"] for item in items] == [later]


def test_nothing_is_held_before_the_first_statement(contributor: TestClient) -> None:
    make.state(contributor, stated_on="2025-03-10")

    answer = contributor.get("/v1/positions", params={"as_of": "2025-03-09"}).json()

    assert answer["items"] == []
    assert answer["meta"]["total"] == 0


def test_positions_are_sorted_by_country_and_component(coalition: TestClient) -> None:
    assert found(coalition) == ["FR troops", "GB sea", "IT air", "IT troops", "PL troops", "UA bases"]


def test_values_of_a_filter_widen_and_filters_narrow_each_other(coalition: TestClient) -> None:
    expected = {
        "country=FR": ["FR troops"],
        "country=fra&country=UK": ["FR troops", "GB sea"],
        "group=eu": ["FR troops", "IT air", "IT troops", "PL troops"],
        "group=nato&group=eu": ["FR troops", "GB sea", "IT air", "IT troops", "PL troops"],
        "group=eu&country=FR&country=GB": ["FR troops"],
        "group=eu&country=UA": [],
        "component=sea&component=bases": ["GB sea", "UA bases"],
        "component=troops&country=IT": ["IT troops"],
        "kind=refusal": ["IT air", "IT troops", "PL troops"],
        "kind=support&kind=sea": ["GB sea", "UA bases"],
        "firmness=declared": ["IT air", "IT troops"],
        "firmness=considering&firmness=binding": ["GB sea", "PL troops"],
        "firmness=planned": [],
        "min_firmness=considering": ["FR troops", "GB sea", "UA bases"],
        "min_firmness=committed": ["FR troops", "UA bases"],
        "min_firmness=leaning": ["IT air", "IT troops", "PL troops"],
        "min_firmness=binding": ["PL troops"],
        "min_firmness=withdrawn": [],
        "condition=ceasefire": ["FR troops"],
        "condition=ceasefire&condition=un_mandate": ["FR troops", "GB sea"],
        "condition=other": [],
        "contested=true": ["PL troops"],
        "contested=false&component=troops": ["FR troops", "IT troops"],
    }
    answers = {query: coalition.get(f"/v1/positions?{query}").json()["items"] for query in expected}

    assert {
        query: [f"{each['country']} {each['component']}" for each in items]
        for query, items in answers.items()
    } == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("KYIV", ["FR troops"]), ("nous irons", ["GB sea"]), ("merz", ["DE air"]), ("nobody", [])],
)
def test_positions_are_found_by_their_summary_quote_or_speaker(
    contributor: TestClient, text: str, expected: list[str]
) -> None:
    make.state(contributor, country="FR", summary="Soldiers near Kyiv.")
    make.state(contributor, country="GB", kind="sea", quote="Nous irons.")
    make.state(contributor, country="DE", kind="air", speaker="Friedrich Merz")

    assert found(contributor, q=text) == expected


def test_positions_are_sorted_as_asked(contributor: TestClient) -> None:
    make.state(contributor, country="FR", firmness="committed", stated_on="2025-03-02")
    make.state(contributor, country="GB", firmness="planned", stated_on="2025-03-01")
    make.state(contributor, country="DE", firmness="planned", stated_on="2025-03-03")
    make.state(contributor, country="PL", stated_on="2025-03/2030")  # since when is not known
    possible = {"as_of": "2025-06-01", "dates": "possible", "seq": 4}

    assert found(contributor, sort="since") == ["GB troops", "FR troops", "DE troops", "PL troops"]
    assert found(contributor, sort="-firmness") == ["FR troops", "DE troops", "GB troops", "PL troops"]
    assert found(contributor, sort=["-firmness", "-since"])[:2] == ["FR troops", "PL troops"]
    assert found(contributor, sort="-since", **possible)[-1] == "PL troops"


def test_a_value_that_no_filter_knows_is_refused(anyone: TestClient) -> None:
    queries = [
        "country=ZZ",
        "group=coalition",
        "component=tanks",
        "kind=other",
        "firmness=firm",
        "contested=2",
    ]
    answers = [anyone.get(f"/v1/positions?{query}") for query in queries]

    assert [answer.status_code for answer in answers] == [422] * len(queries)
    assert [answer.json()["errors"][0]["parameter"] for answer in answers] == [
        query.partition("=")[0] for query in queries
    ]


def test_pages_give_every_position_once_though_the_record_grows(coalition: TestClient) -> None:
    whole = found(coalition)
    answer = coalition.get("/v1/positions", params={"limit": 4})
    make.state(coalition, country="BE")
    make.state(coalition, country="SE")
    following = coalition.get(answer.json()["next"])
    items = answer.json()["items"] + following.json()["items"]

    assert [f"{each['country']} {each['component']}" for each in items] == whole
    assert answer.json()["meta"]["total"] == following.json()["meta"]["total"] == 6
    assert following.json()["next"] is None


def test_the_next_page_is_asked_for_by_day_and_seq_and_linked(coalition: TestClient) -> None:
    answer = coalition.get("/v1/positions", params={"limit": 1, "as_of": "2025-04-01", "kind": "refusal"})
    following = answer.json()["next"]

    assert answer.headers["Link"] == f'<{following}>; rel="next"'
    assert {"as_of=2025-04-01", "seq=6", "kind=refusal", "limit=1"} < set(
        following.partition("?")[2].split("&")
    )


def test_the_last_page_links_to_none(coalition: TestClient) -> None:
    answer = coalition.get("/v1/positions", params={"limit": 6})

    assert answer.json()["next"] is None
    assert "Link" not in answer.headers


def test_a_cursor_serves_only_the_question_that_it_was_given_for(coalition: TestClient) -> None:
    following = coalition.get("/v1/positions", params={"limit": 1, "seq": 6}).json()["next"]
    others = [
        following.replace("seq=6", "seq=5"),
        following.replace("seq=6", "as_of=2025-04-01"),
        following + "&kind=refusal",
        following.replace("/positions", "/countries"),
    ]

    assert coalition.get(following).status_code == 200
    assert [coalition.get(other).status_code for other in others] == [422] * 4
    assert coalition.get(following + "&kind=refusal").json()["errors"][0]["parameter"] == "cursor"


@pytest.mark.parametrize("path", ["/v1/positions", "/v1/sources", "/v1/diff?from=2025-01-01&to=2026-01-01"])
def test_a_cursor_that_was_tampered_with_is_refused(coalition: TestClient, path: str) -> None:
    make.state(coalition, source=make.SOURCE | {"url": "https://example.org/b"}, firmness="signalled")
    following = coalition.get(f"{path}{'&' if '?' in path else '?'}limit=1").json()["next"]
    start, _, cursor = following.partition("cursor=")
    fingerprint, *key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))

    def written(*values: Any) -> str:
        text = json.dumps([fingerprint, *values], sort_keys=True, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    tampered = {
        "nothing": "",
        "junk": "junk",
        "not base64": "\u00e9",
        "something appended": cursor + "AA",
        "padding": cursor + "=",
        "blank": cursor + " ",
        "half": cursor[: len(cursor) // 2],
        "no key": written(),
        "a shorter key": written(*key[:1]),
        "a longer key": written(*key, 1),
        "what no database takes": written("\0", *key[1:]),
        "words for numbers": written(*map(str, key)),
        "numbers for words": written(*[5] * len(key)),
        "huge numbers": written(*[10**30] * len(key)),
        "huge negative numbers": written(*[-(10**30)] * len(key)),
        "lists": written(*[[]] * len(key)),
        "nulls": written(*[None] * len(key)),
        "truths": written(*[True] * len(key)),
    }
    answers = {what: coalition.get(f"{start}cursor={quote(each)}") for what, each in tampered.items()}

    assert coalition.get(f"{start}cursor={written(*key)}").status_code == 200
    assert {what: each.status_code for what, each in answers.items() if each.status_code != 422} == {}


def test_head_answers_as_get_does_without_the_body(coalition: TestClient) -> None:
    paths = ["/v1/positions?limit=1", "/v1/positions/PL/troops", "/v1/positions/ZZ/troops", "/healthz"]
    asked = {"X-Request-ID": "mine-1"}
    gets = [coalition.get(path, headers=asked) for path in paths]
    heads = [coalition.head(path, headers=asked) for path in paths]

    assert [each.content for each in heads] == [b""] * 4
    assert [(each.status_code, each.headers) for each in heads] == [
        (each.status_code, each.headers) for each in gets
    ]
