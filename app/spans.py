"""Spans: what lines answer over the days between two of them."""

from datetime import date
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import Session

from app.db import table_of
from app.lines import EVERY, Line, LineKey, Lines, Shape, live_between, unsought
from app.prepared import Prepared
from app.standings import KEY, NOTHING, STORED, Stand, Standing

_line, _standing = table_of(Line), table_of(Standing)
SEQ = sa.bindparam("seq", type_=sa.BigInteger)
AFTER, UNTIL = (sa.bindparam(name, type_=sa.Date) for name in ("after", "until"))


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
    touched, told = touched_lines(shape), _standing.alias("told")
    at = sa.and_(
        told.c.line_id == touched.c.id,
        told.c.holds_from
        >= sa.func.coalesce(day_before(touched).correlate(touched).scalar_subquery(), AFTER),
        told.c.holds_from <= UNTIL,
        live_between(told.c, SEQ, SEQ),
    )
    line, columns = list(touched.c)[:3], (told.c[name] for name in STORED)
    return Prepared(sa.select(*line, *columns).select_from(sa.join(touched, told, at)))


def touched_lines(shape: Shape) -> Any:
    """Return the lines of a shape that answer anything from a day later than `after` on, up to `until`.

    With `last`, the last such day of each.
    """
    last = sa.func.max(_standing.c.holds_from).label("last")
    found = sa.select(*KEY, _line.c.id, last).select_from(
        sa.join(_standing, _line, _line.c.id == _standing.c.line_id)
    )
    found = found.where(is_between(_standing.c), shape.condition())
    return found.group_by(_line.c.id).subquery("touched")


def is_between(columns: Any) -> sa.ColumnElement[bool]:
    """Return the condition that something is answered from a day later than `after` on, up to `until`."""
    days = columns.holds_from > AFTER, columns.holds_from <= UNTIL
    return sa.and_(*days, live_between(columns, SEQ, SEQ))


def day_before(touched: Any) -> Any:
    """Return the query of the day from which a line answers what it does on the day `after`."""
    first = _standing.alias("first")
    is_before = first.c.line_id == touched.c.id, first.c.holds_from <= AFTER
    found = sa.select(first.c.holds_from).where(*is_before, live_between(unsought(first.c), SEQ, SEQ))
    return found.order_by(first.c.holds_from.desc()).limit(1)
