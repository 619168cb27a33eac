"""The timeline drawn: where each column and line of the chart stands. Pure: numbers in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from app.as_of import Known, PositionFilter, Viewer
from app.summary import Interval, Point, last_days, timeline
from app.vocabulary import OFFERS, REFUSALS, Component, Kind

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
class Chart:
    """Offers stacked above the middle line, refusals below it, a column for each interval."""

    interval: Interval
    points: list[Point]
    blocks: list[Block]
    scale: list[Mark]
    labels: list[Mark]
    zero: float
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


def draw_timeline(known: Known, viewer: Viewer, component: Component, last: date) -> Chart | None:
    """Return the chart of a component up to `last`, or None where nothing was said by then."""
    effective = [stated.effective_on for line in known.lines.values() for stated in line]
    first = min(effective, default=date.max)
    if first > last:
        return None
    interval, days = _columns(first, last)
    points = timeline(known, viewer, days, PositionFilter(components=(component,)))
    return _draw(points, interval)


def _columns(first: date, last: date) -> tuple[Interval, list[date]]:
    """Return the finest interval that has room, and the days counted on."""
    span = (last - first).days
    interval = Interval.DAY if span < MOST_COLUMNS / 2 else Interval.WEEK
    if span >= MOST_COLUMNS * 7:
        interval = Interval.MONTH
        first = max(first, last - timedelta(days=31 * (MOST_COLUMNS - 1)))
    return interval, last_days(first, last, interval)


def _draw(points: Sequence[Point], interval: Interval) -> Chart:
    stacks = [_stacks(point) for point in points]
    up = max([1, *(sum(count for _, count in offers) for offers, _ in stacks)])
    down = max([1, *(sum(count for _, count in refusals) for _, refusals in stacks)])
    unit = (HEIGHT - TOP - BOTTOM) / (up + down)
    zero = TOP + up * unit
    step = (WIDTH - LEFT - RIGHT) / len(points)
    width = min(step * 0.86, 30) if step > 6 else step
    blocks: list[Block] = []
    for number, (offers, refusals) in enumerate(stacks):
        x = round(LEFT + number * step + (step - width) / 2, 1)
        for stack, sign in ((offers, -1), (refusals, 1)):
            base = zero
            for firmness, count in stack:
                height = count * unit
                top = base - height if sign < 0 else base
                blocks.append(
                    Block(firmness, count, x, round(top, 1), round(width, 1), round(height, 1)),
                )
                base += sign * height
    return Chart(
        interval=interval,
        points=list(points),
        blocks=blocks,
        scale=[Mark(round(zero - n * unit, 1), str(abs(n))) for n in _ticks(down, up)],
        labels=_labels(points, step),
        zero=round(zero, 1),
    )


def _stacks(point: Point) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return how many hold each rung, the firmest first: next to the middle line."""
    counts = {(each.kind is Kind.REFUSAL, each.firmness): each.count for each in point.counts}
    offers = [(rung.value, counts.get((False, rung), 0)) for rung in reversed(OFFERS)]
    refusals = [(rung.value, counts.get((True, rung), 0)) for rung in reversed(REFUSALS)]
    return [each for each in offers if each[1]], [each for each in refusals if each[1]]


def _ticks(down: int, up: int) -> list[int]:
    every = max(1, round((down + up) / 8))
    return [*range(-(down // every) * every, 0, every), *range(0, up + 1, every)]


def _labels(points: Sequence[Point], step: float) -> list[Mark]:
    """Return some four days, evenly spaced, written where their columns stand."""
    every = max(1, round(len(points) / 4))
    spots = range(every // 2, len(points), every)
    return [Mark(round(LEFT + (spot + 0.5) * step, 1), points[spot].on.isoformat()) for spot in spots]
