"""/v1/summary and /v1/timeline: counts for charts."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from app.deps import reading
from app.errors import refused
from app.export import COUNTS, COUNTS_ON
from app.fields import Day
from app.freshness import SEEN
from app.paging import FormatQuery, KnownQuery, Meta, MomentQuery, Page
from app.read_route import ReadRoute
from app.routes.answers import LIST
from app.routes.filters import FilterQuery
from app.standings import stands_of
from app.summary import (
    MOST_INTERVALS,
    Count,
    Interval,
    Point,
    counts_on,
    flat_points,
    last_days,
    none_recorded,
    timeline,
)
from app.vocabulary import Component

router = APIRouter(prefix="/v1", tags=["charts"], route_class=ReadRoute, dependencies=[SEEN])


class SummaryQuery(FilterQuery, FormatQuery, MomentQuery):
    """What is asked of a summary."""


class SummaryMeta(Meta):
    """What a summary is of."""

    none_recorded: dict[Component, int] = Field(
        description="By component: tracked countries without a position. Never read as refusal."
    )


class SummaryList(Page[Count]):
    """Counts, by component, kind and firmness."""

    meta: SummaryMeta


class TimelineQuery(FilterQuery, FormatQuery, KnownQuery):
    """What is asked of a timeline."""

    interval: Interval = Field(default=Interval.MONTH, description="Length of an interval.")
    from_: Day | None = Field(
        default=None, alias="from", description="First day, inclusive. Default: the first that counts."
    )
    to: Day | None = Field(default=None, description="Last day, inclusive. Default: today.")


class TimelineList(Page[Point]):
    """Counts on the last day of each interval, in order."""


@router.get("/summary", response_model=SummaryList, responses=LIST)
def get_summary(request: Request, query: Annotated[SummaryQuery, Query()]) -> Response:
    """How many countries hold what on a day: counts per component, kind and firmness."""
    with reading(request, query) as read:
        wanted, viewer = query.position_filter(read.session), read.viewer()
        counts = counts_on(viewer, read.moment, wanted)
        none = none_recorded(viewer, read.moment, read.tracked(), wanted.countries)
        meta = SummaryMeta(**dict(read.meta(len(counts))), none_recorded=none)
        return read.answer_list(SummaryList(meta=meta, items=counts, next=None), COUNTS)


@router.get("/timeline", response_model=TimelineList, responses=LIST)
def get_timeline(request: Request, query: Annotated[TimelineQuery, Query()]) -> Response:
    """How many countries held what over time: counts on the last day of each day, week or month."""
    with reading(request, query, has_day=query.to is None) as read:
        wanted = query.position_filter(read.session)
        last = query.to or read.day
        if query.from_ and query.to and query.from_ > query.to:
            raise refused("reversed", "The span ends before it begins: exchange the two.", parameter="from")
        stands = stands_of(read.session, read.seq, wanted.lines(), until=last)
        said = (line[0].holds_from for line in stands.values())
        first = query.from_ or min(said, default=date.max)
        days = last_days(first, last, query.interval)
        if len(days) > MOST_INTERVALS:
            message = f"That is more than {MOST_INTERVALS} intervals: ask for a shorter span or longer ones."
            raise refused("too_many", message, parameter="interval")
        points = timeline(stands, read.viewer(), days, wanted)
        answer = TimelineList(meta=read.meta(len(points)), items=points, next=None)
        return read.answer_list(answer, COUNTS_ON, flat_points(points))
