from typing import Any

import pytest
from starlette.testclient import TestClient

from tests import make
from tests.conftest import Clock

Entry = dict[str, Any]


def answer(client: TestClient, **asked: Any) -> dict[str, Any]:
    asked = {("from" if name == "since" else name): value for name, value in asked.items()}
    response = client.get("/v1/diff", params=asked)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def days(client: TestClient, since: str, to: str, **asked: Any) -> list[Entry]:
    entries: list[Entry] = answer(client, since=since, to=to, **asked)["items"]
    return entries


def seqs(client: TestClient, since: int | str, to: int | str, **asked: Any) -> list[Entry]:
    entries: list[Entry] = answer(client, since=since, to=to, axis="recorded", **asked)["items"]
    return entries


def told(entries: list[Entry]) -> list[tuple[str, ...]]:
    return [
        (each["op"], each["country"], each["component"], each["cause"], *map(str, each["seqs"]))
        for each in entries
    ]


def faults(client: TestClient, **asked: Any) -> list[tuple[str, str]]:
    asked = {("from" if name == "since" else name): value for name, value in asked.items()}
    response = client.get("/v1/diff", params=asked)
    assert response.status_code == 422, response.text
    return [(each["parameter"], each["code"]) for each in response.json()["errors"]]


def followed(client: TestClient, page: dict[str, Any]) -> list[Entry]:
    items: list[Entry] = page["items"]
    while page["next"]:
        page = client.get(page["next"]).json()
        items += page["items"]
    return items


@pytest.fixture
def spring(contributor: TestClient) -> TestClient:
    """Poland wavers and Italy withdraws: offers on 1 March, a refusal on the 2nd, more on the 3rd."""
    bodies = [
        make.body(stated_on="2025-03-01"),
        make.body(stated_on="2025-03-01", country="IT", kind="sea"),
        make.refusal(stated_on="2025-03-02", refuses=["troops", "air"]),
        make.body(stated_on="2025-03-03", firmness="committed"),
        make.body(stated_on="2025-03-03", country="IT", kind="sea", firmness="withdrawn"),
        make.body(stated_on="2025-03-04", firmness="committed", speaker="Another"),
    ]
    assert contributor.post("/v1/positions/bulk", json=bodies).json()["count"] == len(bodies)
    return contributor


@pytest.fixture
def mended(contributor: TestClient) -> TestClient:
    """Stated, corrected, withdrawn; the withdrawal and the correction retracted."""
    make.state(contributor)
    make.correct(contributor, 1, firmness="committed")
    make.state(contributor, stated_on="2025-03-28", firmness="withdrawn")
    make.retract(contributor, 3)
    make.retract(contributor, 2)
    return contributor


def test_a_net_diff_of_days_tells_what_differs_in_the_end(spring: TestClient) -> None:
    entries = days(spring, "2025-03-01", "2025-03-04")

    assert told(entries) == [
        ("removed", "IT", "sea", "withdrawn", "5"),
        ("added", "PL", "air", "stated", "3"),
        ("changed", "PL", "troops", "stated", "3", "4"),
    ]
    assert entries[2]["fields"] == {"firmness": ["planned", "committed"]}
    assert (entries[2]["before"]["seq"], entries[2]["after"]["seq"]) == (1, 4)
    assert [(each["on"], each["seq"]) for each in entries] == [(None, None)] * 3


def test_both_days_are_inclusive(spring: TestClient) -> None:
    assert told(days(spring, "2025-02-28", "2025-03-01")) == [
        ("added", "IT", "sea", "stated", "2"),
        ("added", "PL", "troops", "stated", "1"),
    ]
    assert told(days(spring, "2025-03-01", "2025-03-02"))[1] == ("changed", "PL", "troops", "stated", "3")


def test_there_and_back_is_no_difference(contributor: TestClient) -> None:
    make.state(contributor, stated_on="2025-03-01")
    make.refuse(contributor, stated_on="2025-03-02")
    make.state(contributor, stated_on="2025-03-03")

    assert days(contributor, "2025-03-01", "2025-03-03") == []
    assert len(days(contributor, "2025-03-01", "2025-03-03", mode="events")) == 2


def test_what_is_only_said_otherwise_is_no_difference(contributor: TestClient) -> None:
    make.state(contributor, stated_on="2025-03-01", summary="One summary.", speaker="One")
    make.state(contributor, stated_on="2025-03-02", summary="Another summary.", speaker="Another")
    make.state(contributor, stated_on="2025-03-03", authority="media", firmness="committed")

    assert days(contributor, "2025-03-01", "2025-03-03") == []


def test_every_compared_field_makes_a_difference(contributor: TestClient) -> None:
    others: dict[str, dict[str, Any]] = {
        "firmness": {"firmness": "committed"},
        "conditions": {"conditions": [{"type": "ceasefire"}]},
        "caveats": {"caveats": [{"type": "non_combat"}]},
        "location": {"location": "ukraine"},
        "quantity": {"quantity": {"min": 5}},
    }
    found = {}
    for number, (field, change) in enumerate(others.items()):
        country = ("FR", "GB", "IT", "LT", "PL")[number]
        make.state(contributor, country=country, stated_on="2025-03-01")
        make.state(contributor, country=country, stated_on="2025-03-02", **change)
        (entry,) = days(contributor, "2025-03-01", "2025-03-02", country=country)
        found[field] = list(entry["fields"])

    assert found == {field: [field] for field in others}


def test_that_a_position_becomes_contested_is_a_difference(contributor: TestClient) -> None:
    make.state(contributor, stated_on="2025-03-01")
    make.refuse(contributor, stated_on="2025-03-02", authority="head_of_state")
    (entry,) = days(contributor, "2025-03-01", "2025-03-02")

    assert entry["fields"] == {"contested": [False, True]}


def test_that_the_government_speaks_in_place_of_the_president_is_a_difference(
    contributor: TestClient,
) -> None:
    make.state(contributor, stated_on="2025-03-01", authority="head_of_state")
    make.state(contributor, stated_on="2025-03-02")
    (entry,) = days(contributor, "2025-03-01", "2025-03-02")

    assert entry["fields"] == {"voice": ["head_of_state", "government"]}


def test_events_of_days_tell_each_step_and_affirmation(spring: TestClient) -> None:
    entries = days(spring, "2025-03-01", "2025-03-04", mode="events", country="PL")

    assert [(each["on"], each["op"], each["component"], each["seqs"]) for each in entries] == [
        ("2025-03-02", "added", "air", [3]),
        ("2025-03-02", "changed", "troops", [3]),
        ("2025-03-03", "changed", "troops", [4]),
        ("2025-03-04", "affirmed", "troops", [6]),
    ]
    assert entries[1]["fields"] == {"kind": ["troops", "refusal"], "firmness": ["planned", "declared"]}
    assert entries[3]["fields"] == {}
    assert {each["seq"] for each in entries} == {None}


def test_a_diff_of_days_is_made_at_one_state_of_knowledge(spring: TestClient) -> None:
    assert told(days(spring, "2025-03-01", "2025-03-04", seq=3)) == [
        ("added", "PL", "air", "stated", "3"),
        ("changed", "PL", "troops", "stated", "3"),
    ]


def test_a_reversed_diff_of_days_is_the_forward_one_swapped(spring: TestClient) -> None:
    forward, back = (
        days(spring, "2025-03-01", "2025-03-04"),
        days(spring, "2025-03-04", "2025-03-01"),
    )

    assert [each["op"] for each in back] == ["added", "removed", "changed"]
    assert [(each["before"], each["after"]) for each in back] == [
        (each["after"], each["before"]) for each in forward
    ]
    assert back[2]["fields"] == {"firmness": ["committed", "planned"]}
    assert [(each["cause"], each["seqs"]) for each in back] == [
        (each["cause"], each["seqs"]) for each in forward
    ]


def test_a_diff_of_a_state_with_itself_is_empty(spring: TestClient) -> None:
    assert days(spring, "2025-03-02", "2025-03-02") == []
    assert seqs(spring, 3, 3) == []
    assert days(spring, "2025-03-02", "2025-03-02", mode="events") == []


def test_events_of_entries_tell_a_change_of_mind_from_a_change_of_record(mended: TestClient) -> None:
    entries = seqs(mended, 0, 5, mode="events")

    assert [(each["seq"], each["op"], each["cause"], each["seqs"]) for each in entries] == [
        (1, "added", "stated", [1]),
        (2, "changed", "corrected", [2]),
        (3, "removed", "withdrawn", [3]),
        (4, "added", "retracted", [4]),
        (5, "removed", "retracted", [5]),
    ]
    assert {each["on"] for each in entries} == {None}


def test_a_net_diff_of_entries_has_the_cause_of_its_last_step_and_the_seqs_of_all(mended: TestClient) -> None:
    assert told(seqs(mended, 1, 4)) == [("changed", "PL", "troops", "retracted", "2", "3", "4")]
    assert seqs(mended, 0, 5) == []


def test_a_diff_of_entries_is_of_one_day(mended: TestClient) -> None:
    assert told(seqs(mended, 1, 3, as_of="2025-03-27")) == [("changed", "PL", "troops", "corrected", "2")]
    assert seqs(mended, 1, 3, as_of="2025-03-26") == []


def test_a_reversed_diff_of_entries_is_the_forward_one_swapped(mended: TestClient) -> None:
    (forward,), (back,) = seqs(mended, 1, 2), seqs(mended, 2, 1)

    assert (back["before"], back["after"]) == (forward["after"], forward["before"])
    assert back["fields"] == {"firmness": ["committed", "planned"]}
    assert (back["op"], back["cause"], back["seqs"]) == ("changed", "corrected", [2])


def test_an_affirmation_is_an_event_of_its_entry(contributor: TestClient) -> None:
    make.state(contributor)
    make.state(contributor, stated_on="2025-03-28")
    (entry,) = seqs(contributor, 1, 2, mode="events")

    assert (entry["op"], entry["cause"], entry["seq"], entry["fields"]) == ("affirmed", "stated", 2, {})
    assert seqs(contributor, 1, 2) == []


def test_a_correction_may_move_a_position_to_another_country(contributor: TestClient) -> None:
    make.state(contributor)
    make.correct(contributor, 1, country="LT")

    assert told(seqs(contributor, 1, 2)) == [
        ("added", "LT", "troops", "corrected", "2"),
        ("removed", "PL", "troops", "corrected", "2"),
    ]
    assert told(seqs(contributor, 1, 2, country="LT")) == [("added", "LT", "troops", "corrected", "2")]


def test_states_of_knowledge_may_be_named_by_instants(contributor: TestClient, clock: Clock) -> None:
    clock.set("2025-05-01")
    make.state(contributor)
    clock.set("2025-05-03")
    make.correct(contributor, 1, firmness="committed")
    clock.set("2025-05-04")
    found = answer(contributor, since="2025-05-02T00:00:00Z", to="2025-05-04T12:00:00Z", axis="recorded")

    assert told(found["items"]) == [("changed", "PL", "troops", "corrected", "2")]
    assert (found["meta"]["from"], found["meta"]["to"], found["meta"]["seq"]) == (1, 2, 2)


def test_filters_keep_what_passes_before_or_after_and_change_no_op(spring: TestClient) -> None:
    found = {
        name: told(days(spring, "2025-03-01", "2025-03-02", **asked))
        for name, asked in {
            "kind before": {"kind": "troops"},
            "kind after": {"kind": "refusal", "component": "troops"},
            "firmness": {"firmness": "planned", "country": "PL"},
            "min_firmness of offers": {"min_firmness": "considering", "country": "PL"},
            "min_firmness of refusals": {"min_firmness": "binding"},
            "group": {"group": "eu", "country": "IT"},
        }.items()
    }
    changed = ("changed", "PL", "troops", "stated", "3")

    assert found == {
        "kind before": [changed],
        "kind after": [changed],
        "firmness": [changed],
        "min_firmness of offers": [changed],
        "min_firmness of refusals": [],
        "group": [],
    }


def test_a_diff_says_between_what_it_was_made_and_counts_its_entries(spring: TestClient) -> None:
    meta = answer(spring, since="2025-03-01", to="2025-03-04", mode="events", limit=1)["meta"]

    assert (meta["axis"], meta["mode"], meta["from"], meta["to"]) == (
        *("valid", "events", "2025-03-01", "2025-03-04"),
    )
    assert meta["counts"] == {"added": 1, "removed": 1, "changed": 2, "affirmed": 1}
    assert (meta["total"], meta["seq"], meta["as_of"]) == (5, 6, None)


def test_pages_give_every_difference_once_though_the_record_grows(spring: TestClient) -> None:
    questions: list[dict[str, str]] = [
        {"from": "2025-03-01", "to": "2025-03-04", "mode": "events"},
        {"from": "0", "to": "6", "axis": "recorded", "mode": "events"},
        {"from": "0", "to": "6", "axis": "recorded"},
    ]
    whole = [spring.get("/v1/diff", params=asked).json()["items"] for asked in questions]
    pages = [spring.get("/v1/diff", params=asked | {"limit": "1"}).json() for asked in questions]
    make.state(spring, country="AT", stated_on="2025-03-02")
    found = [followed(spring, page) for page in pages]

    assert [len(each) for each in whole] == [5, 7, 2]
    assert found == whole


def test_an_axis_refuses_what_belongs_to_the_other(spring: TestClient) -> None:
    along_days = {"since": "2025-03-01", "to": "2025-03-02"}
    along_entries = {"since": "1", "to": "2", "axis": "recorded"}
    instant = "2025-03-01T00:00:00Z"

    assert faults(spring, **along_days, as_of="2025-03-01") == [("as_of", "not_on_this_axis")]
    assert faults(spring, **along_entries, seq="1") == [("seq", "not_on_this_axis")]
    assert faults(spring, **along_entries, known_at=instant) == [("known_at", "not_on_this_axis")]
    assert faults(spring, since="1", to="2025-03-02") == [("from", "not_a_date")]
    assert faults(spring, since="2025-03-01", to="2025-02-30") == [("to", "impossible_date")]
    assert faults(spring, since="1", to="2025-03-02", axis="recorded") == [("to", "not_a_moment")]
    assert faults(spring, since="7", to="1", axis="recorded") == [("from", "beyond_head")]
    assert faults(spring, since="1", to="2999-01-01T00:00:00Z", axis="recorded") == [("to", "in_the_future")]


def test_events_run_forward_only(spring: TestClient) -> None:
    assert faults(spring, since="2025-03-02", to="2025-03-01", mode="events") == [("from", "reversed")]
    assert faults(spring, since="2", to="1", axis="recorded", mode="events") == [("from", "reversed")]


def test_both_ends_are_required(anyone: TestClient) -> None:
    assert faults(anyone) == [("from", "missing"), ("to", "missing")]


def test_a_repeat_of_a_refusal_of_two_components_affirms_both(contributor: TestClient) -> None:
    first = make.refuse(contributor, refuses=["troops", "air"], stated_on="2025-03-01")
    relation = [{"seq": first, "relation": "repeats"}]
    make.refuse(
        contributor, refuses=["troops", "air"], stated_on="2025-03-10", speaker="A", relates_to=relation
    )

    assert told(days(contributor, "2025-03-05", "2025-03-20", mode="events")) == [
        ("affirmed", "PL", "air", "stated", "2"),
        ("affirmed", "PL", "troops", "stated", "2"),
    ]
