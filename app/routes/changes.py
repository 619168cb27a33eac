"""/v1/changes: the ledger, and what mends it."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from app.bodies import WriteRoute
from app.changes import (
    ChangeView,
    LedgerFilter,
    changes_after,
    changes_joined,
    count_changes,
    get_change,
)
from app.deps import Answer, Write, WriteQuery, reading, recorded, write
from app.export import CHANGES, Format
from app.fields import DIGITS, MAX_SEQ
from app.freshness import SEEN
from app.paging import KnownQuery, ListQuery, Meta, Page
from app.read_route import ReadRoute
from app.recording import Correction, Recorded, Retraction, correct, retract
from app.routes.answers import KEY, LIST, READ_ONE, WRITE_ONE, under_dry_run
from app.routes.filters import LedgerQuery

router = APIRouter(prefix="/v1/changes", tags=["changes"], route_class=ReadRoute, dependencies=[SEEN])
writes = APIRouter(prefix="/v1/changes", tags=["changes"], route_class=WriteRoute, dependencies=[KEY])

WRITTEN = WRITE_ONE | under_dry_run(Recorded)
Seq = Annotated[
    int, Path(ge=1, le=MAX_SEQ, description="Number of the entry in the ledger.", examples=[1]), DIGITS
]


SHORT = 100
"""How many entries are few."""


class ChangesQuery(LedgerQuery, ListQuery, KnownQuery):
    """What is asked of the ledger."""

    after: Annotated[int, Field(ge=0, le=MAX_SEQ), DIGITS] = Field(
        default=0, description="Only entries numbered above this one: where the last page ended."
    )

    @property
    def is_light(self) -> bool:
        return self.limit <= SHORT and self.model_fields_set <= {"after", "limit", "seq"}


class ChangeList(Page[ChangeView]):
    """Entries of the ledger, in order."""

    next: str | None = Field(description="URL that goes on from here: always given, also at the end.")


class ChangeAnswer(ChangeView):
    """One entry of the ledger."""

    meta: Meta


@router.get("", response_model=ChangeList, responses=LIST)
def list_changes(request: Request, query: Annotated[ChangesQuery, Query()]) -> Response:
    """The ledger in order, without gaps; an empty page is the end, and `next` asks for what follows.

    A filter matches an entry by its statement, or by the statement that it replaces.
    """
    with reading(request, query) as read:
        wanted = query.ledger_filter(read.session)
        meta = read.meta(count_changes(read.session, read.seq, wanted))
        last = max(query.after, read.seq)
        if wanted == LedgerFilter() and read.format is Format.JSON:
            count, joined = changes_joined(read.session, query.after, read.seq, query.limit)
            if count == query.limit:
                last = query.after + count  # without gaps
            return read.answer_joined(meta, joined, read.feed_url(last))
        page = changes_after(read.session, query.after, read.seq, query.limit, wanted)
        if len(page) == query.limit:
            last = page[-1][0]
        return read.answer_items(meta, [item for _, item in page], read.feed_url(last), CHANGES)


@router.get("/{seq}", response_model=ChangeAnswer, responses=READ_ONE)
def get_change_by_seq(request: Request, seq: Seq, query: Annotated[KnownQuery, Query()]) -> Response:
    """One entry of the ledger, with what replaced it, if anything did."""
    with reading(request, query) as read:
        view = get_change(read.session, seq, read.seq)
        return read.answer(ChangeAnswer(**dict(view), meta=read.meta(1)))


@writes.post("/{seq}/correction", response_model=Recorded, status_code=201, responses=WRITTEN)
def create_correction(
    request: Request, seq: Seq, new: Correction, query: Annotated[WriteQuery, Query()]
) -> Response:
    """Correct our record: say what the entry's statement should have been, and why."""

    def work(doing: Write) -> Answer:
        found = correct(doing.session, doing.viewer, doing.writer, seq, new)
        return recorded(doing, found, dry_run=query.dry_run)

    return write(request, query, work)


@writes.post("/{seq}/retraction", response_model=Recorded, status_code=201, responses=WRITTEN)
def create_retraction(
    request: Request, seq: Seq, new: Retraction, query: Annotated[WriteQuery, Query()]
) -> Response:
    """Take an entry's statement out of the record: it was never so."""

    def work(doing: Write) -> Answer:
        found = retract(doing.session, doing.viewer, doing.writer, seq, new)
        return recorded(doing, found, dry_run=query.dry_run)

    return write(request, query, work)
