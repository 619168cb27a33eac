"""What the dashboard shows of a day: the matrix, a line with its statements. Pure: no database, no clock."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from app.as_of import Known, PositionFilter, Viewer, positions_as_of, report_views
from app.diff import DiffEntry, events_by_day, steps_by_day
from app.lines import LineKey
from app.positions import Held, PositionView
from app.statements import StatementView, statement_view
from app.vocabulary import FORCE, Component, Kind, Voice


@dataclass(frozen=True, slots=True)
class Cell:
    """What a country holds on a component on a day, and what stands beside it."""

    component: Component
    position: PositionView | None
    possible: list[PositionView]
    reports: int

    @property
    def shown(self) -> PositionView | None:
        """What the cell says: its position, else what may hold already."""
        return self.position or next(iter(self.possible), None)


@dataclass(frozen=True, slots=True)
class Row:
    """A country's cells, in the order of the matrix's components."""

    code: str
    name: str
    cells: list[Cell]

    def cell(self, component: Component) -> Cell:
        """Return the cell of a component; an empty one where the matrix has no such column."""
        found = (cell for cell in self.cells if cell.component is component)
        return next(found, Cell(component, None, [], 0))


@dataclass(frozen=True, slots=True)
class Matrix:
    """Countries by component on a day; the force's own components are always there."""

    components: list[Component]
    rows: list[Row]

    def count(self, component: Component) -> dict[str, int]:
        """Return how many countries offer, refuse, and hold nothing on a component."""
        found = [row.cell(component).position for row in self.rows]
        held = [view for view in found if view is not None]
        refusing = sum(view.kind is Kind.REFUSAL for view in held)
        return {
            "offer": len(held) - refusing,
            "refuse": refusing,
            "none": len(found) - len(held),
            "contested": sum(view.contested for view in held),
        }


def matrix(known: Known, viewer: Viewer, day: date, reports: Mapping[LineKey, int]) -> Matrix:
    """Return the matrix of `day`, sorted by the countries' names.

    A country has a row once anything is said of it by then, a report included; a component has a
    column where anything is. `reports` counts those beside each line.
    """
    cells: dict[LineKey, list[PositionView]] = {}
    for view in positions_as_of(known, viewer, day, PositionFilter(), possible=True):
        cells.setdefault((view.country, view.component), []).append(view)
    said = {key for key, line in known.lines.items() if line and line[0].effective_on <= day}
    shown = said | cells.keys() | {key for key, count in reports.items() if count}
    components = [each for each in Component if each in FORCE or any(key[1] == each for key in shown)]
    rows = [
        Row(code, viewer.names[code], [_cell(cells, reports, (code, each)) for each in components])
        for code in {key[0] for key in shown}
    ]
    return Matrix(components, sorted(rows, key=lambda row: row.name))


def _cell(
    cells: Mapping[LineKey, list[PositionView]], reports: Mapping[LineKey, int], key: tuple[str, Component]
) -> Cell:
    views = cells.get(key, [])
    position = next((view for view in views if view.certainty == "certain"), None)
    possible = [view for view in views if view.certainty == "possible"]
    return Cell(key[1], position, possible, reports.get(key, 0))


@dataclass(frozen=True, slots=True)
class Calendar:
    """When anything was said and when anything changed, in a state of the record."""

    first: date | None
    """The day from which the first statement counts, a report included."""
    changed: tuple[date, ...]
    """The days on which any line's position changed, in order; affirmations do not count."""
    counts: Mapping[str, list[tuple[date, dict[str, int]]]]
    """By component: how many countries hold each rung of firmness from a day on, for each such day."""


def calendar(known: Known) -> Calendar:
    """Return the calendar of lines of the record."""
    first = min((line[0].effective_on for line in known.lines.values() if line), default=None)
    moved: dict[str, dict[date, Counter[str]]] = {}
    for key in known.lines:
        for step in steps_by_day(known, key, None, date.max):
            if not step.is_affirmation and isinstance(step.at, date):
                rungs = moved.setdefault(key[1], {}).setdefault(step.at, Counter())
                rungs.subtract(_rungs(step.before))
                rungs.update(_rungs(step.after))
    changed = sorted({day for days in moved.values() for day in days})
    return Calendar(first, tuple(changed), {each: _summed(days) for each, days in moved.items()})


def _rungs(held: Held | None) -> list[str]:
    return [] if held is None else [held.first.stance.rpartition(" ")[2]]


def _summed(moved: Mapping[date, Counter[str]]) -> list[tuple[date, dict[str, int]]]:
    held: Counter[str] = Counter()
    counts = []
    for day in sorted(moved):
        held.update(moved[day])
        counts.append((day, {rung: count for rung, count in held.items() if count}))
    return counts


@dataclass(frozen=True, slots=True)
class Days:
    """The days on which anything changed, seen from one of them or from between two."""

    changed: Sequence[date]
    day: date

    @property
    def previous(self) -> date | None:
        """The last day of change before the day."""
        place = bisect_left(self.changed, self.day)
        return self.changed[place - 1] if place else None

    @property
    def next(self) -> date | None:
        """The first day of change after the day."""
        place = bisect_right(self.changed, self.day)
        return self.changed[place] if place < len(self.changed) else None

    @property
    def stops(self) -> list[date]:
        """Every day of change and the day itself, in order."""
        return sorted({*self.changed, self.day})


@dataclass(frozen=True, slots=True)
class LineShown:
    """A line on a day with all that was said in it, the latest first."""

    component: Component
    position: PositionView | None
    possible: list[PositionView]
    statements: list[StatementView]
    reports: list[StatementView]
    history: list[DiffEntry]


def line_shown(known: Known, viewer: Viewer, key: tuple[str, Component], day: date) -> LineShown:
    """Return a line with its statements up to `day`; those that say otherwise are among them."""
    line = [each for each in known.lines.get(key, ()) if each.effective_on <= day]
    viewer.load(each.seq for each in line)
    spoken = [viewer.stated(each.seq) for each in line if each.voice != Voice.REPORT]
    steps = steps_by_day(known, key, None, day)
    return LineShown(
        component=key[1],
        position=viewer.position(known, key, day),
        possible=list(viewer.possible(known, key, day)),
        statements=[statement_view(stated) for stated in reversed(spoken)],
        reports=list(reversed(report_views(known, viewer, key, day))),
        history=list(reversed(list(events_by_day(known, viewer, key, steps)))),
    )
