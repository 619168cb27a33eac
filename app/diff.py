"""What differs between two days, or between two states of our knowledge (DESIGN.md 5, Diff).

A line is compared in the fields of `positions.COMPARED`.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache, partial
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic import Field as Described
from pydantic_core import from_json, to_json

from app.as_of import Viewer
from app.changes import replacing_between
from app.filters import PositionFilter, said_by
from app.items import Item
from app.lines import LineKey, Lines
from app.nets import ShownNet, count_nets, nets_between, nets_shown
from app.positions import COMPARED, PositionView, compared
from app.spans import spans_between
from app.spelling import NULL, utf8
from app.standings import (
    AFFIRMED,
    NOTHING,
    Moves,
    Stand,
    moves_between,
    numbers,
    report_days,
    reports_beside,
    reports_known,
)
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


class Step(NamedTuple):
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
            cause = _cause(stand.shown_seq is None)
            seqs = tuple(numbers(stand.step_seqs))
            yield Step(stand.holds_from, before, stand, cause, seqs, stand.step == AFFIRMED)
        before = stand


def _cause(is_nothing: bool) -> Cause:
    """Return why a line answers something else, or nothing any more, when something is said in it."""
    return Cause.WITHDRAWN if is_nothing else Cause.STATED


def step_of_entry(before: Stand, after: Stand, entry: int, action: Action) -> Step | None:
    """Return the step that a ledger entry is for a line, or None if it is none."""
    if before.differs(after):
        causes = {Action.CORRECT: Cause.CORRECTED, Action.RETRACT: Cause.RETRACTED}
        stated = _cause(after.shown_seq is None)
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


Ends = tuple[bytes, bytes]
"""What a line holds before a step and after it, as JSON."""


class Difference(NamedTuple):
    """A step in a line, before anything is read of what is shown of it."""

    key: LineKey
    step: Step
    days: tuple[date, date]
    """On which it is seen what the line holds before, and after."""
    is_event: bool = False
    is_reversed: bool = False

    @property
    def at(self) -> date | int | None:
        """The day or the entry of an event."""
        return self.step.at if self.is_event else None

    @property
    def op(self) -> Op:
        """What happened, as it is told."""
        step = self.step
        if step.is_affirmation:
            return Op.AFFIRMED
        return _op(step.before.shown_seq is None, step.after.shown_seq is None, is_reversed=self.is_reversed)

    def item(self, ends: Ends) -> Item[DiffEntry]:
        """Return it as clients see it, between the two positions that are shown of it."""
        step, contested = self.step, (bool(self.step.before.sides), bool(self.step.after.sides))
        if self.is_reversed:
            ends, contested = ends[::-1], contested[::-1]
        on = f'"{step.at}"' if self.is_event and isinstance(step.at, date) else "null"
        seq = step.at if self.is_event and isinstance(step.at, int) else "null"
        at = f'"on":{on},"seq":{seq}'
        seqs = ",".join(map(str, sorted(step.seqs)))
        return Item(DiffEntry, _spelt(self.op, self.key, step.cause, at, ends, contested, seqs))


def _op(was_nothing: bool, is_nothing: bool, *, is_reversed: bool) -> Op:
    """Return what happened, other than an affirmation."""
    if was_nothing:
        return Op.REMOVED if is_reversed else Op.ADDED
    if is_nothing:
        return Op.ADDED if is_reversed else Op.REMOVED
    return Op.CHANGED


def _spelt(
    op: Op, key: LineKey, cause: Cause, at: str, ends: Ends, contested: tuple[bool, bool], seqs: str
) -> bytes:
    """Return the JSON of a `DiffEntry`; `at` is its `on` and its `seq`, `seqs` are joined by commas."""
    before, after = ends
    fields = _fields(_wording(before), _wording(after), contested) if op is Op.CHANGED else b"{}"
    told = f'{{"op":"{op}","country":"{key[0]}","component":"{key[1]}","cause":"{cause}",{at},"before":'
    # Joined: to format bytes that are long takes longer.
    rest = b',"fields":', fields, b',"seqs":[', seqs.encode(), b"]}"
    return b"".join((told.encode(), before, b',"after":', after, *rest))


@dataclass(frozen=True, slots=True)
class Diff:
    """All differences, and what reads the positions between which some of them are."""

    entries: list[Difference]
    ends: Callable[[Sequence[Difference]], Iterable[Ends]]

    def items(self, some: Sequence[Difference]) -> list[Item[DiffEntry]]:
        """Return some of the differences as clients see them."""
        ends = self.ends(some) if some else ()
        return [each.item(between) for each, between in zip(some, ends, strict=True)]

    def all_items(self) -> list[Item[DiffEntry]]:
        """Return all of them as clients see them."""
        return self.items(self.entries)


# As few wordings as are met, as few differ from each other.
@lru_cache(10_000)
def _fields(old: bytes, new: bytes, contested: tuple[bool, bool]) -> bytes:
    """Return the fields that differ between two wordings, each with its two values, as JSON."""
    # SQLite says 0 and 1 for what is true and false.
    before, after = _said(old, bool(contested[0])), _said(new, bool(contested[1]))
    differing = [
        b'"%b":[%b,%b]' % (name.encode(), was, is_now)
        for name, (was, meant), (is_now, means) in zip(COMPARED, before, after, strict=True)
        if meant != means
    ]
    return b"{%b}" % b",".join(differing)


# Few wordings are met again and again.
@lru_cache(10_000)
def _said(wording: bytes, contested: bool) -> list[tuple[bytes, object]]:
    """Return each field that is compared of a position, as JSON, and so that equal means the same."""
    told: dict[str, Any] = from_json(b"{%b}" % wording) | {"contested": contested}
    meant = compared(told)
    return [(to_json(told[name]), meant[name]) for name in COMPARED]


def _wording(position: bytes) -> bytes:
    """Return the JSON of what is compared of a position, from `kind` to `quantity`."""
    # Within a text the quotation marks would be escaped.
    first = position.index(b'"kind":')
    return position[first : position.index(b',"summary":', first)]


def diff_days(viewer: Viewer, seq: int, days: tuple[date, date], mode: Mode, wanted: PositionFilter) -> Diff:
    """Return what differs between the positions on two days, as known at `seq`.

    Both days are inclusive: a statement effective on the first belongs to the state compared from.
    With the first after the second the net diff is the inverse of the forward one; events need the
    forward order. Sorted by country, component, day.
    """
    span = min(days), max(days)
    if mode is Mode.EVENTS:
        return _events_of_days(viewer, seq, span, wanted)
    return _net_of_days(viewer, seq, span, wanted, is_reversed=days[0] > days[1])


def _events_of_days(viewer: Viewer, seq: int, span: tuple[date, date], wanted: PositionFilter) -> Diff:
    spans = spans_between(viewer.session, seq, span, wanted.lines())
    found = [
        Difference(key, step, _around(step), is_event=True)
        for key, line in spans.items()
        for step in steps_of(line.stands, line.before)
    ]

    def ends(some: Sequence[Difference]) -> Iterator[Ends]:
        lines = Lines(ids={spans[each.key].line_id for each in some})
        reports = report_days(viewer.session, seq, lines, after=span[0])
        return _seen(viewer, some, _on_their_days(reports))

    return Diff(_wanted(viewer, found, wanted), ends)


def _net_of_days(
    viewer: Viewer, seq: int, span: tuple[date, date], wanted: PositionFilter, *, is_reversed: bool
) -> Diff:
    nets = nets_between(viewer.session, seq, span, wanted.lines())
    found = []
    for key, (_, before, after, step_seqs) in nets.items():
        # After the last step nothing differs any more that is compared.
        cause = _cause(after.shown_seq is None)
        step = Step(span[1], before, after, cause, tuple({*numbers(step_seqs)}))
        found.append(Difference(key, step, span, is_reversed=is_reversed))

    def ends(some: Sequence[Difference]) -> Iterator[Ends]:
        lines = Lines(ids=[nets[each.key].line_id for each in some])
        before, after = (reports_beside(viewer.session, seq, day, lines) for day in span)
        return _seen(viewer, some, lambda each: (before[each.key], after[each.key]))

    return Diff(_wanted(viewer, found, wanted), ends)


class Shown(NamedTuple):
    """A difference with all that is shown of it."""

    key: LineKey
    op: Op
    item: Item[DiffEntry]
    at: None = None


def net_page(
    viewer: Viewer,
    seq: int,
    days: tuple[date, date],
    wanted: PositionFilter,
    *,
    start: LineKey,
    most: int,
) -> list[Shown]:
    """Return at most `most` of the net diff between two days, from a line on, it included.

    The same as `diff_days` tells, where what is wanted only narrows the lines.
    """
    span, lines, stale_after = (min(days), max(days)), wanted.lines(), viewer.stale_after
    nets = nets_shown(viewer.session, seq, span, lines, stale_after=stale_after, start=start, most=most)
    return [_shown(net, is_reversed=days[0] > days[1]) for net in nets]


def _shown(net: ShownNet, *, is_reversed: bool) -> Shown:
    country, component, step_seqs, was_contested, is_contested, before, after = net
    op = _op(before is None, after is None, is_reversed=is_reversed)
    cause = _cause(after is None)
    ends, contested = (utf8(before or NULL), utf8(after or NULL)), (was_contested, is_contested)
    if is_reversed:
        ends, contested = ends[::-1], contested[::-1]
    seqs = step_seqs if step_seqs.isdigit() else ",".join(map(str, sorted({*numbers(step_seqs)})))
    key = country, component
    told = _spelt(op, key, cause, '"on":null,"seq":null', ends, contested, seqs)
    return Shown(key, op, Item(DiffEntry, told))


def net_counts(viewer: Viewer, seq: int, days: tuple[date, date], wanted: PositionFilter) -> Mapping[Op, int]:
    """Return how many differences of each kind `net_page` returns in all."""
    every, held_nothing, hold_nothing = count_nets(
        viewer.session, seq, (min(days), max(days)), wanted.lines()
    )
    added, removed = (hold_nothing, held_nothing) if days[0] > days[1] else (held_nothing, hold_nothing)
    return {Op.ADDED: added, Op.REMOVED: removed, Op.CHANGED: every - added - removed}


def _around(step: Step) -> tuple[date, date]:
    """Return the day before a step along valid time, and its day."""
    assert isinstance(step.at, date)
    return step.at - timedelta(days=1) if step.at > date.min else step.at, step.at


Counts = Callable[[Difference], tuple[int, int]]
"""How many reports stand beside what is shown of a difference, before and after."""


def _seen(viewer: Viewer, some: Sequence[Difference], counts: Counts) -> Iterator[Ends]:
    """Yield what is shown of each difference."""
    viewer.load_shown(stand for each in some for stand in (each.step.before, each.step.after))
    for each in some:
        (_, before, after, *_), days, reports = each.step, each.days, counts(each)
        yield viewer.spelt(days[0], before, reports[0]), viewer.spelt(days[1], after, reports[1])


def _on_their_days(reports: Mapping[LineKey, Sequence[date]]) -> Counts:
    """Return what counts the reports on the days of a difference, by those from which they count."""

    def counts(each: Difference) -> tuple[int, int]:
        of_line = reports.get(each.key, ())
        return bisect_right(of_line, each.days[0]), bisect_right(of_line, each.days[1])

    return counts


def events(
    viewer: Viewer, key: LineKey, steps: Iterable[Step], reports: Sequence[date]
) -> list[Item[DiffEntry]]:
    """Return a line's steps along valid time as clients see them, each between its day and the day before.

    `reports` are the days from which the line's reports count.
    """
    found = [Difference(key, step, _around(step), is_event=True) for step in steps]
    return Diff(found, lambda some: _seen(viewer, some, _on_their_days({key: reports}))).all_items()


def diff_knowledge(
    viewer: Viewer, span: tuple[int, int], day: date, mode: Mode, wanted: PositionFilter
) -> Diff:
    """Return what differs between what we knew at the two seqs of `span` of the positions on `day`.

    A reversed span gives the inverse of the forward diff; events need the forward order. Sorted
    by country, component, seq.
    """
    first, last = min(span), max(span)
    moves = moves_between(viewer.session, (first, last), day, wanted.lines())
    replacing = replacing_between(viewer.session, first, last)
    steps: dict[LineKey, list[Step]] = {}
    for key, line in moves.items():
        for seq, before, after in line.steps:
            if step := step_of_entry(before, after, seq, replacing.get(seq, Action.STATE)):
                steps.setdefault(key, []).append(step)
    if mode is Mode.NET:
        steps = {
            key: [step]
            for key, each in steps.items()
            if (step := net(each, moves[key].first, moves[key].last))
        }
    found = [
        Difference(key, step, (day, day), is_event=mode is Mode.EVENTS, is_reversed=span[0] > span[1])
        for key, each in steps.items()
        for step in each
    ]

    ends = partial(_ends_known, viewer, moves, (first, last), day)
    return Diff(_wanted(viewer, found, wanted), ends)


def _ends_known(
    viewer: Viewer,
    moves: Mapping[LineKey, Moves],
    span: tuple[int, int],
    day: date,
    some: Sequence[Difference],
) -> Iterator[Ends]:
    """Return what is shown of differences between the two seqs of `span`, with the reports known then."""

    def seqs_of(each: Difference) -> tuple[int, int]:
        at = each.step.at
        return (at - 1, at) if each.is_event and isinstance(at, int) else span

    known = {(moves[each.key].line_id, seq) for each in some for seq in seqs_of(each)}
    reports = reports_known(viewer.session, day, known)

    def counts(each: Difference) -> tuple[int, int]:
        line_id, (old, new) = moves[each.key].line_id, seqs_of(each)
        return reports[line_id, old], reports[line_id, new]

    return _seen(viewer, some, counts)


def _wanted(viewer: Viewer, found: list[Difference], wanted: PositionFilter) -> list[Difference]:
    """Return those differences of which either position is wanted."""
    if wanted.takes_all_of_lines or not found:
        return found
    stands = (stand for each in found for stand in (each.step.before, each.step.after))
    said = said_by(viewer.session, {seq for stand in stands if (seq := stand.shown_seq) is not None}, wanted)

    def is_wanted(stand: Stand, day: date) -> bool:
        if stand.shown_seq not in said or not wanted.takes(stand):
            return False
        return wanted.stale is None or wanted.stale is viewer.is_stale(stand, day)

    return [
        each
        for each in found
        if is_wanted(each.step.before, each.days[0]) or is_wanted(each.step.after, each.days[1])
    ]
