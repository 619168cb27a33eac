"""What differs between two days, or between two states of our knowledge (DESIGN.md 5, Diff).

A line is compared in the fields of `positions.COMPARED`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from itertools import pairwise

from pydantic import BaseModel
from pydantic import Field as Described
from sqlmodel import Session

from app.as_of import PositionFilter, Viewer
from app.changes import actions_between
from app.items import Item
from app.lines import Heard, LineKey, Lines, by_place, entries
from app.positions import COMPARED, PositionView, compared
from app.standings import AFFIRMED, NOTHING, Stand, moves_between, numbers, stands_of, stands_on
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


def entry_of(
    step: Step,
    key: LineKey,
    shown: tuple[Item[PositionView] | None, Item[PositionView] | None],
    *,
    is_event: bool,
) -> DiffEntry:
    """Return a step as clients see it, between the two positions that are shown of it."""
    before, after = (None if item is None else item.view for item in shown)
    op = Op.CHANGED
    if step.is_affirmation:
        op = Op.AFFIRMED
    elif before is None:
        op = Op.ADDED
    elif after is None:
        op = Op.REMOVED
    fields: dict[str, tuple[object, object]] = {}
    if op is Op.CHANGED and before is not None and after is not None:
        old, new = compared(before), compared(after)
        fields = {
            name: (getattr(before, name), getattr(after, name)) for name in COMPARED if old[name] != new[name]
        }
    return DiffEntry(
        op=op,
        country=key[0],
        component=Component(key[1]),
        cause=step.cause,
        on=step.at if is_event and isinstance(step.at, date) else None,
        seq=step.at if is_event and isinstance(step.at, int) else None,
        before=before,
        after=after,
        fields=fields,
        seqs=sorted(step.seqs),
    )


def inverse(entry: DiffEntry) -> DiffEntry:
    """Return the difference seen from the other end; cause and seqs stay."""
    ops = {Op.ADDED: Op.REMOVED, Op.REMOVED: Op.ADDED}
    return entry.model_copy(
        update={
            "op": ops.get(entry.op, entry.op),
            "before": entry.after,
            "after": entry.before,
            "fields": {name: (new, old) for name, (old, new) in entry.fields.items()},
        }
    )


def diff_days(
    viewer: Viewer, seq: int, days: tuple[date, date], mode: Mode, wanted: PositionFilter
) -> list[DiffEntry]:
    """Return what differs between the positions on two days, as known at `seq`.

    Both days are inclusive: a statement effective on the first belongs to the state compared from.
    With the first after the second the net diff is the inverse of the forward one; events need the
    forward order. Sorted by country, component, day.
    """
    first, last = min(days), max(days)
    session, lines = viewer.session, wanted.lines()
    spoken = stands_of(session, seq, lines, after=first, until=last)
    if len(spoken) <= FEW_LINES:
        lines = Lines(keys=spoken.keys())
    before = stands_on(session, seq, first, lines) if spoken else {}
    steps = {key: list(steps_of(stands, before.get(key))) for key, stands in spoken.items()}
    found: list[DiffEntry] = []
    if mode is Mode.EVENTS:
        viewer.load_shown(
            stand for each in steps.values() for step in each for stand in (step.before, step.after)
        )
        for key, each in steps.items():
            found += events(viewer, key, each)
    else:
        ends = {
            key: step
            for key, each in steps.items()
            if (step := net(each, before.get(key, NOTHING), spoken[key][-1]))
        }
        viewer.load_shown(_ends([ends.values()]))
        for key, step in ends.items():
            shown = viewer.position(key, first, step.before), viewer.position(key, last, step.after)
            found.append(entry_of(step, key, shown, is_event=False))
    return _wanted(found, wanted, is_reversed=days[0] > days[1])


def _ends(steps: Iterable[Iterable[Step]]) -> Iterator[Stand]:
    return (stand for each in steps for step in each for stand in (step.before, step.after))


FEW_LINES = 100
"""Up to so many lines are named one by one; of more, all are read."""


def events(viewer: Viewer, key: LineKey, steps: Iterable[Step]) -> Iterator[DiffEntry]:
    """Yield a line's steps along valid time as clients see them, each between its day and the day before."""
    for step in steps:
        assert isinstance(step.at, date)
        eve = step.at - timedelta(days=1) if step.at > date.min else step.at
        shown = viewer.position(key, eve, step.before), viewer.position(key, step.at, step.after)
        yield entry_of(step, key, shown, is_event=True)


@dataclass(frozen=True, slots=True)
class Story:
    """Lines with all that is live in them, and all that they answer from day to day."""

    heard: dict[LineKey, list[Heard]]
    stands: dict[LineKey, list[Stand]]

    def stand(self, key: LineKey, day: date) -> Stand | None:
        """Return what a line answers on `day`."""
        before = (each for each in reversed(self.stands.get(key, [])) if each.holds_from <= day)
        return next(before, None)

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
) -> list[DiffEntry]:
    """Return what differs between what we knew at the two seqs of `span` of the positions on `day`.

    A reversed span gives the inverse of the forward diff; events need the forward order. Sorted
    by country, component, seq.
    """
    first, last = min(span), max(span)
    moves = moves_between(viewer.session, (first, last), day, wanted.lines())
    actions = actions_between(viewer.session, first, last)
    steps: dict[LineKey, list[Step]] = {}
    for key, known in moves.items():
        for (_, before), (seq, after) in pairwise(known):
            if step := step_of_entry(before, after, seq, actions[seq]):
                steps.setdefault(key, []).append(step)
    found: list[DiffEntry] = []
    if mode is Mode.NET:
        ends = {key: (moves[key][0][1], moves[key][-1][1]) for key in steps}
        nets = {key: [step] for key, each in steps.items() if (step := net(each, *ends[key]))}
        steps = nets
    viewer.load_shown(
        stand for each in steps.values() for step in each for stand in (step.before, step.after)
    )
    for key, each in steps.items():
        for step in each:
            shown = viewer.position(key, day, step.before), viewer.position(key, day, step.after)
            found.append(entry_of(step, key, shown, is_event=mode is Mode.EVENTS))
    return _wanted(found, wanted, is_reversed=span[0] > span[1])


def diff_stands(
    viewer: Viewer,
    before: Mapping[LineKey, Stand],
    after: Mapping[LineKey, Stand],
    entry: int,
    action: Action,
    day: date,
) -> list[DiffEntry]:
    """Return what one entry changed on `day`, by what lines answer before and after it.

    The same as the net of `diff_knowledge` for the entry. Sorted by country, component.
    """
    found = []
    for key in sorted(before.keys() | after.keys()):
        step = step_of_entry(before.get(key, NOTHING), after.get(key, NOTHING), entry, action)
        if step is not None and not step.is_affirmation:
            shown = viewer.position(key, day, step.before), viewer.position(key, day, step.after)
            found.append(entry_of(step, key, shown, is_event=False))
    return found


def _wanted(found: list[DiffEntry], wanted: PositionFilter, *, is_reversed: bool) -> list[DiffEntry]:
    if is_reversed:
        found = [inverse(entry) for entry in found]
    return [entry for entry in found if wanted.passes(entry.before) or wanted.passes(entry.after)]
