from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import product

import pytest
from sqlmodel import Session

from app.as_of import viewer
from app.db import Database
from app.diff import (
    Axis,
    Cause,
    DiffEntry,
    Mode,
    diff_days,
    diff_knowledge,
    net,
    net_counts,
    net_page,
    steps_of,
)
from app.filters import EVERY_POSITION, PositionFilter
from app.items import Item
from app.lines import Lines
from app.nets import nets_between
from app.spans import spans_between
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


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    make_history(database, SIZE)
    with database.reading() as session:
        yield session


def test_a_span_is_what_held_before_and_all_that_holds_from_later_days(session: Session) -> None:
    for seq, days in product(ENTRIES, DAYS):
        first, last = days
        before = stands_on(session, seq, first)
        later = stands_of(session, seq, after=first, until=last)

        spans = spans_between(session, seq, days)

        assert {key: span.stands for key, span in spans.items()} == later
        for key, span in spans.items():
            assert span.before == before.get(key, NOTHING)._replace(reports=0)
        components = [key for key in spans if key[1] == "air"]
        assert list(spans_between(session, seq, days, Lines(components=(Component.AIR,)))) == components


def test_the_database_tells_what_the_steps_come_to(session: Session) -> None:
    for seq, days in product(ENTRIES, DAYS):
        expected = {}
        for key, span in spans_between(session, seq, days).items():
            if step := net(list(steps_of(span.stands, span.before)), span.before, span.stands[-1]):
                is_withdrawn = step.after.shown_seq is None
                assert step.cause is (Cause.WITHDRAWN if is_withdrawn else Cause.STATED)
                expected[key] = span.line_id, step.before, step.after, step.seqs

        nets = nets_between(session, seq, days)

        assert {
            key: (each.line_id, each.before, each.after, tuple(sorted({*numbers(each.step_seqs)})))
            for key, each in nets.items()
        } == expected
        assert list(nets) == sorted(expected)


def test_a_net_diff_that_is_spelt_by_the_database_is_the_one_that_is_put_together(session: Session) -> None:
    shown_by = viewer(session, STALE_AFTER)
    for seq, days, wanted in product(
        ENTRIES, DAYS, (EVERY_POSITION, PositionFilter(components=(Component.AIR,)))
    ):
        for between in (days, days[::-1]):
            found = diff_days(shown_by, seq, between, Mode.NET, wanted)
            expected = [
                (each.key, each.op, item.json)
                for each, item in zip(found.entries, found.all_items(), strict=True)
            ]

            middle = len(expected) // 2
            line = expected[middle][0] if expected else ("XK", "troops")
            for start, first, most in ((("", ""), 0, len(expected) + 1), (line, middle, 3)):
                shown = net_page(shown_by, seq, between, wanted, start=start, most=most)
                told = [(each.key, each.op, each.item.json) for each in shown]
                assert told == expected[first : first + most]
            counts = Counter(op for _, op, _ in expected)
            assert Counter(net_counts(shown_by, seq, between, wanted)) == counts


def test_reports_before_a_day_count_from_it_on(session: Session) -> None:
    for seq in ENTRIES:
        first = date(2026, 3, 1)
        of_all, from_then_on = report_days(session, seq), report_days(session, seq, after=first)

        assert any(of_all)
        for key, days in of_all.items():
            for day in (first, first + timedelta(days=1), date(2026, 10, 31)):
                assert sum(each <= day for each in from_then_on[key]) == sum(each <= day for each in days)


def test_what_is_wanted_of_a_diff_is_what_a_look_at_each_end_would_choose(session: Session) -> None:
    shown_by, counts = viewer(session, STALE_AFTER), []

    def diff(axis: Axis, mode: Mode, wanted: PositionFilter) -> list[Item[DiffEntry]]:
        if axis is Axis.VALID:
            found = diff_days(shown_by, SIZE, (date(2026, 3, 1), date(2026, 9, 1)), mode, wanted)
        else:
            found = diff_knowledge(shown_by, (SIZE - 90, SIZE), date(2026, 10, 20), mode, wanted)
        return found.all_items()

    for axis, mode in product(Axis, Mode):
        every = diff(axis, mode, PositionFilter())
        for wanted in ONE_FIELD[::2]:
            expected = [
                item.json
                for item in every
                if any(end and wanted.passes(end) for end in (item.view.before, item.view.after))
            ]
            assert [item.json for item in diff(axis, mode, wanted)] == expected, wanted
            counts.append(len(expected))

    assert sum(counts) > 1000


def test_only_what_is_shown_of_a_diff_is_read(session: Session) -> None:
    for mode in Mode:
        shown_by = viewer(session, STALE_AFTER)
        found = diff_knowledge(shown_by, (SIZE - 90, SIZE), date(2026, 10, 20), mode, PositionFilter())
        some = found.entries[:3]
        items = [item.json for item in found.items(some)]

        ends = (end for each in some for end in (each.step.before, each.step.after))
        assert set(shown_by._kept) == {end.position_id for end in ends} - {None}
        assert len(found.entries) > len(some)
        assert items == [item.json for item in found.all_items()[:3]]
        assert found.items([]) == []
