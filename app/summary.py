"""How many countries hold what: on a day, and over time, for charts."""

from bisect import bisect_left
from calendar import monthrange
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import BaseModel, Field

from app.as_of import Moment, Viewer
from app.db import table_of
from app.filters import EVERY_POSITION, PositionFilter, held_by_lines, is_stale, said_by
from app.lines import LineKey, Lines, Shape
from app.prepared import Prepared
from app.standings import KEY, Stand
from app.statements import Statement
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


class _Counted(NamedTuple):
    """What of a position is counted."""

    component: str
    kind: str
    firmness: str
    conditional: bool
    contested: bool
    stale: bool


def _counts_of(tally: Mapping[_Counted, int]) -> list[Count]:
    """Return how often each is held, of how often it is held with each mark."""
    found: dict[tuple[str, ...], list[int]] = {}
    for counted, count in tally.items():
        counts = found.setdefault(counted[:3], [0, 0, 0, 0])
        for place, is_so in enumerate((True, *counted[3:])):
            counts[place] += count if is_so else 0
    return [_count(*held, *counts) for held, counts in sorted(found.items())]


def _count(*told: Any) -> Count:
    return Count(**dict(zip(Count.model_fields, told, strict=True)))


def counts_on(viewer: Viewer, moment: Moment, wanted: PositionFilter) -> list[Count]:
    """Return how many countries hold what of the wanted positions; the database counts them."""
    lines = wanted.lines()
    asked = viewer.asked(moment) | lines.values()
    rows = _counts(lines.shape, wanted.in_any_line()).rows(viewer.session, **asked)
    return [_count(*row) for row in sorted(rows)]


def none_recorded(
    viewer: Viewer, moment: Moment, tracked: Collection[str], countries: Collection[str] | None
) -> dict[Component, int]:
    """Return, by component, how many tracked countries hold no position at all.

    `countries`, where given, narrow the tracked ones.
    """
    lines = Lines(countries)
    asked = viewer.asked(moment) | lines.values()
    holding = dict(_holding(lines.shape).rows(viewer.session, **asked))
    among = set(tracked) if countries is None else set(tracked) & set(countries)
    return {component: len(among) - holding.get(component, 0) for component in Component}


@lru_cache(500)
def _counts(shape: Shape, wanted: PositionFilter) -> Prepared:
    def build(dialect: str) -> sa.Select[Any]:
        source, stand, condition = held_by_lines(dialect, shape, wanted, with_statement=True)
        is_conditional = sa.type_coerce(_statement.c.conditions, sa.Text) != "[]"
        marked = (is_conditional, stand["sides"] != "", is_stale(stand))
        held = (KEY[1], _statement.c.kind, _statement.c.firmness)
        counted = (sa.func.count(sa.case((mark, 1))) for mark in marked)
        query = sa.select(*held, sa.func.count(), *counted).select_from(source)
        return query.where(condition).group_by(*held)

    return Prepared(build)


@cache
def _holding(shape: Shape) -> Prepared:
    def build(dialect: str) -> sa.Select[Any]:
        source, _, condition = held_by_lines(dialect, shape, EVERY_POSITION)
        query = sa.select(KEY[1], sa.func.count()).select_from(source)
        return query.where(condition).group_by(KEY[1])

    return Prepared(build)


_statement = table_of(Statement)


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
    tallies: list[Counter[_Counted]] = [Counter() for _ in days]
    spans = [span for key in stands for span in _spans(key, stands[key], days) if wanted.takes(span.stand)]
    said = said_by(viewer.session, {span.shown_seq for span in spans}, wanted)
    for span in spans:
        conditional = said.get(span.shown_seq)
        if conditional is None:
            continue
        fresh, stale = (
            _Counted(*span.held, conditional, bool(span.stand.sides), each) for each in (False, True)
        )
        for number in range(span.first, span.end):
            # Whether a position is stale differs from day to day; the rest only when something is said.
            has_aged = viewer.is_stale(span.stand, days[number])
            if wanted.stale in (None, has_aged):
                tallies[number][stale if has_aged else fresh] += 1
    return [Point(on=day, counts=_counts_of(tally)) for day, tally in zip(days, tallies, strict=True)]


class _Span(NamedTuple):
    """What a line held on the days numbered from `first` up to `end`, that one excluded."""

    held: tuple[str, str, str]
    """Component, kind and firmness."""
    shown_seq: int
    stand: Stand
    first: int
    end: int


def _spans(key: LineKey, stands: Sequence[Stand], days: Sequence[date]) -> Iterator[_Span]:
    """Yield what a line holds on `days`, in order; what was said between two of them counts together."""
    starts = [bisect_left(days, stand.holds_from) for stand in stands]
    for stand, first, end in zip(stands, starts, [*starts[1:], len(days)], strict=True):
        if first < end and stand.shown_seq is not None and stand.content is not None:
            kind, firmness, _ = stand.content.split(" ", 2)
            yield _Span((key[1], kind, firmness), stand.shown_seq, stand, first, end)


def flat_points(points: Iterable[Point]) -> list[CountOn]:
    """Return a timeline as a table: one row for each day and count."""
    return [CountOn(on=point.on, **dict(count)) for point in points for count in point.counts]
