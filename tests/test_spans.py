from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from sqlmodel import Session

from app.as_of import viewer
from app.db import Database
from app.diff import Cause, Mode, diff_days, diff_knowledge, net, steps_of
from app.filters import PositionFilter
from app.lines import Lines
from app.spans import nets_between, spans_between
from app.standings import NOTHING, numbers, report_days, stands_of, stands_on
from app.vocabulary import Component
from tests.bench.history import make_history
from tests.test_filters import ONE_FIELD, SIZE, STALE_AFTER

ENTRIES = (SIZE, SIZE // 3)
DAYS = (
    (date(2026, 10, 1), date(2026, 10, 8)),
    (date(2025, 1, 5), date(2026, 3, 1)),
    (date.min, date(2026, 10, 31)),
    (date(2026, 3, 1), date(2026, 3, 1)),
)
EVERY_POSITION = PositionFilter()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    make_history(database, SIZE)
    with database.reading() as session:
        yield session


@pytest.mark.parametrize("days", DAYS)
@pytest.mark.parametrize("seq", ENTRIES)
def test_a_span_is_what_held_before_and_all_that_holds_from_later_days(
    session: Session, seq: int, days: tuple[date, date]
) -> None:
    first, last = days
    before = stands_on(session, seq, first)
    later = stands_of(session, seq, after=first, until=last)

    spans = spans_between(session, seq, days)

    assert {key: span.stands for key, span in spans.items()} == later
    for key, span in spans.items():
        assert span.before == before.get(key, NOTHING)._replace(reports=0)
    components = [key for key in spans if key[1] == "air"]
    assert list(spans_between(session, seq, days, Lines(components=(Component.AIR,)))) == components


@pytest.mark.parametrize("days", DAYS)
@pytest.mark.parametrize("seq", ENTRIES)
def test_the_database_tells_what_the_steps_come_to(
    session: Session, seq: int, days: tuple[date, date]
) -> None:
    expected = {}
    for key, span in spans_between(session, seq, days).items():
        if step := net(list(steps_of(span.stands, span.before)), span.before, span.stands[-1]):
            is_withdrawn = step.after.shown_seq is None
            assert step.cause is (Cause.WITHDRAWN if is_withdrawn else Cause.STATED)
            expected[key] = span.line_id, step.before, step.after, step.seqs

    in_full, shown = (nets_between(session, seq, days, in_full=in_full) for in_full in (True, False))

    assert {
        key: (each.line_id, each.before, each.after, tuple(sorted({*numbers(each.step_seqs)})))
        for key, each in in_full.items()
    } == expected
    for key, each in shown.items():
        for stand, whole in ((each.before, in_full[key].before), (each.after, in_full[key].after)):
            assert (stand.shown_seq, stand.sides) == (whole.shown_seq, whole.sides)
        assert numbers(each.step_seqs) == numbers(in_full[key].step_seqs)
    assert list(shown) == list(in_full) == sorted(expected)


@pytest.mark.parametrize("seq", ENTRIES)
def test_reports_before_a_day_count_from_it_on(session: Session, seq: int) -> None:
    first = date(2026, 3, 1)
    of_all, from_then_on = report_days(session, seq), report_days(session, seq, after=first)

    assert any(of_all)
    for key, days in of_all.items():
        for day in (first, first + timedelta(days=1), date(2026, 10, 31)):
            assert sum(each <= day for each in from_then_on[key]) == sum(each <= day for each in days)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("axis", ["valid", "recorded"])
def test_what_is_wanted_of_a_diff_is_what_a_look_at_each_end_would_choose(
    session: Session, mode: Mode, axis: str
) -> None:
    shown_by = viewer(session, STALE_AFTER)
    found = 0
    for wanted in ONE_FIELD:
        every, chosen = (
            diff_days(shown_by, SIZE, (date(2026, 3, 1), date(2026, 9, 1)), mode, each)
            if axis == "valid"
            else diff_knowledge(shown_by, (SIZE // 2, SIZE), date(2026, 10, 20), mode, each)
            for each in (EVERY_POSITION, wanted)
        )
        expected = [
            item.json
            for item in every.all_items()
            if any(end and wanted.passes(end) for end in (item.view.before, item.view.after))
        ]
        assert [item.json for item in chosen.all_items()] == expected, wanted
        found += len(expected)

    assert found > 500


@pytest.mark.parametrize("mode", Mode)
def test_only_what_is_shown_of_a_diff_is_read(session: Session, mode: Mode) -> None:
    shown_by = viewer(session, STALE_AFTER)
    span = (SIZE // 2, SIZE)
    found = diff_knowledge(shown_by, span, date(2026, 10, 20), mode, EVERY_POSITION)
    some = found.entries[:3]

    assert len(found.entries) > len(some)
    assert [item.json for item in found.items(some)] == [item.json for item in found.all_items()[:3]]
    assert found.items([]) == []

    again = viewer(session, STALE_AFTER)
    diff_knowledge(again, span, date(2026, 10, 20), mode, EVERY_POSITION).items(some)
    shown = {seq for each in some for end in (each.step.before, each.step.after) for seq in end.shown_seqs}
    assert set(again._read) == shown
