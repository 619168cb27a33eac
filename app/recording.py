"""How a statement, a correction or a retraction enters the ledger, and what it answers.

Every function here runs under the write lock, in the caller's transaction, and either adds what
it was asked to add or raises and leaves the record as it was.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session, col

from app.appending import Appending, Values, next_instant
from app.as_of import Viewer
from app.changes import ChangeView, Head, Writer, get_change, head_of, stated_by
from app.diff import DiffEntry, Difference, step_of_entry
from app.drafts import corrected, draft_of, refuse_duplicate, source_faults
from app.errors import Forbidden, NotLive, invalid, refused
from app.fields import Text
from app.intake import Intake, intake
from app.items import Item, joined
from app.lines import Lines
from app.positions import PositionView
from app.sources import NewSource, Source, SourceBrief, find_source
from app.spelling import NULL
from app.standings import NOTHING
from app.statements import (
    CorrectedFields,
    NewPosition,
    Stated,
    Statement,
    StatementView,
)
from app.vocabulary import (
    Action,
    Scope,
)


class Correction(BaseModel):
    """Why our record was wrong, and the fields of the statement that change."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"reason": "The source says planned.", "statement": {"firmness": "planned"}}]
        },
    )

    reason: Annotated[Text, Field(max_length=2000)] = Field(examples=["The source says planned."])
    statement: CorrectedFields


class Retraction(BaseModel):
    """Why it was never so: a hoax, a misattribution, a duplicate."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"reason": "The quotation was invented; the speaker's office denied it."}]
        },
    )

    reason: Annotated[Text, Field(max_length=2000)]


class Recorded(BaseModel):
    """What a write answers: the entry, what the touched lines hold now, what differs from before."""

    change: ChangeView
    positions: list[PositionView] = Field(description="The touched lines' positions today.")
    diff: list[DiffEntry] = Field(description="What the entry changed in the positions of today.")


class Entered(Item[Recorded]):
    """What a write answers, put together from what is kept as JSON."""

    def __init__(
        self,
        seq: int,
        change: Item[ChangeView],
        positions: Iterable[bytes],
        diff: Iterable[Item[DiffEntry]],
    ) -> None:
        self.seq = seq
        told = change.utf8, b",".join(positions), joined(diff)
        super().__init__(Recorded, b'{"change":%b,"positions":[%b],"diff":[%b]}' % told)


def state(session: Session, viewer: Viewer, writer: Writer, new: NewPosition) -> Entered:
    """Record what a country said.

    Raises `Invalid` naming every fault, or `Duplicate` when the same is live in the record.
    """
    taken = intake(session)
    add_statement(taken, next_instant(taken.head), writer, new)
    return _answer(taken.entering, viewer, Action.STATE)


def add_statement(taken: Intake, recorded_at: datetime, writer: Writer, new: NewPosition) -> None:
    """Add one statement to an intake; raises as `state` does."""
    draft = draft_of(taken, recorded_at, writer, new)
    refuse_duplicate(taken, draft)
    taken.append(_change(Action.STATE, writer, recorded_at), draft)


def correct(session: Session, viewer: Viewer, writer: Writer, entry: int, correction: Correction) -> Entered:
    """Record what entry `entry` should have said.

    Raises `NotFound`, `NotLive` with a link to what replaced it, `Forbidden` for another's entry
    under the scope `contribute`, or `Invalid`.
    """
    taken = intake(session)
    head = taken.head
    recorded_at = next_instant(head)
    left = _live_entry(session, head, writer, entry)
    given = correction.statement
    if not given.model_fields_set:
        raise refused("nothing_to_correct", "Give the fields that change.", pointer="/statement")
    body = corrected(left, given)
    draft = draft_of(taken, recorded_at, writer, body, left)
    change = _change(Action.CORRECT, writer, recorded_at, correction.reason, left)
    taken.append(change, draft)
    return _answer(taken.entering, viewer, Action.CORRECT)


def retract(session: Session, viewer: Viewer, writer: Writer, entry: int, retraction: Retraction) -> Entered:
    """Take entry `entry` out of the record; nothing that it had replaced comes back.

    Raises `NotFound`, `NotLive` with a link to what replaced it, or `Forbidden`.
    """
    head = head_of(session)
    left = _live_entry(session, head, writer, entry)
    change = _change(Action.RETRACT, writer, next_instant(head), retraction.reason, left)
    entering = Appending(session, head)
    entering.append(change, None)
    return _answer(entering, viewer, Action.RETRACT)


@dataclass(frozen=True, slots=True)
class NotKept:
    """What a dry run made and undid, entries and sources: answers must not name them."""

    above: int
    """Entries above this seq."""
    first_source: int | None
    """Sources from this id on; None: no source was made."""

    def recorded(self, recorded: Recorded) -> Recorded:
        """Return the answer to one entry without its number, its digest and what else was not kept."""
        change = recorded.change
        statement = change.statement and self._statement(change.statement)
        nameless = {"seq": None, "digest": None, "statement": statement}
        return Recorded(
            change=change.model_copy(update=nameless),
            positions=[self._position(position) for position in recorded.positions],
            diff=[self.entry(entry) for entry in recorded.diff],
        )

    def entry(self, entry: DiffEntry) -> DiffEntry:
        """Return a difference without the numbers that were not kept."""
        return entry.model_copy(
            update={
                "before": entry.before and self._position(entry.before),
                "after": entry.after and self._position(entry.after),
                "seqs": [seq for seq in entry.seqs if seq <= self.above],
            }
        )

    def _position(self, position: PositionView) -> PositionView:
        sides = [self._statement(side) for side in position.sides]
        return position.model_copy(
            update={
                "seq": self._seq(position.seq),
                "sides": sides,
                "source": self._source(position.source),
            }
        )

    def _statement(self, statement: StatementView) -> StatementView:
        source = self._source(statement.source)
        return statement.model_copy(update={"seq": self._seq(statement.seq), "source": source})

    def _seq(self, seq: int | None) -> int | None:
        return seq if seq is not None and seq <= self.above else None

    def _source(self, source: SourceBrief) -> SourceBrief:
        is_kept = self.first_source is None or source.id is None or source.id < self.first_source
        return source if is_kept else source.model_copy(update={"id": None})


def not_kept(session: Session, above: int) -> NotKept:
    """Return what this session made that a dry run does not keep."""
    return NotKept(above, session.info.get("first_source_made"))


def as_dry_run(session: Session, entered: Entered) -> Recorded:
    """Return the same answer for an entry that is not kept."""
    return not_kept(session, entered.seq - 1).recorded(entered.view)


def post_source(session: Session, writer: Writer, new: NewSource) -> tuple[Source, bool]:
    """Return the source that `new` means, and whether it had to be made."""
    source = find_source(session, new)
    if source is not None:
        return source, False
    faults = source_faults(new, "")
    if faults:
        raise invalid(faults)
    taken = intake(session)
    made = taken.add_source(new, next_instant(taken.head), writer)
    taken.insert()
    return session.get_one(Source, made.id), True


def _change(
    action: Action,
    writer: Writer,
    recorded_at: datetime,
    reason: str | None = None,
    left: Stated | None = None,
) -> Values:
    return Values(
        seq=0,
        action=action,
        recorded_at=recorded_at,
        recorded_by_id=writer.id,
        recorded_by_name=writer.name,
        reason=reason,
        replaces=left.seq if left else None,
        chain=left.chain if left else 0,
        digest="",
    )


def _live_entry(session: Session, head: Head, writer: Writer, entry: int) -> Stated:
    view = get_change(session, entry, head.seq)
    if view.replaced_by is not None:
        link = f"/v1/changes/{view.replaced_by}"
        raise NotLive(f"Entry {entry} was replaced by entry {view.replaced_by}.", replaced_by=link)
    if view.statement is None:
        raise NotLive(f"Entry {entry} is a retraction: it holds no statement. State it anew.")
    if writer.scope is not Scope.CURATE and view.recorded_by.id != writer.id:
        raise Forbidden(f"Entry {entry} was recorded by another key ({view.recorded_by.name}).")
    return stated_by(session, head.seq, None, col(Statement.seq) == entry)[0]


def _answer(entering: Appending, viewer: Viewer, action: Action) -> Entered:
    """Put in the database what is entering, one entry, and return what the write answers."""
    entering.derive()
    seq, recorded_at = entering.head.seq, entering.head.recorded_at
    assert recorded_at is not None
    today, lines = recorded_at.date(), entering.touched | entering.moved.keys()
    after = viewer.stands_shown_on(seq, today, Lines(keys=lines))
    differing = [
        key for key, day in entering.moved.items() if day >= after.get(key, NOTHING_SHOWN)[0].holds_from
    ]
    before = viewer.stands_shown_on(seq - 1, today, Lines(keys=differing)) if differing else {}
    diff: list[Item[DiffEntry]] = []
    for key in sorted(differing):
        (old, gone), (new, come) = (each.get(key, NOTHING_SHOWN) for each in (before, after))
        step = step_of_entry(old, new, seq, action)
        if step is not None and not step.is_affirmation:
            diff.append(Difference(key, step, (today, today)).item((gone, come)))
    shown = (after[key] for key in sorted(entering.touched & after.keys()))
    held = (position for stand, position in shown if stand.position_id is not None)
    return Entered(seq, entering.entry(), held, diff)


NOTHING_SHOWN = NOTHING, NULL
"""What a line answers before anything is said in it, with what is shown of that."""
