"""/v1/diff: what differs between two days, or between two states of our knowledge."""

from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from pydantic import ConfigDict, Field
from sqlmodel import Session

from app.changes import Head, head_at, head_known_at
from app.dates import BadDate, parse_day
from app.deps import Read, reading
from app.diff import (
    Axis,
    Diff,
    DiffEntry,
    Difference,
    Mode,
    Op,
    Shown,
    diff_days,
    diff_knowledge,
    net_counts,
    net_page,
)
from app.errors import refused
from app.export import DIFF
from app.fields import Line, parse_instant
from app.filters import PositionFilter
from app.freshness import SEEN
from app.paging import Meta, MomentQuery, Page, PageQuery
from app.read_route import ReadRoute
from app.routes.answers import LIST
from app.routes.filters import FilterQuery

router = APIRouter(prefix="/v1/diff", tags=["diff"], route_class=ReadRoute, dependencies=[SEEN])

End = Annotated[Line, Field(max_length=40)]


class DiffQuery(FilterQuery, PageQuery, MomentQuery):
    """What is asked of a diff."""

    from_: End = Field(
        alias="from",
        description="Where to start, inclusive: a day; along recorded time an instant or a seq.",
        examples=["2025-03-27"],
    )
    to: End = Field(
        description="Where to end, inclusive: a day; along recorded time an instant or a seq.",
        examples=["2025-03-28"],
    )
    axis: Axis = Field(
        default=Axis.VALID,
        description="`valid`: two days, at one state of knowledge; `recorded`: two states, for one day.",
    )
    mode: Mode = Field(
        default=Mode.NET, description="`net`: what differs in the end; `events`: every step on the way."
    )


class DiffMeta(Meta):
    """What a diff is of."""

    model_config = ConfigDict(validate_by_name=True)

    axis: Axis
    mode: Mode
    from_: date | int = Field(alias="from", description="The day, or the seq, compared from.")
    to: date | int = Field(description="The day, or the seq, compared to.")
    counts: dict[Op, int] = Field(description="Entries by op, on all pages.")


class DiffList(Page[DiffEntry]):
    """Differences, by country, component and step."""

    meta: DiffMeta


@router.get("", response_model=DiffList, responses=LIST)
def list_differences(request: Request, query: Annotated[DiffQuery, Query()]) -> Response:
    """What differs between two days, or between two states of our knowledge, line by line.

    Both ends are inclusive: the positions on `from` are compared with those on `to`. Along
    recorded time `as_of` names the day (default today); along valid time `known_at` or `seq`
    name the state of knowledge.
    """
    along_days = query.axis is Axis.VALID
    with reading(request, query, has_day=not along_days) as read:
        wanted = query.position_filter(read.session)
        days = _days(query) if along_days else None
        if days and query.mode is Mode.NET and wanted.takes_all_of_lines:
            return _whole_lines(read, query, days, wanted)
        found = _along_days(read, query, days, wanted) if days else _along_knowledge(read, query, wanted)
        entries = found.diff.entries
        page, following = found.read.cut(entries, _key, query)
        ops = Counter(entry.op for entry in entries)
        meta = _meta(found.read, query, (found.first, found.last), ops)
        return found.read.answer_items(meta, found.diff.items(page), following, DIFF)


def _whole_lines(read: Read, query: DiffQuery, days: tuple[date, date], wanted: PositionFilter) -> Response:
    """Return the net diff between two days where lines are wanted whatever they hold: the database has it."""
    viewer, start = read.viewer(), read.line_of_cursor(query)
    # With the last one of the page before, and one of the page after.
    found = net_page(viewer, read.seq, days, wanted, start=start, most=query.limit + 2)
    is_whole = query.cursor is None and len(found) <= query.limit
    ops = Counter(each.op for each in found) if is_whole else net_counts(viewer, read.seq, days, wanted)
    page, following = read.cut(found, _key, query)
    return read.answer_items(_meta(read, query, days, ops), [each.item for each in page], following, DIFF)


def _meta(
    read: Read, query: DiffQuery, ends: tuple[date | int, date | int], ops: Mapping[Op, int]
) -> DiffMeta:
    return DiffMeta(
        **dict(read.meta(sum(ops.values()))),
        axis=query.axis,
        mode=query.mode,
        from_=ends[0],
        to=ends[1],
        counts={op: ops.get(op, 0) for op in Op},
    )


class Found(NamedTuple):
    """A diff, between what it was resolved to, and the reading that answers it."""

    first: date | int
    last: date | int
    diff: Diff
    read: Read


def _along_days(read: Read, query: DiffQuery, days: tuple[date, date], wanted: PositionFilter) -> Found:
    return Found(*days, diff_days(read.viewer(), read.seq, days, query.mode, wanted), read)


def _days(query: DiffQuery) -> tuple[date, date]:
    if query.as_of is not None:
        message = "A diff between days has no single day: leave `as_of` out, or give axis=recorded."
        raise refused("not_on_this_axis", message, parameter="as_of")
    first, last = _day("from", query.from_), _day("to", query.to)
    _check_order(query.mode, is_reversed=first > last)
    return first, last


def _along_knowledge(read: Read, query: DiffQuery, wanted: PositionFilter) -> Found:
    for name, value in (("known_at", query.known_at), ("seq", query.seq)):
        if value is not None:
            message = f"`from` and `to` name the states of knowledge: leave `{name}` out."
            raise refused("not_on_this_axis", message, parameter=name)
    session = read.session
    heads = _head(session, "from", query.from_), _head(session, "to", query.to)
    ends = heads[0].seq, heads[1].seq
    _check_order(query.mode, is_reversed=ends[0] > ends[1])
    found = diff_knowledge(read.viewer(), ends, read.day, query.mode, wanted)
    pinned = {"from": str(ends[0]), "to": str(ends[1])}
    newer = max(heads, key=lambda head: head.seq)
    return Found(*ends, found, read.between(newer, pinned))


def _key(entry: Difference | Shown) -> list[str | int | None]:
    """Return what differences are sorted by."""
    return [*entry.key, entry.at.isoformat() if isinstance(entry.at, date) else entry.at]


def _day(name: str, text: str) -> date:
    try:
        return parse_day(text)
    except BadDate as error:
        raise refused(error.code, str(error), parameter=name) from None


def _head(session: Session, name: str, text: str) -> Head:
    """Return the state of knowledge that an end names: a seq in digits, or an instant."""
    if text.isascii() and text.isdigit():
        return head_at(session, int(text[:20]), parameter=name)
    try:
        instant = parse_instant(text)
    except ValueError as error:
        raise refused("not_a_moment", f"{error} A seq is given in digits.", parameter=name) from None
    return head_known_at(session, instant, parameter=name)


def _check_order(mode: Mode, *, is_reversed: bool) -> None:
    if mode is Mode.EVENTS and is_reversed:
        message = "Events run forward: `from` may not be later than `to`; mode=net can look back."
        raise refused("reversed", message, parameter="from")
