"""What was measured, in a form to read: ratios round by round, and Markdown tables."""

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Minimum, median and maximum of some values."""

    least: float
    median: float
    most: float

    def __str__(self) -> str:
        return " / ".join(short(each) for each in self)


def spread(values: Iterable[float]) -> Spread | None:
    """Return minimum, median and maximum; None where there are no values."""
    found = sorted(values)
    return Spread(found[0], statistics.median(found), found[-1]) if found else None


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread | None:
    """Return how ours compare to theirs, round by round; a round in which theirs is 0 does not count.

    Only what was measured in one round is compared, so that what else the machine did falls on both.
    """
    return spread(a / b for a, b in zip(ours, theirs, strict=True) if b)


def short(value: float) -> str:
    """Return a number with three digits that matter, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def median(values: Sequence[float]) -> str:
    """Return the median of some values, as it is shown."""
    return short(statistics.median(values)) if values else "-"


def shown(value: object) -> str:
    """Return a cell: a dash where nothing was measured."""
    return "-" if value is None else str(value)


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table under its title."""
    print(f"\n{title}\n")
    print(f"| {' | '.join(head)} |")
    print(f"|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(map(shown, row))} |")
