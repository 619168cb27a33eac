"""What differs between two days, or between two states of our knowledge (DESIGN.md 5, Diff).

A line is compared in the fields of `positions.COMPARED`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic import Field as Described
from pydantic_core import from_json, to_json
from sqlmodel import Session

from app.as_of import Viewer
from app.changes import actions_between
from app.filters import PositionFilter
from app.items import Item
from app.lines import Heard, LineKey, Lines, by_place, entries
from app.positions import COMPARED, PositionView, compared
from app.standings import (
    AFFIRMED,
    NOTHING,
    Stand,
    counted,
    moves_between,
    numbers,
    report_days,
    stands_of,
)
from app.vocabulary import Action, Component, Voice, Word


class Op(Word):
    """What happened to a line's position."""

    ADDED = "added", "There was none before."
    REMOVED = "removed", "There is none after."
    CHANGED = "changed", "It differs in the fields named."
    AFFIRMED = "affirmed", "The same was said again (events only)."


class Cause(Word):
    """Why a line's position differs."""

    STATED = "stated", "Somebody said so."
    WITHDRAWN = "withdrawn", "What was said was taken back and nothing is left."
    CORRECTED = "corrected", "We had recorded it wrongly."
    RETRACTED = "retracted", "It had never been so."


class Axis(StrEnum):
    """Which of the two times a diff runs along."""

    VALID = "valid"
    RECORDED = "recorded"


class Mode(StrEnum):
    """Whether a diff tells what differs in the end, or every step on the way."""

    NET = "net"
    EVENTS = "events"


class DiffEntry(BaseModel):
    """One difference in one line."""

    op: Op
    country: str = Described(examples=["PL"])
    component: Component
    cause: Cause = Described(description="Cause of the last step.")
    on: date | None = Described(description="Day of the step; only in events along valid time.")
    seq: int | None = Described(description="Entry of the step; only in events along recorded time.")
    before: PositionView | None
    after: PositionView | None
    fields: dict[str, tuple[object, object]] = Described(
        description="For `changed`: each field that differs, with its old and its new value."
    )
    seqs: list[int] = Described(description="Entries responsible; empty only under `dry_run`.")


@dataclass(frozen=True, slots=True)
class Step:
    """A day or an entry on which a line's answer changes, or is affirmed."""

    at: date | int
    before: Stand
    after: Stand
    cause: Cause
    seqs: tuple[int, ...]
    is_affirmation: bool = False


def steps_of(stands: Iterable[Stand], before: Stand | None = None) -> Iterator[Step]:
    """Yield the steps along valid time in what a line answers one after the other.

    `before` is what it answers before the first of `stands`.
    """
    before = before or NOTHING
    for stand in stands:
        if stand.step is not None:
            cause = Cause.WITHDRAWN if stand.shown_seq is None else Cause.STATED
            seqs = tuple(numbers(stand.step_seqs))
            yield Step(stand.holds_from, before, stand, cause, seqs, stand.step == AFFIRMED)
        before = stand


def step_of_entry(before: Stand, after: Stand, entry: int, action: Action) -> Step | None:
    """Return the step that a ledger entry is for a line, or None if it is none."""
    if before.differs(after):
        causes = {Action.CORRECT: Cause.CORRECTED, Action.RETRACT: Cause.RETRACTED}
        stated = Cause.WITHDRAWN if after.shown_seq is None else Cause.STATED
        return Step(entry, before, after, causes.get(action, stated), (entry,))
    if action is Action.STATE and after.affirmations > before.affirmations:
        return Step(entry, before, after, Cause.STATED, (entry,), is_affirmation=True)
    return None


def net(steps: Sequence[Step], before: Stand, after: Stand) -> Step | None:
    """Return what a line's steps come to, or None where they cancel out."""
    changes = [step for step in steps if not step.is_affirmation]
    if not changes or not before.differs(after):
        return None
    seqs = sorted({seq for step in changes for seq in step.seqs})
    return Step(changes[-1].at, before, after, changes[-1].cause, tuple(seqs))


Ends = tuple[Item[PositionView] | None, Item[PositionView] | None]
"""What a line holds before a step and after it."""


class Difference(Item[DiffEntry]):
    """A step in a line as clients see it, between the two positions that are shown of it."""

    def __init__(
        self, key: LineKey, step: Step, ends: Ends, *, is_event: bool = False, is_reversed: bool = False
    ) -> None:
        contested = bool(step.before.sides), bool(step.after.sides)
        if is_reversed:
            ends, contested = ends[::-1], contested[::-1]
        self.key, self.at = key, step.at if is_event else None
        self.before, self.after = ends
        self.op = _op(step, ends)
        on = f'"{self.at}"' if isinstance(self.at, date) else "null"
        seq = self.at if isinstance(self.at, int) else "null"
        told = [_spelt(end) for end in ends]
        fields = _fields(told, contested) if self.op is Op.CHANGED else "{}"
        super().__init__(
            DiffEntry,
            f'{{"op":"{self.op}","country":"{key[0]}","component":"{key[1]}","cause":"{step.cause}",'
            f'"on":{on},"seq":{seq},"before":{told[0]},"after":{told[1]},'
            f'"fields":{fields},"seqs":[{",".join(map(str, sorted(step.seqs)))}]}}',
        )

    def is_wanted(self, wanted: PositionFilter) -> bool:
        """Tell whether either of its positions is wanted."""
        return any(wanted.passes(end.view) for end in (self.before, self.after) if end is not None)


def _op(step: Step, ends: Sequence[Item[PositionView] | None]) -> Op:
    if step.is_affirmation:
        return Op.AFFIRMED
    if ends[0] is None:
        return Op.ADDED
    return Op.REMOVED if ends[1] is None else Op.CHANGED


def _spelt(item: Item[PositionView] | None) -> str:
    return "null" if item is None else item.json


def _fields(told: Sequence[str], contested: tuple[bool, bool]) -> str:
    """Return the fields that differ between two positions, each with its two values, as JSON."""
    (before, old), (after, new) = map(_said, map(_wording, told), contested)
    differing = {name: (before[name], after[name]) for name in COMPARED if old[name] != new[name]}
    return to_json(differing).decode()


def _wording(position: str) -> str:
    """Return the JSON of what is compared of a position, from `kind` to `quantity`."""
    # Within a text the quotation marks would be escaped.
    first = position.index('"kind":')
    return position[first : position.index(',"summary":', first)]


# Few wordings are met again and again.
@lru_cache(10_000)
def _said(wording: str, contested: bool) -> tuple[dict[str, Any], dict[str, object]]:
    """Return what is compared of a position, as JSON has it, and so that equal means the same."""
    told: dict[str, Any] = from_json(f"{{{wording}}}") | {"contested": contested}
    return told, compared(told)


def diff_days(
    viewer: Viewer, seq: int, days: tuple[date, date], mode: Mode, wanted: PositionFilter
) -> list[Difference]:
    """Return what differs between the positions on two days, as known at `seq`.

    Both days are inclusive: a statement effective on the first belongs to the state compared from.
    With the first after the second the net diff is the inverse of the forward one; events need the
    forward order. Sorted by country, component, day.
    """
    first, last = min(days), max(days)
    session, lines = viewer.session, wanted.lines()
    spoken = stands_of(session, seq, lines, after=first, until=last)
    changed = Lines(keys=spoken.keys())
    before = viewer.stands_shown_on(seq, first, changed) if spoken else {}
    empty = (NOTHING, None)
    steps = {key: list(steps_of(stands, before.get(key, empty)[0])) for key, stands in spoken.items()}
    found: list[Difference] = []
    if mode is Mode.EVENTS:
        viewer.load_shown(_ends(steps.values()))
        reports = report_days(session, seq, changed)
        for key, each in steps.items():
            found += events(viewer, key, each, reports.get(key, ()))
    else:
        after = viewer.shown_on(seq, last, changed) if spoken else {}
        for key, each in steps.items():
            stand, item = before.get(key, empty)
            if step := net(each, stand, spoken[key][-1]):
                found.append(Difference(key, step, (item, after.get(key)), is_reversed=days[0] > days[1]))
    return _wanted(found, wanted)


def _ends(steps: Iterable[Iterable[Step]]) -> Iterator[Stand]:
    return (stand for each in steps for step in each for stand in (step.before, step.after))


def events(
    viewer: Viewer, key: LineKey, steps: Iterable[Step], reports: Sequence[date]
) -> Iterator[Difference]:
    """Yield a line's steps along valid time as clients see them, each between its day and the day before.

    `reports` are the days from which the line's reports count.
    """
    for step in steps:
        assert isinstance(step.at, date)
        eve = step.at - timedelta(days=1) if step.at > date.min else step.at
        before, after = counted(step.before, reports, eve), counted(step.after, reports, step.at)
        ends = viewer.position(key, eve, before), viewer.position(key, step.at, after)
        yield Difference(key, step, ends, is_event=True)


@dataclass(frozen=True, slots=True)
class Story:
    """Lines with all that is live in them, and all that they answer from day to day."""

    heard: dict[LineKey, list[Heard]]
    stands: dict[LineKey, list[Stand]]

    def stand(self, key: LineKey, day: date) -> Stand | None:
        """Return what a line answers on `day`."""
        before = (each for each in reversed(self.stands.get(key, [])) if each.holds_from <= day)
        stand = next(before, None)
        return stand and counted(stand, self.report_days(key), day)

    def report_days(self, key: LineKey) -> list[date]:
        """Return the day from which each report of a line counts, in order."""
        return [each.effective_on for each in self.heard.get(key, []) if each.voice == Voice.REPORT]

    def steps(self, key: LineKey, day: date) -> Iterator[Step]:
        """Yield the line's steps along valid time up to `day`."""
        return steps_of(each for each in self.stands.get(key, []) if each.holds_from <= day)

    def said(self, key: LineKey, day: date) -> list[Heard]:
        """Return what counts in a line by `day`, in order."""
        return [each for each in self.heard.get(key, []) if each.effective_on <= day]

    def reports(self, key: LineKey, day: date) -> list[int]:
        """Return the entries of the reports that stand beside the line's position on `day`, in order."""
        return [each.seq for each in self.said(key, day) if each.voice == Voice.REPORT]


def story_of(session: Session, seq: int, lines: Lines) -> Story:
    """Return some lines of the record as known at `seq`, whole."""
    heard: dict[LineKey, list[Heard]] = {}
    for each in sorted(entries(session, (seq, seq), lines), key=by_place):
        heard.setdefault(each.key, []).append(each)
    return Story(heard, stands_of(session, seq, lines))


def diff_knowledge(
    viewer: Viewer, span: tuple[int, int], day: date, mode: Mode, wanted: PositionFilter
) -> list[Difference]:
    """Return what differs between what we knew at the two seqs of `span` of the positions on `day`.

    A reversed span gives the inverse of the forward diff; events need the forward order. Sorted
    by country, component, seq.
    """
    first, last = min(span), max(span)
    moves = moves_between(viewer.session, (first, last), day, wanted.lines())
    actions = actions_between(viewer.session, first, last)
    steps: dict[LineKey, list[Step]] = {}
    for key, known in moves.items():
        for seq, before, after in known.steps:
            if step := step_of_entry(before, after, seq, actions[seq]):
                steps.setdefault(key, []).append(step)
    found: list[Difference] = []
    if mode is Mode.NET:
        steps = {
            key: [step]
            for key, each in steps.items()
            if (step := net(each, moves[key].first, moves[key].last))
        }
    viewer.load_shown(_ends(steps.values()))
    for key, each in steps.items():
        for step in each:
            ends = viewer.position(key, day, step.before), viewer.position(key, day, step.after)
            found.append(
                Difference(key, step, ends, is_event=mode is Mode.EVENTS, is_reversed=span[0] > span[1])
            )
    return _wanted(found, wanted)


def _wanted(found: list[Difference], wanted: PositionFilter) -> list[Difference]:
    return found if wanted.takes_all_of_lines else [each for each in found if each.is_wanted(wanted)]
