"""What differs between two days, or between two states of our knowledge (DESIGN.md 5, Diff).

Pure: no database, no clock. A line is compared in the fields of `positions.COMPARED`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from itertools import groupby

from pydantic import BaseModel
from pydantic import Field as Described

from app.as_of import Known, PositionFilter, Viewer
from app.lines import LineKey
from app.positions import COMPARED, Held, LineState, PositionView, compared
from app.vocabulary import Action, Component, Word


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
    before: Held | None
    after: Held | None
    cause: Cause
    seqs: tuple[int, ...]
    is_affirmation: bool = False


def differs(before: Held | None, after: Held | None) -> bool:
    """Tell whether two answers of a line differ in a compared field."""
    return before is not after if before is None else before.differs(after)


def is_affirmed(before: Held | None, after: Held | None) -> bool:
    """Tell whether the same run was affirmed between two answers that do not differ."""
    return (
        before is not None
        and after is not None
        and after.affirmations > before.affirmations
        and not differs(before, after)
    )


def steps_by_day(known: Known, key: LineKey, after: date | None, until: date) -> Iterator[Step]:
    """Yield a line's steps along valid time, from the day after `after` (None: all) to `until`.

    A step's seqs are the statements of its day whose hearing, one by one in the line's order,
    changed the answer.
    """
    state = LineState(known)
    for day, of_day in groupby(known.lines.get(key, ()), key=lambda stated: stated.effective_on):
        if day > until:
            break
        before = now = state.held()
        changing: list[int] = []
        affirming: list[int] = []
        for stated in of_day:
            state.hear(stated)
            was, now = now, state.held()
            if differs(was, now):
                changing.append(stated.seq)
            # It may do both: what contests the run before and after need not be the same.
            if was and now and now.affirmations > was.affirmations:
                affirming.append(stated.seq)
        if after is not None and day <= after:
            continue
        if differs(before, now):
            cause = Cause.WITHDRAWN if now is None else Cause.STATED
            yield Step(day, before, now, cause, tuple(changing))
        elif is_affirmed(before, now) and before and now and before.since == now.since:
            yield Step(day, before, now, Cause.STATED, tuple(affirming), is_affirmation=True)


def step_of_entry(before: Held | None, after: Held | None, entry: int, action: Action) -> Step | None:
    """Return the step that a ledger entry is for a line, or None if it is none."""
    if differs(before, after):
        causes = {Action.CORRECT: Cause.CORRECTED, Action.RETRACT: Cause.RETRACTED}
        stated = Cause.WITHDRAWN if after is None else Cause.STATED
        return Step(entry, before, after, causes.get(action, stated), (entry,))
    if action is Action.STATE and is_affirmed(before, after):
        return Step(entry, before, after, Cause.STATED, (entry,), is_affirmation=True)
    return None


def net(steps: Sequence[Step], before: Held | None, after: Held | None) -> Step | None:
    """Return what a line's steps come to, or None where they cancel out."""
    changes = [step for step in steps if not step.is_affirmation]
    if not changes or not differs(before, after):
        return None
    seqs = sorted({seq for step in changes for seq in step.seqs})
    return Step(changes[-1].at, before, after, changes[-1].cause, tuple(seqs))


def entry_of(
    step: Step,
    key: LineKey,
    before: PositionView | None,
    after: PositionView | None,
    *,
    is_event: bool,
) -> DiffEntry:
    """Return a step as clients see it, between the two views of it."""
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
    known: Known, viewer: Viewer, since: date, until: date, mode: Mode, wanted: PositionFilter
) -> list[DiffEntry]:
    """Return what differs between the positions on `since` and those on `until`.

    Both days are inclusive: a statement effective on `since` belongs to the state compared from.
    With `since` after `until` the net diff is the inverse of the forward one; events need the
    forward order. Sorted by country, component, day.
    """
    first, last = min(since, until), max(since, until)
    steps = {
        key: list(steps_by_day(known, key, first, last))
        for key in sorted(known.lines)
        if wanted.wants_line(key)
    }
    found: list[DiffEntry] = []
    if mode is Mode.EVENTS:
        viewer.load(_shown(step for each in steps.values() for step in each))
        for key, each in steps.items():
            found += events_by_day(known, viewer, key, each)
    else:
        ends = {
            key: step
            for key, each in steps.items()
            if each and (step := net(each, known.held(key, first), known.held(key, last)))
        }
        viewer.load(_shown(ends.values()))
        for key, step in ends.items():
            before = viewer.view(known, key, first, step.before)
            after = viewer.view(known, key, last, step.after)
            found.append(entry_of(step, key, before, after, is_event=False))
    if since > until:
        found = [inverse(entry) for entry in found]
    return [entry for entry in found if wanted.passes(entry.before) or wanted.passes(entry.after)]


def _shown(steps: Iterable[Step]) -> Iterator[int]:
    return (seq for step in steps for held in (step.before, step.after) if held for seq in held.seqs)


def events_by_day(known: Known, viewer: Viewer, key: LineKey, steps: Iterable[Step]) -> Iterator[DiffEntry]:
    """Yield a line's steps along valid time as clients see them, each between its day and the day before."""
    for step in steps:
        assert isinstance(step.at, date)
        eve = step.at - timedelta(days=1) if step.at > date.min else step.at
        before = viewer.view(known, key, eve, step.before)
        after = viewer.view(known, key, step.at, step.after)
        yield entry_of(step, key, before, after, is_event=True)


def diff_knowledge(
    first: Known,
    last: Known,
    actions: Mapping[int, Action],
    viewer: Viewer,
    span: tuple[int, int],
    day: date,
    mode: Mode,
    wanted: PositionFilter,
) -> list[DiffEntry]:
    """Return what differs between what we knew at the two seqs of `span` of the positions on `day`.

    `first` and `last` are the same lines as known at the lower seq, fit to advance to the higher;
    `actions` are the entries between that move any of them. A reversed span gives the inverse of
    the forward diff; events need the forward order. Sorted by country, component, seq.
    """
    steps: dict[LineKey, list[Step]] = {}
    reports: dict[tuple[LineKey, date | int], tuple[int, int]] = {}
    now: dict[LineKey, Held | None] = {}
    for seq in sorted(actions):
        keys = sorted(filter(wanted.wants_line, last.depending(seq)))
        held = {key: now[key] if key in now else last.held(key, day) for key in keys}
        beside = {key: last.count_reports(key, day) for key in keys if mode is Mode.EVENTS}
        last.advance(seq)
        for key in keys:
            now[key] = last.held(key, day)
            step = step_of_entry(held[key], now[key], seq, actions[seq])
            if step is not None:
                steps.setdefault(key, []).append(step)
            if step is not None and mode is Mode.EVENTS:
                reports[key, seq] = beside[key], last.count_reports(key, day)
    found: list[DiffEntry] = []
    if mode is Mode.EVENTS:
        viewer.load(_shown(step for each in steps.values() for step in each))
        for key in sorted(steps):
            for step in steps[key]:
                fewer, more = reports[key, step.at]
                before = viewer.seen(key, day, step.before, fewer)
                after = viewer.seen(key, day, step.after, more)
                found.append(entry_of(step, key, before, after, is_event=True))
    else:
        ends = {
            key: step
            for key in sorted(steps)
            if (step := net(steps[key], first.held(key, day), last.held(key, day)))
        }
        viewer.load(_shown(ends.values()))
        for key, step in ends.items():
            before = viewer.view(first, key, day, step.before)
            after = viewer.view(last, key, day, step.after)
            found.append(entry_of(step, key, before, after, is_event=False))
    if span[0] > span[1]:
        found = [inverse(entry) for entry in found]
    return [entry for entry in found if wanted.passes(entry.before) or wanted.passes(entry.after)]
