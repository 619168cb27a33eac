from typing import Any

from starlette.testclient import TestClient

from app.as_of import viewer
from app.db import Database
from app.vocabulary import Component
from tests import make
from tests.conftest import Clock

Answer = dict[str, Any]


def line(client: TestClient, component: str = "troops", country: str = "PL", **asked: Any) -> Answer:
    answer = client.get(f"/v1/positions/{country}/{component}", params=asked)
    assert answer.status_code == 200, answer.text
    found: Answer = answer.json()
    return found


def position(client: TestClient, component: str = "troops", country: str = "PL", **asked: Any) -> Answer:
    found: Answer = line(client, component, country, **asked)["position"]
    return found


def held(client: TestClient, as_of: str, **asked: Any) -> dict[str, str]:
    items = client.get("/v1/positions", params={"as_of": as_of, "country": "PL"} | asked).json()["items"]
    return {each["component"]: f"{each['kind']} {each['firmness']}" for each in items}


def shown(client: TestClient, as_of: str, **asked: Any) -> int | None:
    """Return which entry is shown as Poland's position on troops."""
    found: Answer | None = position(client, as_of=as_of, **asked)
    return None if found is None else int(found["seq"])


def sides(client: TestClient, as_of: str, **asked: Any) -> list[int]:
    """Return which entries contest Poland's position on troops."""
    found = position(client, as_of=as_of, **asked)
    assert found["contested"] is bool(found["sides"])
    return [side["seq"] for side in found["sides"]]


def repeats(entry: int) -> list[dict[str, Any]]:
    return [{"seq": entry, "relation": "repeats"}]


def test_no_troops_but_minehunters_is_two_positions_and_no_contradiction(contributor: TestClient) -> None:
    make.refuse(contributor)
    make.state(contributor, kind="sea")

    assert held(contributor, "2025-03-27") == {"sea": "sea planned", "troops": "refusal declared"}
    assert held(contributor, "2025-03-27", contested=True) == {}


def test_a_president_against_the_government_makes_the_position_contested(contributor: TestClient) -> None:
    president = make.refuse(contributor, authority="head_of_state", stated_on="2025-03-26")
    government = make.state(contributor)

    assert shown(contributor, "2025-03-26") == president
    assert position(contributor, as_of="2025-03-26")["voice"] == "head_of_state"
    assert shown(contributor, "2025-03-27") == government
    assert sides(contributor, "2025-03-27") == [president]


def test_a_president_of_the_same_mind_contests_nothing(contributor: TestClient) -> None:
    make.state(contributor)
    make.state(contributor, authority="head_of_state", firmness="committed")

    assert sides(contributor, "2025-03-27") == []


def test_a_president_is_not_heard_once_the_government_has_spoken_even_to_withdraw(
    contributor: TestClient,
) -> None:
    make.state(contributor, authority="head_of_state", stated_on="2025-03-26")
    make.refuse(contributor, firmness="withdrawn")

    assert shown(contributor, "2025-03-26") == 1
    assert shown(contributor, "2025-03-27") is None


def test_where_the_president_leads_the_executive_his_word_is_the_governments(contributor: TestClient) -> None:
    make.refuse(contributor, country="FR", authority="foreign_minister")
    make.state(contributor, country="FR", authority="head_of_state", stated_on="2025-03-28")
    found = position(contributor, country="FR")

    assert (found["voice"], found["kind"], found["contested"]) == ("government", "troops", False)


def test_a_minister_who_clarifies_two_days_later_contests_nothing(contributor: TestClient) -> None:
    first = make.state(contributor, firmness="committed", stated_on="2025-03")
    second = make.state(
        contributor,
        firmness="considering",
        authority="defence_minister",
        stated_on="2025-03-29",
        relates_to=[{"seq": first, "relation": "clarifies"}],
    )
    make.correct(contributor, first, summary="A better summary.")

    assert shown(contributor, "2025-03-29") == second
    assert sides(contributor, "2025-04-01") == []


def test_what_two_ministers_say_of_overlapping_days_is_contested_until_clarified(
    contributor: TestClient,
) -> None:
    month = make.state(contributor, firmness="committed", stated_on="2025-03")
    day = make.state(contributor, firmness="considering", stated_on="2025-03-29")

    assert sides(contributor, "2025-03-29") == []
    assert shown(contributor, "2025-03-31") == month
    assert sides(contributor, "2025-03-31") == [day]


def test_contradictory_reports_of_one_day_contest_nothing(contributor: TestClient) -> None:
    make.state(contributor)
    make.refuse(contributor, authority="opposition")
    make.state(contributor, authority="media", firmness="committed")

    assert sides(contributor, "2025-03-27") == []


def test_contradictory_words_of_one_day_contest_each_other(contributor: TestClient) -> None:
    offer = make.state(contributor)
    refusal = make.refuse(contributor, authority="defence_minister")

    assert shown(contributor, "2025-03-27") == refusal
    assert sides(contributor, "2025-03-27") == [offer]


def test_words_of_two_days_contest_nothing(contributor: TestClient) -> None:
    make.state(contributor)
    make.refuse(contributor, stated_on="2025-03-28")

    assert sides(contributor, "2025-03-28") == []


def test_a_month_that_is_overtaken_inside_itself_counts_from_its_end(contributor: TestClient) -> None:
    make.refuse(contributor, stated_on="2025-03")
    make.state(contributor, stated_on="2025-03-20")

    assert held(contributor, "2025-03-19") == {}
    assert held(contributor, "2025-03-30") == {"troops": "troops planned"}
    assert held(contributor, "2025-03-31") == {"troops": "refusal declared"}


def test_an_offer_ends_the_refusal_of_its_component_and_nothing_else(contributor: TestClient) -> None:
    make.refuse(contributor, refuses=None)
    make.state(contributor, kind="sea", stated_on="2025-03-28")

    assert held(contributor, "2025-03-28") == {
        "air": "refusal declared",
        "sea": "sea planned",
        "troops": "refusal declared",
    }


def test_what_was_offered_and_withdrawn_may_be_offered_again(contributor: TestClient) -> None:
    make.state(contributor, stated_on="2025-03-01")
    make.state(contributor, stated_on="2025-03-02", firmness="withdrawn")
    make.state(contributor, stated_on="2025-03-03")

    assert [held(contributor, f"2025-03-0{day}") for day in (1, 2)] == [{"troops": "troops planned"}, {}]
    assert position(contributor, as_of="2025-03-03")["since"] == "2025-03-03"


def test_nothing_older_comes_back_after_a_withdrawal(contributor: TestClient) -> None:
    make.state(contributor, stated_on="2025-03-01", firmness="considering")
    make.refuse(contributor, stated_on="2025-03-02")
    make.refuse(contributor, stated_on="2025-03-03", firmness="withdrawn")

    assert held(contributor, "2025-03-03") == {}


def test_withdrawing_a_refusal_leaves_an_offer(contributor: TestClient) -> None:
    make.refuse(contributor, refuses=["troops", "air"], stated_on="2025-03-01")
    make.state(contributor, stated_on="2025-03-02")
    make.refuse(contributor, refuses=["troops", "air"], stated_on="2025-03-03", firmness="withdrawn")

    assert held(contributor, "2025-03-02") == {"air": "refusal declared", "troops": "troops planned"}
    assert held(contributor, "2025-03-03") == {"troops": "troops planned"}


def test_a_withdrawal_comes_last_on_its_day(contributor: TestClient) -> None:
    make.state(contributor, firmness="withdrawn")
    make.state(contributor)

    assert held(contributor, "2025-03-27") == {}


def test_a_denial_of_another_countrys_claim_changes_nothing_but_what_it_says(contributor: TestClient) -> None:
    claim = make.state(contributor, authority="third_party", summary="Said to be ready.")
    denial = make.refuse(
        contributor, stated_on="2025-03-28", relates_to=[{"seq": claim, "relation": "denies"}]
    )
    found = line(contributor)

    assert line(contributor, as_of="2025-03-27")["position"] is None
    assert (found["position"]["seq"], found["position"]["reports"]) == (denial, 1)
    assert [report["seq"] for report in found["reports"]] == [claim]


def test_the_same_no_six_times_is_one_position_affirmed(contributor: TestClient) -> None:
    for month in range(3, 9):
        make.refuse(contributor, stated_on=f"2025-0{month}-10", speaker=f"Minister {month}")
    found = position(contributor, as_of="2025-12-31")

    assert (found["seq"], found["since"], found["speaker"]) == (1, "2025-03-10", "Minister 3")
    assert (found["affirmations"], found["last_affirmed_on"]) == (5, "2025-08-10")


def test_order_and_wording_of_conditions_do_not_make_another_content(contributor: TestClient) -> None:
    ceasefire, mandate = {"type": "ceasefire", "text": "A truce."}, {"type": "un_mandate"}
    make.state(contributor, conditions=[ceasefire, mandate])
    make.state(contributor, conditions=[mandate, ceasefire | {"text": "Peace."}], stated_on="2025-03-28")
    make.state(contributor, conditions=[mandate], stated_on="2025-03-29")

    assert position(contributor, as_of="2025-03-28")["affirmations"] == 1
    assert shown(contributor, "2025-03-29") == 3


def test_other_support_is_affirmed_only_by_a_marked_repeat(contributor: TestClient) -> None:
    other: dict[str, Any] = {"kind": "support", "component": "other"}
    make.state(contributor, **other, stated_on="2025-03-01")
    make.state(contributor, **other, stated_on="2025-03-02")
    make.state(contributor, **other, stated_on="2025-03-03", relates_to=repeats(2))
    found = position(contributor, "other")

    assert (found["seq"], found["since"]) == (2, "2025-03-02")
    assert (found["affirmations"], found["last_affirmed_on"]) == (1, "2025-03-03")


def test_a_marked_repeat_affirms_whatever_it_leaves_out(contributor: TestClient) -> None:
    first = make.state(contributor, firmness="committed", conditions=[{"type": "ceasefire"}])
    make.state(contributor, firmness="considering", stated_on="2025-03-28", relates_to=repeats(first))
    found = position(contributor)

    assert (found["seq"], found["affirmations"], found["last_affirmed_on"]) == (first, 1, "2025-03-28")
    assert not found["contested"]


def test_a_marked_repeat_follows_the_correction_of_what_it_repeats(contributor: TestClient) -> None:
    first = make.state(contributor)
    make.state(contributor, firmness="considering", stated_on="2025-03-28", relates_to=repeats(first))
    mended = make.correct(contributor, first, firmness="committed")
    found = position(contributor)

    assert (found["seq"], found["firmness"], found["affirmations"]) == (mended, "committed", 1)


def test_a_repeat_of_a_repeat_affirms_the_first_of_them(contributor: TestClient) -> None:
    make.state(contributor, firmness="committed")
    make.state(contributor, firmness="planned", stated_on="2025-03-28", relates_to=repeats(1))
    make.state(contributor, firmness="signalled", stated_on="2025-03-29", relates_to=repeats(2))
    found = position(contributor)

    assert (found["seq"], found["affirmations"], found["last_affirmed_on"]) == (1, 2, "2025-03-29")


def test_a_marked_repeat_of_what_is_no_longer_in_force_sets_nothing(contributor: TestClient) -> None:
    first = make.state(contributor)
    refusal = make.refuse(contributor, stated_on="2025-03-28")
    make.state(contributor, stated_on="2025-03-29", relates_to=repeats(first))
    found = position(contributor)

    assert (found["seq"], found["affirmations"]) == (refusal, 0)


def test_a_marked_repeat_counts_by_itself_when_what_it_repeats_was_retracted(contributor: TestClient) -> None:
    first = make.state(contributor)
    second = make.state(contributor, stated_on="2025-03-28", relates_to=repeats(first))
    make.retract(contributor, first)

    assert position(contributor)["seq"] == second
    assert position(contributor)["since"] == "2025-03-28"
    assert position(contributor, seq=second)["seq"] == first


def test_what_may_have_been_said_already_is_possible(contributor: TestClient) -> None:
    certain = make.refuse(contributor, stated_on="2025-03-01")
    possible = make.state(contributor, stated_on="2025-03")
    make.state(contributor, stated_on="../2025-03-31", kind="air")
    make.state(contributor, stated_on="2025-03", kind="sea", authority="media")
    asked = {"as_of": "2025-03-15", "dates": "possible"}
    items = contributor.get("/v1/positions", params=asked).json()["items"]

    assert [(each["seq"], each["certainty"], each["since"]) for each in items] == [
        (certain, "certain", "2025-03-01"),
        (possible, "possible", None),
    ]
    assert [each["seq"] for each in line(contributor, as_of="2025-03-01")["possible"]] == [possible]
    assert line(contributor, as_of="2025-02-28")["possible"] == []
    assert line(contributor, as_of="2025-03-31")["possible"] == []


def test_a_possible_item_of_the_content_in_force_is_left_out(contributor: TestClient) -> None:
    make.state(contributor, stated_on="2025-03-01")
    make.state(contributor, stated_on="2025-03")

    assert line(contributor, as_of="2025-03-15")["possible"] == []


def test_a_position_is_stale_when_it_was_last_affirmed_longer_ago_than_is_set(
    contributor: TestClient,
) -> None:
    make.state(contributor, stated_on="2025-01-01")
    make.state(contributor, stated_on="2025-03-01", speaker="Another")

    assert not position(contributor, as_of="2025-08-28")["stale"]
    assert position(contributor, as_of="2025-08-29")["stale"]


def test_reports_stand_beside_a_position_and_set_none(contributor: TestClient) -> None:
    make.state(contributor, stated_on="2025-03-01", authority="unnamed_official")
    make.state(contributor, stated_on="2025-03-02")
    gone = make.refuse(contributor, stated_on="2025-03-02", authority="armed_forces")
    make.state(contributor, stated_on="2025-03-04", authority="media")
    make.retract(contributor, gone)
    before, after = line(contributor, as_of="2025-03-01"), line(contributor, as_of="2025-03-03")

    assert (before["position"], [report["seq"] for report in before["reports"]]) == (None, [1])
    assert (after["position"]["seq"], after["position"]["reports"]) == (2, 1)
    assert [report["seq"] for report in line(contributor, as_of="2025-03-03", seq=gone)["reports"]] == [
        1,
        gone,
    ]


def test_what_is_shown_is_read_where_it_was_not_yet(contributor: TestClient, database: Database) -> None:
    make.state(contributor, summary="It plans troops.")

    with database.reading() as session:
        assert viewer(session, 180).statement(1).view.summary == "It plans troops."
        possible = viewer(session, 180).possible(("PL", Component.TROOPS), 1, 0)
        assert possible.view.summary == "It plans troops."


def test_nothing_said_is_no_position_and_never_a_refusal(anyone: TestClient) -> None:
    answer = line(anyone)

    assert (answer["position"], answer["possible"], answer["history"]) == (None, [], [])


def test_the_history_tells_each_step_up_to_the_day(contributor: TestClient) -> None:
    make.state(contributor, stated_on="2025-03-01")
    make.state(contributor, stated_on="2025-03-02", speaker="Another")
    make.refuse(contributor, stated_on="2025-03-03")
    make.refuse(contributor, stated_on="2025-03-04", firmness="withdrawn")
    steps = line(contributor, as_of="2025-03-04")["history"]

    assert [(each["op"], each["on"], each["seqs"]) for each in steps] == [
        ("added", "2025-03-01", [1]),
        ("affirmed", "2025-03-02", [2]),
        ("changed", "2025-03-03", [3]),
        ("removed", "2025-03-04", [4]),
    ]
    assert line(contributor, as_of="2025-03-02")["history"] == steps[:2]


def test_what_is_recorded_late_changes_what_held_but_not_what_was_known(
    contributor: TestClient, clock: Clock
) -> None:
    clock.set("2025-05-01")
    make.state(contributor, stated_on="2025-03-27")
    clock.set("2025-06-01")
    make.refuse(contributor, stated_on="2025-03-20")

    assert held(contributor, "2025-03-25") == {"troops": "refusal declared"}
    assert held(contributor, "2025-03-25", known_at="2025-05-31T00:00:00Z") == {}
    assert held(contributor, "2025-03-27") == {"troops": "troops planned"}


def test_before_the_first_entry_nothing_was_known_and_the_answer_says_when_that_was(
    contributor: TestClient, clock: Clock
) -> None:
    clock.set("2025-05-01")
    make.state(contributor)
    answer = contributor.get("/v1/positions", params={"known_at": "2025-04-30T00:00:00Z"}).json()

    assert answer["items"] == []
    assert (answer["meta"]["seq"], answer["meta"]["known_at"]) == (0, None)
    assert answer["meta"]["first_recorded_at"] == "2025-05-01T12:00:00.000000Z"


def test_a_moment_that_cannot_be_answered_for_is_refused(contributor: TestClient, clock: Clock) -> None:
    clock.set("2026-01-15")
    make.state(contributor)
    asked = {
        "later than the clock": {"known_at": "2026-01-15T12:00:00.000001Z"},
        "beyond the head": {"seq": "2"},
        "both": {"seq": "1", "known_at": "2026-01-15T12:00:00Z"},
    }
    answers = {what: contributor.get("/v1/positions", params=each) for what, each in asked.items()}

    assert [each.status_code for each in answers.values()] == [422, 422, 422]
    assert {what: each.json()["errors"][0]["code"] for what, each in answers.items()} == {
        "later than the clock": "in_the_future",
        "beyond the head": "beyond_head",
        "both": "exclusive",
    }


def test_the_newest_entry_is_known_though_the_clock_was_set_back(
    contributor: TestClient, clock: Clock
) -> None:
    clock.set("2026-01-15")
    make.state(contributor)
    clock.set("2026-01-14")

    assert held(contributor, "2025-03-27", known_at="2026-01-15T12:00:00Z") == {"troops": "troops planned"}


def test_an_answer_says_what_it_is_of(contributor: TestClient, clock: Clock) -> None:
    clock.set("2026-01-15")
    make.state(contributor)
    change = contributor.get("/v1/changes/1").json()
    meta = contributor.get("/v1/positions").json()["meta"]

    assert (meta["as_of"], meta["seq"], meta["total"]) == ("2026-01-15", 1, 1)
    assert (meta["known_at"], meta["digest"]) == (change["recorded_at"], change["digest"])


def test_a_pinned_answer_is_the_same_to_the_byte_after_later_entries(contributor: TestClient) -> None:
    paths = ["/v1/positions", "/v1/positions/PL/troops", "/v1/countries", "/v1/countries/PL", "/v1/sources"]
    make.state(contributor)
    asked: dict[str, Any] = {"seq": 1}
    day = {"as_of": "2025-04-01"}
    before = [contributor.get(path, params=asked | ({} if path == "/v1/sources" else day)) for path in paths]
    make.correct(contributor, 1, firmness="committed", source={"title": "The right title"})
    make.refuse(contributor, stated_on="2025-03-20")
    make.state(contributor, authority="media")
    after = [contributor.get(each.url) for each in before]

    assert [each.content for each in after] == [each.content for each in before]
    assert [each.headers["ETag"] for each in after] == [each.headers["ETag"] for each in before]
    assert {each.headers["Cache-Control"] for each in after} == {"public, max-age=31536000, immutable"}


def test_only_an_answer_that_can_never_differ_is_immutable(contributor: TestClient) -> None:
    make.state(contributor)
    make.state(contributor, kind="sea")
    instants = [change["recorded_at"] for change in contributor.get("/v1/changes").json()["items"]]
    day = {"as_of": "2025-04-01"}
    asked: list[dict[str, Any]] = [
        {},
        day,
        {"seq": 2},
        {"known_at": instants[0]},
        day | {"known_at": instants[1]},
        day | {"known_at": instants[0]},
        day | {"seq": 2},
        day | {"seq": 0},
    ]
    kept = [contributor.get("/v1/positions", params=each).headers["Cache-Control"] for each in asked]

    assert kept == [*["no-cache"] * 5, *["public, max-age=31536000, immutable"] * 3]


def test_who_has_an_answer_is_not_sent_it_again_until_it_differs(contributor: TestClient) -> None:
    make.state(contributor)
    fresh = contributor.get("/v1/positions")
    known = {"If-None-Match": f'"other", {fresh.headers["ETag"]}'}
    again = contributor.get("/v1/positions", headers=known)
    make.state(contributor, kind="sea")

    assert fresh.headers["ETag"].startswith('W/"')
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == fresh.headers["ETag"]
    assert contributor.get("/v1/positions", headers=known).status_code == 200


def test_answers_to_other_questions_have_other_tags(contributor: TestClient) -> None:
    make.state(contributor)
    asked: list[dict[str, Any]] = [
        {"as_of": "2025-04-01"},
        {"as_of": "2025-04-02"},
        {"as_of": "2025-04-01", "seq": 0},
        {"as_of": "2025-04-01", "country": "PL"},
        {"as_of": "2025-04-01", "limit": 1},
        {"as_of": "2025-04-01", "dates": "possible"},
    ]
    tags = [contributor.get("/v1/positions", params=each).headers["ETag"] for each in asked]

    assert len(set(tags)) == len(asked)


def test_the_tag_of_an_answer_for_today_changes_with_the_day(anyone: TestClient, clock: Clock) -> None:
    tag = anyone.get("/v1/positions").headers["ETag"]
    clock.pass_(days=1)

    assert anyone.get("/v1/positions").headers["ETag"] != tag


def test_filters_narrow_what_is_possible_too(contributor: TestClient) -> None:
    make.state(contributor, firmness="planned", stated_on="2025-03-01")
    make.state(contributor, firmness="committed", stated_on="2025-04", speaker="Another")
    asked = {"as_of": "2025-04-10", "dates": "possible"}

    def found(**more: str) -> list[tuple[str, str]]:
        items = contributor.get("/v1/positions", params=asked | more).json()["items"]
        return [(item["firmness"], item["certainty"]) for item in items]

    assert found() == [("planned", "certain"), ("committed", "possible")]
    assert found(firmness="planned") == [("planned", "certain")]
    assert found(firmness="committed") == [("committed", "possible")]
