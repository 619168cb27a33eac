"""/v1/export: whole tables, streamed, at any day and any state of knowledge."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.as_of import positions_as_of, viewer
from app.changes import (
    ChangeView,
    LedgerFilter,
    SourceView,
    changes_after,
    source_views,
    stretch_of_changes,
)
from app.countries import every_country
from app.db import Database, Need, canonical_json
from app.deps import Read, reading
from app.errors import NotFound
from app.export import (
    CHANGES,
    HISTORY,
    MEDIA_TYPES,
    POSITIONS,
    SOURCES,
    Column,
    Format,
    HistoryRow,
    csv_lines,
    datapackage,
    history_rows,
    ndjson_lines,
    stretches,
)
from app.filters import PositionFilter
from app.freshness import SEEN
from app.items import Item
from app.lines import Lines
from app.paging import KnownQuery, MomentQuery, NoQuery
from app.positions import PositionView
from app.read_route import ReadRoute
from app.routes.answers import READ_ONE
from app.routes.filters import FilterQuery, LedgerQuery
from app.sources import newest_source_id, sources_up_to
from app.standings import report_days, stands_of

router = APIRouter(prefix="/v1/export", tags=["export"], route_class=ReadRoute, dependencies=[SEEN])

STRETCH = 1_000
"""How many rows are read at a time: no reading stays open while a client is slow."""

FEW = 200
"""How many positions with their days are read at a time: they may be long."""

Extension = Annotated[str, Path(description="`csv` or `ndjson`.", examples=["csv"])]
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        }
    },
    **READ_ONE,
}


class ExcelQuery(NoQuery):
    """How CSV is written."""

    excel: bool = Field(
        default=False, description="For CSV: with a byte order mark, and safe from formulas in cells."
    )


class PositionsExportQuery(FilterQuery, ExcelQuery, MomentQuery):
    """Which positions are exported."""


class ChangesExportQuery(LedgerQuery, ExcelQuery, KnownQuery):
    """Which entries of the ledger are exported."""


class KnownExportQuery(ExcelQuery, KnownQuery):
    """What state of the record is exported."""


@router.get("/positions.{extension}", response_class=StreamingResponse, responses=STREAM)
def export_positions(
    request: Request, extension: Extension, query: Annotated[PositionsExportQuery, Query()]
) -> Response:
    """Positions in force on a day, all of them."""
    with reading(request, query) as read:
        wanted = query.position_filter(read.session)

        def found() -> Iterable[Item[PositionView]]:
            return positions_as_of(read.viewer(), read.moment, wanted)

        return _stream(read, "positions", extension, found, POSITIONS, excel=query.excel)


@router.get("/history.{extension}", response_class=StreamingResponse, responses=STREAM)
def export_history(
    request: Request, extension: Extension, query: Annotated[PositionsExportQuery, Query()]
) -> Response:
    """Every position up to a day, with the days on which it held."""
    with reading(request, query) as read:
        wanted, countries = query.position_filter(read.session), sorted(read.tracked())
        rows = partial(_history, read, wanted, countries)
        return _stream(read, "history", extension, rows, HISTORY, excel=query.excel, most=FEW)


def _history(read: Read, wanted: PositionFilter, countries: Iterable[str]) -> Iterator[Item[HistoryRow]]:
    database: Database = read.request.app.state.database
    for code in countries:
        if wanted.countries is None or code in wanted.countries:
            with database.reading(Need(read.seq), is_long=True) as session:
                lines = Lines({code}, wanted.components)
                stands = stands_of(session, read.seq, lines, until=read.day)
                reports = report_days(session, read.seq, lines)
            ahead = stretches(stands)
            while found := list(islice(ahead, FEW)):
                with database.reading(Need(read.seq), is_long=True) as session:
                    seen = viewer(session, read.settings.stale_after_days)
                    rows = list(history_rows(found, reports, seen, read.day, wanted))
                yield from rows


@router.get("/changes.{extension}", response_class=StreamingResponse, responses=STREAM)
def export_changes(
    request: Request, extension: Extension, query: Annotated[ChangesExportQuery, Query()]
) -> Response:
    """The ledger in order, all of it or what the filters of /v1/changes choose."""
    with reading(request, query) as read:
        wanted = query.ledger_filter(read.session)
        if extension == Format.NDJSON and wanted == LedgerFilter():
            return _file(read, "changes", extension, _stretches(request, read.seq))
        rows = partial(_pages, request, read.seq, wanted)
        return _stream(read, "changes", extension, rows, CHANGES, excel=query.excel)


def _stretches(request: Request, seq: int) -> Iterator[bytes]:
    database: Database = request.app.state.database
    for after in range(0, seq, STRETCH):
        with database.reading(Need(seq), is_long=True) as session:
            stretch = stretch_of_changes(session, after, min(after + STRETCH, seq), seq)
        yield stretch


def _pages(request: Request, seq: int, wanted: LedgerFilter) -> Iterator[Item[ChangeView]]:
    database: Database = request.app.state.database
    after: int | None = 0
    while after is not None:
        with database.reading(Need(seq), is_long=True) as session:
            page = changes_after(session, after, seq, STRETCH, wanted)
        yield from (item for _, item in page)
        after = page[-1][0] if len(page) == STRETCH else None


@router.get("/sources.{extension}", response_class=StreamingResponse, responses=STREAM)
def export_sources(
    request: Request, extension: Extension, query: Annotated[KnownExportQuery, Query()]
) -> Response:
    """Every source, with what it supports."""
    with reading(request, query, version=newest_source_id) as read:
        rows = partial(_sources, request, read.seq, int(read.version))
        return _stream(read, "sources", extension, rows, SOURCES, excel=query.excel)


def _sources(request: Request, seq: int, newest: int) -> Iterator[SourceView]:
    database: Database = request.app.state.database
    after: int | None = 0
    while after is not None:
        with database.reading(Need(seq, sources=True), is_long=True) as session:
            views = source_views(session, sources_up_to(session, newest, after, STRETCH), seq)
        yield from views
        after = views[-1].id if len(views) == STRETCH else None


@router.get("/datapackage.json", responses=READ_ONE, response_model=dict[str, Any])
def get_datapackage(request: Request, query: Annotated[MomentQuery, Query()]) -> Response:
    """What the exported tables and their columns are (Frictionless Data Package v2).

    Where a moment is asked for, the tables that it names are those of that moment.
    """
    with reading(request, query) as read:
        asked = set(request.query_params)
        pins = {"seq": str(read.seq)} if asked & {"seq", "known_at"} else {}
        day = {"as_of": read.day.isoformat()} if "as_of" in asked else {}
        body = canonical_json(datapackage(read.moment.head, pins, day))
        return Response(body, headers=read.headers, media_type=MEDIA_TYPES[Format.JSON])


def _stream(
    read: Read,
    name: str,
    extension: str,
    rows: Callable[[], Iterable[Any]],
    columns: Sequence[Column[Any]],
    *,
    excel: bool,
    most: int = STRETCH,
) -> Response:
    """Return rows as a file that arrives while it is being written, at most so many at a time.

    For a HEAD none is read.
    """
    if extension not in (Format.CSV, Format.NDJSON):
        raise NotFound("Exports end in .csv or .ndjson.")
    lines: Iterable[str] = ()
    if not read.request.state.is_head:
        if extension == Format.CSV:
            lines = csv_lines(rows(), columns, every_country(read.session), excel=excel)
        else:
            lines = ndjson_lines(rows())
    return _file(read, name, extension, _chunks(lines, most))


def _file(read: Read, name: str, extension: str, chunks: Iterable[bytes]) -> Response:
    """Return what is written as a file that arrives meanwhile; for a HEAD nothing is."""
    headers = read.headers | {"Content-Disposition": f'attachment; filename="{name}.{extension}"'}
    # Without an empty end an answer without lines would have other headers.
    content = chain(() if read.request.state.is_head else chunks, [b""])
    return StreamingResponse(content, headers=headers, media_type=MEDIA_TYPES[Format(extension)])


def _chunks(lines: Iterable[str], most: int) -> Iterator[bytes]:
    """Yield lines, so many at a time that a thread is not changed for each."""
    ahead = iter(lines)
    while text := "".join(islice(ahead, most)):
        yield text.encode()
