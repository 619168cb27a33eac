"""How many countries hold what: on a day, and over time, for charts. Pure: no database, no clock."""

from bisect import bisect_left
from calendar import monthrange
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, Field

from app.as_of import PositionFilter, Viewer
from app.lines import LineKey
from app.standings import Stand
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

    def add(self, counted: "_Counted", *, is_stale: bool) -> None:
        key = counted[:3]
        self.counts[(*key, "count")] += 1
        self.counts[(*key, "conditional")] += counted.conditional
        self.counts[(*key, "contested")] += counted.contested
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


class _Counted(NamedTuple):
    """What of a position is counted."""

    component: Component
    kind: Kind
    firmness: Firmness
    conditional: bool
    contested: bool


def none_recorded(
    tracked: Collection[str], stands: Mapping[LineKey, Stand], wanted: PositionFilter
) -> dict[Component, int]:
    """Return, by component, how many tracked countries hold no position at all.

    Of the filters only those on countries narrow the tracked ones. `stands` are what the lines of
    those countries answer.
    """
    countries = set(tracked)
    if wanted.countries is not None:
        countries &= wanted.countries
    holding = Counter(component for (_, component), stand in stands.items() if stand.shown_seq is not None)
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


def timeline(
    stands: Mapping[LineKey, Sequence[Stand]], viewer: Viewer, days: Sequence[date], wanted: PositionFilter
) -> list[Point]:
    """Return what was held on each of `days`, which are in order; each line is walked once.

    `stands` are all that the wanted lines answer up to the last day.
    """
    tallies = [_Tally(Counter()) for _ in days]
    # Whether a position is stale differs from day to day; the rest only when something is said.
    lasting = replace(wanted, stale=None)
    spans = [span for key in stands for span in _spans(key, stands[key], days)]
    viewer.load_shown(span.stand for span in spans)
    for span in spans:
        if not lasting.takes_all_of_lines:
            item = viewer.position(span.key, days[span.first], span.stand)
            if item is None or not lasting.passes(item.view):
                continue
        counted = _counted(span.key, span.stand, viewer)
        for number in range(span.first, span.end):
            is_stale = days[number] - (span.stand.last_affirmed_on or date.max) > viewer.stale_after
            if wanted.stale in (None, is_stale):
                tallies[number].add(counted, is_stale=is_stale)
    return [Point(on=day, counts=tally.result()) for day, tally in zip(days, tallies, strict=True)]


def _counted(key: LineKey, stand: Stand, viewer: Viewer) -> _Counted:
    assert stand.shown_seq is not None
    assert stand.content is not None
    kind, firmness, _ = stand.content.split(" ", 2)
    conditional = viewer.pieces(stand.shown_seq).is_conditional
    return _Counted(Component(key[1]), Kind(kind), Firmness(firmness), conditional, bool(stand.sides))


class _Span(NamedTuple):
    """What a line held on the days numbered from `first` up to `end`, that one excluded."""

    key: LineKey
    stand: Stand
    first: int
    end: int


def _spans(key: LineKey, stands: Sequence[Stand], days: Sequence[date]) -> Iterator[_Span]:
    """Yield what a line holds on `days`, in order; what was said between two of them counts together."""
    starts = [bisect_left(days, stand.holds_from) for stand in stands]
    for stand, first, end in zip(stands, starts, [*starts[1:], len(days)], strict=True):
        if first < end and stand.shown_seq is not None:
            yield _Span(key, stand, first, end)


def flat_points(points: Iterable[Point]) -> list[CountOn]:
    """Return a timeline as a table: one row for each day and count."""
    return [CountOn(on=point.on, **dict(count)) for point in points for count in point.counts]
