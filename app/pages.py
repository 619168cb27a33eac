"""Pages for people: templates filled in, faults told as pages, the files that pages load."""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.types import Scope

from app import __version__
from app.changes import Head
from app.db import ROOT
from app.errors import Busy, NotFound, TrackerError, failure_of, faults_of, invalid
from app.export import datapackage
from app.fields import instant_text
from app.vocabulary import Component, Firmness

WEB = ROOT / "app" / "web"
TEMPLATES = ROOT / "app" / "templates"

# Nothing comes from elsewhere, nothing runs but our own files, and no text can become a script.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True)
class Links:
    """Where a page leads: to other pages of the same moment, and to the API's answers behind it."""

    asked: dict[str, str]
    """The parameters of the moment as the reader gave them: what other pages keep."""
    day: date
    seq: int

    def page(self, path: str = "/", **changed: object) -> str:
        """Return the address of a page at this moment; a parameter that is None is left out."""
        kept = {name: value for name, value in (self.asked | changed).items() if value is not None}
        return f"{path}?{urlencode(kept)}" if kept else path

    def api(self, path: str, *, has_day: bool = True, **more: object) -> str:
        """Return the address of an answer for exactly this day and this state of the record."""
        moment = {"as_of": self.day.isoformat()} if has_day else {}
        return f"{path}?{urlencode(moment | {'seq': self.seq} | more)}"


@dataclass(frozen=True, slots=True)
class Shape:
    """A country on the map: its outline, where its label stands, whether it is large enough to hit."""

    alpha3: str
    outline: str
    x: int
    y: int
    is_small: bool


@cache
def europe() -> list[Shape]:
    """Return the countries on the map, by alpha-3 code; docs/map tells how the file is made."""
    shapes = []
    for path in ElementTree.parse(WEB / "europe.svg").getroot():
        x, y = map(int, path.attrib["data-at"].split())
        shapes.append(Shape(path.attrib["id"], path.attrib["d"], x, y, "data-small" in path.attrib))
    return shapes


@cache
def fingerprint() -> str:
    """Return what changes whenever a template or a file of the pages does."""
    digest = hashlib.sha256(__version__.encode())
    for path in sorted([*TEMPLATES.iterdir(), *WEB.iterdir()]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def web_url(text: str | None) -> str | None:
    """Return an address that may become a link: of the web, or none."""
    try:
        is_web = text is not None and urlsplit(text).scheme.lower() in ("http", "https")
    except ValueError:
        is_web = False
    return text if is_web else None


def long_day(day: date) -> str:
    """Return a day in words, as in 28 March 2025."""
    return f"{day.day} {day:%B} {day.year}"


def words(name: str) -> str:
    """Return a word of the vocabulary as people write it."""
    spaced = re.sub(r"\b(us|un|eu|nato)\b", lambda found: found[0].upper(), name.replace("_", " "))
    return re.sub(r"\b(ukrain|russia|black sea)", lambda found: found[0].title(), spaced)


def asset(name: str) -> str:
    """Return the address of a file that pages load; it is another one when the file changes."""
    return f"/web/{name}?v={fingerprint()}"


def data_block(document: dict[str, Any]) -> Markup:
    """Return a document as JSON that no HTML parser takes for markup."""
    text = json.dumps(document, ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def dataset_document(head: Head, base: str, days: Sequence[date]) -> dict[str, Any]:
    """Return what search engines for data read of the record (schema.org, Dataset)."""
    described = datapackage(head)
    covered = {"temporalCoverage": f"{days[0]}/{days[-1]}"} if days else {}
    changed = {"dateModified": instant_text(head.recorded_at)} if head.recorded_at else {}
    return {
        "@context": "https://schema.org",
        "@type": "Dataset",
        "name": described["title"],
        "description": f"{described['description']} Every fact leads to its source.",
        "url": f"{base}/",
        "license": described["licenses"][0]["path"],
        "version": described["version"],
        "identifier": head.digest,
        "isAccessibleForFree": True,
        "creator": {"@type": "Organization", "name": "The coalition commitment tracker's authors"},
        "spatialCoverage": "Ukraine",
        "keywords": ["Ukraine", "reassurance force", "coalition of the willing", "security commitments"],
        "variableMeasured": [field["name"] for field in described["resources"][0]["schema"]["fields"]],
        "distribution": [
            {
                "@type": "DataDownload",
                "name": table["name"],
                "description": table["description"],
                "encodingFormat": table["mediatype"],
                "contentUrl": f"{base}/v1/export/{table['path']}",
            }
            for table in described["resources"]
        ],
        **covered,
        **changed,
    }


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(long_day=long_day, web_url=web_url, words=words, data_block=data_block)
    found.globals.update(asset=asset, firmness=Firmness, every_component=list(Component))
    return found


def page(
    template: str, *, status: int = 200, headers: dict[str, str] | None = None, **shown: object
) -> Response:
    """Return a page; whatever a client has written into the record is shown in it as text.

    A page is asked for again each time, even where its numbers can never differ: the next release
    may draw it otherwise.
    """
    text = _environment().get_template(template).render(shown)
    kept = (headers or {}) | {
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-cache",
        "Vary": "Accept",
    }
    return HTMLResponse(text, status, kept)


FAULTS = (TrackerError, RequestValidationError, DBAPIError, PoolTimeout)
"""What a page may tell its reader; anything else is a fault of ours."""


class PageRoute(APIRoute):
    """A route whose faults are told to a browser as a page, and to any other client as a problem."""

    def get_route_handler(self) -> Handler:
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await answer(request)
            except FAULTS as fault:
                error = _error_of(fault)
                if error is None or not wants_page(request):
                    raise
                return fault_page(request, error)

        return handle


def _error_of(fault: Exception) -> TrackerError | None:
    """Return what a fault means for the reader; None for a fault of ours."""
    if isinstance(fault, RequestValidationError):
        return invalid(faults_of(fault.errors()))
    if isinstance(fault, DBAPIError):
        return failure_of(fault)
    return fault if isinstance(fault, TrackerError) else Busy(headers={"Retry-After": "2"})


def wants_page(request: Request) -> bool:
    """Tell whether a browser asks, for something to be read."""
    return "text/html" in request.headers.get("accept", "")


def install_fault_pages(app: FastAPI) -> None:
    """Tell a browser by a page that nothing is at an address, but of the API."""
    told = cast("Callable[[Request, Exception], Awaitable[Response]]", app.exception_handlers[HTTPException])

    @app.exception_handler(HTTPException)
    async def of_the_framework(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404 and wants_page(request) and not request.url.path.startswith("/v1/"):
            return fault_page(request, NotFound("Nothing is at this address."))
        return await told(request, error)


def fault_page(request: Request, error: TrackerError) -> Response:
    """Return the page that tells what went wrong, and the way on; it asks the database nothing."""
    request_id = getattr(request.state, "request_id", "-")
    return page("fault.html", status=error.status, headers=error.headers, error=error, request_id=request_id)


class WebFiles(StaticFiles):
    """The files that pages load: kept for good under the address that `asset` gives, else asked for again."""

    def __init__(self) -> None:
        super().__init__(directory=Path(WEB))

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file with how long it may be kept."""
        response = await super().get_response(path, scope)
        is_current = scope["query_string"] == f"v={fingerprint()}".encode()
        kept = "public, max-age=31536000, immutable" if is_current else "no-cache"
        response.headers["Cache-Control"] = kept
        return response
