"""What the dashboard shows of a day: the matrix, a line with its statements."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from app.as_of import Moment, Viewer, clamped, positions_as_of
from app.diff import DiffEntry, events
from app.filters import PositionFilter
from app.items import listed
from app.lines import LineKey
from app.positions import PositionView
from app.standings import CHANGED, Stand, stands_on
from app.statements import StatementView
from app.story import Story
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


def matrix(viewer: Viewer, moment: Moment) -> Matrix:
    """Return the matrix of a day, sorted by the countries' names.

    A country has a row once anything holds or is reported of it by then, or was said and taken
    back; a component has a column where anything is.
    """
    cells: dict[LineKey, list[PositionView]] = {}
    for item in positions_as_of(viewer, moment, PositionFilter(), possible=True):
        cells.setdefault((item.view.country, item.view.component), []).append(item.view)
    stands = stands_on(viewer.session, moment.head.seq, clamped(moment.as_of, moment.head))
    reports = {key: stand.reports for key, stand in stands.items()}
    shown = stands.keys() | cells.keys()
    components = [each for each in Component if each in FORCE or any(key[1] == each for key in shown)]
    rows = [
        Row(code, viewer.countries[code].name, [_cell(cells, reports, (code, each)) for each in components])
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


def calendar(steps: Mapping[LineKey, Iterable[Stand]], first: date | None) -> Calendar:
    """Return the calendar of lines, by what they answer; `first` is the day of their first statement."""
    moved: dict[str, dict[date, Counter[str]]] = {}
    for key, stands in steps.items():
        before: str | None = None
        for stand in stands:
            rung = stand.content and stand.content.split(" ", 2)[1]
            if stand.step == CHANGED:
                rungs = moved.setdefault(key[1], {}).setdefault(stand.holds_from, Counter())
                rungs.subtract([before] if before else [])
                rungs.update([rung] if rung else [])
            before = rung
    changed = sorted({day for days in moved.values() for day in days})
    return Calendar(first, tuple(changed), {each: _summed(days) for each, days in moved.items()})


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


def line_shown(
    story: Story, viewer: Viewer, key: tuple[str, Component], moment: Moment, possible: Sequence[int]
) -> LineShown:
    """Return a line with its statements up to a day; those that say otherwise are among them.

    `possible` are the entries that may hold already.
    """
    day = moment.as_of
    spoken = [each.seq for each in story.said(key, day) if each.voice != Voice.REPORT]
    reports, stand = story.reports(key, day), story.stand(key, day)
    position = viewer.position(day, stand)
    viewer.load([*spoken, *reports, *possible])
    return LineShown(
        component=key[1],
        position=None if position is None else position.view,
        possible=[viewer.possible(key, seq, len(reports)).view for seq in possible],
        statements=listed(viewer.statements(spoken[::-1])),
        reports=listed(viewer.statements(reports[::-1])),
        history=listed(events(viewer, key, story.steps(key, day), story.report_days(key)))[::-1],
    )
