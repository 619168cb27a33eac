"""Standings: what a line answers from a day on, kept for every day and every state of our knowledge.

They follow from the statements by `positions`: made when an entry is recorded, compared by
`coalition verify`, and they can be made again. So an answer for any day, as known at any entry, is
one seek in an index, however long the history.
"""

import itertools
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date
from functools import cache
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import Field, Session, SQLModel

from app.db import among_named, insert_rows, pairs, table_of
from app.lines import (
    EVERY,
    Heard,
    Line,
    LineEntry,
    LineKey,
    Lines,
    Relations,
    Shape,
    by_place,
    entries,
    following_lines,
    relations_of,
)
from app.positions import Held, LineState, line_state
from app.prepared import Prepared
from app.statements import Pieces, StatementJSON
from app.vocabulary import Voice

CHANGED, AFFIRMED = "changed", "affirmed"
"""What a day is for a line on which its answer changes, or on which the same is said again."""


class Standing(SQLModel, table=True):
    """What a line answers from a day on, up to its next one that is live at the same seq."""

    line_id: int = Field(primary_key=True, foreign_key="line.id")
    holds_from: date = Field(primary_key=True)
    seq: int = Field(sa_type=sa.BigInteger, primary_key=True, index=True)
    """Entry from which on it is so."""
    left_seq: int | None = Field(sa_type=sa.BigInteger, index=True)
    """Entry from which on it is so no more: live at S if `seq` <= S and S < `left_seq`, or that is null."""
    shown_seq: int | None = Field(sa_type=sa.BigInteger)
    """Entry that is shown: the first of the run in force; null where nothing is held."""
    since: date | None
    last_affirmed_on: date | None
    affirmations: int
    sides: str = Field(sa_type=sa.Text)
    """Seqs of the other sides of what is contested, joined by commas."""
    reports: int
    content: str | None = Field(sa_type=sa.String(160))
    """Kind, firmness, voice and a digest of what is held: with `sides`, all that a diff compares."""
    step: str | None = Field(sa_type=sa.String(10))
    """`changed` or `affirmed`, where its day is a step (DESIGN.md 5, Diff)."""
    step_seqs: str = Field(sa_type=sa.Text)
    """Seqs of the statements that make the step, joined by commas."""

    __table_args__ = (sa.Index(None, "holds_from", "left_seq"), {"sqlite_with_rowid": False})


class Stand(NamedTuple):
    """What a line answers from a day on: the columns of `Standing` of the same names."""

    holds_from: date
    shown_seq: int | None
    since: date | None
    last_affirmed_on: date | None
    affirmations: int
    sides: str
    reports: int
    content: str | None
    step: str | None
    step_seqs: str

    @property
    def answer(self) -> tuple[object, ...]:
        """All that is seen of it."""
        return self[1:8]

    @property
    def meaning(self) -> str | None:
        """Digest of what is held."""
        return None if self.content is None else self.content.rpartition(" ")[2]

    @property
    def shown_seqs(self) -> list[int]:
        """Entries of which anything is shown."""
        return [] if self.shown_seq is None else [self.shown_seq, *self.side_seqs]

    @property
    def side_seqs(self) -> list[int]:
        """Entries of the other sides."""
        return numbers(self.sides)

    def differs(self, other: "Stand") -> bool:
        """Tell whether another answer differs in any field of `positions.COMPARED`."""
        return (self.content, bool(self.sides)) != (other.content, bool(other.sides))


NOTHING = Stand(date.min, None, None, None, 0, "", 0, None, None, "")
"""What a line answers before anything is said in it."""


def numbers(joined: str) -> list[int]:
    """Return numbers that were joined by commas."""
    return [int(each) for each in joined.split(",")] if joined else []


def _joined(found: Iterable[int]) -> str:
    return ",".join(map(str, found))


class Marks:
    """What is known of statements' relations to others at one seq."""

    def __init__(self, relations: Relations, seq: int) -> None:
        self._relations = relations
        self._seq = seq

    def repeated(self, stated: Heard) -> tuple[str, ...]:
        """Return the meanings that a statement repeats; none where it counts by itself."""
        return self._relations.repeated(stated, self._seq)

    def clarified(self, stated: Heard) -> frozenset[int]:
        """Return the chains that a statement clarifies."""
        return self._relations.clarified(stated.seq)


class _Day(NamedTuple):
    """A day of a line: what it comes to when all of that day is heard."""

    on: date
    state: LineState
    held: Held | None
    stand: Stand
    """What holds on it: where nothing new is seen, that of an earlier day."""


_effective_on: Callable[[Heard], date] = attrgetter("effective_on")
_on: Callable[[_Day], date] = attrgetter("on")


class _Log:
    """What is live in a line, and its days, as far as they had to be heard."""

    def __init__(self) -> None:
        self.live: list[Heard] = []
        self.days: list[_Day] = []
        self._later: Iterator[_Day] = iter(())
        self._vague: list[Heard] = []

    def enter(self, stated: Heard) -> None:
        """Take in a statement that is live now."""
        insort(self.live, stated, key=by_place)
        if stated.starts_on < stated.effective_on:
            self._vague.append(stated)

    def leave(self, stated: Heard) -> None:
        """Let go of a statement."""
        self.live.pop(bisect_left(self.live, stated.place, key=by_place))
        self._vague = [each for each in self._vague if each.place != stated.place]

    def begin(self, live: Iterable[Heard], first: date, marks: Marks) -> None:
        """Begin with what is live; only what comes from the day `first` on will be heard anew."""
        self.live = sorted(live, key=by_place)
        self._vague = [each for each in self.live if each.starts_on < each.effective_on]
        start = bisect_left(self.live, first, key=_effective_on)
        if start:
            on, state = self.live[start - 1].effective_on, line_state(self.live[:start], marks)
            held = state.held()
            self.days = [_Day(on, state, held, _stand(on, held, state.reports, None, ""))]
        before = self.days[0] if start else None
        self._later = _days(self.live.copy(), start, before, marks)

    def _place_of(self, day: date) -> int:
        """Return the place of the first day on or after `day`; it is heard if it was not yet."""
        while not self.days or self.days[-1].on < day:
            found = next(self._later, None)
            if found is None:
                break
            self.days.append(found)
        return bisect_left(self.days, day, key=_on)

    def restate(self, span: tuple[date, date], marks: Marks) -> tuple[list[Stand], list[Stand]]:
        """Hear the line anew where something is another between two days, both included.

        Return what holds no more, and what does instead.
        """
        first, last = span
        # What is said later may contest what was said in between.
        reaching = (each.effective_on for each in self._vague if each.starts_on <= last < each.effective_on)
        last = max(reaching, default=last)
        kept = self._place_of(first)
        before = self.days[kept - 1] if kept else None
        new: list[_Day] = []
        for day in _days(self.live, bisect_left(self.live, first, key=_effective_on), before, marks):
            new.append(day)
            if day.on < last:
                continue
            end = self._place_of(day.on)
            if end < len(self.days) and (old := self.days[end]).on == day.on and old.state == day.state:
                end += 1
                break
        else:
            self.days += self._later
            end = len(self.days)
        held, holds = _began(self.days[kept:end]), _began(new)
        self.days[kept:end] = new
        closed = [stand for on, stand in held.items() if holds.get(on) != stand]
        opened = [stand for on, stand in holds.items() if held.get(on) != stand]
        return closed, opened


def _began(days: Iterable[_Day]) -> dict[date, Stand]:
    """Return what began to hold on some days."""
    return {day.on: day.stand for day in days if day.stand.holds_from == day.on}


def _days(line: list[Heard], start: int, before: _Day | None, marks: Marks) -> Iterator[_Day]:
    """Yield the days of a line from its entry number `start` on, `before` being the day ahead of that."""
    state, held, stand = (LineState(), None, NOTHING) if before is None else before[1:]
    for on, of_day in groupby(range(start, len(line)), key=lambda number: line[number].effective_on):
        was, changing, affirming = held, list[int](), list[int]()
        for number in of_day:
            stated = line[number]
            state = state.hear(line, number, marks)
            if stated.voice == Voice.REPORT:
                continue
            earlier, held = held, state.held()
            if _differs(earlier, held):
                changing.append(stated.seq)
            # It may do both: what contests the run before and after need not be the same.
            if earlier and held and held.affirmations > earlier.affirmations:
                affirming.append(stated.seq)
        step, seqs = None, ""
        if _differs(was, held):
            step, seqs = CHANGED, _joined(changing)
        elif was and held and held.affirmations > was.affirmations and was.since == held.since:
            step, seqs = AFFIRMED, _joined(affirming)
        found = _stand(on, held, state.reports, step, seqs)
        # Also where nothing is seen on a line's first day: from it on there are words.
        if found.answer != stand.answer or stand is NOTHING:
            stand = found
        yield _Day(on, state, held, stand)


def _differs(before: Held | None, after: Held | None) -> bool:
    return before is not after if before is None else before.differs(after)


def _stand(on: date, held: Held | None, reports: int, step: str | None, seqs: str) -> Stand:
    if held is None:
        return Stand(on, None, None, None, 0, "", reports, None, step, seqs)
    first = held.first
    return Stand(
        on,
        first.seq,
        held.since,
        held.last_affirmed_on,
        held.affirmations,
        _joined(side.seq for side in held.sides),
        reports,
        f"{first.stance} {first.voice} {first.meaning}",
        step,
        seqs,
    )


class Moved(NamedTuple):
    """What an entry changes in a line: stands that hold no more, and those that do instead."""

    key: LineKey
    closed: list[Stand]
    opened: list[Stand]


class Replay:
    """Lines of the record, entry by entry: what each changes in what they answer."""

    def __init__(self, heard: Iterable[Heard], relations: Relations, seq: int) -> None:
        """Begin with what is known at `seq`; `heard` is all that was live then or later, of whole lines."""
        self._relations = relations
        self._logs: dict[LineKey, _Log] = {}
        self._entering: dict[int, list[Heard]] = {}
        self._leaving: dict[int, list[Heard]] = {}
        self._following: dict[int, list[Heard]] = {}
        live: dict[LineKey, list[Heard]] = {}
        following: dict[int, list[Heard]] = {}
        for each in heard:
            in_line = live.setdefault(each.key, [])
            if each.is_live(seq):
                in_line.append(each)
            else:
                self._entering.setdefault(each.seq, []).append(each)
            if each.left_seq is not None and each.left_seq > seq:
                self._leaving.setdefault(each.left_seq, []).append(each)
            if each.is_related:
                for chain in relations.reached(each):
                    following.setdefault(chain, []).append(each)
        for chain, followers in following.items():
            moments = {
                moment
                for version in relations.versions.get(chain, ())
                for moment in (version.seq, version.left_seq)
                if moment is not None and moment > seq
            }
            for moment in moments:
                self._following.setdefault(moment, []).extend(followers)
        first: dict[LineKey, date] = {}
        for moving in (self._entering, self._leaving, self._following):
            for each in itertools.chain.from_iterable(moving.values()):
                first[each.key] = min(each.effective_on, first.get(each.key, date.max))
        for key, in_line in live.items():
            self._logs[key] = _Log()
            self._logs[key].begin(in_line, first.get(key, date.max), Marks(relations, seq))

    @property
    def keys(self) -> Collection[LineKey]:
        """The lines."""
        return self._logs.keys()

    @property
    def seqs(self) -> list[int]:
        """The entries that may change anything, in order."""
        return sorted(self._entering.keys() | self._leaving.keys() | self._following.keys())

    def advance(self, seq: int) -> list[Moved]:
        """Move on to entry `seq`, the next of `seqs`."""
        days: dict[LineKey, list[date]] = {}
        for each in self._leaving.get(seq, ()):
            self._logs[each.key].leave(each)
            days.setdefault(each.key, []).append(each.effective_on)
        for each in self._entering.get(seq, ()):
            self._logs[each.key].enter(each)
            days.setdefault(each.key, []).append(each.effective_on)
        for each in self._following.get(seq, ()):
            if each.is_live(seq):
                days.setdefault(each.key, []).append(each.effective_on)
        marks = Marks(self._relations, seq)
        spans = ((key, (min(found), max(found))) for key, found in sorted(days.items()))
        moved = (Moved(key, *self._logs[key].restate(span, marks)) for key, span in spans)
        return [each for each in moved if each.closed or each.opened]


def replay(session: Session, after: int, until: int) -> Replay:
    """Return a replay of all lines that the entries above `after` and up to `until` may change."""
    keys, chains = _moved_lines(session, after, until)
    if chains:
        keys |= following_lines(session, chains, until)
    heard = entries(session, (after, until), Lines(keys=keys))
    return Replay(heard, relations_of(session, heard, until), after)


def _moved_lines(session: Session, after: int, until: int) -> tuple[set[LineKey], set[int]]:
    """Return the lines that entries between two seqs enter or leave, and the chains that go on there."""
    found: set[LineKey] = set()
    chains: set[int] = set()
    for country, component, chain in _ENTERED.rows(session, after=after, until=until):
        found.add((country, component))
        if chain <= after:
            chains.add(chain)
    for country, component, chain in _LEFT.rows(session, after=after, until=until):
        found.add((country, component))
        chains.add(chain)
    return found, chains


_line, _entry, _standing = table_of(Line), table_of(LineEntry), table_of(Standing)


def _moving(moment: Any) -> Prepared:
    return Prepared(
        sa.select(_line.c.country_code, sa.type_coerce(_line.c.component, sa.String), _entry.c.chain)
        .select_from(sa.join(_entry, _line, _line.c.id == _entry.c.line_id))
        .where(moment > sa.bindparam("after"), moment <= sa.bindparam("until"))
    )


_ENTERED, _LEFT = _moving(_entry.c.seq), _moving(_entry.c.left_seq)
_CLOSE = (
    sa.update(_standing)
    .where(
        _standing.c.line_id == sa.bindparam("line"),
        _standing.c.holds_from == sa.bindparam("day"),
        _standing.c.left_seq.is_(None),
    )
    .values(left_seq=sa.bindparam("closed_by"))
)


class Derived(NamedTuple):
    """Rows that follow from entries: those that hold no more, and new ones; and the lines that are moved."""

    closed: list[dict[str, Any]]
    opened: list[dict[str, Any]]
    moved: set[LineKey]


def derived(found: Replay, ids: Mapping[LineKey, int]) -> Derived:
    """Play a replay to its end, and return what follows for `Standing`; `ids` are those of its lines."""
    closed: list[dict[str, Any]] = []
    opened: list[dict[str, Any]] = []
    moved: set[LineKey] = set()
    live: dict[tuple[int, date], dict[str, Any]] = {}
    for seq in found.seqs:
        for key, gone, new in found.advance(seq):
            moved.add(key)
            line_id = ids[key]
            for stand in gone:
                row = live.pop((line_id, stand.holds_from), None)
                if row is None:
                    closed.append({"line": line_id, "day": stand.holds_from, "closed_by": seq})
                else:
                    row["left_seq"] = seq
            for stand in new:
                row = {"line_id": line_id, "seq": seq, "left_seq": None, **stand._asdict()}
                live[line_id, stand.holds_from] = row
                opened.append(row)
    return Derived(closed, opened, moved)


def record_standings(session: Session, after: int, until: int) -> set[LineKey]:
    """Record what follows from the entries above `after` and up to `until`, under the write lock.

    Return the lines that answer something else on any day.
    """
    found = replay(session, after, until)
    countries = {country for country, _ in found.keys}
    rows = derived(found, ids_of(session, countries))
    insert(session, rows)
    return rows.moved


def ids_of(session: Session, countries: Collection[str]) -> dict[LineKey, int]:
    """Return the ids of the lines of some countries."""
    rows = _IDS.rows(session, countries=sorted(countries))
    return {(country, component): line_id for country, component, line_id in rows}


_IDS = Prepared(
    sa.select(_line.c.country_code, sa.type_coerce(_line.c.component, sa.String), _line.c.id).where(
        among_named(_line.c.country_code, "countries", sa.Text())
    )
)


def insert(session: Session, rows: Derived) -> None:
    """Put what follows into the database."""
    if rows.closed:
        session.execute(_CLOSE, rows.closed)
    if rows.opened:
        insert_rows(session, _standing, rows.opened)


_COLUMNS: tuple[Any, ...] = tuple(_standing.c[name] for name in Stand._fields)
_KEY = (_line.c.country_code, sa.type_coerce(_line.c.component, sa.String).label("component"))
_SEQ, _DAY = sa.bindparam("seq", type_=sa.BigInteger), sa.bindparam("day", type_=sa.Date)


def _is_live(standing: Any, seq: Any) -> sa.ColumnElement[bool]:
    return sa.and_(standing.c.seq <= seq, sa.or_(standing.c.left_seq.is_(None), standing.c.left_seq > seq))


def _last(line_id: Any, seq: Any) -> Any:
    """Return the query of what holds in a line on a day, as known at a seq: one seek."""
    last = _standing.alias("last")
    return (
        sa.select(last)
        .where(last.c.line_id == line_id, last.c.holds_from <= _DAY, _is_live(last, seq))
        .order_by(last.c.holds_from.desc(), last.c.seq.desc())
        .limit(1)
        .correlate_except(last)
    )


def _with_last(dialect: str, source: Any, line_id: Any, seq: Any) -> tuple[Any, list[Any]]:
    """Return `source` joined with what holds in its lines, and the columns of `Stand`."""
    last = _last(line_id, seq)
    if dialect == "postgresql":
        found = last.lateral()
        return sa.outerjoin(source, found, sa.true()), [found.c[name] for name in Stand._fields]
    place = last.with_only_columns(last.selected_columns.holds_from, last.selected_columns.seq)
    at = sa.and_(
        _standing.c.line_id == line_id,
        # Not the seq itself, or SQLite might seek by an index on that, and then once more by the key.
        sa.tuple_(_standing.c.holds_from, _standing.c.seq + 0) == place.scalar_subquery(),
    )
    # Not a plain join, or SQLite might go from the standings to their lines.
    return sa.outerjoin(source, _standing, at), list(_COLUMNS)


def stands_on(session: Session, seq: int, day: date, lines: Lines = EVERY) -> dict[LineKey, Stand]:
    """Return what each of `lines` answers on `day`, as known at `seq`, by country and component.

    A line is left out where nothing was said in it by then.
    """
    rows = _on_a_day(lines.shape).rows(session, seq=seq, day=day, **lines.values())
    found = {(row[0], row[1]): Stand._make(row[2:]) for row in rows if row[2] is not None}
    return dict(sorted(found.items()))


def shown_on(
    session: Session, seq: int, day: date, lines: Lines
) -> tuple[dict[LineKey, Stand], dict[int, tuple[str, Pieces]]]:
    """Return the same, and by the seq of what is shown in each line its country and its JSON."""
    rows = _on_a_day(lines.shape, with_json=True).rows(session, seq=seq, day=day, **lines.values())
    stands: dict[LineKey, Stand] = {}
    shown: dict[int, tuple[str, Pieces]] = {}
    for row in sorted(rows, key=_by_line):
        stand = Stand._make(row[2:_END])
        if stand.holds_from is not None:
            stands[row[0], row[1]] = stand
        if stand.shown_seq is not None:
            shown[stand.shown_seq] = row[0], Pieces._make(row[_END:])
    return stands, shown


_END = 2 + len(Stand._fields)
_by_line = itemgetter(0, 1)
_json = table_of(StatementJSON)


@cache
def _on_a_day(shape: Shape, *, with_json: bool = False) -> Prepared:
    def build(dialect: str) -> Any:
        source, columns = _with_last(dialect, _line, _line.c.id, _SEQ)
        if with_json:
            shown_seq = columns[Stand._fields.index("shown_seq")]
            source = sa.outerjoin(source, _json, _json.c.seq == shown_seq)
            columns += [_json.c[name] for name in Pieces._fields]
        return sa.select(*_KEY, *columns).select_from(source).where(shape.condition())

    return Prepared(build)


def stands_of(
    session: Session,
    seq: int,
    lines: Lines = EVERY,
    *,
    after: date | None = None,
    until: date | None = None,
) -> dict[LineKey, list[Stand]]:
    """Return all that `lines` answer from days later than `after` and up to `until` on, in order."""
    days = {name: day for name, day in (("after", after), ("until", until)) if day is not None}
    found: dict[LineKey, list[Stand]] = {}
    for row in _over_days(lines.shape, *days).rows(session, seq=seq, **days, **lines.values()):
        found.setdefault((row[0], row[1]), []).append(Stand._make(row[2:]))
    for stands in found.values():
        stands.sort()
    return dict(sorted(found.items()))


@cache
def _over_days(shape: Shape, *ends: str) -> Prepared:
    query = sa.select(*_KEY, *_COLUMNS).select_from(
        sa.join(_standing, _line, _line.c.id == _standing.c.line_id)
    )
    query = query.where(_is_live(_standing, _SEQ), shape.condition())
    if "after" in ends:
        query = query.where(_standing.c.holds_from > sa.bindparam("after", type_=sa.Date))
    if "until" in ends:
        query = query.where(_standing.c.holds_from <= sa.bindparam("until", type_=sa.Date))
    return Prepared(query)


def moves_between(
    session: Session, seqs: tuple[int, int], day: date, lines: Lines = EVERY
) -> dict[LineKey, list[tuple[int, Stand]]]:
    """Return what the lines that move between two seqs answer on `day`, by the seq from which it is known.

    Of each line the first is that of the first seq, and one follows for each later entry, up to
    the second seq, that may change it.
    """
    first, last = seqs
    lined = sa.join(_standing, _line, _line.c.id == _standing.c.line_id)
    moved = {
        (line_id, seq)
        for moment in (_standing.c.seq, _standing.c.left_seq)
        for line_id, seq in session.execute(
            sa.select(_standing.c.line_id, moment)
            .select_from(lined)
            .where(moment > first, moment <= last, _standing.c.holds_from <= day, lines.condition())
            .distinct()
        )
    }
    moved |= {(line_id, first) for line_id, _ in moved}
    if not moved:
        return {}
    asked = pairs(session, moved)
    with_line = sa.join(asked, _line, _line.c.id == asked.c.first)
    source, columns = _with_last(session.get_bind().dialect.name, with_line, asked.c.first, asked.c.second)
    query = sa.select(*_KEY, asked.c.second, *columns).select_from(source)
    found: dict[LineKey, dict[int, Stand]] = {}
    for row in session.execute(query, {"day": day}):
        stand = NOTHING if row[3] is None else Stand._make(row[3:])
        found.setdefault((row[0], row[1]), {})[row[2]] = stand
    return {key: sorted(stands.items()) for key, stands in sorted(found.items())}
