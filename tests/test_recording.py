from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app.vocabulary import Authority, Voice, voice_of
from tests import make
from tests.conftest import Clock

Fault = tuple[str, str]
OF_THE_LEADERS = {
    *("head_of_government", "foreign_minister", "defence_minister", "other_minister", "ministry", "diplomat"),
}


def faults(response: Response) -> list[Fault]:
    assert response.status_code == 422, response.text
    return [(each["pointer"], each["code"]) for each in response.json()["errors"]]


def stating(client: TestClient, **fields: Any) -> Response:
    return client.post("/v1/positions", json=make.body(**fields))


def refusing(client: TestClient, **fields: Any) -> Response:
    return client.post("/v1/positions", json=make.refusal(**fields))


def correcting(client: TestClient, entry: int, **fields: Any) -> Response:
    body = {"reason": "A slip.", "statement": fields}
    return client.post(f"/v1/changes/{entry}/correction", json=body)


def retracting(client: TestClient, entry: int) -> Response:
    return client.post(f"/v1/changes/{entry}/retraction", json={"reason": "Never said."})


def statement(client: TestClient, entry: int) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/changes/{entry}").json()["statement"]
    return found


def recorded(client: TestClient) -> int:
    total: int = client.get("/v1/changes").json()["meta"]["total"]
    return total


def held(client: TestClient, component: str = "troops", country: str = "PL", **asked: str) -> int | None:
    """Return which entry is shown as a line's position."""
    position = client.get(f"/v1/positions/{country}/{component}", params=asked).json()["position"]
    return position and int(position["seq"])


def test_a_statement_answers_its_entry_the_positions_and_what_differs(contributor: TestClient) -> None:
    answer = stating(contributor, kind="refusal", refuses=["sea", "troops"], firmness="declared")
    body = answer.json()

    assert (answer.status_code, answer.headers["Location"]) == (201, "/v1/changes/1")
    assert (body["change"]["seq"], body["change"]["action"], body["change"]["live"]) == (1, "state", True)
    assert [each["component"] for each in body["positions"]] == ["sea", "troops"]
    assert [(each["op"], each["cause"], each["seqs"]) for each in body["diff"]] == [
        ("added", "stated", [1]),
        ("added", "stated", [1]),
    ]
    assert contributor.get("/v1/changes/1").json()["statement"] == body["change"]["statement"]


def test_every_fault_is_named_at_once(contributor: TestClient) -> None:
    answer = stating(
        contributor,
        country="ZZ",
        firmness="declared",
        component="sea",
        authority=None,
        stated_on="2999-01-01",
        conditions=[{"type": "other"}],
        quantity={"min": 2, "max": 1},
        relates_to=[{"seq": 9, "relation": "denies"}],
        source={"url": "https://example.org/new"},
    )

    assert set(faults(answer)) == {
        ("/country", "unknown_country"),
        ("/firmness", "wrong_ladder"),
        ("/component", "contradicts_kind"),
        ("/authority", "missing"),
        ("/stated_on", "in_the_future"),
        ("/conditions/0/text", "missing"),
        ("/quantity/max", "reversed_range"),
        ("/relates_to/0/seq", "unknown_entry"),
        ("/source/title", "missing"),
    }


def test_nothing_is_kept_of_what_was_refused(contributor: TestClient) -> None:
    new = make.SOURCE | {"url": "https://example.org/new"}
    make.state(contributor)
    answers = [
        stating(contributor, country="ZZ", source=new),
        stating(contributor, kind="refusal", firmness="declared", source=new),
    ]

    assert [each.status_code for each in answers] == [422, 422]
    assert recorded(contributor) == 1
    assert contributor.get("/v1/sources").json()["meta"]["total"] == 1


def test_kind_component_and_refuses_agree(contributor: TestClient) -> None:
    answers = {
        "support without a type": stating(contributor, kind="support"),
        "support of the force": stating(contributor, kind="support", component="air"),
        "troops at sea": stating(contributor, component="sea"),
        "an offer that refuses": stating(contributor, refuses=["air"]),
        "a refusal of one component": refusing(contributor, component="troops"),
        "a refusal of nothing": refusing(contributor, refuses=[]),
    }

    assert {what: faults(each) for what, each in answers.items()} == {
        "support without a type": [("/component", "missing")],
        "support of the force": [("/component", "enum")],
        "troops at sea": [("/component", "contradicts_kind")],
        "an offer that refuses": [("/refuses", "only_for_refusal")],
        "a refusal of one component": [("/component", "not_for_refusal")],
        "a refusal of nothing": [("/refuses", "too_short")],
    }


def test_offers_and_refusals_have_ladders_of_their_own(contributor: TestClient) -> None:
    answers = [
        stating(contributor, firmness="leaning"),
        stating(contributor, kind="sea", firmness="binding"),
        refusing(contributor, firmness="planned"),
        refusing(contributor, firmness="considering"),
    ]

    assert [faults(each) for each in answers] == [[("/firmness", "wrong_ladder")]] * 4


def test_what_a_refusal_refuses_has_one_order_and_is_the_force_unless_it_says(
    contributor: TestClient,
) -> None:
    said = make.refuse(contributor, country="FR", refuses=["training", "sea", "sea", "troops"])
    unsaid = make.refuse(contributor, refuses=None)

    assert statement(contributor, said)["refuses"] == ["troops", "sea", "training"]
    assert statement(contributor, unsaid)["refuses"] == ["troops", "air", "sea"]


@pytest.mark.parametrize("executive", [False, True])
def test_a_voice_follows_from_the_authority(executive: bool) -> None:
    found = {each.value: voice_of(each, executive_president=executive) for each in Authority}
    government = OF_THE_LEADERS | ({"head_of_state"} if executive else set())

    assert {name for name, voice in found.items() if voice is Voice.GOVERNMENT} == government
    assert found["head_of_state"] is (Voice.GOVERNMENT if executive else Voice.HEAD_OF_STATE)
    assert {found[name] for name in set(found) - OF_THE_LEADERS - {"head_of_state"}} == {Voice.REPORT}


def test_a_voice_that_is_given_wins(contributor: TestClient) -> None:
    given = make.state(contributor, voice="report")
    alone = make.state(contributor, voice="head_of_state", authority=None, stated_on="2025-03-28")

    assert statement(contributor, given)["voice"] == "report"
    assert statement(contributor, alone)["voice"] == "head_of_state"


def test_a_source_is_given_or_named_and_not_both(contributor: TestClient) -> None:
    first = make.state(contributor)
    source = statement(contributor, first)["source"]["id"]
    named = make.state(contributor, kind="sea", source=None, source_id=source)

    assert statement(contributor, named)["source"]["id"] == source
    assert faults(stating(contributor, source_id=source)) == [("/source_id", "ambiguous")]
    assert faults(stating(contributor, source=None)) == [("/source", "missing")]
    assert faults(stating(contributor, source=None, source_id=7)) == [("/source_id", "unknown_source")]


def test_a_date_that_cannot_be_is_refused(contributor: TestClient, clock: Clock) -> None:
    clock.set("2026-01-15")
    codes = {
        "2025-03-27/..": "open_end",
        "2025-03-27/": "open_end",
        "2025-03-28/2025-03-27": "reversed_interval",
        "2025-02-30": "impossible_date",
        "27 March": "not_a_date",
        "2025-03-27T12:00": "not_a_date",
        "2026-01-17": "in_the_future",
        "2026-02": "in_the_future",
    }
    found = {text: faults(stating(contributor, stated_on=text)) for text in codes}

    assert found == {text: [("/stated_on", code)] for text, code in codes.items()}


def test_a_date_may_lie_a_day_ahead_and_counts_from_the_day_of_recording(
    contributor: TestClient, clock: Clock
) -> None:
    clock.set("2026-01-15")
    seq = make.state(contributor, stated_on="2026-01-16")

    assert statement(contributor, seq)["effective_on"] == "2026-01-15"


def test_a_statement_counts_from_its_last_possible_day_or_from_its_recording_if_that_is_earlier(
    contributor: TestClient, clock: Clock
) -> None:
    clock.set("2026-01-15")
    stated = ("2026-01-10", "2025-12", "2026-01~", "../2026-01-12?", "2025-12-24/2026-01-20")
    seqs = [make.state(contributor, stated_on=each) for each in stated]
    days = [
        (each["stated_earliest_on"], each["effective_on"])
        for seq in seqs
        for each in [statement(contributor, seq)]
    ]

    assert days == [
        ("2026-01-10", "2026-01-10"),
        ("2025-12-01", "2025-12-31"),
        ("2026-01-01", "2026-01-15"),
        (None, "2026-01-12"),
        ("2025-12-24", "2026-01-15"),
    ]


def test_the_same_statement_from_the_same_source_is_recorded_once(contributor: TestClient) -> None:
    make.state(contributor, speaker="Donald Tusk")
    again = stating(contributor, speaker="Donald Tusk", summary="In other words.")
    body = again.json()

    assert (again.status_code, body["type"]) == (409, "/problems/duplicate")
    assert body["existing"] == "/v1/changes/1"
    assert contributor.get(body["existing"]).json()["seq"] == 1


def test_a_refusal_that_spells_out_what_is_meant_anyway_is_a_duplicate(contributor: TestClient) -> None:
    make.refuse(contributor, refuses=None)

    assert refusing(contributor, refuses=["sea", "air", "troops"]).status_code == 409


def test_what_differs_is_no_duplicate(contributor: TestClient) -> None:
    training: dict[str, Any] = {"kind": "support", "component": "training"}
    others: list[dict[str, Any]] = [
        {"country": "LT"},
        {"kind": "air"},
        {"firmness": "committed"},
        {"stated_on": "2025-03"},
        {"speaker": "Somebody else"},
        {"source": make.SOURCE | {"url": "https://example.org/b"}},
        training,
        training | {"component": "bases"},
    ]
    answers = [stating(contributor, **other) for other in [{}, *others]]
    answers += [refusing(contributor, refuses=refuses) for refuses in (["bases"], ["bases", "command"])]

    assert [each.status_code for each in answers] == [201] * 11


def test_what_was_retracted_may_be_stated_again(contributor: TestClient) -> None:
    make.retract(contributor, make.state(contributor))

    assert stating(contributor).status_code == 201


def test_a_refusal_that_does_not_say_what_it_ends_is_sent_back(contributor: TestClient) -> None:
    make.state(contributor)
    make.state(contributor, kind="sea")
    answer = refusing(contributor, refuses=None, stated_on="2025-03-28")

    assert faults(answer) == [("/refuses", "ends_an_offer")]
    assert "troops, sea" in answer.json()["errors"][0]["message"]
    assert "air" not in answer.json()["errors"][0]["message"].partition(".")[0]


def test_a_refusal_that_says_what_it_ends_goes_in(contributor: TestClient) -> None:
    make.state(contributor)

    assert refusing(contributor, refuses=["troops"], stated_on="2025-03-28").status_code == 201


def test_a_refusal_that_ends_no_offer_need_not_say_more(contributor: TestClient) -> None:
    make.state(contributor, kind="support", component="training")
    make.state(contributor, kind="sea", authority="media")
    make.state(contributor, kind="air", firmness="withdrawn")
    make.state(contributor, stated_on="2025-03-29")
    answers = {
        "no offer stands yet": refusing(contributor, refuses=None, stated_on="2025-03-26"),
        "another voice": refusing(
            contributor, refuses=None, authority="head_of_state", stated_on="2025-04-01"
        ),
        "a report": refusing(contributor, refuses=None, authority="opposition", stated_on="2025-04-02"),
        "a withdrawal": refusing(contributor, refuses=None, firmness="withdrawn", stated_on="2025-04-03"),
    }

    assert {what: each.status_code for what, each in answers.items()} == dict.fromkeys(answers, 201)


def test_only_the_same_country_and_voice_can_be_repeated(contributor: TestClient) -> None:
    first = make.state(contributor)
    again = [{"seq": first, "relation": "repeats"}]
    answers = {
        "another country": stating(contributor, country="LT", relates_to=again),
        "another voice": stating(contributor, authority="head_of_state", relates_to=again),
    }

    assert {what: faults(each) for what, each in answers.items()} == {
        "another country": [("/relates_to/0/seq", "not_repeatable")],
        "another voice": [("/relates_to/0/seq", "not_repeatable")],
    }


def test_another_country_may_clarify_or_deny(contributor: TestClient) -> None:
    first = make.state(contributor)
    named = [{"seq": first, "relation": relation} for relation in ("clarifies", "denies")]

    assert stating(contributor, country="LT", relates_to=named).status_code == 201


def test_a_retraction_holds_nothing_that_could_be_repeated(contributor: TestClient) -> None:
    gone = make.retract(contributor, make.state(contributor))
    answer = stating(contributor, relates_to=[{"seq": gone, "relation": "repeats"}])

    assert faults(answer) == [("/relates_to/0/seq", "unknown_entry")]


def test_repeats_do_not_run_in_a_circle(contributor: TestClient) -> None:
    first = make.state(contributor)
    second = make.state(
        contributor, stated_on="2025-03-28", relates_to=[{"seq": first, "relation": "repeats"}]
    )
    answers = [
        correcting(contributor, first, relates_to=[{"seq": other, "relation": "repeats"}])
        for other in (first, second)
    ]

    assert [faults(each) for each in answers] == [[("/statement/relates_to/0/seq", "circular")]] * 2


def test_a_correction_keeps_what_it_leaves_out_and_empties_what_is_null(contributor: TestClient) -> None:
    first = make.state(
        contributor,
        speaker="Donald Tusk",
        quote="Nie.",
        conditions=[{"type": "ceasefire", "text": None}],
        quantity={"min": 5, "max": 9, "unit": "soldiers"},
    )
    before = statement(contributor, first)
    second = make.correct(contributor, first, firmness="signalled", quote=None, conditions=None)

    assert statement(contributor, second) == before | {
        "seq": second,
        "firmness": "signalled",
        "quote": None,
        "conditions": [],
    }


@pytest.mark.parametrize(
    ("corrected", "quantity"),
    [
        ({"max": 12}, {"min": 5, "max": 12, "unit": "soldiers", "verbatim": "five to nine"}),
        ({"unit": None, "min": 0}, {"min": 0, "max": 9, "unit": None, "verbatim": "five to nine"}),
        ({}, {"min": 5, "max": 9, "unit": "soldiers", "verbatim": "five to nine"}),
        (None, None),
        ({"min": None, "max": None, "unit": None, "verbatim": None}, None),
    ],
)
def test_a_correction_keeps_the_parts_of_a_quantity_that_it_leaves_out(
    contributor: TestClient, corrected: dict[str, Any] | None, quantity: dict[str, Any] | None
) -> None:
    said = {"min": 5, "max": 9, "unit": "soldiers", "verbatim": "five to nine"}
    first = make.state(contributor, quantity=said)
    second = make.correct(contributor, first, quantity=corrected)
    reversed_ = correcting(contributor, second, quantity={"min": 5, "max": 4})

    assert statement(contributor, second)["quantity"] == quantity
    assert faults(reversed_) == [("/statement/quantity/max", "reversed_range")]


def test_a_correction_takes_the_place_of_what_it_corrects(contributor: TestClient) -> None:
    first = make.state(contributor, firmness="considering")
    make.state(contributor, firmness="committed")
    mended = make.correct(contributor, first, firmness="signalled")
    answer = contributor.get("/v1/positions/PL/troops").json()

    assert answer["position"]["seq"] == 2
    assert [side["seq"] for side in answer["position"]["sides"]] == [mended]


def test_a_correction_of_a_correction_says_what_holds(contributor: TestClient) -> None:
    second = make.correct(contributor, make.state(contributor), firmness="signalled")
    third = make.correct(contributor, second, firmness="committed")

    assert held(contributor) == third
    assert held(contributor, seq="2") == second
    assert held(contributor, seq="1") == 1


def test_a_correction_that_leaves_the_date_keeps_the_day_from_which_it_counts(
    contributor: TestClient, clock: Clock
) -> None:
    clock.set("2025-03-15")
    first = make.state(contributor, stated_on="2025-03")
    clock.set("2025-05-01")
    second = make.correct(contributor, first, firmness="signalled", stated_on="2025-03")

    assert statement(contributor, second)["effective_on"] == "2025-03-15"


def test_a_correction_of_the_date_counts_anew_from_its_own_recording(
    contributor: TestClient, clock: Clock
) -> None:
    clock.set("2025-03-15")
    first = make.state(contributor, stated_on="2025-03")
    clock.set("2025-04-10")
    second = make.correct(contributor, first, stated_on="2025-03~")
    third = make.correct(contributor, second, stated_on="2025-04")

    assert statement(contributor, second)["effective_on"] == "2025-03-31"
    assert statement(contributor, third)["effective_on"] == "2025-04-10"


def test_a_correction_does_not_date_a_statement_in_the_future(contributor: TestClient, clock: Clock) -> None:
    first = make.state(contributor)
    clock.set("2026-01-15")

    assert faults(correcting(contributor, first, stated_on="2026-01-17")) == [
        ("/statement/stated_on", "in_the_future")
    ]


def test_a_voice_is_derived_again_when_who_spoke_or_for_whom_changes(contributor: TestClient) -> None:
    other_speaker = make.correct(contributor, make.state(contributor), authority="opposition")
    president = make.state(contributor, kind="air", authority="head_of_state")
    other_country = make.correct(contributor, president, country="FR")

    assert statement(contributor, other_speaker)["voice"] == "report"
    assert statement(contributor, president)["voice"] == "head_of_state"
    assert statement(contributor, other_country)["voice"] == "government"


def test_a_voice_that_was_given_is_kept_when_neither_changes(contributor: TestClient) -> None:
    second = make.correct(contributor, make.state(contributor, voice="report"), firmness="signalled")

    assert statement(contributor, second)["voice"] == "report"


def test_a_change_of_kind_empties_component_and_refuses(contributor: TestClient) -> None:
    refusal = make.refuse(contributor, refuses=["troops", "air"])
    offer = make.correct(contributor, refusal, kind="air", firmness="planned")
    support = make.state(contributor, country="FR", kind="support", component="training")
    refused = make.correct(contributor, support, kind="refusal", firmness="declared")
    found = [statement(contributor, seq) for seq in (offer, refused)]

    assert [(each["component"], each["refuses"]) for each in found] == [
        ("air", None),
        (None, ["troops", "air", "sea"]),
    ]


def test_a_change_of_kind_to_support_names_the_type(contributor: TestClient) -> None:
    first = make.state(contributor)

    assert faults(correcting(contributor, first, kind="support")) == [("/statement/component", "missing")]


def test_what_every_statement_has_cannot_be_emptied(contributor: TestClient) -> None:
    first = make.state(contributor)
    emptied = dict.fromkeys(("country", "kind", "firmness", "stated_on", "summary"))

    assert faults(correcting(contributor, first, **emptied)) == [
        (f"/statement/{name}", "missing") for name in emptied
    ]


def test_a_correction_says_why_and_what(contributor: TestClient) -> None:
    make.state(contributor)
    url = "/v1/changes/1/correction"
    mended = {"firmness": "signalled"}

    assert faults(contributor.post(url, json={"statement": mended})) == [("/reason", "missing")]
    assert faults(contributor.post(url, json={"reason": " ", "statement": mended})) == [("/reason", "blank")]
    assert faults(contributor.post(url, json={"reason": "A slip."})) == [("/statement", "missing")]
    assert faults(correcting(contributor, 1)) == [("/statement", "nothing_to_correct")]
    assert faults(correcting(contributor, 1, firmnes="signalled")) == [("/statement/firmnes", "unknown")]


def test_a_correction_that_would_end_an_offer_says_so(contributor: TestClient) -> None:
    make.state(contributor, kind="sea")
    first = make.state(contributor)
    answer = correcting(contributor, first, kind="refusal", firmness="declared")
    explicit = correcting(contributor, first, kind="refusal", firmness="declared", refuses=["troops", "sea"])

    assert faults(answer) == [("/statement/refuses", "ends_an_offer")]
    assert "troops" not in answer.json()["errors"][0]["message"].partition(".")[0]
    assert explicit.status_code == 201


def test_a_correction_of_a_source_makes_a_new_record_that_later_look_ups_find(
    contributor: TestClient,
) -> None:
    first = make.state(contributor)
    second = make.correct(contributor, first, source={"title": "The right title"})
    third = make.state(contributor, kind="sea")
    sources = [statement(contributor, seq)["source"] for seq in (first, second, third)]

    assert [(source["id"], source["title"]) for source in sources] == [
        (1, "After the summit"),
        (2, "The right title"),
        (2, "The right title"),
    ]
    assert {source["url"] for source in sources} == {make.SOURCE["url"]}
    assert contributor.post("/v1/sources", json=make.SOURCE).json()["id"] == 2


def test_a_correction_to_the_same_source_makes_no_new_record(contributor: TestClient) -> None:
    first = make.state(contributor)
    second = make.correct(contributor, first, source=make.SOURCE | {"url": make.SOURCE["url"] + "#part"})

    assert statement(contributor, second)["source"]["id"] == 1


def test_a_correction_to_another_address_names_another_source(contributor: TestClient) -> None:
    first = make.state(contributor)
    other = {"url": "https://example.org/b", "title": "Another"}
    second = make.correct(contributor, first, source=other)

    assert statement(contributor, second)["source"]["title"] == "Another"
    assert statement(contributor, second)["source"]["publisher"] is None


def test_a_retraction_takes_a_statement_out_and_says_why(contributor: TestClient) -> None:
    first = make.state(contributor)
    unexplained = contributor.post("/v1/changes/1/retraction", json={})
    answer = retracting(contributor, first).json()

    assert faults(unexplained) == [("/reason", "missing")]
    assert (answer["change"]["action"], answer["change"]["replaces"]) == ("retract", first)
    assert (answer["positions"], answer["diff"][0]["op"]) == ([], "removed")
    assert held(contributor) is None


def test_retracting_a_correction_brings_nothing_back(contributor: TestClient) -> None:
    second = make.correct(contributor, make.state(contributor), firmness="signalled")
    make.retract(contributor, second)

    assert held(contributor) is None
    assert held(contributor, seq="1") == 1


def test_what_is_no_longer_live_leads_to_what_replaced_it(contributor: TestClient) -> None:
    first = make.state(contributor)
    second = make.correct(contributor, first, firmness="signalled")
    third = make.retract(contributor, second)
    answers = [
        correcting(contributor, first, firmness="planned"),
        retracting(contributor, first),
        correcting(contributor, second, firmness="planned"),
        retracting(contributor, second),
    ]

    assert [(each.status_code, each.json()["type"]) for each in answers] == [(409, "/problems/not-live")] * 4
    assert [each.json()["replaced_by"] for each in answers] == [
        *[f"/v1/changes/{second}"] * 2,
        *[f"/v1/changes/{third}"] * 2,
    ]
    assert recorded(contributor) == 3


def test_a_retraction_itself_is_not_mended(contributor: TestClient) -> None:
    gone = make.retract(contributor, make.state(contributor))

    assert retracting(contributor, gone).status_code == 409
    assert correcting(contributor, gone, firmness="planned").status_code == 409


def test_what_was_never_recorded_cannot_be_mended(contributor: TestClient) -> None:
    assert retracting(contributor, 1).status_code == 404
    assert correcting(contributor, 1, firmness="planned").status_code == 404


def test_others_entries_are_mended_by_who_may_curate(contributor: TestClient, curator: TestClient) -> None:
    others = make.state(curator)
    own = make.state(contributor, kind="sea")
    forbidden = [correcting(contributor, others, firmness="signalled"), retracting(contributor, others)]
    allowed = [
        correcting(contributor, own, firmness="signalled"),
        correcting(curator, own + 1, firmness="committed"),
        retracting(curator, others),
    ]

    assert [(each.status_code, each.json()["type"]) for each in forbidden] == [
        (403, "/problems/forbidden")
    ] * 2
    assert [each.status_code for each in allowed] == [201, 201, 201]


def test_what_a_curator_has_mended_is_no_longer_the_contributors_own(
    contributor: TestClient, curator: TestClient
) -> None:
    mended = make.correct(curator, make.state(contributor), firmness="signalled")

    assert retracting(contributor, mended).status_code == 403


def test_a_valid_body_is_answered_at_once(contributor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def solve(**_: object) -> None:
        raise AssertionError("the framework looks for parameters")

    monkeypatch.setattr("fastapi.routing.solve_dependencies", solve)

    assert make.state(contributor) == 1
    left = contributor.post("/v1/positions?dry_run=true", json=make.body(country="DE"))
    assert left.status_code == 500
