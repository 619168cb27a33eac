"""Whether the record is what it was: walks the chain and derives again everything that is derived.

What the chain cannot show is that its end was cut off: for that, give a digest kept elsewhere.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from app.changes import (
    NO_DIGEST,
    SOURCE_FIELDS,
    STATEMENT_FIELDS,
    Change,
    entry_document,
    next_digest,
)
from app.dates import BadDate, parse_edtf
from app.sources import Source
from app.statements import Line, LineEntry, Statement, StatementRelation, components_of, search_text_of
from app.vocabulary import Action, Firmness

STRETCH = 5_000
"""How many entries are read at a time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The first entry that is not as it was recorded, and what is wrong with it."""

    seq: int
    what: str


@dataclass(frozen=True, slots=True)
class Verified:
    """How far the record is sound, the digest there, and the first fault, if any."""

    seq: int
    digest: str
    finding: Finding | None


def count_entries(session: Session) -> int:
    """Return how many entries there are to walk."""
    return session.scalar(sa.select(sa.func.count()).select_from(Change)) or 0


def verify(
    session: Session, *, head: str | None = None, progress: Callable[[int], None] | None = None
) -> Verified:
    """Walk the ledger from its first entry and stop at the first that is not as it was recorded.

    `head` is a digest kept earlier: the record must contain it still, or its end was cut off or
    rewritten. `progress` is told how many more entries have been walked, every so often.
    """
    seq, digest = 0, NO_DIGEST
    met = head in (None, NO_DIGEST)
    recorded_at: datetime | None = None
    for stretch in _stretches(session):
        for row in stretch:
            what = _fault(row, seq, digest, recorded_at)
            if what is not None:
                return Verified(seq, digest, Finding(row.change.seq, what))
            seq, digest, recorded_at = row.change.seq, row.change.digest, row.change.recorded_at
            met = met or digest == head
        if progress is not None:
            progress(len(stretch))
    if orphans := _orphans(session):
        return Verified(seq, digest, Finding(orphans, "a row without its entry: something was inserted"))
    if not met:
        what = "no entry has the digest that you kept: the end was cut off or history was rewritten"
        return Verified(seq, digest, Finding(seq, what))
    return Verified(seq, digest, None)


@dataclass(slots=True)
class _Row:
    """An entry with all that hangs on it."""

    change: Any
    statement: Any
    source: Any
    relations: list[Any]
    lines: list[Any]


def _stretches(session: Session) -> Iterator[list[_Row]]:
    """Yield the entries in order, a stretch at a time, with flat memory."""
    replaced, old = aliased(Change), aliased(Statement)
    query = (
        sa.select(
            *(getattr(Change, name) for name in Change.model_fields),
            *(col(getattr(Statement, name)).label(f"s_{name}") for name in Statement.model_fields),
            *(col(getattr(Source, name)).label(f"o_{name}") for name in SOURCE_FIELDS),
            col(replaced.seq).label("r_seq"),
            col(replaced.chain).label("r_chain"),
            col(old.seq).label("old_seq"),
            col(old.stated_on).label("old_stated_on"),
            col(old.effective_on).label("old_effective_on"),
        )
        .outerjoin(Statement, col(Statement.seq) == col(Change.seq))
        .outerjoin(Source, col(Source.id) == col(Statement.source_id))
        .outerjoin(replaced, col(replaced.seq) == col(Change.replaces))
        .outerjoin(old, col(old.seq) == col(Change.replaces))
        .order_by(col(Change.seq))
        .limit(STRETCH)
    )
    after = None
    while True:
        rows = session.execute(query if after is None else query.where(col(Change.seq) > after)).all()
        if not rows:
            return
        first, after = rows[0].seq, rows[-1].seq
        relations = _by_seq(session, _relations(), col(StatementRelation.seq), first, after)
        lines = _by_seq(session, _lines(), col(LineEntry.seq), first, after)
        yield [
            _Row(
                change=row,
                statement=_part(row, "s_", STATEMENT_FIELDS) if row.s_seq is not None else None,
                source=_part(row, "o_", SOURCE_FIELDS),
                relations=relations[row.seq],
                lines=lines[row.seq],
            )
            for row in rows
        ]


class _Part:
    """Some columns of a joined row, under their own names."""


def _part(row: Any, prefix: str, names: tuple[str, ...]) -> Any:
    part = _Part()
    part.__dict__.update({name: getattr(row, prefix + name) for name in names})
    return part


def _relations() -> Any:
    target = aliased(Change)
    return sa.select(
        col(StatementRelation.seq),
        col(StatementRelation.target_seq),
        col(StatementRelation.relation),
        col(StatementRelation.target_chain),
        col(target.chain).label("real_chain"),
    ).outerjoin(target, col(target.seq) == col(StatementRelation.target_seq))


def _lines() -> Any:
    return sa.select(
        col(LineEntry.seq),
        col(Line.country_code),
        col(Line.component),
        col(Line.voice),
        col(LineEntry.effective_on),
        col(LineEntry.is_withdrawal),
        col(LineEntry.chain),
    ).join(Line, col(Line.id) == col(LineEntry.line_id))


def _by_seq(session: Session, query: Any, seq: Any, first: int, last: int) -> dict[int, list[Any]]:
    rows = session.execute(query.where(seq >= first, seq <= last).order_by(seq))
    found: dict[int, list[Any]] = defaultdict(list)
    for number, group in groupby(rows, key=lambda row: row.seq):
        found[number] = list(group)
    return found


def _fault(row: _Row, seq: int, digest: str, recorded_at: datetime | None) -> str | None:
    """Return what is wrong with an entry that follows entry `seq`, or None."""
    change = row.change
    if change.seq != seq + 1:
        return f"entry {seq + 1} is missing" if change.seq > seq else "its number is out of order"
    if recorded_at is not None and change.recorded_at < recorded_at:
        return "it was recorded before the entry ahead of it"
    document = entry_document(change, row.statement, row.relations, row.source)
    if next_digest(digest, document) != change.digest:
        return "its digest does not match what is stored: something was edited, deleted or inserted"
    return _misfit(row) or _underived(row)


def _misfit(row: _Row) -> str | None:
    """Return what is wrong with what an entry replaces, or None."""
    change, has_statement = row.change, row.statement is not None
    if has_statement is (change.action is Action.RETRACT):
        return f"its action is {change.action} but it has {'a' if has_statement else 'no'} statement"
    if change.action is Action.STATE:
        fits = change.replaces is None and change.chain == change.seq
    else:
        fits = change.old_seq is not None and change.chain == change.r_chain and change.r_seq < change.seq
    return None if fits else "it does not fit the entry that it replaces"


def _underived(row: _Row) -> str | None:
    """Return which derived value of an entry is not what it should be, or None."""
    statement, change = row.statement, row.change
    if statement is None:
        return "a retraction stands in a line" if row.lines else None
    try:
        edtf = parse_edtf(statement.stated_on)
    except BadDate as error:
        return f"its stated_on cannot be read: {error}"
    if (statement.stated_earliest_on, statement.stated_latest_on) != (edtf.earliest_on, edtf.latest_on):
        return "the bounds of stated_on are not what it says"
    if row.change.s_search_text != search_text_of(statement.summary, statement.quote, statement.speaker):
        return "its search text is not what it says"
    if statement.effective_on != _effective_on(statement, change, edtf.latest_on):
        return "effective_on is not what its dates say"
    if any(each.target_chain != each.real_chain for each in row.relations):
        return "a relation leads to another chain than its target's"
    wanted = {
        (
            statement.country_code,
            component,
            statement.voice,
            statement.effective_on,
            statement.firmness is Firmness.WITHDRAWN,
            change.chain,
        )
        for component in components_of(statement)
    }
    found = [tuple(each)[1:] for each in row.lines]
    if len(found) != len(wanted) or set(found) != wanted:
        return "its places in the lines are not those that it enters"
    return None


def _effective_on(statement: Any, change: Any, latest_on: date) -> date:
    if change.action is Action.CORRECT and change.old_stated_on == statement.stated_on:
        kept: date = change.old_effective_on
        return kept
    recorded_on: date = change.recorded_at.date()
    return min(latest_on, recorded_on)


def _orphans(session: Session) -> int | None:
    """Return the first statement, relation or place in a line that has no entry of its own."""
    for table, seq in (
        (Statement, col(Statement.seq)),
        (StatementRelation, col(StatementRelation.seq)),
        (LineEntry, col(LineEntry.seq)),
    ):
        query = sa.select(seq).select_from(table).outerjoin(Change, col(Change.seq) == seq)
        found = session.scalar(query.where(col(Change.seq).is_(None)).order_by(seq).limit(1))
        if found is not None:
            return int(found)
    return None
