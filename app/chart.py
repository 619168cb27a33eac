"""The timeline drawn: where each column and line of the chart stands. Pure: numbers in, numbers out."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from app.overview import Calendar
from app.summary import Interval, last_days
from app.vocabulary import OFFERS, REFUSALS, Component, Firmness

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 30, 6, 12, 28
MOST_COLUMNS = 96
"""How many columns a chart has at most: it shows the last ones."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a column: how many countries hold this rung."""

    firmness: str
    count: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across the chart, or a label below it, and what is written there."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Column:
    """How many countries hold each rung on a day: those that any holds, the firmest first."""

    on: date
    offers: list[tuple[str, int]]
    refusals: list[tuple[str, int]]

    @property
    def offering(self) -> int:
        """How many countries offer anything."""
        return sum(count for _, count in self.offers)

    @property
    def refusing(self) -> int:
        """How many countries refuse."""
        return sum(count for _, count in self.refusals)


@dataclass(frozen=True, slots=True)
class Chart:
    """Offers stacked above the middle line, refusals below it, a column for each interval."""

    interval: Interval
    columns: list[Column]
    blocks: list[Block]
    scale: list[Mark]
    labels: list[Mark]
    zero: float
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


def draw_timeline(calendar: Calendar, component: Component, last: date) -> Chart | None:
    """Return the chart of a component up to `last`, or None where nobody held anything by then."""
    counts = calendar.counts.get(component, [])
    if not counts or counts[0][0] > last:
        return None
    interval, days = _intervals(counts[0][0], last)
    starts = [day for day, _ in counts]
    held = [counts[place - 1][1] if (place := bisect_right(starts, day)) else {} for day in days]
    columns = [
        Column(day, _stack(each, OFFERS), _stack(each, REFUSALS))
        for day, each in zip(days, held, strict=True)
    ]
    return _draw(columns, interval)


def _stack(held: dict[str, int], rungs: Sequence[Firmness]) -> list[tuple[str, int]]:
    return [(rung.value, held[rung]) for rung in reversed(rungs) if held.get(rung)]


def _intervals(first: date, last: date) -> tuple[Interval, list[date]]:
    """Return the finest interval that has room, and the days counted on."""
    span = (last - first).days
    interval = Interval.DAY if span < MOST_COLUMNS / 2 else Interval.WEEK
    if span >= MOST_COLUMNS * 7:
        interval = Interval.MONTH
        first = max(first, last - timedelta(days=31 * (MOST_COLUMNS - 1)))
    return interval, last_days(first, last, interval)


def _draw(columns: list[Column], interval: Interval) -> Chart:
    up = max([1, *(column.offering for column in columns)])
    down = max([1, *(column.refusing for column in columns)])
    unit = (HEIGHT - TOP - BOTTOM) / (up + down)
    zero = TOP + up * unit
    step = (WIDTH - LEFT - RIGHT) / len(columns)
    width = min(step * 0.86, 30) if step > 6 else step
    blocks: list[Block] = []
    for number, column in enumerate(columns):
        x = round(LEFT + number * step + (step - width) / 2, 1)
        for stack, sign in ((column.offers, -1), (column.refusals, 1)):
            base = zero
            for firmness, count in stack:
                height = count * unit
                top = base - height if sign < 0 else base
                blocks.append(Block(firmness, count, x, round(top, 1), round(width, 1), round(height, 1)))
                base += sign * height
    return Chart(
        interval=interval,
        columns=columns,
        blocks=blocks,
        scale=[Mark(round(zero - n * unit, 1), str(abs(n))) for n in _ticks(down, up)],
        labels=_labels(columns, step),
        zero=round(zero, 1),
    )


def _ticks(down: int, up: int) -> list[int]:
    every = max(1, round((down + up) / 8))
    return [*range(-(down // every) * every, 0, every), *range(0, up + 1, every)]


def _labels(columns: Sequence[Column], step: float) -> list[Mark]:
    """Return some four days, evenly spaced, written where their columns stand."""
    every = max(1, round(len(columns) / 4))
    spots = range(every // 2, len(columns), every)
    return [Mark(round(LEFT + (spot + 0.5) * step, 1), columns[spot].on.isoformat()) for spot in spots]
