"""The codebook, the health checks, and the page behind each problem's `type`."""

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from app import __version__, vocabulary
from app.changes import head_of
from app.db import Database
from app.errors import Busy, NotFound, every_error
from app.metrics import LEDGER_HEAD, exposition
from app.paging import NoQuery
from app.routes.answers import problems
from app.settings import Settings
from app.vocabulary import CREDIBILITY, FORCE, OFFERS, REFUSALS, SETS, SUPPORT

router = APIRouter(tags=["codebook"])
health = APIRouter(tags=["operations"])


class Term(BaseModel):
    """A word of a closed set."""

    value: str
    definition: str


class Ladders(BaseModel):
    """The rungs of firmness, from the least firm to the firmest."""

    offer: list[str]
    refusal: list[str]
    either: list[str]


class Vocabulary(BaseModel):
    """The codebook: every closed set, each word with its definition."""

    sets: dict[str, list[Term]]
    ladders: Ladders
    credibility: list[Term] = Field(description="Figures of the Admiralty code.")
    force: list[str] = Field(description="The force's components: what a refusal refuses by default.")
    support: list[str] = Field(description="The types of support.")


class Health(BaseModel):
    """How the service is."""

    status: str
    version: str


@router.get("/v1/vocabulary", response_model=Vocabulary, responses=problems(422))
def get_vocabulary(_: Annotated[NoQuery, Query()]) -> Vocabulary:
    """The codebook: every kind, component, firmness, condition and so on, with its definition."""
    return Vocabulary(
        sets={
            name: [Term(value=word.value, definition=word.definition) for word in words]
            for name, words in SETS.items()
        },
        ladders=Ladders(offer=list(OFFERS), refusal=list(REFUSALS), either=[vocabulary.Firmness.WITHDRAWN]),
        credibility=[Term(value=str(figure), definition=meaning) for figure, meaning in CREDIBILITY.items()],
        force=list(FORCE),
        support=list(SUPPORT),
    )


@router.get(
    "/problems/{code}",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **problems(404, 422)},
)
def get_problem(
    code: Annotated[str, Path(description="Last part of a problem's type.", examples=["invalid"])],
    _: Annotated[NoQuery, Query()],
) -> Response:
    """What a problem's type means, and its cure."""
    for error in every_error():
        if error.code == code:
            text = f"{error.title} ({error.status})\n\n{error.__doc__}\n{error.cure}\n"
            return Response(text, media_type="text/plain")
    raise NotFound("No such type of problem; the README lists them all.")


@health.get("/healthz", response_model=Health, responses=problems(422))
def get_health(_: Annotated[NoQuery, Query()], response: Response) -> Any:
    """Whether the process answers at all."""
    response.headers["Cache-Control"] = "no-store"
    return Health(status="ok", version=__version__)


@health.get("/readyz", response_model=Health, responses=problems(422, 503, 507))
def get_readiness(request: Request, response: Response, _: Annotated[NoQuery, Query()]) -> Any:
    """Whether the database answers, has this release's schema and, unless set read-only, takes writes."""
    database: Database = request.app.state.database
    settings: Settings = request.app.state.settings
    if not database.schema_is_current():
        raise Busy(
            "The schema is not that of this release: run `coalition migrate`.", headers={"Retry-After": "30"}
        )
    if not settings.read_only:
        database.check_writable()
    response.headers["Cache-Control"] = "no-store"
    return Health(status="ready", version=__version__)


@health.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(422)},
)
def get_metrics(request: Request, _: Annotated[NoQuery, Query()]) -> Response:
    """What the server counts and measures, for Prometheus."""
    database: Database = request.app.state.database
    # The other figures are the more wanted when the database is away.
    with suppress(Busy, SQLAlchemyError), database.reading(is_light=True) as session:
        LEDGER_HEAD.set(head_of(session).seq)
    return Response(exposition(), headers={"Cache-Control": "no-store"}, media_type=CONTENT_TYPE_LATEST)
