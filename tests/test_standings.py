"""What a line answers later is right though only the days that can differ are heard again."""

from typing import Any

from starlette.testclient import TestClient

from tests import make

CERTAIN = {"firmness": "committed", "stated_on": "2025-04-10"}
"""From this day on the line is as it would be whatever was said before."""


def held(client: TestClient, day: str) -> dict[str, Any]:
    position: dict[str, Any] = client.get(f"/v1/positions/PL/troops?as_of={day}").json()["position"]
    return position


def test_a_vague_date_may_reach_back_to_what_is_stated_late(contributor: TestClient) -> None:
    make.state(contributor, firmness="planned", stated_on="2025-03-01")
    make.state(contributor, **CERTAIN)
    make.state(contributor, firmness="deployed", stated_on="2025-03-05/2025-04-20")
    assert [side["firmness"] for side in held(contributor, "2025-05-01")["sides"]] == ["committed"]

    late = make.state(contributor, firmness="signalled", stated_on="2025-03-10")

    sides = [side["seq"] for side in held(contributor, "2025-05-01")["sides"]]
    assert sides == [late, 2]


def test_a_statement_that_is_moved_counts_on_its_new_day(curator: TestClient) -> None:
    make.state(curator, firmness="planned", stated_on="2025-03-01")
    moved = make.state(curator, firmness="signalled", stated_on="2025-03-10")
    make.state(curator, **CERTAIN)

    make.correct(curator, moved, stated_on="2025-05-10")

    found = [held(curator, day)["firmness"] for day in ("2025-03-15", "2025-04-15", "2025-05-15")]
    assert found == ["planned", "committed", "signalled"]


def test_a_repeat_counts_by_itself_once_what_it_repeats_is_gone(curator: TestClient) -> None:
    repeated = make.state(curator, firmness="planned", stated_on="2025-03-01")
    make.state(curator, **CERTAIN)
    repeats = [{"seq": repeated, "relation": "repeats"}]
    make.state(curator, firmness="planned", stated_on="2025-05-01", relates_to=repeats)
    before = held(curator, "2025-05-15")["firmness"]

    make.retract(curator, repeated)

    assert (before, held(curator, "2025-05-15")["firmness"]) == ("committed", "planned")


def test_reports_are_counted_on_all_later_days(contributor: TestClient) -> None:
    make.state(contributor, firmness="planned", stated_on="2025-03-01")
    make.state(contributor, **CERTAIN)
    make.state(contributor, firmness="deployed", stated_on="2025-04-20")

    make.state(contributor, authority="media", stated_on="2025-03-10")

    assert held(contributor, "2025-05-01")["reports"] == 1
