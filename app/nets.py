"""Nets: what lines answer on two days, where that differs in the end."""

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import Session

from app.db import table_of
from app.filters import fresh_from, is_stale
from app.lines import EVERY, LineKey, Lines, Shape, live_between
from app.prepared import Prepared
from app.report_counts import reports_on
from app.spans import AFTER, SEQ, UNTIL, day_before, is_between, touched_lines
from app.spelling import as_utf8, going_on, going_on_from, whole
from app.standings import CHANGED, NOTHING, STORED, PositionJSON, Stand, Standing

_standing, _position = table_of(Standing), table_of(PositionJSON)


class Net(NamedTuple):
    """What a line answers on two days, where that differs."""

    line_id: int
    before: Stand
    after: Stand
    step_seqs: str
    """Seqs of the statements that made the steps from one to the other, joined by commas."""


def nets_between(
    session: Session, seq: int, days: tuple[date, date], lines: Lines = EVERY
) -> dict[LineKey, Net]:
    """Return what those of `lines` answer that differ on two days, as known at `seq`.

    The first day is the earlier one. Reports are not counted. Sorted by country and component.
    """
    after, until = days
    rows = _nets(lines.shape).rows(session, seq=seq, after=after, until=until, **lines.values())
    found: dict[LineKey, Net] = {}
    for country, component, line_id, seqs, *cells in sorted(rows, key=itemgetter(0, 1)):
        middle = len(cells) // 2
        ends = _stand(cells[:middle]), _stand(cells[middle:])
        found[country, component] = Net(line_id, *ends, seqs)
    return found


def _stand(cells: list[Any]) -> Stand:
    return NOTHING if cells[0] is None else Stand._make((*cells, 0))


@cache
def _nets(shape: Shape) -> Prepared:
    return Prepared(lambda dialect: _differing(dialect, shape, lambda end: [end.c[name] for name in STORED]))


class ShownNet(NamedTuple):
    """What is shown of a line that answers otherwise on two days."""

    country: str
    component: str
    step_seqs: str
    was_contested: bool
    """Whether what it holds is contested, on the first of the days."""
    is_contested: bool
    """On the second."""
    before: str | bytes | None
    """What it holds on the first of the days, as JSON."""
    after: str | bytes | None


def nets_shown(
    session: Session,
    seq: int,
    days: tuple[date, date],
    lines: Lines,
    *,
    stale_after: timedelta,
    start: LineKey,
    most: int,
) -> list[ShownNet]:
    """Return at most `most` of what `nets_between` returns, in order, from a line on, it included.

    What was last affirmed more than `stale_after` before is stale.
    """
    (after, until), (fresh_after, fresh_until) = days, (fresh_from(day, stale_after) for day in days)
    asked: dict[str, Any] = {"after": after, "until": until}
    asked |= {"fresh_after": fresh_after, "fresh_until": fresh_until}
    asked |= going_on_from(start) | lines.values()
    rows = _shown(lines.shape).rows(session, seq=seq, most=most, **asked)
    return list(map(ShownNet._make, sorted(rows, key=itemgetter(0, 1))))


@cache
def _shown(shape: Shape) -> Prepared:
    def build(dialect: str) -> sa.Select[Any]:
        differing = _differing(dialect, shape, _of_shown)
        found = going_on(dialect, differing, list(differing.selected_columns)[:2]).subquery("net")
        country, component, line_id, seqs, held_before, was_contested, held_after, is_contested = found.c
        source: Any = found
        json = []
        for held, day, fresh in ((held_before, AFTER, "fresh_after"), (held_after, UNTIL, "fresh_until")):
            position = _position.alias()
            stale = is_stale(position.c, sa.bindparam(fresh, type_=sa.Date))
            json.append(as_utf8(dialect, whole(position.c, stale, reports_on(line_id, SEQ, day))))
            # Joined: SQLite would take half as long again to ask for each by itself.
            source = sa.outerjoin(source, position, position.c.id == held)
        return sa.select(country, component, seqs, was_contested, is_contested, *json).select_from(source)

    return Prepared(build)


class NetCounts(NamedTuple):
    """How many lines answer otherwise on two days."""

    every: int
    held_nothing: int
    """Of these: on the first day."""
    hold_nothing: int
    """On the second."""


def count_nets(session: Session, seq: int, days: tuple[date, date], lines: Lines) -> NetCounts:
    """Return how many nets `nets_between` returns."""
    after, until = days
    rows = _counts(lines.shape).rows(session, seq=seq, after=after, until=until, **lines.values())
    return NetCounts._make(rows[0])


@cache
def _counts(shape: Shape) -> Prepared:
    def build(dialect: str) -> Any:
        found = _differing(dialect, shape, lambda end: [end.c.position_id], with_steps=False).subquery("net")
        nothing = (sa.func.count().filter(held.is_(None)) for held in list(found.c)[-2:])
        return sa.select(sa.func.count(), *nothing).select_from(found)

    return Prepared(build)


def _of_shown(end: Any) -> list[Any]:
    # As the driver has it: to be made a truth of Python's it would be looked at row by row.
    return [end.c.position_id, sa.type_coerce(_is_contested(end), sa.Integer)]


def _differing(
    dialect: str, shape: Shape, told: Callable[[Any], Iterable[Any]], *, with_steps: bool = True
) -> sa.Select[Any]:
    """Return the query of lines, their steps' seqs, and columns of what they answer before and after."""
    touched, ends = touched_lines(shape), [_standing.alias(name) for name in ("before", "after")]
    before, after = ends
    join_up = sa.func.string_agg if dialect == "postgresql" else sa.func.group_concat
    steps = sa.select(join_up(_standing.c.step_seqs, sa.literal_column("','"))).where(
        _standing.c.line_id == touched.c.id, _standing.c.step == CHANGED, is_between(_standing.c)
    )
    told_steps = sa.func.coalesce(steps.correlate(touched).scalar_subquery(), "")
    days = day_before(touched).correlate(touched).scalar_subquery(), touched.c.last
    on = [_is_live_on(end.c, touched.c.id, day) for end, day in zip(ends, days, strict=True)]
    source = sa.outerjoin(sa.join(touched, after, on[1]), before, on[0])
    differs = before.c.content.is_distinct_from(after.c.content)
    columns = (column for end in ends for column in told(end))
    line = [*list(touched.c)[:3], *([told_steps] if with_steps else ())]
    query = sa.select(*line, *columns)
    return query.select_from(source).where(sa.or_(differs, _is_contested(before) != _is_contested(after)))


def _is_contested(end: Any) -> Any:
    return sa.func.coalesce(end.c.sides, "") != ""


def _is_live_on(columns: Any, line_id: Any, day: Any) -> Any:
    is_of_day = columns.line_id == line_id, columns.holds_from == day
    return sa.and_(*is_of_day, live_between(columns, SEQ, SEQ))
