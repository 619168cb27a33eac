"""The reference model, checked against small examples worked out by hand."""

from datetime import date
from typing import Any

import pytest

from tests.model import Model, Position, Statement, bounds

LONG_AFTER = date(2026, 1, 1)
"""A recording day later than all that the examples state."""


def day(text: str) -> date:
    return date.fromisoformat(text)


def offer(stated_on: str, component: str = "troops", **rest: Any) -> Statement:
    kind = component if component in ("troops", "air", "sea") else "support"
    return statement(stated_on, kind=kind, component=component, **rest)


def refusal(stated_on: str, *refuses: str, **rest: Any) -> Statement:
    fields = {"kind": "refusal", "refuses": list(refuses) or ["troops"], "firmness": "declared"}
    return statement(stated_on, **(fields | rest))


def statement(stated_on: str, **rest: Any) -> Statement:
    return {
        "country": "PL",
        "kind": "troops",
        "refuses": None,
        "component": None,
        "firmness": "committed",
        "stated_on": stated_on,
        "voice": "government",
        "conditions": [],
        "caveats": [],
        "location": None,
        "quantity": None,
        "relates_to": [],
    } | rest


def repeats(*seqs: int) -> list[dict[str, Any]]:
    return [{"seq": seq, "relation": "repeats"} for seq in seqs]


def clarifies(*seqs: int) -> list[dict[str, Any]]:
    return [{"seq": seq, "relation": "clarifies"} for seq in seqs]


def record(*statements: Statement) -> Model:
    model = Model()
    for each in statements:
        model.state(each, LONG_AFTER)
    return model


def at(model: Model, as_of: str, seq: int | None = None) -> list[Position]:
    return model.positions(day(as_of), len(model.entries) if seq is None else seq)


def held(model: Model, as_of: str, seq: int | None = None) -> list[tuple[str, str, str]]:
    return [
        (position["component"], position["kind"], position["firmness"]) for position in at(model, as_of, seq)
    ]


@pytest.mark.parametrize(
    ("stated_on", "earliest", "latest"),
    [
        ("2025-03-27", "2025-03-27", "2025-03-27"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2025~", "2025-01-01", "2025-12-31"),
        ("2025-03-24/2025-03-27?", "2025-03-24", "2025-03-27"),
        ("2025-03%/2025", "2025-03-01", "2025-12-31"),
        ("../2025-03", None, "2025-03-31"),
    ],
)
def test_a_date_has_the_bounds_that_it_was_written_with(
    stated_on: str, earliest: str | None, latest: str
) -> None:
    assert bounds(stated_on) == (earliest and day(earliest), day(latest))


def test_no_troops_but_minehunters_is_two_positions_and_no_contradiction() -> None:
    model = record(refusal("2025-03-10", "troops", "air"), offer("2025-03-10", "sea"))

    assert held(model, "2025-03-10") == [
        ("air", "refusal", "declared"),
        ("sea", "sea", "committed"),
        ("troops", "refusal", "declared"),
    ]
    assert not any(position["contested"] for position in at(model, "2025-03-10"))
    assert at(model, "2025-03-09") == []


def test_a_position_shows_all_that_the_statement_said() -> None:
    conditions = [
        {"type": "us_backstop", "text": "any text"},
        {"type": "other", "text": "b"},
        {"type": "other", "text": "a"},
        {"type": "us_backstop", "text": None},
    ]
    quantity = {"min": 10, "max": None, "unit": "people", "verbatim": "a dozen"}
    model = record(offer("2025-03", "training", conditions=conditions, quantity=quantity))

    assert at(model, "2025-04-01") == [
        {
            "country": "PL",
            "component": "training",
            "kind": "support",
            "firmness": "committed",
            "voice": "government",
            "conditions": [("other", "a"), ("other", "b"), ("us_backstop", None)],
            "caveats": [],
            "location": None,
            "quantity": (10, None, "people"),
            "since": "2025-03-31",
            "last_affirmed_on": "2025-03-31",
            "affirmations": 0,
            "contested": False,
            "sides": [],
            "reports": 0,
            "seq": 1,
            "certainty": "certain",
            "effective_on": "2025-03-31",
        }
    ]


def test_nothing_older_revives_when_an_offer_is_withdrawn() -> None:
    model = record(
        offer("2025-03-01", firmness="considering"),
        refusal("2025-03-02"),
        offer("2025-03-03", firmness="planned"),
        offer("2025-03-04", firmness="withdrawn"),
    )

    assert held(model, "2025-03-03") == [("troops", "troops", "planned")]
    assert held(model, "2025-03-04") == []


def test_withdrawing_a_refusal_leaves_an_offer_alone() -> None:
    model = record(
        refusal("2025-03-01", "troops", "air"),
        offer("2025-03-02", firmness="planned"),
        refusal("2025-03-03", "troops", "air", firmness="withdrawn"),
    )

    assert held(model, "2025-03-02") == [
        ("air", "refusal", "declared"),
        ("troops", "troops", "planned"),
    ]
    assert held(model, "2025-03-03") == [("troops", "troops", "planned")]


def test_a_withdrawal_sorts_last_on_its_day() -> None:
    model = record(offer("2025-03-01", firmness="withdrawn"), offer("2025-03-01"))

    assert held(model, "2025-03-01") == []


def test_the_head_of_state_counts_only_until_the_government_speaks() -> None:
    model = record(
        refusal("2025-03-01", voice="head_of_state"),
        offer("2025-03-05"),
        offer("2025-03-09", firmness="withdrawn"),
    )
    (position,) = at(model, "2025-03-05")

    assert [each["voice"] for each in at(model, "2025-03-04")] == ["head_of_state"]
    assert (position["voice"], position["seq"], position["sides"]) == ("government", 2, [1])
    assert position["contested"]
    assert at(model, "2025-03-09") == []


def test_six_affirmations_do_not_move_the_beginning() -> None:
    said = refusal("2025-03-31", caveats=[{"type": "other", "text": "x"}])
    later = [f"2025-0{month}-10" for month in range(4, 10)]
    model = record(said, *[said | {"stated_on": stated_on} for stated_on in later])
    (position,) = at(model, "2025-12-31")

    assert (position["since"], position["seq"]) == ("2025-03-31", 1)
    assert (position["affirmations"], position["last_affirmed_on"]) == (6, "2025-09-10")
    assert not position["contested"]


def test_only_a_marked_repeat_affirms_in_the_component_other() -> None:
    model = record(
        offer("2025-03-01", "other"),
        offer("2025-03-02", "other"),
        offer("2025-03-03", "other", relates_to=repeats(1)),
    )
    (position,) = at(model, "2025-03-03")

    assert (position["seq"], position["affirmations"]) == (2, 1)
    assert (position["since"], position["last_affirmed_on"]) == ("2025-03-02", "2025-03-03")


def test_a_month_counts_from_its_last_day_and_contests_a_day_inside_it() -> None:
    model = record(offer("2025-03", firmness="planned"), offer("2025-03-20"))

    assert held(model, "2025-03-19") == []
    assert held(model, "2025-03-30") == [("troops", "troops", "committed")]
    assert not at(model, "2025-03-30")[0]["contested"]
    assert held(model, "2025-03-31") == [("troops", "troops", "planned")]
    assert at(model, "2025-03-31")[0]["sides"] == [2]


def test_a_month_counts_from_its_recording_when_that_is_earlier() -> None:
    model = Model()
    model.state(offer("2025-03"), day("2025-03-15"))

    assert [position["since"] for position in at(model, "2025-03-20")] == ["2025-03-15"]


def test_a_contradiction_on_one_day_is_contested_unless_clarified() -> None:
    refused = refusal("2025-03-10", "troops", "air")
    offered = offer("2025-03-10", firmness="considering")
    model = record(refused, offered)
    clarified = record(refused, offered | {"relates_to": clarifies(1)})
    clarified.correct(1, {"firmness": "leaning"}, LONG_AFTER)

    assert [(each["seq"], each["sides"]) for each in at(model, "2025-03-10")] == [(1, []), (2, [1])]
    assert [each["seq"] for each in at(clarified, "2025-03-10")] == [3, 2]
    assert not any(each["contested"] for each in at(clarified, "2025-03-10"))


def test_what_is_clarified_by_an_earlier_day_is_not_contested_either() -> None:
    model = record(offer("2025-03"))
    model.correct(1, {"firmness": "planned"}, LONG_AFTER)
    model.state(refusal("2025-03-10", relates_to=clarifies(2)), LONG_AFTER)
    model.correct(2, {"firmness": "signalled"}, LONG_AFTER)

    assert [(each["seq"], each["sides"]) for each in at(model, "2025-03-31")] == [(4, [])]


def test_withdrawals_and_repeats_of_the_same_day_contest_nothing() -> None:
    model = record(
        offer("2025-03-10"),
        offer("2025-03-10", firmness="signalled", relates_to=repeats(1)),
        refusal("2025-03-10", firmness="withdrawn"),
    )

    assert [(each["seq"], each["sides"]) for each in at(model, "2025-03-10")] == [(1, [])]


def test_two_offers_of_one_firmness_do_not_contradict_each_other() -> None:
    model = record(offer("2025-03-10"), offer("2025-03-10", location="ukraine"))
    (position,) = at(model, "2025-03-10")

    assert (position["seq"], position["contested"]) == (2, False)


def test_a_repeat_affirms_what_the_correction_of_its_target_says() -> None:
    model = record(offer("2025-03-01"), offer("2025-03-02", relates_to=repeats(1)))
    model.correct(1, {"firmness": "planned"}, LONG_AFTER)
    (position,) = at(model, "2025-03-02")

    assert (position["seq"], position["firmness"], position["affirmations"]) == (3, "planned", 1)
    assert at(model, "2025-03-02", seq=2)[0]["affirmations"] == 1
    assert held(model, "2025-03-02", seq=2) == [("troops", "troops", "committed")]


def test_a_repeat_is_history_only_where_its_target_is_not_in_force() -> None:
    model = record(
        offer("2025-03-01"),
        refusal("2025-03-05"),
        offer("2025-03-06", conditions=[{"type": "ceasefire", "text": None}], relates_to=repeats(1)),
    )
    (position,) = at(model, "2025-03-06")

    assert (position["seq"], position["affirmations"], position["contested"]) == (2, 0, False)


def test_a_repeat_of_a_repeat_affirms_the_first_of_them() -> None:
    model = record(
        offer("2025-03-01"),
        offer("2025-03-01", firmness="planned", relates_to=repeats(1)),
        offer("2025-03-01", firmness="signalled", relates_to=repeats(2)),
    )

    assert [(each["seq"], each["affirmations"]) for each in at(model, "2025-03-01")] == [(1, 2)]


def test_a_repeat_whose_target_was_retracted_is_an_ordinary_statement() -> None:
    model = record(offer("2025-03-01"), offer("2025-03-02", location="home", relates_to=repeats(1)))
    model.retract(1, LONG_AFTER)

    assert [(each["seq"], each["since"]) for each in at(model, "2025-03-02")] == [(2, "2025-03-02")]
    assert at(model, "2025-03-01") == []
    assert at(model, "2025-03-02", seq=2)[0]["affirmations"] == 1


def test_repeats_that_run_in_a_circle_are_refused() -> None:
    model = record(offer("2025-03-01"), offer("2025-03-01", relates_to=repeats(1)))

    with pytest.raises(ValueError, match="circle"):
        model.correct(1, {"relates_to": repeats(2)}, LONG_AFTER)
    assert model.live_seqs(2) == [1, 2]
    assert len(model.entries) == 2


def test_back_dating_changes_later_answers_but_not_what_was_known() -> None:
    model = record(offer("2025-03-10"), refusal("2025-03-05"))

    assert held(model, "2025-03-07") == [("troops", "refusal", "declared")]
    assert held(model, "2025-03-07", seq=1) == []
    assert held(model, "2025-03-10") == [("troops", "troops", "committed")]
    assert held(model, "2025-03-10", seq=0) == []


def test_a_correction_keeps_its_day_and_its_place_unless_the_date_changes() -> None:
    model = Model()
    model.state(offer("2025-03"), day("2025-03-15"))
    model.state(refusal("2025-03-15"), day("2025-03-15"))
    model.correct(1, {"firmness": "planned"}, day("2025-05-01"))
    model.correct(3, {"stated_on": "2025-03~"}, day("2025-05-02"))

    assert [each["seq"] for each in at(model, "2025-04-01", seq=3)] == [2]
    assert at(model, "2025-04-01", seq=3)[0]["sides"] == [3]
    assert [(each["seq"], each["since"]) for each in at(model, "2025-04-01")] == [(4, "2025-03-31")]
    assert at(model, "2025-03-30")[0]["seq"] == 2


def test_retracting_a_correction_does_not_bring_back_what_it_corrected() -> None:
    model = record(offer("2025-03-01"))
    model.correct(1, {"firmness": "planned"}, LONG_AFTER)
    model.retract(2, LONG_AFTER)

    assert [model.live_seqs(seq) for seq in range(4)] == [[], [1], [2], []]
    assert held(model, "2025-03-01", seq=2) == [("troops", "troops", "planned")]
    assert held(model, "2025-03-01") == []
    with pytest.raises(ValueError, match="not live"):
        model.correct(1, {}, LONG_AFTER)


def test_a_correction_of_the_country_moves_the_statement_to_another_line() -> None:
    model = record(offer("2025-03-01"))
    model.correct(1, {"country": "LT"}, LONG_AFTER)

    assert [each["country"] for each in at(model, "2025-03-01", seq=1)] == ["PL"]
    assert [each["country"] for each in at(model, "2025-03-01")] == ["LT"]


def test_reports_are_counted_and_never_set_a_position() -> None:
    model = record(
        offer("2025-03-03", voice="report"),
        offer("2025-03-02"),
        refusal("2025-03-01", voice="report"),
        offer("2025-03-09", voice="report"),
    )

    assert at(model, "2025-03-01") == []
    assert [(each["seq"], each["reports"]) for each in at(model, "2025-03-03")] == [(2, 2)]
    assert model.reports("PL", "troops", day("2025-03-03"), 4) == [3, 1]
    assert not at(model, "2025-03-03")[0]["contested"]


def test_what_may_have_been_said_by_the_day_stands_after_what_is_certain() -> None:
    model = record(
        offer("2025-03-01"),
        offer("2025-03", firmness="planned"),
        offer("2025-03", firmness="committed"),
        offer("../2025-03", firmness="signalled"),
        offer("2025-03-05/2025-03-20", "air"),
    )
    items = model.positions(day("2025-03-10"), 5, possible=True)

    assert [(each["component"], each["seq"], each["certainty"]) for each in items] == [
        ("air", 5, "possible"),
        ("troops", 1, "certain"),
        ("troops", 2, "possible"),
    ]
    assert (items[0]["since"], items[0]["effective_on"]) == (None, "2025-03-20")


def test_there_and_back_is_two_events_and_no_net_difference() -> None:
    model = record(offer("2025-03-01"), refusal("2025-03-02"), offer("2025-03-03"))
    first, last = day("2025-03-01"), day("2025-03-31")
    events = model.diff("valid", "events", first, last, seq=3)

    assert model.diff("valid", "net", first, last, seq=3) == []
    assert [(each["op"], each["on"], each["seqs"]) for each in events] == [
        ("changed", "2025-03-02", [2]),
        ("changed", "2025-03-03", [3]),
    ]
    assert events[0]["fields"] == {
        "kind": ("troops", "refusal"),
        "firmness": ("committed", "declared"),
    }
    assert model.diff("recorded", "net", 1, 3, as_of=last) == []
    assert len(model.diff("recorded", "events", 1, 3, as_of=last)) == 2


def test_the_recorded_axis_tells_a_change_of_mind_from_a_change_of_record() -> None:
    model = record(offer("2025-03-01"))
    model.correct(1, {"firmness": "planned"}, LONG_AFTER)
    model.state(offer("2025-03-05", firmness="withdrawn"), LONG_AFTER)
    model.retract(3, LONG_AFTER)
    model.retract(2, LONG_AFTER)
    events = model.diff("recorded", "events", 0, 5, as_of=day("2025-03-31"))

    assert [(each["op"], each["cause"], each["seq"], each["seqs"]) for each in events] == [
        ("added", "stated", 1, [1]),
        ("changed", "corrected", 2, [2]),
        ("removed", "withdrawn", 3, [3]),
        ("added", "retracted", 4, [4]),
        ("removed", "retracted", 5, [5]),
    ]
    assert model.diff("recorded", "net", 0, 5, as_of=day("2025-03-31")) == []
    (entry,) = model.diff("recorded", "net", 1, 4, as_of=day("2025-03-31"))
    assert (entry["op"], entry["cause"], entry["seqs"]) == ("changed", "retracted", [2, 3, 4])


def test_affirmations_are_events_and_never_in_the_net() -> None:
    model = record(offer("2025-03-01"), offer("2025-03-05"), offer("2025-03-05"))
    (by_day,) = model.diff("valid", "events", day("2025-03-01"), day("2025-03-31"), seq=3)
    by_entry = model.diff("recorded", "events", 1, 3, as_of=day("2025-03-31"))

    assert (by_day["op"], by_day["cause"], by_day["on"]) == ("affirmed", "stated", "2025-03-05")
    assert (by_day["seqs"], by_day["fields"]) == ([2, 3], {})
    assert [(each["op"], each["seq"]) for each in by_entry] == [("affirmed", 2), ("affirmed", 3)]
    assert model.diff("valid", "net", day("2025-03-01"), day("2025-03-31"), seq=3) == []


def test_a_correction_that_joins_two_runs_is_no_affirmation() -> None:
    model = record(offer("2025-03-01"), refusal("2025-03-02"), offer("2025-03-03"))
    model.correct(2, {"kind": "troops", "component": "troops", "firmness": "committed"}, LONG_AFTER)
    (position,) = at(model, "2025-03-03")

    assert (position["seq"], position["since"], position["affirmations"]) == (1, "2025-03-01", 2)
    assert model.diff("recorded", "events", 3, 4, as_of=day("2025-03-03")) == []


def test_a_step_names_the_statements_of_its_day_that_changed_the_answer() -> None:
    model = record(
        offer("2025-03-01"),
        offer("2025-03-05"),
        refusal("2025-03-05"),
        refusal("2025-03-05", voice="head_of_state"),
        refusal("2025-03-05", voice="report"),
    )
    (entry,) = model.diff("valid", "net", day("2025-03-04"), day("2025-03-05"), seq=5)

    assert entry["fields"] == {
        "kind": ("troops", "refusal"),
        "firmness": ("committed", "declared"),
        "contested": (False, True),
    }
    assert (entry["cause"], entry["seqs"]) == ("stated", [3])


def test_a_diff_run_backwards_is_the_inverse() -> None:
    model = record(
        offer("2025-03-01", "sea"),
        refusal("2025-03-02", "troops", "air"),
        offer("2025-03-03", firmness="planned"),
        offer("2025-03-04", "sea", firmness="withdrawn"),
    )
    first, last = day("2025-03-02"), day("2025-03-04")
    forward = model.diff("valid", "net", first, last, seq=4)
    backward = model.diff("valid", "net", last, first, seq=4)
    by_entry = model.diff("recorded", "net", 4, 1, as_of=last)

    assert [(each["component"], each["op"], each["cause"]) for each in forward] == [
        ("sea", "removed", "withdrawn"),
        ("troops", "changed", "stated"),
    ]
    assert [(each["component"], each["op"], each["cause"]) for each in backward] == [
        ("sea", "added", "withdrawn"),
        ("troops", "changed", "stated"),
    ]
    assert backward[1]["fields"] == {
        "kind": ("troops", "refusal"),
        "firmness": ("planned", "declared"),
    }
    assert [each["before"] for each in backward] == [each["after"] for each in forward]
    assert [each["after"] for each in backward] == [each["before"] for each in forward]
    assert [(each["component"], each["op"], each["seqs"]) for each in by_entry] == [
        ("air", "removed", [2]),
        ("sea", "added", [4]),
        ("troops", "removed", [2, 3]),
    ]
    assert model.diff("valid", "net", last, last, seq=4) == []
    with pytest.raises(ValueError, match="forward"):
        model.diff("valid", "events", last, first, seq=4)
