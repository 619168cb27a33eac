"""The ledger as a feed: Atom for readers, server-sent events for programs."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from html import escape
from typing import Annotated

import feedgenerator
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.changes import ChangeView, LedgerFilter, changes_after, head_of, newest_changes
from app.countries import every_country
from app.db import Database, Need
from app.deps import base_url, reading
from app.fields import DIGITS, MAX_SEQ
from app.following import Watch, stream
from app.freshness import SEEN
from app.paging import KnownQuery, NoQuery, link
from app.read_route import ReadRoute
from app.routes.answers import READ, problems
from app.routes.filters import LedgerQuery

router = APIRouter(prefix="/v1", tags=["changes"], route_class=ReadRoute, dependencies=[SEEN])

NEWEST = 100
"""How many entries a feed holds."""


class _Feed(feedgenerator.Atom1Feed):  # type: ignore[misc]
    """A feed that is as old as its newest entry; without any, as the state of the record that it is of."""

    def latest_post_date(self) -> datetime:
        """Return when it was updated."""
        found: datetime = super().latest_post_date() if self.items else self.feed["known_at"]
        return found


class FeedQuery(LedgerQuery, KnownQuery):
    """Which entries a feed is of."""


class StreamQuery(LedgerQuery, NoQuery):
    """Which entries are followed."""

    after: Annotated[int, Field(ge=0, le=MAX_SEQ), DIGITS] | None = Field(
        default=None, description="Begin after this entry; `Last-Event-ID` wins. Default: the newest."
    )


@router.get(
    "/changes.atom",
    response_class=Response,
    responses=READ | {200: {"content": {"application/atom+xml": {"schema": {"type": "string"}}}}},
)
def get_feed(request: Request, query: Annotated[FeedQuery, Query()]) -> Response:
    """The newest hundred entries of the ledger as an Atom feed (RFC 4287)."""
    with reading(request, query) as read:
        wanted = query.ledger_filter(read.session)
        found = newest_changes(read.session, read.seq, NEWEST, wanted)
        names = {code: each.name for code, each in every_country(read.session).items()}
        base = base_url(request)
        feed = _Feed(
            title="Coalition commitment tracker: latest changes",
            link=f"{base}/",
            feed_url=link(base, request.url.path, request.query_params.multi_items()).removesuffix("?"),
            description="What countries say they will, might or will not give.",
            language="en",
            feed_copyright="Data: CC BY 4.0",
            known_at=read.moment.head.recorded_at or datetime.fromtimestamp(0, UTC),
        )
        for view in found:
            url = f"{base}/v1/changes/{view.seq}"
            feed.add_item(
                title=_title(view, names),
                link=url,
                unique_id=url,
                description=escape(view.statement.summary if view.statement else view.reason or ""),
                updateddate=view.recorded_at,
                pubdate=view.recorded_at,
                author_name=view.recorded_by.name,
            )
        return Response(
            feed.writeString("utf-8"), headers=read.headers, media_type="application/atom+xml; charset=utf-8"
        )


def _title(view: ChangeView, names: dict[str, str]) -> str:
    statement = view.statement
    if statement is None:
        return f"Entry {view.replaces} retracted"
    about = statement.component or ", ".join(statement.refuses or ())
    kind = "refusal, " if statement.refuses else ""
    corrected = f" (corrects entry {view.replaces})" if view.replaces else ""
    return f"{names[statement.country]}: {about}: {kind}{statement.firmness}{corrected}"


@router.get(
    "/changes/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **problems(422, 503)},
)
def follow_changes(
    request: Request,
    query: Annotated[StreamQuery, Query()],
    last_event_id: Annotated[
        int | None,
        Header(
            alias="Last-Event-ID",
            ge=0,
            le=MAX_SEQ,
            description="Seq of the last entry received: go on after it.",
        ),
        DIGITS,
    ] = None,
) -> Response:
    """The ledger live, as server-sent events: one `change` each, its id the seq."""
    database: Database = request.app.state.database
    watch: Watch = request.app.state.watch
    with database.reading(is_light=True) as session:
        wanted = query.ledger_filter(session)
        newest = head_of(session).seq
    asked = query.after if last_event_id is None else last_event_id
    after = newest if asked is None else asked

    def read(seen: int, until: int) -> tuple[list[tuple[int, str]], int]:
        return _read(database, seen, until, wanted)

    events: AsyncIterator[bytes] = stream(watch, after, read)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if getattr(request.state, "is_head", False):
        return Response(headers=headers, media_type="text/event-stream")
    return StreamingResponse(events, headers=headers, media_type="text/event-stream")


def _read(
    database: Database, after: int, until: int, wanted: LedgerFilter
) -> tuple[list[tuple[int, str]], int]:
    with database.reading(Need(until)) as session:
        page = changes_after(session, after, until, NEWEST, wanted)
    found = [(seq, item.json) for seq, item in page]
    return found, found[-1][0] if len(found) == NEWEST else until
