import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from app.db import Database
from app.verify import verify
from tests import make
from tests.conftest import Clock

Change = dict[str, Any]
OF_A_SOURCE = ("id", "url", "title", "publisher", "published_on", "reliability", "notes")


def feed(client: TestClient, **asked: Any) -> dict[str, Any]:
    answer = client.get("/v1/changes", params=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def seqs(client: TestClient, **asked: Any) -> list[int]:
    return [change["seq"] for change in feed(client, **asked)["items"]]


def entry(client: TestClient, number: int, **asked: Any) -> Change:
    found: Change = client.get(f"/v1/changes/{number}", params=asked).json()
    return found


@pytest.fixture
def mended(contributor: TestClient) -> TestClient:
    """A record of five entries: a statement, its correction to another country, a retracted one."""
    first = make.state(contributor)
    make.correct(contributor, first, country="LT")
    third = make.state(
        contributor, country="FR", kind="sea", source=make.SOURCE | {"url": "https://b.example"}
    )
    make.retract(contributor, third)
    make.refuse(contributor, country="IT", refuses=["air", "sea"])
    return contributor


def test_entries_are_numbered_without_gaps(contributor: TestClient) -> None:
    make.state(contributor)
    refused = contributor.post("/v1/positions", json=make.body())
    broken = contributor.post("/v1/positions", json=make.body(kind="tanks"))
    make.state(contributor, kind="sea")

    assert (refused.status_code, broken.status_code) == (409, 422)
    assert seqs(contributor) == [1, 2]


def test_an_entry_says_what_it_did_and_who_recorded_it(mended: TestClient) -> None:
    items = feed(mended)["items"]

    assert [(each["action"], each["replaces"], each["replaced_by"], each["live"]) for each in items] == [
        ("state", None, 2, False),
        ("correct", 1, None, True),
        ("state", None, 4, False),
        ("retract", 3, None, True),
        ("state", None, None, True),
    ]
    assert [each["reason"] for each in items] == [None, "A slip.", None, "Never said.", None]
    assert {each["recorded_by"]["name"] for each in items} == {"contributor"}
    assert items[3]["statement"] is None


def test_a_page_always_leads_on_and_an_empty_one_is_the_end(mended: TestClient) -> None:
    pages = [feed(mended, limit=2)]
    while pages[-1]["items"]:
        pages.append(mended.get(pages[-1]["next"]).json())
    end = pages[-1]["next"]
    make.state(mended, kind="air")

    assert [[change["seq"] for change in page["items"]] for page in pages] == [[1, 2], [3, 4], [5], []]
    assert [change["seq"] for change in mended.get(end).json()["items"]] == [6]


@pytest.mark.parametrize(
    "asked", [{}, {"limit": 2}, {"after": 2}, {"after": 5}, {"seq": 0}, {"seq": 3, "limit": 3}]
)
def test_a_page_that_is_joined_is_one_of_entries(mended: TestClient, asked: dict[str, int]) -> None:
    every = {"action": ["state", "correct", "retract"]}
    joined, one_by_one = feed(mended, **asked), feed(mended, **asked, **every)

    assert joined["items"] == one_by_one["items"]
    assert joined["meta"] == one_by_one["meta"]
    ends = [parse_qs(urlsplit(page["next"]).query)["after"] for page in (joined, one_by_one)]
    assert ends[0] == ends[1]


def test_a_filtered_feed_leads_on_from_the_last_entry_examined(mended: TestClient) -> None:
    page = feed(mended, country="LT")
    make.state(mended, country="LT", kind="sea")
    following = mended.get(page["next"]).json()

    assert "after=5" in page["next"]
    assert "country=LT" in page["next"]
    assert [change["seq"] for change in following["items"]] == [6]


def test_a_pinned_feed_stays_pinned(mended: TestClient) -> None:
    page = feed(mended, seq=3, limit=2)
    end = mended.get(page["next"]).json()
    make.state(mended, kind="air")

    assert [change["seq"] for change in end["items"]] == [3]
    assert mended.get(end["next"]).json()["items"] == []


def test_filters_match_what_an_entry_says_and_what_it_replaces(mended: TestClient) -> None:
    found = {
        "PL": seqs(mended, country="pol"),
        "LT": seqs(mended, country="LT"),
        "FR": seqs(mended, country="FR"),
        "PL or IT": seqs(mended, country=["PL", "IT"]),
        "troops": seqs(mended, component="troops"),
        "sea": seqs(mended, component="sea"),
        "air": seqs(mended, component="air"),
        "the second source": seqs(mended, source=2),
        "corrections": seqs(mended, action="correct"),
        "statements of sea": seqs(mended, action="state", component="sea"),
        "PL at sea": seqs(mended, country="PL", component="sea"),
    }

    assert found == {
        "PL": [1, 2],
        "LT": [2],
        "FR": [3, 4],
        "PL or IT": [1, 2, 5],
        "troops": [1, 2],
        "sea": [3, 4, 5],
        "air": [5],
        "the second source": [3, 4],
        "corrections": [2],
        "statements of sea": [3, 5],
        "PL at sea": [],
    }


def test_the_total_counts_what_the_filters_match(mended: TestClient) -> None:
    assert feed(mended, country="PL", limit=1)["meta"]["total"] == 2


def test_what_replaced_an_entry_is_told_as_it_was_known(mended: TestClient) -> None:
    before, after = entry(mended, 1, seq=1), entry(mended, 1, seq=2)
    (listed,) = feed(mended, seq=1)["items"]

    assert (before["live"], before["replaced_by"]) == (True, None)
    assert (after["live"], after["replaced_by"]) == (False, 2)
    assert (listed["live"], listed["replaced_by"]) == (True, None)


def test_an_entry_is_not_there_before_it_was_recorded(mended: TestClient) -> None:
    assert mended.get("/v1/changes/5", params={"seq": 4}).status_code == 404
    assert seqs(mended, seq=4) == [1, 2, 3, 4]


def test_the_ledger_is_known_at_an_instant_with_what_was_recorded_at_it(
    contributor: TestClient, clock: Clock
) -> None:
    make.state(contributor)
    clock.pass_(hours=1)
    make.state(contributor, kind="sea")
    instants = [change["recorded_at"] for change in feed(contributor)["items"]]

    assert instants == ["2026-01-15T12:00:00.000000Z", "2026-01-15T13:00:00.000000Z"]
    assert seqs(contributor, known_at=instants[0]) == [1]
    assert seqs(contributor, known_at="2026-01-15T12:59:59.999999Z") == [1]
    assert seqs(contributor, known_at="2026-01-15T14:00:00+01:00") == [1, 2]


def test_instants_increase_though_the_clock_stands_still_or_is_set_back(
    contributor: TestClient, clock: Clock
) -> None:
    make.state(contributor)
    make.state(contributor, kind="air")
    clock.pass_(hours=-1)
    make.state(contributor, kind="sea")
    clock.pass_(days=1)
    make.state(contributor, kind="support", component="training")

    assert [change["recorded_at"] for change in feed(contributor)["items"]] == [
        "2026-01-15T12:00:00.000000Z",
        "2026-01-15T12:00:00.000001Z",
        "2026-01-15T12:00:00.000002Z",
        "2026-01-16T11:00:00.000000Z",
    ]


def test_a_clock_that_jumps_changes_neither_the_order_nor_what_held(
    contributor: TestClient, clock: Clock, database: Database
) -> None:
    held: list[tuple[int, bytes]] = []

    def asked(seq: int) -> bytes:
        return contributor.get("/v1/positions", params={"as_of": "2025-04-01", "seq": seq}).content

    for number, hours in enumerate((-1, 5, -48, 0, 3, -24)):
        clock.pass_(hours=hours)
        stated = make.state(contributor, speaker=f"Speaker {number}")
        rows = [make.body(country=code, speaker=f"Speaker {number}") for code in ("DE", "FR")]
        assert contributor.post("/v1/positions/bulk", json=rows).status_code == 201
        clock.pass_(hours=-1)
        make.retract(contributor, make.correct(contributor, stated, firmness="committed"))
        held.append((stated + 4, asked(stated + 4)))
    changes = feed(contributor, limit=1000)["items"]
    instants = [change["recorded_at"] for change in changes]

    assert [change["seq"] for change in changes] == list(range(1, len(changes) + 1))
    assert instants == sorted(instants)
    # The rows of one bulk request share their instant; everything else has its own.
    assert len(set(instants)) == 4 * len(held)
    assert [asked(seq) for seq, _ in held] == [answer for _, answer in held]
    with database.reading() as session:
        assert verify(session).finding is None


def test_the_digests_can_be_computed_from_what_is_published(contributor: TestClient) -> None:
    first = make.state(
        contributor,
        conditions=[{"type": "other", "text": "„été“ / 1"}],
        quantity={"min": 5, "unit": "soldiers"},
        source=make.SOURCE | {"reliability": "B", "notes": "Seen\nin print."},
    )
    make.refuse(contributor, refuses=["sea", "air"], relates_to=[{"seq": first, "relation": "clarifies"}])
    make.correct(contributor, first, stated_on="../2025-03-27?", quote="Tak.", speaker="D. T.")
    make.retract(contributor, 2)
    chains: dict[int, int] = {}
    digest, digests = "0" * 64, []
    for change in feed(contributor)["items"]:
        chains[change["seq"]] = chains.get(change["replaces"], change["seq"])
        document = published(contributor, change, chains[change["seq"]])
        text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256((digest + text).encode()).hexdigest()
        digests.append(digest)

    assert digests == [change["digest"] for change in feed(contributor)["items"]]
    assert feed(contributor)["meta"]["digest"] == digests[-1]
    assert feed(contributor, seq=2)["meta"]["digest"] == digests[1]
    assert feed(contributor, seq=0)["meta"]["digest"] == "0" * 64


def published(client: TestClient, change: Change, chain: int) -> dict[str, Any]:
    """Return what the digest of an entry covers, put together from what clients can read."""
    names = ("seq", "action", "recorded_at", "recorded_by", "reason", "replaces")
    document = {name: change[name] for name in names} | {"chain": chain, "statement": None}
    if change["statement"] is not None:
        statement = dict(change["statement"])
        source = client.get(f"/v1/sources/{statement['source']['id']}").json()
        country, quantity = statement.pop("country"), statement.pop("quantity") or {}
        del statement["seq"]
        document["statement"] = statement | {
            "country_code": country,
            "relates_to": sorted([each["seq"], each["relation"]] for each in statement["relates_to"]),
            "source": {name: source[name] for name in OF_A_SOURCE},
            **{f"quantity_{name}": quantity.get(name) for name in ("min", "max", "unit", "verbatim")},
        }
    return document
