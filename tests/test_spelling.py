"""The database spells a position as we do, to the byte."""

from datetime import date

import pytest
from pydantic_core import to_json
from sqlmodel import Session
from starlette.testclient import TestClient

from app.as_of import Moment, Viewer, positions_joined, viewer
from app.changes import ChangeView, head_at
from app.countries import every_country
from app.filters import PositionFilter
from app.lines import EVERY, LineKey
from app.paging import Page
from app.pieces import Pieces
from app.positions import PositionView
from app.spelling import FLAGS, NULL, POSITION
from app.standings import Stand, numbers, stands_on
from tests import make

AWKWARD = (
    'He said "100 %s", C:\\d: « peut-être » 🇵🇱 and \'no more\' {"kind":1},"summary":'
    ',"kind":"air",,"conditions":[],,"stated_on":"2020","stated_earliest_on":,"source":{\\"'
)
OTHER = [{"type": "other", "text": AWKWARD}]
QUANTITY = {"min": 0, "max": 900, "unit": "soldiers", "verbatim": AWKWARD}


@pytest.fixture
def head(contributor: TestClient) -> int:
    """A record of all that a position can be: affirmed, conditional, contested by several, withdrawn."""
    make.state(contributor, summary=AWKWARD, quote=AWKWARD, stated_on="2025-03-01")
    make.state(contributor, stated_on="2025-03-05")
    make.state(contributor, country="FR", conditions=OTHER, caveats=OTHER, quantity=QUANTITY)
    make.refuse(contributor, country="FR", authority="ministry", voice="head_of_state", summary=AWKWARD)
    make.state(contributor, country="CI", stated_on="2025-03-20", firmness="considering")
    make.state(contributor, country="CI", stated_on="2025-03-10/2025-03-25", firmness="committed")
    make.refuse(contributor, country="CI", voice="head_of_state", stated_on="2025-03-02")
    make.state(contributor, country="DE", stated_on="2025-03-02")
    make.state(contributor, country="DE", stated_on="2025-03-03", firmness="withdrawn")
    make.state(contributor, country="DE", authority="media")
    return make.state(contributor, authority="media", stated_on="2025-03-09")


def spelt(shown_by: Viewer, key: LineKey, day: date, stand: Stand) -> str:
    """Return a position as JSON, from the statements that it shows."""
    assert stand.shown_seq is not None
    pieces = Pieces.of(shown_by.statement(stand.shown_seq).json)
    sides = [shown_by.statement(seq).json for seq in numbers(stand.sides)]
    return POSITION % (
        *(key[0], shown_by.countries[key[0]].name, key[1]),
        *(pieces.words, FLAGS[pieces.is_conditional], pieces.content),
        *(f'"{stand.since}"', pieces.dates, f'"{stand.last_affirmed_on}"', stand.affirmations),
        *(FLAGS[shown_by.is_stale(stand, day)], "certain", FLAGS[bool(sides)], ",".join(sides)),
        *(stand.reports, stand.shown_seq, pieces.source),
    )


@pytest.mark.parametrize("day", ["2025-02-28", "2025-03-01", "2025-03-09", "2025-09-01", "2025-09-02"])
@pytest.mark.parametrize("stale_after", [180, 10**6])
def test_the_database_spells_as_we_do(head: int, session: Session, day: str, stale_after: int) -> None:
    on, shown_by = date.fromisoformat(day), viewer(session, stale_after)
    stands = stands_on(session, head, on)
    holding = {key: stand for key, stand in stands.items() if stand.shown_seq is not None}
    shown = {key: spelt(shown_by, key, on, stand) for key, stand in holding.items()}

    moment = Moment(on, head_at(session, head))
    by_itself = shown_by.held(moment, PositionFilter())
    assert {key: item.json for key, item in by_itself.items()} == shown
    one_by_one = {key: shown_by.position(on, stand) for key, stand in stands.items()}
    assert {key: item.json for key, item in one_by_one.items() if item is not None} == shown
    joined = positions_joined(shown_by, moment, PositionFilter(), 9)
    assert joined == (len(shown), ",".join(shown[key] for key in sorted(shown)).encode())
    beside = shown_by.stands_shown_on(head, on, EVERY)
    assert {key: stand for key, (stand, _) in beside.items()} == stands
    assert {key: json.decode() for key, (_, json) in beside.items() if json != NULL} == shown


@pytest.mark.parametrize("narrowed", ["", "&country=CI&country=PL", "&component=troops", "&component=air"])
def test_a_whole_list_is_as_one_that_was_sorted(head: int, anyone: TestClient, narrowed: str) -> None:
    whole, by_key = (
        anyone.get(f"/v1/positions?as_of=2025-09-02&seq={head}{narrowed}{sort}")
        for sort in ("", "&sort=country")
    )

    assert whole.content == by_key.content
    assert whole.headers["Content-Type"] == by_key.headers["Content-Type"]


def test_a_list_that_is_longer_than_a_page_is_not_given_whole(head: int, anyone: TestClient) -> None:
    url: str | None = f"/v1/positions?as_of=2025-09-02&seq={head}&limit=2"
    pages = []
    while url is not None:
        pages.append(anyone.get(url).json())
        url = pages[-1]["next"]

    assert [len(page["items"]) for page in pages] == [2, 1]
    assert {page["meta"]["total"] for page in pages} == {3}


def test_what_is_said_is_spelt_as_its_model_says(head: int, anyone: TestClient) -> None:
    said = anyone.get(f"/v1/changes?seq={head}").text
    held = anyone.get(f"/v1/positions?as_of=2025-09-02&seq={head}").text

    assert Page[ChangeView].model_validate_json(said).model_dump_json(by_alias=True) == said
    assert Page[PositionView].model_validate_json(held).model_dump_json(by_alias=True) == held


def test_the_record_has_what_is_hard_to_spell(head: int, session: Session) -> None:
    moment = Moment(date(2025, 9, 2), head_at(session, head))
    views = [item.view for item in viewer(session, 180).held(moment, PositionFilter()).values()]

    assert [(view.country, view.component) for view in views] == [
        ("CI", "troops"),
        ("FR", "troops"),
        ("PL", "troops"),
    ]
    assert [len(view.sides) for view in views] == [2, 1, 0]
    assert [view.conditional for view in views] == [False, True, False]
    assert [view.stale for view in views] == [False, False, True]
    assert (views[2].summary, views[2].affirmations, views[2].reports) == (AWKWARD, 1, 1)


def test_no_country_has_a_name_that_json_would_escape(session: Session) -> None:
    names = [country.name for country in every_country(session).values()]

    assert [name for name in names if to_json(name).decode() != f'"{name}"'] == []
