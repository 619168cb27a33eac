from typing import Any

import pytest
from starlette.testclient import TestClient

from tests import make
from tests.make import Asked


def summary(client: TestClient, **asked: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/v1/summary", params=asked).json()
    return found


def timeline(client: TestClient, **asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/timeline", params=asked).json()["items"]
    return found


@pytest.fixture
def record(contributor: TestClient) -> TestClient:
    """Poland plans troops under a condition on 10 March 2025, commits them on 12 April; Spain refuses."""
    make.state(contributor, stated_on="2025-03-10", conditions=[{"type": "ceasefire"}])
    make.state(contributor, firmness="committed", stated_on="2025-04-12")
    make.refuse(contributor, country="ES", stated_on="2025-03-20")
    make.state(contributor, country="IT", kind="air", stated_on="2025-03-20", authority="media")
    return contributor


def test_counts_are_per_component_kind_and_firmness(record: TestClient) -> None:
    found = summary(record, as_of="2025-03-31")["items"]

    assert [(each["kind"], each["firmness"], each["count"], each["conditional"]) for each in found] == [
        ("refusal", "declared", 1, 0),
        ("troops", "planned", 1, 1),
    ]


def test_none_recorded_counts_tracked_countries_without_a_position(record: TestClient) -> None:
    meta = summary(record, as_of="2025-03-31")["meta"]

    assert meta["none_recorded"]["troops"] == 1
    assert meta["none_recorded"]["air"] == 3


def test_a_country_filter_narrows_the_tracked_countries_too(record: TestClient) -> None:
    meta = summary(record, as_of="2025-03-31", country="PL")["meta"]

    assert meta["none_recorded"]["troops"] == 0
    assert meta["none_recorded"]["sea"] == 1


def test_a_stale_position_is_counted_as_stale(record: TestClient) -> None:
    found = summary(record, as_of="2026-01-01", kind="troops")["items"]

    assert [(each["count"], each["stale"]) for each in found] == [(1, 1)]


def test_a_summary_of_nothing_is_empty(anyone: TestClient) -> None:
    found = summary(anyone)

    assert found["items"] == []
    assert set(found["meta"]["none_recorded"].values()) == {0}


def test_a_timeline_has_a_point_for_each_month_that_it_touches(record: TestClient) -> None:
    found = timeline(record, **{"from": "2025-02-10", "to": "2025-04-15", "kind": "troops"})

    assert [point["on"] for point in found] == ["2025-02-28", "2025-03-31", "2025-04-15"]
    assert [[count["firmness"] for count in point["counts"]] for point in found] == [
        [],
        ["planned"],
        ["committed"],
    ]


def test_a_week_is_counted_on_its_sunday(record: TestClient) -> None:
    found = timeline(record, **{"from": "2025-03-08", "to": "2025-03-17", "interval": "week"})

    assert [point["on"] for point in found] == ["2025-03-09", "2025-03-16", "2025-03-17"]


@pytest.mark.parametrize(
    "asked", [{}, {"stale": "true"}, {"stale": "false"}, {"country": "PL"}, {"kind": "refusal"}]
)
def test_every_point_of_a_timeline_is_the_summary_of_its_day(
    record: TestClient, asked: dict[str, str]
) -> None:
    span = {"from": "2025-03-01", "to": "2025-11-20", "interval": "week"}

    for point in timeline(record, **span, **asked):
        assert point["counts"] == summary(record, as_of=point["on"], **asked)["items"]


def test_a_timeline_begins_with_the_first_statement_by_default(record: TestClient) -> None:
    found = timeline(record, to="2025-03-12", interval="day")

    assert [point["on"] for point in found] == ["2025-03-10", "2025-03-11", "2025-03-12"]


def test_a_timeline_takes_one_reading_however_long_it_is(record: TestClient, asked: Asked) -> None:
    counts = []
    for last in ("2025-03-12", "2029-03-12"):
        asked.clear()
        timeline(record, **{"from": "2025-03-10", "to": last, "interval": "day"})
        counts.append(len(asked))

    assert counts[0] == counts[1]


def test_too_many_intervals_are_refused(anyone: TestClient) -> None:
    answer = anyone.get("/v1/timeline", params={"from": "1990-01-01", "to": "2025-01-01", "interval": "day"})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "interval"


def test_as_csv_a_timeline_has_a_row_for_each_day_and_count(record: TestClient) -> None:
    asked = {"from": "2025-03-31", "to": "2025-03-31", "format": "csv"}

    text = record.get("/v1/timeline", params=asked).text

    assert text.split("\r\n")[:2] == [
        "on,component,kind,firmness,count,conditional,contested,stale",
        "2025-03-31,troops,refusal,declared,1,0,0,0",
    ]
