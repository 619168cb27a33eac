"""Standings: what a line answers from a day on, kept for every day and every state of our knowledge.

They follow from the statements by `positions`: made when an entry is recorded, compared by
`coalition verify`, and they can be made again. So an answer for any day, as known at any entry, is
one seek in an index, however long the history.
"""

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from functools import cache
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import Field, Session, SQLModel

from app.db import RowNumber, pairs_given, table_of, weigh_plans
from app.lines import (
    EVERY,
    REPORT,
    Line,
    LineEntry,
    LineKey,
    Lines,
    Shape,
    live_between,
    unsought,
)
from app.prepared import Prepared
from app.report_counts import reports_on

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
    content: str | None = Field(sa_type=sa.String(160))
    """Kind, firmness, voice and a digest of what is held: with `sides`, all that a diff compares."""
    step: str | None = Field(sa_type=sa.String(10))
    """`changed` or `affirmed`, where its day is a step (DESIGN.md 5, Diff)."""
    step_seqs: str = Field(sa_type=sa.Text)
    """Seqs of the statements that make the step, joined by commas."""
    position_id: int | None = Field(sa_type=sa.BigInteger)
    """Where its position is kept as JSON; null where nothing is held."""

    __table_args__ = (sa.Index(None, "holds_from", "left_seq"), {"sqlite_with_rowid": False})


class PositionJSON(SQLModel, table=True):
    """What a standing holds as it is answered, cut where it differs from day to day.

    After `opening` stands whether it is stale, after `middle` how many reports there are.
    """

    __tablename__ = "position_json"

    id: int = Field(sa_type=RowNumber, primary_key=True)
    last_affirmed_on: date
    opening: str = Field(sa_type=sa.Text)
    middle: str = Field(sa_type=sa.Text)
    ending: str = Field(sa_type=sa.Text)


class Stand(NamedTuple):
    """What a line answers from a day on: the columns of `Standing` of the same names, and `reports`."""

    holds_from: date
    shown_seq: int | None
    since: date | None
    last_affirmed_on: date | None
    affirmations: int
    sides: str
    content: str | None
    step: str | None
    step_seqs: str
    position_id: int | None = None
    """None too for what was only worked out, and is not kept yet."""
    reports: int = 0
    """How many reports stand beside it on the day that it is asked for: counted then, and not kept."""

    def stored(self) -> dict[str, Any]:
        """Return what of it is kept, by column."""
        return dict(zip(STORED, self, strict=False))

    @property
    def answer(self) -> tuple[object, ...]:
        """All that is seen of it, but for the reports."""
        return self[1:7]

    @property
    def meaning(self) -> str | None:
        """Digest of what is held."""
        return None if self.content is None else self.content.rpartition(" ")[2]

    def differs(self, other: "Stand") -> bool:
        """Tell whether another answer differs in any field of `positions.COMPARED`."""
        return (self.content, bool(self.sides)) != (other.content, bool(other.sides))


STORED = Stand._fields[:-1]

NOTHING = Stand(date.min, None, None, None, 0, "", None, None, "")
"""What a line answers before anything is said in it."""


def numbers(joined: str) -> list[int]:
    """Return numbers that were joined by commas."""
    return [int(each) for each in joined.split(",")] if joined else []


_line, _entry, _standing = table_of(Line), table_of(LineEntry), table_of(Standing)
_position = table_of(PositionJSON)
_COLUMNS: tuple[Any, ...] = tuple(_standing.c[name] for name in STORED)
KEY: tuple[Any, ...] = (_line.c.country_code, sa.type_coerce(_line.c.component, sa.String).label("component"))
_SEQ, _DAY = sa.bindparam("seq", type_=sa.BigInteger), sa.bindparam("day", type_=sa.Date)


def _last(line_id: Any, seq: Any) -> Any:
    """Return the query of what holds in a line on a day, as known at a seq: one seek."""
    last = _standing.alias("last")
    return (
        sa.select(last)
        .where(last.c.line_id == line_id, last.c.holds_from <= _DAY, live_between(unsought(last.c), seq, seq))
        .order_by(last.c.holds_from.desc(), last.c.seq.desc())
        .limit(1)
        .correlate_except(last)
    )


def with_position(dialect: str, source: Any, line_id: Any, seq: Any) -> Any:
    """Return `source` joined with the JSON of what its lines hold on a day; one that holds nothing drops out.

    The day is the parameter `day`.
    """
    last = _last(line_id, seq)
    found = last.with_only_columns(last.selected_columns.position_id)
    if dialect == "postgresql":
        held = found.lateral()
        return sa.join(sa.join(source, held, sa.true()), _position, _position.c.id == held.c.position_id)
    return sa.join(source, _position, _position.c.id == found.scalar_subquery())


def with_last(dialect: str, source: Any, line_id: Any, seq: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return `source` joined with what holds in its lines on a day, and its columns, those of `Stand` too.

    Both are null where nothing was said in a line. The day is the parameter `day`.
    """
    last, reports = _last(line_id, seq), {"reports": reports_on(line_id, seq)}
    if dialect == "postgresql":
        found = last.lateral()
        return sa.outerjoin(source, found, sa.true()), dict(found.c) | reports
    place = last.with_only_columns(last.selected_columns.holds_from, last.selected_columns.seq)
    at = sa.and_(
        _standing.c.line_id == line_id,
        # Not the seq itself, or SQLite might seek by an index on that, and then once more by the key.
        sa.tuple_(_standing.c.holds_from, _standing.c.seq + 0) == place.scalar_subquery(),
    )
    # Not a plain join, or SQLite might go from the standings to their lines.
    return sa.outerjoin(source, _standing, at), dict(_standing.c) | reports


def of_stand(columns: Mapping[str, Any]) -> list[Any]:
    """Return the columns of a stand, of those of `with_last`."""
    return [columns[name] for name in Stand._fields]


def stands_on(session: Session, seq: int, day: date, lines: Lines = EVERY) -> dict[LineKey, Stand]:
    """Return what each of `lines` answers on `day`, as known at `seq`, by country and component.

    A line is left out where nothing was said in it by then.
    """
    rows = _on_a_day(lines.shape).rows(session, seq=seq, day=day, **lines.values())
    found = {(row[0], row[1]): Stand._make(row[2:]) for row in rows if row[2] is not None}
    return dict(sorted(found.items()))


@cache
def _on_a_day(shape: Shape) -> Prepared:
    def build(dialect: str) -> Any:
        source, columns = with_last(dialect, _line, _line.c.id, _SEQ)
        return sa.select(*KEY, *of_stand(columns)).select_from(source).where(shape.condition())

    return Prepared(build)


def stands_of(
    session: Session,
    seq: int,
    lines: Lines = EVERY,
    *,
    after: date | None = None,
    until: date | None = None,
) -> dict[LineKey, list[Stand]]:
    """Return all that `lines` answer from days later than `after` and up to `until` on, in order.

    Their reports are not counted: they differ from day to day (see `report_days`).
    """
    days = {name: day for name, day in (("after", after), ("until", until)) if day is not None}
    found: dict[LineKey, list[Stand]] = {}
    for row in _over_days(lines.shape, *days).rows(session, seq=seq, **days, **lines.values()):
        found.setdefault((row[0], row[1]), []).append(Stand(*row[2:]))
    for stands in found.values():
        stands.sort()
    return dict(sorted(found.items()))


@cache
def _over_days(shape: Shape, *ends: str) -> Prepared:
    query = sa.select(*KEY, *_COLUMNS).select_from(
        sa.join(_standing, _line, _line.c.id == _standing.c.line_id)
    )
    query = query.where(live_between(_standing.c, _SEQ, _SEQ), shape.condition())
    if "after" in ends:
        query = query.where(_standing.c.holds_from > sa.bindparam("after", type_=sa.Date))
    if "until" in ends:
        query = query.where(_standing.c.holds_from <= sa.bindparam("until", type_=sa.Date))
    return Prepared(query)


def reports_beside(session: Session, seq: int, day: date, lines: Lines = EVERY) -> dict[LineKey, int]:
    """Return how many reports stand beside what each of `lines` answers on `day`, as known at `seq`."""
    rows = _reports_on(lines.shape).rows(session, seq=seq, day=day, **lines.values())
    return {(country, component): count for country, component, count in rows}


@cache
def _reports_on(shape: Shape) -> Prepared:
    return Prepared(sa.select(*KEY, reports_on(_line.c.id, _SEQ)).where(shape.condition()))


def report_days(
    session: Session, seq: int, lines: Lines = EVERY, *, after: date | None = None
) -> dict[LineKey, list[date]]:
    """Return, by line, the day from which each report of it counts that is live at `seq`, in order.

    With `after` those that count from an earlier day are as many, and as of that day: so what counts
    on that day and any later one is told.
    """
    found: dict[LineKey, list[date]] = {}
    days = {} if after is None else {"after": after}
    if after is not None:
        found = {key: [after] * count for key, count in reports_beside(session, seq, after, lines).items()}
    rows = _report_days(lines.shape, *days).rows(session, seq=seq, **days, **lines.values())
    for country, component, day in rows:
        found.setdefault((country, component), []).append(day)
    return found


@cache
def _report_days(shape: Shape, *ends: str) -> Prepared:
    query = (
        sa.select(*KEY, _entry.c.effective_on)
        .select_from(sa.join(_entry, _line, _line.c.id == _entry.c.line_id))
        .where(_entry.c.voice == REPORT, live_between(_entry.c, _SEQ, _SEQ), shape.condition())
        .order_by(_entry.c.effective_on)
    )
    if ends:
        query = query.where(_entry.c.effective_on > sa.bindparam("after", type_=sa.Date))
    return Prepared(query)


def counted(stand: Stand, reports: Sequence[date], day: date) -> Stand:
    """Return what a line answers with the reports beside it on `day`, of those that count from such days."""
    return stand._replace(reports=bisect_right(reports, day))


class Moves(NamedTuple):
    """What a line answers on a day as it was known at two seqs, and at each that moved it in between."""

    line_id: int
    first: Stand
    last: Stand
    steps: list[tuple[int, Stand, Stand]]
    """By seq, in order: what it answered just before, and from then on."""


def moves_between(
    session: Session, seqs: tuple[int, int], day: date, lines: Lines = EVERY
) -> dict[LineKey, Moves]:
    """Return what the lines that move between two seqs answer on `day`; their reports are not counted."""
    first, last = seqs
    weigh_plans(session)  # how far apart they are decides
    asked = {"after": first, "until": last, "day": day, **lines.values()}
    moved: dict[int, set[int]] = {}
    for moment in ("seq", "left_seq"):
        for line_id, seq in _moved(lines.shape, moment).rows(session, **asked):
            moved.setdefault(line_id, {first}).add(seq)
    pairs = sorted((line_id, seq) for line_id, moments in moved.items() for seq in moments)
    rows = _KNOWN.rows(session, pairs=pairs, day=day) if pairs else ()
    found: dict[LineKey, list[tuple[int, int, Stand]]] = {}
    for country, component, line_id, seq, *cells in rows:
        stand = NOTHING if cells[0] is None else Stand._make((*cells, 0))
        found.setdefault((country, component), []).append((seq, line_id, stand))
    return {key: _moves(sorted(known, key=itemgetter(0))) for key, known in sorted(found.items())}


def _moves(known: Sequence[tuple[int, int, Stand]]) -> Moves:
    """Return the moves of a line, by what it answered at the first seq and from each move on."""
    steps = [(seq, before, after) for (_, _, before), (seq, _, after) in pairwise(known)]
    return Moves(known[0][1], known[0][2], known[-1][2], steps)


@cache
def _moved(shape: Shape, moment: str) -> Prepared:
    after, until = (sa.bindparam(name, type_=sa.BigInteger) for name in ("after", "until"))
    column, lined = _standing.c[moment], sa.join(_standing, _line, _line.c.id == _standing.c.line_id)
    between = column > after, column <= until, _standing.c.holds_from <= _DAY
    query = sa.select(_standing.c.line_id, column).select_from(lined)
    return Prepared(query.where(*between, shape.condition()).distinct())


def _known(dialect: str) -> Any:
    asked = pairs_given(dialect)
    with_line = sa.join(asked, _line, _line.c.id == asked.c.first)
    source, columns = with_last(dialect, with_line, asked.c.first, asked.c.second)
    stand = (columns[name] for name in STORED)
    return sa.select(*KEY, asked.c.first, asked.c.second, *stand).select_from(source)


def reports_known(
    session: Session, day: date, known: Collection[tuple[int, int]]
) -> dict[tuple[int, int], int]:
    """Return how many reports stand beside lines on `day`, by a line's id and the seq that it is known at."""
    rows = _REPORTS_KNOWN.rows(session, pairs=sorted(known), day=day)
    return {(line_id, seq): count for line_id, seq, count in rows}


def _reports_known(dialect: str) -> Any:
    asked = pairs_given(dialect)
    return sa.select(asked.c.first, asked.c.second, reports_on(asked.c.first, asked.c.second))


_KNOWN, _REPORTS_KNOWN = Prepared(_known), Prepared(_reports_known)
