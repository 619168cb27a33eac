"""How many countries hold what: on a day, and over time, for charts. Pure: no database, no clock."""

from calendar import monthrange
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, Field

from app.as_of import Known, PositionFilter, Viewer
from app.lines import LineKey
from app.positions import Held, LineState, PositionView
from app.vocabulary import Component, Firmness, Kind

MOST_INTERVALS = 4_000
"""How many intervals one timeline may have: ten years of days."""


class Interval(StrEnum):
    """How long an interval of a timeline is; a week runs from Monday to Sunday (ISO 8601)."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Count(BaseModel):
    """How many countries hold this."""

    component: Component
    kind: Kind
    firmness: Firmness
    count: int
    conditional: int = Field(description="Those of them that are conditional.")
    contested: int = Field(description="Those of them that are contested.")
    stale: int = Field(description="Those of them that were affirmed long ago.")


class Point(BaseModel):
    """What was held on the last day of an interval."""

    on: date = Field(description="The day counted on: the interval's last, or `to`.")
    counts: list[Count]


class CountOn(Count):
    """How many countries held this on a day: a row of a timeline as a table."""

    on: date


@dataclass(slots=True)
class _Tally:
    """Counts of positions, by what they hold."""

    counts: Counter[tuple[Component, Kind, Firmness, str]]

    def add(self, view: PositionView, *, is_stale: bool) -> None:
        key = (view.component, view.kind, view.firmness)
        self.counts[(*key, "count")] += 1
        self.counts[(*key, "conditional")] += view.conditional
        self.counts[(*key, "contested")] += view.contested
        self.counts[(*key, "stale")] += is_stale

    def result(self) -> list[Count]:
        keys = sorted({key[:3] for key in self.counts})
        return [
            Count(
                component=key[0],
                kind=key[1],
                firmness=key[2],
                **{
                    name: self.counts[(*key, name)] for name in ("count", "conditional", "contested", "stale")
                },
            )
            for key in keys
        ]


def count_positions(positions: Iterable[PositionView]) -> list[Count]:
    """Return how many of `positions` hold what, sorted by component, kind, firmness."""
    tally = _Tally(Counter())
    for view in positions:
        tally.add(view, is_stale=view.stale)
    return tally.result()


def none_recorded(
    tracked: Collection[str], positions: Iterable[PositionView], wanted: PositionFilter
) -> dict[Component, int]:
    """Return, by component, how many tracked countries hold no position at all.

    Of the filters only those on countries narrow the tracked ones. `positions` are all that those
    countries hold.
    """
    countries = set(tracked)
    if wanted.countries is not None:
        countries &= wanted.countries
    holding = Counter(view.component for view in positions)
    return {component: len(countries) - holding[component] for component in Component}


def last_days(first: date, last: date, interval: Interval) -> list[date]:
    """Return the day on which each interval that touches [first, last] is counted, in order.

    That is the interval's last day, or `last` for the one that reaches beyond it.
    """
    days: list[date] = []
    day = first
    while day <= last and len(days) <= MOST_INTERVALS:
        end = min(_end(day, interval), last)
        days.append(end)
        if end == date.max:
            break
        day = end + timedelta(days=1)
    return days


def _end(day: date, interval: Interval) -> date:
    if interval is Interval.MONTH:
        return day.replace(day=monthrange(day.year, day.month)[1])
    if interval is Interval.WEEK:
        return min(date.max, day + timedelta(days=min(6 - day.weekday(), (date.max - day).days)))
    return day


def timeline(known: Known, viewer: Viewer, days: Sequence[date], wanted: PositionFilter) -> list[Point]:
    """Return what was held on each of `days`, which are in order; each line is walked once."""
    tallies = [_Tally(Counter()) for _ in days]
    # Whether a position is stale differs from day to day; the rest only when something is said.
    lasting = replace(wanted, stale=None)
    spans = [span for key in known.lines if wanted.wants_line(key) for span in _spans(known, key, days)]
    viewer.load(seq for span in spans for seq in span.held.seqs)
    for span in spans:
        view = viewer.view(known, span.key, days[span.first], span.held)
        if not lasting.passes(view):
            continue
        assert view is not None
        for number in range(span.first, span.end):
            is_stale = days[number] - span.held.last_affirmed_on > viewer.stale_after
            if wanted.stale in (None, is_stale):
                tallies[number].add(view, is_stale=is_stale)
    return [Point(on=day, counts=tally.result()) for day, tally in zip(days, tallies, strict=True)]


class _Span(NamedTuple):
    """What a line held on the days numbered from `first` up to `end`, that one excluded."""

    key: LineKey
    held: Held
    first: int
    end: int


def _spans(known: Known, key: LineKey, days: Sequence[date]) -> Iterator[_Span]:
    """Yield what a line holds on `days`, in order; what was said between two of them is heard together."""
    state, line, heard = LineState(known), known.lines[key], 0
    held: Held | None = None
    since = 0
    for number, day in enumerate(days):
        before = heard
        while heard < len(line) and line[heard].effective_on <= day:
            state.hear(line[heard])
            heard += 1
        if heard != before:
            if held is not None:
                yield _Span(key, held, since, number)
            held, since = state.held(), number
    if held is not None:
        yield _Span(key, held, since, len(days))


def flat_points(points: Iterable[Point]) -> list[CountOn]:
    """Return a timeline as a table: one row for each day and count."""
    return [CountOn(on=point.on, **dict(count)) for point in points for count in point.counts]
