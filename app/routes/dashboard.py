"""The dashboard: GET / with the matrix and the map, a country's page, a line's page, two days compared."""

from threading import Lock
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import Field
from sqlmodel import Session

from app.as_of import possible_in
from app.changes import ChangeView, LedgerFilter, get_change, newest_changes
from app.chart import draw_timeline
from app.countries import every_country, get_code
from app.country_page import country_page
from app.db import utc_now
from app.deps import Read, base_url, reading
from app.diff import Mode, Op, diff_days
from app.errors import NotFound
from app.fields import Day
from app.filters import PositionFilter
from app.freshness import SEEN
from app.items import listed
from app.lines import Lines
from app.overview import Calendar, Days, calendar, line_shown, matrix
from app.pages import Links, PageRoute, dataset_document, europe, fingerprint, page
from app.paging import MomentQuery, NoQuery
from app.routes.answers import READ
from app.standings import stands_of
from app.story import story_of
from app.vocabulary import CREDIBILITY, FORCE, SETS, Action, Component

router = APIRouter(tags=["operations"], route_class=PageRoute, dependencies=[SEEN])

LATEST = 6
"""How many entries of the ledger the dashboard shows."""

MOST_CORRECTIONS = 50
"""How many corrections and retractions a page shows, the newest first."""

Code = Annotated[str, Path(description="Alpha-2, alpha-3 or alias.", examples=["PL"])]


class DashboardQuery(MomentQuery):
    """What the dashboard shows."""

    component: Component = Field(default=Component.TROOPS, description="What map and timeline show.")


class CompareQuery(MomentQuery):
    """Which two days are compared."""

    from_: Day | None = Field(default=None, alias="from", description="Default: the change before `to`.")
    to: Day | None = Field(default=None, description="Default: the day of the dashboard.")
    component: Component | None = Field(default=None, description="Only in its lines. Default: in all.")


def look(_: Session, __: int | None) -> str:
    """Return what distinguishes a page from an older release's."""
    return fingerprint()


@router.get("/", response_class=HTMLResponse, responses=READ)
def get_dashboard(request: Request, query: Annotated[DashboardQuery, Query()]) -> Response:
    """The dashboard: the positions on a day as a matrix and a map, each cell with its sources."""
    with reading(request, query, version=look) as read:
        session, viewer, dates = read.session, read.viewer(), calendar_of(read)
        shown = matrix(viewer, read.moment)
        # Beyond today and the last change nothing moves: the chart would only grow wider.
        last = min(read.day, max([utc_now().date(), *dates.changed[-1:]]))
        latest = newest_changes(session, read.seq, LATEST, LedgerFilter())
        countries = every_country(session)
        return page(
            "dashboard.html",
            headers=read.headers,
            **frame(read, Days(dates.changed, read.day)),
            component=query.component,
            matrix=shown,
            rows={countries[row.code].alpha3: row for row in shown.rows},
            shapes=europe(),
            chart=draw_timeline(dates, query.component, last),
            latest=latest,
            replaced=replaced_by(read, latest),
            countries=viewer.countries,
            document=dataset_document(read.moment.head, base_url(request), dates.changed),
            first=dates.first,
        )


@router.get("/countries/{code}", include_in_schema=False)
def get_country_page(request: Request, code: Code, query: Annotated[MomentQuery, Query()]) -> Response:
    """One country: what it holds, how it came to that, and who says so."""
    with reading(request, query, version=look) as read:
        key = get_code(read.session, code)
        story = story_of(read.session, read.seq, Lines({key}))
        facts = every_country(read.session)[key]
        return page(
            "country.html",
            headers=read.headers,
            **frame(read, Days(calendar(story.stands, None).changed, read.day)),
            country=country_page(story, read.viewer(), facts, read.day),
            **mended(read, key),
        )


@router.get("/countries/{code}/{component}", include_in_schema=False)
def get_line_page(
    request: Request,
    code: Code,
    component: Annotated[str, Path(description="Component.", examples=["troops"])],
    query: Annotated[MomentQuery, Query()],
) -> Response:
    """One country on one component: every statement, what was reported beside it, history, corrections."""
    with reading(request, query, version=look) as read:
        key = get_code(read.session, code)
        if component not in list(Component):
            raise NotFound("No such component; the dashboard and /v1/vocabulary list them all.")
        line = (key, Component(component))
        lines = Lines(keys=[line])
        story = story_of(read.session, read.seq, lines)
        stand = story.stand(line, read.day)
        possible = possible_in(read.session, read.moment, lines, {line: stand} if stand else {})
        return page(
            "line.html",
            headers=read.headers,
            **frame(read, Days(calendar(story.stands, None).changed, read.day)),
            country=every_country(read.session)[key],
            line=line_shown(story, read.viewer(), line, read.moment, possible.get(line, [])),
            **mended(read, *line),
        )


@router.get("/diff", include_in_schema=False)
def get_comparison(request: Request, query: Annotated[CompareQuery, Query()]) -> Response:
    """Two days compared: what is new, what changed, what was withdrawn, before and after."""
    with reading(request, query, version=look) as read:
        changed = calendar_of(read).changed
        until = query.to or read.day
        since = query.from_ or Days(changed, until).previous or until
        wanted = PositionFilter(components=(query.component,) if query.component else ())
        found = diff_days(read.viewer(), read.seq, (since, until), Mode.NET, wanted)
        entries = listed(found.all_items())
        return page(
            "diff.html",
            headers=read.headers,
            **frame(read, Days(changed, read.day)),
            since=since,
            until=until,
            component=query.component,
            entries={op: [entry for entry in entries if entry.op is op] for op in Op},
        )


def calendar_of(read: Read) -> Calendar:
    """Return the whole record's calendar; it is worked out once for each state of the record.

    The digest names a state for good, whichever database it is read from.
    """
    with _one_at_a_time:
        found = _calendars.get(read.moment.head.digest)
        if found is None:
            stands = stands_of(read.session, read.seq)
            first = min((line[0].holds_from for line in stands.values()), default=None)
            found = calendar(stands, first)
            if len(_calendars) == MOST_CALENDARS:
                del _calendars[next(iter(_calendars))]
            _calendars[read.moment.head.digest] = found
    return found


_calendars: dict[str, Calendar] = {}
_one_at_a_time = Lock()

MOST_CALENDARS = 8
"""How many states of the record have their calendar remembered."""


@router.get("/codebook", include_in_schema=False)
def get_codebook(_: Annotated[NoQuery, Query()]) -> Response:
    """The words that statements are put into, each with its definition."""
    return page("codebook.html", sets=SETS, credibility=CREDIBILITY, is_codebook=True)


def frame(read: Read, days: Days) -> dict[str, Any]:
    """Return what every page shows around what it is about."""
    asked = {
        name: value
        for name, value in read.request.query_params.items()
        if name in ("as_of", "known_at", "seq", "component")
    }
    moment = {name: value for name, value in asked.items() if name != "component"}
    pinned = {name: value for name, value in asked.items() if name in ("known_at", "seq")}
    return {
        "links": Links(asked, read.day, read.seq),
        # A country's or a line's page is about all of it, whatever the map shows.
        "onward": Links(moment, read.day, read.seq),
        "pinned": pinned,
        "days": days,
        "day": read.day,
        "today": utc_now().date(),
        "head": read.moment.head,
        "force": FORCE,
    }


def mended(read: Read, country: str, *components: Component) -> dict[str, Any]:
    """Return the newest corrections and retractions on a country, with what they replaced."""
    actions = (Action.CORRECT, Action.RETRACT)
    wanted = LedgerFilter(countries=frozenset((country,)), components=components, actions=actions)
    corrections = newest_changes(read.session, read.seq, MOST_CORRECTIONS, wanted)
    return {"corrections": corrections, "replaced": replaced_by(read, corrections)}


def replaced_by(read: Read, entries: list[ChangeView]) -> dict[int, ChangeView]:
    """Return, by seq, the entries that `entries` replaced."""
    replaced = {entry.replaces for entry in entries if entry.replaces is not None}
    return {seq: get_change(read.session, seq, read.seq) for seq in replaced}
