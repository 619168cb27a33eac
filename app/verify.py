"""Whether the record is what it was: walks the chain and derives again everything that is derived.

What the chain cannot show is that its end was cut off: for that, give a digest kept elsewhere.
"""

import json
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import Session, col

from app.changes import Change
from app.collecting import uncollected
from app.dates import BadDate, parse_edtf
from app.db import among, canonical_json, table_of
from app.deriving import countries_heard, standings_of
from app.digests import NO_DIGEST, SOURCE_FIELDS, entry_json, next_digest
from app.fields import canonical_url
from app.lines import Line, LineEntry, heard_in
from app.pieces import ChangeJSON, EntryPieces, entry_pieces, pieces_from
from app.report_counts import ReportCount, all_counted
from app.sources import Source
from app.spelling import misspelt
from app.standings import Standing
from app.statements import (
    Statement,
    StatementRelation,
    components_of,
    search_text_of,
)
from app.vocabulary import Action

LEFT_WRONGLY = "it leaves its lines with another entry than the one that replaces it"

STRETCH = 1_000
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
    with uncollected():
        return _walk(session, head, progress)


def _walk(session: Session, head: str | None, progress: Callable[[int], None] | None) -> Verified:
    seq, digest = 0, NO_DIGEST
    met = head in (None, NO_DIGEST)
    recorded_at: datetime | None = None
    wrongly_left: dict[int, int] = {}
    """Entries whose places are left with another than replaces them, by where that shows."""
    for stretch in _stretches(session):
        for stored in stretch:
            try:
                entry = _read(stored)
                what = _fault(entry, seq, digest, recorded_at)
            except (ValueError, TypeError, LookupError):
                what = "a value of it cannot be read: something was edited"
            if what is not None:
                return Verified(seq, digest, Finding(stored.seq, what))
            seq, digest, recorded_at = entry.change.seq, entry.change.digest, entry.change.recorded_at
            met = met or digest == head
            wrongly_left |= {
                _leaves_at(line): seq for line in entry.lines if line.left_seq != line.really_left
            }
            if seq in wrongly_left:
                return Verified(seq, digest, Finding(wrongly_left[seq], LEFT_WRONGLY))
        if progress is not None:
            progress(len(stretch))
    if wrongly_left:
        return Verified(seq, digest, Finding(min(wrongly_left.values()), LEFT_WRONGLY))
    if orphans := _orphans(session):
        return Verified(seq, digest, Finding(orphans, "a row without its entry: something was inserted"))
    if misplaced := _misplaced(session, seq):
        return Verified(seq, digest, Finding(misplaced, "what its lines answer from then on does not follow"))
    if wrong := misspelt(session):
        return Verified(seq, digest, Finding(wrong, "the JSON of what its lines hold is not what they say"))
    if miscounted := _miscounted(session):
        return Verified(
            seq, digest, Finding(miscounted, "the reports in its lines are not as many as is kept")
        )
    if not met:
        what = "no entry has the digest that you kept: the end was cut off or history was rewritten"
        return Verified(seq, digest, Finding(seq, what))
    return Verified(seq, digest, None)


class _Stored(NamedTuple):
    """An entry with all that hangs on it, as the database holds it."""

    seq: int
    parts: list[tuple[Any, ...]]
    """The values of `_CHANGE`, `_STATEMENT`, `_SOURCE`, `_REPLACED` and `EntryPieces`."""
    relations: list[Any]
    lines: list[Any]


_CHANGE = tuple(Change.model_fields)
_STATEMENT = tuple(Statement.model_fields)
_SOURCE = (*SOURCE_FIELDS, "canonical_url", "known_from_seq")
_REPLACED = ("seq", "chain", "stated_on", "effective_on")
_PLACE = tuple(name for name in LineEntry.model_fields if name not in ("line_id", "seq"))
_IN_LINE = ("country", "component", *_PLACE, "really_left")
_PLACED = ("country", "component", *(name for name in _PLACE if name != "left_seq"))
_RELATION = ("target_seq", "relation", "target_chain", "real_chain")
_PARTS = (_CHANGE, _STATEMENT, _SOURCE, _REPLACED, EntryPieces._fields)
_shapes: list[Any] = [namedtuple("_Part", names) for names in (*_PARTS, _RELATION, _IN_LINE)]
*_SHAPES, _RELATED, _LINE = _shapes
_SHAPES.append(_LINE)


def _stretches(session: Session) -> Iterator[list[_Stored]]:
    """Yield the entries in order, a stretch at a time, with flat memory."""
    change, statement, source, written, relation, place, line = (
        table_of(each) for each in (Change, Statement, Source, ChangeJSON, StatementRelation, LineEntry, Line)
    )
    replaced, old, target = change.alias(), statement.alias(), change.alias()
    entries = (
        sa.select(
            change.c.seq,
            *_unread(change, _CHANGE),
            *_unread(statement, _STATEMENT),
            *_unread(source, _SOURCE),
            *_unread(replaced, _REPLACED[:2]),
            *_unread(old, _REPLACED[2:]),
            *_unread(written, EntryPieces._fields),
        )
        .outerjoin(statement, statement.c.seq == change.c.seq)
        .outerjoin(source, source.c.id == statement.c.source_id)
        .outerjoin(written, written.c.seq == change.c.seq)
        .outerjoin(replaced, replaced.c.seq == change.c.replaces)
        .outerjoin(old, old.c.seq == change.c.replaces)
        .order_by(change.c.seq)
        .limit(STRETCH)
    )
    relations = sa.select(
        relation.c.seq, *_unread(relation, _RELATION[:-1]), *_unread(target, ("chain",))
    ).outerjoin(target, target.c.seq == relation.c.target_seq)
    leaving = change.alias()
    places = (
        sa.select(
            place.c.seq,
            *_unread(line, ("country_code", "component")),
            *_unread(place, _PLACE),
            leaving.c.seq,
        )
        .join(line, line.c.id == place.c.line_id)
        .outerjoin(leaving, leaving.c.replaces == place.c.seq)
    )
    ends = accumulate(map(len, _PARTS), initial=1)
    cuts = [slice(first, last) for first, last in pairwise(ends)]
    connection = session.connection()
    after = None
    while True:
        query = entries if after is None else entries.where(change.c.seq > after)
        rows = connection.execute(query).all()
        if not rows:
            return
        first, after = rows[0][0], rows[-1][0]
        related = _by_seq(connection, relations.where(relation.c.seq.between(first, after)))
        placed = _by_seq(connection, places.where(place.c.seq.between(first, after)))
        yield [
            _Stored(row[0], [row[cut] for cut in cuts], related.get(row[0], []), placed.get(row[0], []))
            for row in rows
        ]


def _unread(table: Any, names: Iterable[str]) -> list[sa.ColumnElement[Any]]:
    # Not read into their types: a value that was forged into nonsense must not stop the walk, and
    # so the walk takes half the time.
    return [sa.type_coerce(table.c[name], sa.String).label(None) for name in names]


def _by_seq(connection: sa.Connection, query: Any) -> dict[int, list[Any]]:
    """Return what hangs on entries, each row without its leading seq."""
    found: dict[int, list[Any]] = {}
    for row in connection.execute(query):
        found.setdefault(row[0], []).append(row[1:])
    return found


@dataclass(slots=True)
class _Entry:
    """An entry with all that hangs on it, as `entry_json` takes it."""

    change: Any
    statement: Any
    """With its lists as they are stored."""
    said: Any
    """The same, with its lists read."""
    source: Any
    replaced: Any
    written: Any
    """What is kept of its JSON."""
    relations: list[Any]
    lines: list[Any]


def _read(stored: _Stored) -> _Entry:
    """Return what an entry says; raise ValueError for a value that is not spelt as we spell it."""
    change, statement, source, replaced, written = stored.parts
    has_statement = statement[0] is not None
    return _Entry(
        change=_made(0, change, _INSTANTS),
        statement=_made(1, statement, _DAYS) if has_statement else None,
        said=_made(1, statement, _DAYS_AND_LISTS) if has_statement else None,
        source=_SHAPES[2]._make(source),
        replaced=_SHAPES[3]._make(replaced),
        written=written,
        relations=[_RELATED._make(each) for each in stored.relations],
        lines=[_made(-1, each, _LINE_DAYS) for each in stored.lines],
    )


def _made(shape: int, values: Iterable[Any], readers: Iterable[tuple[int, Callable[[Any], Any]]]) -> Any:
    """Return values in one of the shapes, some of them read."""
    cells = list(values)
    for place, read in readers:
        cells[place] = read(cells[place])
    return _SHAPES[shape]._make(cells)


def _instant(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    instant = datetime.fromisoformat(value)
    if instant.isoformat(" ", "microseconds") != value:
        raise ValueError(value)
    return instant


@lru_cache(10_000)
def _day(value: Any) -> date | None:
    if value is None or isinstance(value, date):
        return value
    day = date.fromisoformat(value)
    if day.isoformat() != value:
        raise ValueError(value)
    return day


@lru_cache(1000)
def _list(value: str | None) -> Any:
    if value is None:
        return None
    found = json.loads(value)
    if not isinstance(found, list) or canonical_json(found) != value:
        raise ValueError(value)
    return found


def _readers(names: Sequence[str], **read: Callable[[Any], Any]) -> list[tuple[int, Callable[[Any], Any]]]:
    """Return by which of some columns, by its place, what is stored is read."""
    return [(names.index(name), each) for name, each in read.items()]


_INSTANTS = _readers(_CHANGE, recorded_at=_instant)
_DAYS = _readers(_STATEMENT, stated_earliest_on=_day, stated_latest_on=_day, effective_on=_day)
_DAYS_AND_LISTS = [*_DAYS, *_readers(_STATEMENT, refuses=_list, conditions=_list, caveats=_list)]
_LINE_DAYS = _readers(_IN_LINE, effective_on=_day, starts_on=_day)


def _is_found_by_url(source: Any) -> bool:
    try:
        return bool(source.canonical_url == (source.url and canonical_url(source.url)))
    except ValueError:
        return True  # an earlier release took this address


def _fault(entry: _Entry, seq: int, digest: str, recorded_at: datetime | None) -> str | None:
    """Return what is wrong with an entry that follows entry `seq`, or None."""
    change = entry.change
    if change.seq != seq + 1:
        return f"entry {seq + 1} is missing" if change.seq > seq else "its number is out of order"
    if recorded_at is not None and change.recorded_at < recorded_at:
        return "it was recorded before the entry ahead of it"
    covered = entry_json(change, entry.statement, entry.relations, entry.source)
    if next_digest(digest, covered) != change.digest:
        return "its digest does not match what is stored: something was edited, deleted or inserted"
    return _misfit(entry) or _underived(entry) or _misspelt(entry)


def _misfit(entry: _Entry) -> str | None:
    """Return what is wrong with what an entry replaces, or None."""
    change, replaced, has_statement = entry.change, entry.replaced, entry.statement is not None
    if has_statement is (change.action == Action.RETRACT):
        return f"its action is {change.action} but it has {'a' if has_statement else 'no'} statement"
    if change.action == Action.STATE:
        fits = change.replaces is None and change.chain == change.seq
    else:
        has_target = replaced.stated_on is not None and replaced.seq < change.seq
        fits = has_target and change.chain == replaced.chain
    return None if fits else "it does not fit the entry that it replaces"


def _underived(entry: _Entry) -> str | None:
    """Return which derived value of an entry is not what it should be, or None."""
    statement, source = entry.statement, entry.source
    if statement is None:
        return "a retraction stands in a line" if entry.lines else None
    try:
        edtf = parse_edtf(statement.stated_on)
    except BadDate as error:
        return f"its stated_on cannot be read: {error}"
    if (statement.stated_earliest_on, statement.stated_latest_on) != (edtf.earliest_on, edtf.latest_on):
        return "the bounds of stated_on are not what it says"
    if statement.search_text != search_text_of(statement.summary, statement.quote, statement.speaker):
        return "its search text is not what it says"
    if statement.effective_on != _effective_on(entry, edtf.latest_on):
        return "effective_on is not what its dates say"
    if not _is_found_by_url(source) or source.known_from_seq > entry.change.seq:
        return "its source would not be found by its url, or only later"
    if any(each.target_chain != each.real_chain for each in entry.relations):
        return "a relation leads to another chain than its target's"
    said = entry.said
    heard = heard_in(said, components_of(said), entry.change.chain, entry.relations)
    if sorted(map(_place, entry.lines)) != sorted(map(_place, heard)):
        return "its places in the lines are not those that it enters"
    return None


def _misspelt(entry: _Entry) -> str | None:
    """Return that the JSON of an entry is not what it says, or None where it is."""
    said, country, pieces = entry.said, None, None
    if said is not None:
        country, pieces = said.country_code, pieces_from(said, entry.source, entry.relations)
    is_right = tuple(entry.written) == entry_pieces(entry.change, country, pieces)
    return None if is_right else "its JSON is not what it says"


def _leaves_at(line: Any) -> int:
    """Return the entry by which it must be right when a place is left: that may itself be forged."""
    return max(line.left_seq or 0, line.really_left or 0)


_place: Any = attrgetter(*_PLACED)
"""A place in a line, but for when it is left."""


def _effective_on(entry: _Entry, latest_on: date) -> date:
    change, replaced = entry.change, entry.replaced
    if change.action == Action.CORRECT and replaced.stated_on == entry.statement.stated_on:
        kept = _day(replaced.effective_on)
        assert kept is not None
        return kept
    recorded_on: date = change.recorded_at.date()
    return min(latest_on, recorded_on)


def _misplaced(session: Session, until: int) -> int | None:
    """Return the first entry from which on a line answers what does not follow from its statements."""
    standing, line = table_of(Standing), table_of(Line)
    found: set[int] = set()
    columns = [name for name in Standing.model_fields if name != "position_id"]
    for country in countries_heard(session):
        opened = standings_of(session, country, until).opened
        expected = {tuple(row[name] for name in columns) for row in opened}
        stored = sa.select(*(standing.c[name] for name in columns))
        of_country = stored.join(line, line.c.id == standing.c.line_id).where(line.c.country_code == country)
        different = expected ^ {tuple(row) for row in session.execute(of_country)}
        found |= {row[columns.index("seq")] for row in different}
    return min(found, default=None)


def _miscounted(session: Session) -> int | None:
    """Return the first entry of the lines in which reports are not as many as is kept."""
    expected = {tuple(row.values()) for row in all_counted(session)}
    different = expected ^ {tuple(row) for row in session.execute(sa.select(table_of(ReportCount)))}
    if not different:
        return None
    in_lines = among(col(LineEntry.line_id), {line_id for line_id, *_ in different})
    return session.scalar(sa.select(sa.func.min(col(LineEntry.seq))).where(in_lines)) or 1


def _orphans(session: Session) -> int | None:
    """Return the first statement, relation or place in a line that has no entry of its own."""
    for table, seq in (
        (Statement, col(Statement.seq)),
        (StatementRelation, col(StatementRelation.seq)),
        (LineEntry, col(LineEntry.seq)),
        (ChangeJSON, col(ChangeJSON.seq)),
    ):
        query = sa.select(seq).select_from(table).outerjoin(Change, col(Change.seq) == seq)
        found = session.scalar(query.where(col(Change.seq).is_(None)).order_by(seq).limit(1))
        if found is not None:
            return int(found)
    return None
