"""What a line answers later is right though only the days that can differ are heard again."""

import random
from datetime import date, timedelta
from typing import Any

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

import app.hearing
from app.db import Database
from app.hearing import Touched, heard_lately, ids_of
from app.lines import Heard, LineKey, Lines, entries, relations_of
from app.replay import Moved, Replay
from app.verify import verify
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


VOICES = ("head_of_government",) * 4 + ("head_of_state", "media")


def a_word(chance: random.Random, head: int) -> dict[str, Any]:
    """Return what may be said in Poland's line of troops: often the same, sometimes vague or taken back."""
    day = date(2025, 3, 1) + timedelta(days=chance.randrange(60))
    until = day + timedelta(days=chance.randrange(1, 20))
    repeats = [{"seq": chance.randint(1, max(1, head)), "relation": chance.choice(("repeats", "clarifies"))}]
    offer = {"firmness": chance.choice(("planned",) * 3 + ("signalled", "committed", "withdrawn"))}
    refusal = {"kind": "refusal", "refuses": ["troops"], "firmness": chance.choice(("declared", "withdrawn"))}
    return {
        "authority": chance.choice(VOICES),
        "stated_on": chance.choice((f"{day}", f"{day}", f"{day}", f"{day}/{until}")),
        "relates_to": repeats if head and chance.random() < 0.3 else [],
        **chance.choice((offer, offer, offer, refusal)),
    }


def touched(session: Session, after: int, until: int) -> Touched:
    """Return what entries touch, as told by what is in the record."""
    found, ids = Touched(), ids_of(session, {"PL"})
    for each in entries(session, (after, until)):
        for seq, more in ((each.seq, 1), (each.left_seq, -1)):
            if seq is not None and after < seq <= until:
                found.note((each.key, ids[each.key]), each.voice, each.effective_on, more)
    return found


def moved_by(session: Session, heard: list[Heard], seqs: tuple[int, int], cut: list[LineKey]) -> Any:
    """Return what entries change, as told by what their lines have heard; None if that is not all."""
    after, until = seqs
    found = Replay(heard, relations_of(session, heard, until), after)
    moved: list[list[Moved]] = [each for seq in found.seqs if (each := found.advance(seq))]
    return None if found.differs_to_the_end(cut) else moved


def is_told_alike(database: Database, after: int, until: int, most: int) -> bool | None:
    """Tell whether so many statements tell what entries change as all do; None if they cannot."""
    seqs = after, until
    with database.reading() as session:
        found = touched(session, after, until)
        lately = heard_lately(session, found.lines, found.ids, seqs, most)
        whole = entries(session, seqs, Lines(keys=found.lines.keys()))
        if lately is None:
            return None
        told = moved_by(session, lately.heard, seqs, lately.cut)
        return None if told is None else bool(told == moved_by(session, whole, seqs, []))


@pytest.mark.parametrize("seed", range(6))
def test_a_line_is_told_by_what_was_said_last_as_by_all_of_it(
    contributor: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(app.hearing, "RECENT", (2, 4))
    chance, alike = random.Random(seed), list[bool | None]()
    while len(alike) < 150:
        head = len(alike) // 3
        body = make.body(speaker=f"S {head}", **a_word(chance, head))
        if contributor.post("/v1/positions", json=body).status_code == 201:
            alike += (is_told_alike(database, head, head + 1, most) for most in (2, 4, 8))

    assert set(alike) == {None, True}
    assert {is_told_alike(database, after, after + 3, 4) for after in range(10, 48)} == {None, True}
    with database.reading() as session:
        assert verify(session).finding is None


SIGNALLED = {"firmness": "signalled"}
TAKEN_BACK = {"kind": "refusal", "refuses": ["troops"], "firmness": "withdrawn"}
REPEATED = {"relates_to": [{"seq": 1, "relation": "repeats"}]}


@pytest.mark.parametrize(
    "said",
    [
        ({}, {}, {}, {}),
        ({}, {}, TAKEN_BACK, {}),
        ({}, TAKEN_BACK, {}, {}),
        ({}, {}, SIGNALLED | REPEATED, {}),
        ({}, SIGNALLED | REPEATED, {}, {}),
        ({}, SIGNALLED, {"firmness": "committed"}, {"stated_on": "2025-03-01/2025-03-09"}),
    ],
    ids=["affirmed", "withdrawn last", "withdrawn before", "repeated last", "repeated before", "vague"],
)
def test_what_was_said_last_may_not_be_enough(
    contributor: TestClient, database: Database, said: tuple[dict[str, Any], ...]
) -> None:
    for day, words in enumerate(said, 1):
        make.state(contributor, **{"speaker": f"S {day}", "stated_on": f"2025-03-0{day}"} | words)

    assert is_told_alike(database, len(said) - 1, len(said), 2) is None
    assert is_told_alike(database, len(said) - 1, len(said), len(said))


def test_that_there_were_reports_is_not_forgotten(contributor: TestClient, database: Database) -> None:
    make.state(contributor, authority="media", stated_on="2025-03-01")
    make.state(contributor, authority="media", stated_on="2025-03-05", speaker="Another")

    assert is_told_alike(database, 1, 2, 2)
