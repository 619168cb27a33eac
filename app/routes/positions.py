"""/v1/positions: what countries hold, and stating it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from app.as_of import Sort, page_as_of, positions_as_of, positions_joined, possible_in, sorted_by
from app.bodies import BulkRoute, WriteRoute
from app.bulk import COLUMNS, CSV, JSON, MOST_ROWS, NDJSON, BulkRecorded, read_rows, state_all, validated
from app.countries import get_code
from app.deps import Answer, Write, WriteQuery, reading, recorded, write
from app.diff import DiffEntry, events
from app.errors import NotFound
from app.export import POSITIONS, Format
from app.freshness import SEEN
from app.items import Item, listed
from app.lines import LineKey, Lines
from app.paging import Limit, Meta, MomentQuery, Page, PageQuery
from app.positions import PositionView
from app.read_route import ReadRoute
from app.recording import Recorded, state
from app.routes.answers import KEY, LIST, READ_ONE, WRITE, under_dry_run
from app.routes.filters import FilterQuery
from app.statements import NewPosition, StatementView
from app.story import story_of
from app.vocabulary import Component

router = APIRouter(prefix="/v1/positions", tags=["positions"], route_class=ReadRoute, dependencies=[SEEN])
writes = APIRouter(prefix="/v1/positions", tags=["positions"], route_class=WriteRoute, dependencies=[KEY])
bulk = APIRouter(prefix="/v1/positions", tags=["positions"], route_class=BulkRoute, dependencies=[KEY])

STATEMENT = {"$ref": "#/components/schemas/NewPosition"}
BULK_BODY = {
    "required": True,
    "content": {
        JSON: {"schema": {"type": "array", "items": STATEMENT, "minItems": 1, "maxItems": MOST_ROWS}},
        NDJSON: {
            "schema": {"type": "string", "description": "One statement a line."},
            "example": '{"country": "PL", "kind": "troops", "firmness": "considering", '
            '"stated_on": "2025-03-27", "summary": "It weighs a contribution.", "authority": "ministry", '
            '"source": {"url": "https://example.org/a", "title": "After the summit"}}\n',
        },
        CSV: {
            "schema": {"type": "string", "description": f"Columns: {', '.join(COLUMNS)}."},
            "example": "country,kind,firmness,stated_on,summary,authority,source_url,source_title\r\n"
            "PL,troops,considering,2025-03-27,It weighs a contribution.,ministry,"
            "https://example.org/a,After the summit\r\n",
        },
    },
}


class PositionsQuery(FilterQuery, PageQuery, MomentQuery):
    """What is asked of the list of positions."""

    limit: Limit = Field(default=1000, description="Items on a page, 1 to 1000.")
    sort: Annotated[list[Sort], Field(max_length=5)] = Field(
        default_factory=list,
        description="What to sort by, the most important first; `-` reverses. Repeatable; ties are in "
        "the order of country and component.",
    )
    dates: Literal["certain", "possible"] = Field(
        default="certain",
        description="`possible` adds what may hold already though its date is imprecise, marked.",
    )

    @property
    def is_light(self) -> bool:
        return len(self.country) == 1 and self.dates == "certain"

    @property
    def is_in_order(self) -> bool:
        """Whether it asks for what holds for certain, in the usual order."""
        return not self.sort and self.dates == "certain"


class PositionQuery(MomentQuery):
    """What is asked of one position."""


class PositionList(Page[PositionView]):
    """Positions in force, by country and component."""


class PositionAnswer(BaseModel):
    """One line of the record."""

    meta: Meta
    position: PositionView | None = Field(description="Null where nothing is held.")
    possible: list[PositionView] = Field(description="What may hold already, though it is not certain.")
    history: list[DiffEntry] = Field(description="Every step and affirmation up to `as_of`.")
    reports: list[StatementView] = Field(description="Reports beside the position, up to `as_of`.")


def key_of(item: Item[PositionView]) -> list[str | int | None]:
    """Return what positions are sorted by."""
    view = item.view
    is_possible = view.certainty == "possible"
    return [view.country, view.component, is_possible, view.effective_on.isoformat(), view.seq]


@router.get("", response_model=PositionList, responses=LIST)
def list_positions(request: Request, query: Annotated[PositionsQuery, Query()]) -> Response:
    """Positions in force on a day, as known at a moment, sorted by country and component."""
    with reading(request, query) as read:
        wanted, viewer = query.position_filter(read.session), read.viewer()
        if query.is_in_order:
            if query.cursor is None and read.format is Format.JSON:
                count, joined = positions_joined(viewer, read.moment, wanted, query.limit + 1)
                if count <= query.limit:
                    return read.answer_joined(read.meta(count), joined)
            # With the last one of the page before, and one of the page after.
            start, most = read.line_of_cursor(query), query.limit + 2
            total, found = page_as_of(viewer, read.moment, wanted, start, most)
        else:
            found = positions_as_of(viewer, read.moment, wanted, possible=query.dates == "possible")
            found, total = sorted_by(found, query.sort), len(found)
        page, following = read.cut(found, key_of, query)
        return read.answer_items(read.meta(total), page, following, POSITIONS)


@router.get("/{code}/{component}", response_model=PositionAnswer, responses=READ_ONE)
def get_position(
    request: Request,
    code: Annotated[str, Path(description="Country, as in lists.", examples=["PL"])],
    component: Annotated[str, Path(description="Component.", examples=["troops"])],
    query: Annotated[PositionQuery, Query()],
) -> Response:
    """One country's position on one component, with its history and the reports beside it."""
    with reading(request, query) as read:
        if component not in list(Component):
            raise NotFound("No such component; /v1/vocabulary lists them all.")
        key: LineKey = (get_code(read.session, code), Component(component))
        lines, viewer = Lines(keys=[key]), read.viewer()
        story = story_of(read.session, read.seq, lines)
        stand, reports = story.stand(key, read.day), story.reports(key, read.day)
        stands = {} if stand is None else {key: stand}
        possible = possible_in(read.session, read.moment, lines, stands).get(key, [])
        viewer.load([*possible, *reports, *(each.seq for each in story.said(key, read.day))])
        position = viewer.position(read.day, stand)
        return read.answer(
            PositionAnswer(
                meta=read.meta(0 if position is None else 1),
                position=None if position is None else position.view,
                possible=[viewer.possible(key, seq, len(reports)).view for seq in possible],
                history=listed(events(viewer, key, story.steps(key, read.day), story.report_days(key))),
                reports=listed(viewer.statements(reports)),
            )
        )


@writes.post("", response_model=Recorded, status_code=201, responses=WRITE | under_dry_run(Recorded))
def create_position(request: Request, new: NewPosition, query: Annotated[WriteQuery, Query()]) -> Response:
    """State a position: record what a country said, with the source that says so."""

    def work(doing: Write) -> Answer:
        found = state(doing.session, doing.viewer, doing.writer, new)
        return recorded(doing, found, dry_run=query.dry_run)

    return write(request, query, work)


@bulk.post(
    "/bulk",
    response_model=BulkRecorded,
    status_code=201,
    responses=WRITE | under_dry_run(BulkRecorded),
    openapi_extra={"requestBody": BULK_BODY},
)
def create_positions(request: Request, query: Annotated[WriteQuery, Query()]) -> Response:
    """State many positions at once: a JSON array, NDJSON or CSV; all rows are recorded, or none.

    Each refused row is named with its line (in an array: its place, from 1), its column and the
    cure. At most 10,000 rows; in CSV, `quantity` and `source` are spread over columns.
    """
    body: bytes = request.state.body
    rows = validated(read_rows(body, request.state.media_type))

    def work(doing: Write) -> Answer:
        found = state_all(doing.session, doing.viewer, doing.writer, rows, dry_run=query.dry_run)
        return Answer(found, f"/v1/changes?after={(found.first_seq or 1) - 1}")

    return write(request, query, work)
