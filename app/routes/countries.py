"""/v1/countries: countries with what they hold."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from app.as_of import CountryView, by_line, positions_as_of, positions_of
from app.countries import every_country, find_code, get_code
from app.country_page import CountryPage, country_page
from app.deps import reading
from app.export import COUNTRIES
from app.fields import Line
from app.filters import PositionFilter
from app.freshness import SEEN
from app.lines import Lines
from app.paging import Meta, MomentQuery, Page, PageQuery
from app.read_route import ReadRoute
from app.routes.answers import LIST, READ_ONE
from app.story import story_of
from app.vocabulary import Group

router = APIRouter(prefix="/v1/countries", tags=["countries"], route_class=ReadRoute, dependencies=[SEEN])


class CountriesQuery(PageQuery, MomentQuery):
    """What is asked of the list of countries."""

    group: list[Group] = Field(default_factory=list, description="Members of a group today; repeatable.")
    tracked: bool | None = Field(
        default=None, description="Only countries with a live statement, or only those without."
    )
    q: Annotated[Line, Field(max_length=80)] | None = Field(
        default=None, description="Part of the name, in any case, or a code: alpha-2, alpha-3, UK or EL."
    )


class CountryList(Page[CountryView]):
    """Countries, by code."""


class CountryAnswer(CountryPage):
    """All that a country's page shows."""

    meta: Meta


@router.get("", response_model=CountryList, responses=LIST)
def list_countries(request: Request, query: Annotated[CountriesQuery, Query()]) -> Response:
    """Countries by code, each with its positions on a day."""
    with reading(request, query) as read:
        tracked = read.tracked()
        asked, meant = (query.q or "").casefold(), find_code(read.session, query.q or "")
        found = [
            country
            for code, country in every_country(read.session).items()
            if (not query.group or set(query.group) & set(country.groups))
            and query.tracked in (None, code in tracked)
            and (asked in country.name.casefold() or code == meant)
        ]
        page, following = read.cut(found, lambda country: [country.code], query)
        wanted = PositionFilter(frozenset(country.code for country in page))
        held = by_line(positions_as_of(read.viewer(), read.moment, wanted))
        views = [
            CountryView(
                **dict(country),
                tracked=country.code in tracked,
                positions=positions_of(held, country.code),
            )
            for country in page
        ]
        answer = CountryList(meta=read.meta(len(found)), items=views, next=following)
        return read.answer_list(answer, COUNTRIES)


@router.get("/{code}", response_model=CountryAnswer, responses=READ_ONE)
def get_country(
    request: Request,
    code: Annotated[str, Path(description="Alpha-2, alpha-3 or alias.", examples=["PL"])],
    query: Annotated[MomentQuery, Query()],
) -> Response:
    """One country: what it holds, since when and on what conditions, with reports and sources."""
    with reading(request, query) as read:
        key = get_code(read.session, code)
        story = story_of(read.session, read.seq, Lines({key}))
        page = country_page(story, read.viewer(), every_country(read.session)[key], read.day)
        return read.answer(CountryAnswer(**page, meta=read.meta(1)))
