"""Spans: what lines answer over the days between two of them, and what of that differs in the end."""

from collections.abc import Sequence
from datetime import date
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import Session

from app.db import table_of
from app.lines import EVERY, Line, LineKey, Lines, Shape, live_between
from app.prepared import Prepared
from app.standings import CHANGED, KEY, NOTHING, STORED, Stand, Standing

_line, _standing = table_of(Line), table_of(Standing)
_SEQ = sa.bindparam("seq", type_=sa.BigInteger)
_AFTER, _UNTIL = (sa.bindparam(name, type_=sa.Date) for name in ("after", "until"))


class Span(NamedTuple):
    """What a line answers on a day, and all that it answers from later days on, up to another one."""

    line_id: int
    before: Stand
    stands: list[Stand]


def spans_between(
    session: Session, seq: int, days: tuple[date, date], lines: Lines = EVERY
) -> dict[LineKey, Span]:
    """Return the span from one day to another of those of `lines` that answer anything from between on.

    The first day belongs to what was before. Reports are not counted. Sorted by country and component.
    """
    after, until = days
    rows = _spans(lines.shape).rows(session, seq=seq, after=after, until=until, **lines.values())
    found: dict[LineKey, Span] = {}
    for country, component, line_id, *cells in sorted(rows, key=itemgetter(0, 1, 3)):
        stand = Stand(*cells)
        if stand.holds_from <= after:
            found[country, component] = Span(line_id, stand, [])
        else:
            span = found.get((country, component))
            if span is None:
                span = found[country, component] = Span(line_id, NOTHING, [])
            span.stands.append(stand)
    return found


@cache
def _spans(shape: Shape) -> Prepared:
    touched, told = _touched(shape), _standing.alias("told")
    at = sa.and_(
        told.c.line_id == touched.c.id,
        told.c.holds_from
        >= sa.func.coalesce(_day_before(touched).correlate(touched).scalar_subquery(), _AFTER),
        told.c.holds_from <= _UNTIL,
        live_between(told.c, _SEQ, _SEQ),
    )
    columns = (told.c[name] for name in STORED)
    return Prepared(sa.select(*touched.c, *columns).select_from(sa.join(touched, told, at)))


class Net(NamedTuple):
    """What a line answers on two days, where that differs."""

    line_id: int
    before: Stand
    after: Stand
    step_seqs: str
    """Seqs of the statements that made the steps from one to the other, joined by commas."""


def nets_between(
    session: Session, seq: int, days: tuple[date, date], lines: Lines = EVERY, *, in_full: bool = True
) -> dict[LineKey, Net]:
    """Return what those of `lines` answer that differ on two days, as known at `seq`.

    The first day is the earlier one. Reports are not counted. Unless `in_full`, no more of a stand is
    read than `_SHOWN`. Sorted by country and component.
    """
    after, until = days
    rows = _nets(lines.shape, in_full).rows(session, seq=seq, after=after, until=until, **lines.values())
    stand = _stand_in_full if in_full else _stand_shown
    found: dict[LineKey, Net] = {}
    for country, component, line_id, seqs, *cells in sorted(rows, key=itemgetter(0, 1)):
        middle = len(cells) // 2
        ends = stand(cells[:middle]), stand(cells[middle:])
        found[country, component] = Net(line_id, *ends, seqs)
    return found


def _stand_in_full(cells: Sequence[Any]) -> Stand:
    return NOTHING if cells[0] is None else Stand._make((*cells, 0))


_SHOWN = ("shown_seq", "last_affirmed_on", "sides", "position_id")
"""What of a stand is asked for to show it."""


def _stand_shown(cells: Sequence[Any]) -> Stand:
    seq, affirmed_on, sides, position_id = cells
    if seq is None:
        return NOTHING
    return Stand(date.min, seq, None, affirmed_on, 0, sides, None, None, "", position_id)


@cache
def _nets(shape: Shape, in_full: bool) -> Prepared:
    return Prepared(lambda dialect: _differing(dialect, shape, STORED if in_full else _SHOWN))


def _differing(dialect: str, shape: Shape, told: Sequence[str]) -> sa.Select[Any]:
    """Return the query of lines, their steps' seqs, and columns of what they answer before and after."""
    touched, ends = _touched(shape), [_standing.alias(name) for name in ("before", "after")]
    before, after = ends
    last = sa.select(sa.func.max(_standing.c.holds_from)).where(_is_between(_standing.c, touched.c.id))
    join_up = sa.func.string_agg if dialect == "postgresql" else sa.func.group_concat
    steps = sa.select(join_up(_standing.c.step_seqs, sa.literal_column("','"))).where(
        _is_between(_standing.c, touched.c.id), _standing.c.step == CHANGED
    )
    days = (each.correlate(touched).scalar_subquery() for each in (_day_before(touched), last))
    on = [_is_live_on(end.c, touched.c.id, day) for end, day in zip(ends, days, strict=True)]
    source = sa.outerjoin(sa.join(touched, after, on[1]), before, on[0])
    contested = [sa.func.coalesce(end.c.sides, "") != "" for end in ends]
    differs = sa.or_(before.c.content.is_distinct_from(after.c.content), contested[0] != contested[1])
    columns = (end.c[name] for end in ends for name in told)
    query = sa.select(*touched.c, steps.correlate(touched).scalar_subquery(), *columns)
    return query.select_from(source).where(differs)


def _touched(shape: Shape) -> Any:
    """Return the lines of a shape that answer anything from a day later than `after` on, up to `until`."""
    found = sa.select(*KEY, _line.c.id).select_from(
        sa.join(_standing, _line, _line.c.id == _standing.c.line_id)
    )
    between = _standing.c.holds_from > _AFTER, _standing.c.holds_from <= _UNTIL
    live = live_between(_standing.c, _SEQ, _SEQ)
    return found.where(*between, live, shape.condition()).distinct().subquery("touched")


def _day_before(touched: Any) -> Any:
    """Return the query of the day from which a line answers what it does on the day `after`."""
    first = _standing.alias("first")
    found = sa.select(first.c.holds_from).where(
        first.c.line_id == touched.c.id, first.c.holds_from <= _AFTER, live_between(first.c, _SEQ, _SEQ)
    )
    return found.order_by(first.c.holds_from.desc()).limit(1)


def _is_between(columns: Any, line_id: Any) -> Any:
    between = columns.holds_from > _AFTER, columns.holds_from <= _UNTIL
    return sa.and_(columns.line_id == line_id, *between, live_between(columns, _SEQ, _SEQ))


def _is_live_on(columns: Any, line_id: Any, day: Any) -> Any:
    is_of_day = columns.line_id == line_id, columns.holds_from == day
    return sa.and_(*is_of_day, live_between(columns, _SEQ, _SEQ))
