"""The database chooses the positions that a look at each of them would choose, and in the same order."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from random import Random

import pytest
from sqlmodel import Session

from app.as_of import Moment, Viewer, page_as_of, positions_as_of, positions_joined, viewer
from app.changes import head_at
from app.db import Database
from app.filters import PositionFilter
from app.items import listed
from app.lines import EVERY
from app.positions import PositionView
from app.standings import stands_of
from app.summary import counts_on, timeline
from app.vocabulary import Component, ConditionType, Firmness, Kind, Voice, rungs_from
from tests.bench.history import make_history

SIZE, STALE_AFTER = 700, 60
ENTRIES = (SIZE, SIZE // 3)
DAYS = (date(2025, 1, 5), date(2026, 3, 1), date(2026, 10, 31), date(2027, 5, 1))

ONE_FIELD = (
    *(PositionFilter(kinds=(each,)) for each in Kind),
    *(PositionFilter(firmness=(each,)) for each in Firmness),
    *(PositionFilter(rungs=rungs_from(each)) for each in Firmness),
    *(PositionFilter(voices=(each,)) for each in Voice),
    *(PositionFilter(conditions=(each,)) for each in ConditionType),
    *(PositionFilter(conditional=each) for each in (True, False)),
    *(PositionFilter(contested=each) for each in (True, False)),
    *(PositionFilter(stale=each) for each in (True, False)),
    *(PositionFilter(text=each) for each in ("SPEAK", "minister", "%", "_", "\\", "'")),
    *(PositionFilter(changed_since=each) for each in DAYS),
    PositionFilter(sources=tuple(range(1, 90))),
    PositionFilter(
        kinds=(Kind.TROOPS, Kind.REFUSAL), conditions=(ConditionType.CEASEFIRE, ConditionType.OTHER)
    ),
)


def filters() -> list[PositionFilter]:
    """Return filters of one field, and of two of these at once."""
    random, found = Random(11), list(ONE_FIELD)
    for _ in range(40):
        one, other = random.sample(ONE_FIELD, 2)
        both = {
            name: value
            for name in PositionFilter.__slots__
            if (value := getattr(other, name)) not in (None, ())
        }
        found.append(replace(one, **both))
    return found


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    make_history(database, SIZE)
    with database.reading() as session:
        yield session


def moments(session: Session) -> list[Moment]:
    return [Moment(day, head_at(session, entry)) for entry in ENTRIES for day in DAYS]


def every_view(shown_by: Viewer, moment: Moment) -> list[PositionView]:
    return listed(positions_as_of(shown_by, moment, PositionFilter()))


def test_the_database_chooses_as_a_look_at_each_would(session: Session) -> None:
    shown_by, chosen = viewer(session, STALE_AFTER), Counter[bool]()
    for moment in moments(session):
        views = every_view(shown_by, moment)
        for wanted in filters():
            expected = [view for view in views if wanted.passes(view)]
            assert listed(positions_as_of(shown_by, moment, wanted)) == expected, (moment, wanted)
            chosen.update(wanted.passes(view) for view in views)

    assert min(chosen[True], chosen[False]) > 1000


def test_a_page_is_a_part_of_all(session: Session) -> None:
    shown_by = viewer(session, STALE_AFTER)
    for moment in moments(session):
        for wanted in (PositionFilter(), *ONE_FIELD[::5]):
            items = [item.json for item in positions_as_of(shown_by, moment, wanted)]
            starts = [(view.country, view.component) for view in every_view(shown_by, moment)]
            for start in [("", ""), *starts[::7]]:
                total, page = page_as_of(shown_by, moment, wanted, start, 5)
                from_there = [
                    item.json
                    for item in positions_as_of(shown_by, moment, wanted)
                    if (item.view.country, item.view.component) >= start
                ]
                assert (total, [item.json for item in page]) == (len(items), from_there[:5])
            for most in (1, 5, 10_000):
                joined = ",".join(items[:most]).encode()
                assert positions_joined(shown_by, moment, wanted, most) == (len(items[:most]), joined)


def test_what_is_counted_is_what_is_listed(session: Session) -> None:
    shown_by = viewer(session, STALE_AFTER)
    for moment in moments(session):
        stands = stands_of(session, moment.head.seq, EVERY, until=moment.as_of)
        for wanted in filters():
            views = listed(positions_as_of(shown_by, moment, wanted))
            held = {(view.component, view.kind, view.firmness) for view in views}
            counts = counts_on(shown_by, moment, wanted)

            assert [(each.component, each.kind, each.firmness) for each in counts] == sorted(held)
            for each in counts:
                alike = [
                    view
                    for view in views
                    if (view.component, view.kind, view.firmness)
                    == (each.component, each.kind, each.firmness)
                ]
                assert each.count == len(alike)
                assert each.conditional == sum(view.conditional for view in alike)
                assert each.contested == sum(view.contested for view in alike)
                assert each.stale == sum(view.stale for view in alike)
            if moment.as_of < max(DAYS):  # later, nothing is said any more
                (point,) = timeline(stands, shown_by, [moment.as_of], wanted)
                assert point.counts == counts


def test_lines_narrow_as_well(session: Session) -> None:
    shown_by, moment = viewer(session, STALE_AFTER), moments(session)[2]
    views = every_view(shown_by, moment)
    countries = frozenset(sorted({view.country for view in views})[:9])
    wanted = PositionFilter(countries, (Component.TROOPS, Component.SEA), kinds=(Kind.TROOPS, Kind.REFUSAL))

    found = listed(positions_as_of(shown_by, moment, wanted))

    assert found == [
        view
        for view in views
        if view.country in countries and view.component in ("troops", "sea") and view.kind in wanted.kinds
    ]
    assert found
