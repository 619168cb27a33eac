"""/v1/sources: publications, with what they support."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from app.bodies import WriteRoute
from app.changes import SourceView, source_views
from app.deps import Answer, Read, Write, WriteQuery, reading, write
from app.export import SOURCES
from app.fields import DIGITS, MAX_SEQ
from app.freshness import SEEN
from app.paging import KnownQuery, Meta, Page, PageQuery, bad_cursor, write_cursor
from app.read_route import ReadRoute
from app.recording import post_source
from app.routes.answers import KEY, LIST, READ_ONE, WRITE
from app.sources import NewSource, count_sources, get_source, newest_source_id, sources_up_to

router = APIRouter(prefix="/v1/sources", tags=["sources"], route_class=ReadRoute, dependencies=[SEEN])
writes = APIRouter(prefix="/v1/sources", tags=["sources"], route_class=WriteRoute, dependencies=[KEY])


class SourcesQuery(PageQuery, KnownQuery):
    """What is asked of the list of sources."""


class SourceList(Page[SourceView]):
    """Sources, by id."""


class SourceAnswer(SourceView):
    """One source."""

    meta: Meta


@router.get("", response_model=SourceList, responses=LIST)
def list_sources(request: Request, query: Annotated[SourcesQuery, Query()]) -> Response:
    """Sources by id, each with the live entries that it supports."""
    with reading(request, query, version=newest_source_id) as read:
        after, newest = _place(read, query)
        found = sources_up_to(read.session, newest, after, query.limit + 1)
        page, following = found[: query.limit], None
        if len(found) > query.limit:
            following = read.next_url(cursor=write_cursor([page[-1].id, newest], read.question))
        views = source_views(read.session, page, read.seq)
        meta = read.meta(count_sources(read.session, newest))
        return read.answer_list(SourceList(meta=meta, items=views, next=following), SOURCES)


def _place(read: Read, query: SourcesQuery) -> tuple[int, int]:
    """Return after which source a page begins, and the last one listed: that of the first page."""
    if query.cursor is None:
        return 0, int(read.version)
    match read.cursor_key(query):
        case [after, newest] if type(after) is int and type(newest) is int and 0 < after < newest <= MAX_SEQ:
            return after, newest
    raise bad_cursor()


@router.get("/{source_id}", response_model=SourceAnswer, responses=READ_ONE)
def get_source_by_id(
    request: Request,
    source_id: Annotated[int, Path(ge=1, le=MAX_SEQ, description="Id of the source.", examples=[1]), DIGITS],
    query: Annotated[KnownQuery, Query()],
) -> Response:
    """One source, with the live entries that it supports."""
    with reading(request, query, version=newest_source_id) as read:
        source = get_source(read.session, source_id, int(read.version))
        (view,) = source_views(read.session, [source], read.seq)
        return read.answer(SourceAnswer(**dict(view), meta=read.meta(1)))


@writes.post(
    "",
    response_model=SourceView,
    status_code=201,
    responses=WRITE | {200: {"model": SourceView, "description": "The source was known already"}},
)
def create_source(request: Request, new: NewSource, query: Annotated[WriteQuery, Query()]) -> Response:
    """Record a source; posting a known one answers the existing record, with 200."""

    def work(doing: Write) -> Answer:
        source, is_new = post_source(doing.session, doing.writer, new)
        (view,) = source_views(doing.session, [source], MAX_SEQ)
        if is_new and query.dry_run:
            view = view.model_copy(update={"id": None})
        return Answer(view, f"/v1/sources/{source.id}", 201 if is_new else 200)

    return write(request, query, work)
