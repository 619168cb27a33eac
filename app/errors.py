"""Failures as RFC 9457 problem details: one class each, carrying its status and its stable type."""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

MEDIA_TYPE = "application/problem+json"
MOST_FAULTS = 50
"""How many faults of one body are named: a body of a megabyte has room for a hundred thousand."""
MOST_NAMED = 1000
"""After how many faults only the first of each further row is named."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a request: where, a stable code, and a message that tells the cure.

    `pointer` is a JSON Pointer (RFC 6901) into the body, `parameter` the name of a query or path
    parameter; exactly one of them is given. `row` and `column` name the place in bulk input.
    """

    code: str
    message: str
    pointer: str | None = None
    parameter: str | None = None
    row: int | None = None
    column: str | None = None


class TrackerError(Exception):
    """The server met a fault of its own; what was asked for was not done."""

    # The base of every expected failure. `code` ends up in the problem's `type`; clients branch
    # on it, so it is never renamed.
    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong on our side"
    cure: ClassVar[str] = "Try again; if it stays, report the request id in `instance`."

    def __init__(
        self,
        detail: str = "",
        faults: Iterable[Fault] = (),
        headers: Mapping[str, str] | None = None,
        **links: str,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.faults = list(faults)
        self.headers = dict(headers or {})
        self.links = links


class NotHttp(TrackerError):
    """What came is not a request that can be read."""

    status = 400
    code = "not-http"
    title = "Not a readable request"
    cure = "Send HTTP/1.1; encode what is not ASCII in the path and the query, and keep both below 60 kB."


class NotFound(TrackerError):
    """The URL names something that is not there."""

    status = 404
    code = "not-found"
    title = "Not found"
    cure = "Check the path against /docs."


class MethodNotAllowed(TrackerError):
    """The path exists, but not for this method."""

    status = 405
    code = "method-not-allowed"
    title = "Method not allowed"
    cure = "Use one of the methods in the `Allow` header; the record is corrected by POSTs, never edited."


class NotAcceptable(TrackerError):
    """The answer cannot be given in the format asked for."""

    status = 406
    code = "not-acceptable"
    title = "Not acceptable"
    cure = "Ask for JSON, CSV or NDJSON, by `Accept` or `?format=`."


class Unauthenticated(TrackerError):
    """There is no key, or it is wrong, expired or revoked."""

    status = 401
    code = "unauthenticated"
    title = "A valid API key is needed"
    cure = "Send `Authorization: Bearer <key>`; keys are made with `coalition keys create`."


class Forbidden(TrackerError):
    """The key is good, but its scope does not reach that far."""

    status = 403
    code = "forbidden"
    title = "This key may not do that"
    cure = "Correct your own entries, or use a key with the scope `curate`."


class Duplicate(TrackerError):
    """The same statement from the same source is in the record already."""

    status = 409
    code = "duplicate"
    title = "Already recorded"
    cure = "Nothing needs doing: `existing` links to the entry that holds it."

    def __init__(self, entry: int) -> None:
        super().__init__(
            f"Entry {entry} holds the same statement from the same source.", existing=f"/v1/changes/{entry}"
        )
        self.entry = entry


class NotLive(TrackerError):
    """The entry has been corrected or retracted, or holds no statement."""

    status = 409
    code = "not-live"
    title = "That entry is no longer live"
    cure = "Work on the entry that `replaced_by` links to."


class TooSlow(TrackerError):
    """The request did not come whole in the time that is given for it."""

    status = 408
    code = "too-slow"
    title = "The request took too long to come"
    cure = "Send it again, over a better connection or in smaller parts."


class TooLarge(TrackerError):
    """The body is larger than the server takes."""

    status = 413
    code = "too-large"
    title = "Body too large"
    cure = "Send less at a time."


class UnsupportedMediaType(TrackerError):
    """The body comes in a format or an encoding that the server does not read."""

    status = 415
    code = "unsupported-media-type"
    title = "Unsupported media type"
    cure = "Send uncompressed UTF-8 with the `Content-Type` that the detail names."


class Invalid(TrackerError):
    """The request is understood and wrong; `errors` names each fault and its cure."""

    status = 422
    code = "invalid"
    title = "The request is not valid"
    cure = "Mend what `errors` names and send it again; nothing was written."


class RateLimited(TrackerError):
    """Too many requests of this kind came from one client."""

    status = 429
    code = "rate-limited"
    title = "Too many requests"
    cure = "Nothing was written; go on after `Retry-After` seconds, and more slowly."


class Busy(TrackerError):
    """The database did not answer in time."""

    status = 503
    code = "busy"
    title = "The record is busy"
    cure = "Try again after `Retry-After` seconds; a write with its `Idempotency-Key` is recorded once."


class ReadOnly(TrackerError):
    """The record can be read and not be written to for now."""

    status = 503
    code = "read-only"
    title = "The record is read-only for now"
    cure = "Nothing was written; try again after `Retry-After` seconds. Reads go on."


class StorageFull(TrackerError):
    """The database has no room left, or cannot write to its disk."""

    status = 507
    code = "storage-full"
    title = "The record has no room to grow"
    cure = "Nothing was written; try again after `Retry-After` seconds. Reads go on."


class ProblemError(BaseModel):
    """One fault of a request."""

    model_config = ConfigDict(extra="forbid")

    pointer: str | None = Field(default=None, description="JSON Pointer into the body.")
    parameter: str | None = Field(default=None, description="Name of the query or path parameter.")
    row: int | None = Field(default=None, description="Line of the input, for bulk requests.")
    column: str | None = Field(default=None, description="Column of the input, for bulk CSV.")
    code: str = Field(description="Stable code of the fault.")
    message: str = Field(description="What is wrong and what to do about it.")


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/invalid",
                    "title": "The request is not valid",
                    "status": 422,
                    "detail": "1 fault: /firmness.",
                    "instance": "request:7066f22aabfb4c97",
                    "errors": [
                        {
                            "pointer": "/firmness",
                            "code": "enum",
                            "message": "Input should be 'considering', 'signalled', …",
                        }
                    ],
                }
            ]
        }
    )

    type: str = Field(description="Stable URI of the problem's type; it opens an explanation.")
    title: str = Field(description="The type in a few words.")
    status: int = Field(description="The HTTP status.")
    detail: str | None = Field(default=None, description="What happened this time.")
    instance: str | None = Field(default=None, description="This occurrence: the request's id.")
    errors: list[ProblemError] | None = Field(default=None, description="Each fault of the request.")
    existing: str | None = Field(default=None, description="Link to what is recorded already.")
    replaced_by: str | None = Field(default=None, description="Link to the entry that replaced it.")


def every_error() -> list[type[TrackerError]]:
    """Return every kind of failure that clients can meet, `internal` first."""
    found = [TrackerError]
    for error in found:
        found.extend(error.__subclasses__())
    return found


def problem(request: Request, error: TrackerError) -> Response:
    """Render a failure as a problem answer; it echoes no input."""
    body = Problem(
        type=f"/problems/{error.code}",
        title=error.title,
        status=error.status,
        detail=error.detail or error.cure,
        instance=f"request:{getattr(request.state, 'request_id', '-')}",
        errors=[
            ProblemError(
                pointer=fault.pointer,
                parameter=fault.parameter,
                row=fault.row,
                column=fault.column,
                code=fault.code,
                message=fault.message,
            )
            for fault in _named(error.faults)
        ]
        or None,
        **error.links,
    )
    headers = {"Cache-Control": "no-store"} | error.headers
    return Response(body.model_dump_json(exclude_none=True), error.status, headers, media_type=MEDIA_TYPE)


def _named(faults: Iterable[Fault]) -> Iterator[Fault]:
    """Yield the faults that an answer has room for: at least one of every row."""
    rows: set[int | None] = set()
    for number, fault in enumerate(faults):
        if number < MOST_NAMED or fault.row not in rows:
            rows.add(fault.row)
            yield fault


def faults_of(details: Iterable[ErrorDetails | Mapping[str, Any]]) -> list[Fault]:
    """Translate Pydantic's errors; the input itself is never repeated (it may not be encodable)."""
    faults = []
    for detail in islice(details, MOST_FAULTS):
        place, *path = detail["loc"] or ("body",)
        code, message = str(detail["type"]), str(detail["msg"]).removeprefix("Value error, ")
        if code == "extra_forbidden":
            code, message = "unknown", "There is no such field; check its spelling."
        elif code == "missing":
            message = "This is required."
        elif code in ("bool_type", "bool_parsing"):
            message = "Write true or false."
        elif code == "int_type":
            message = "Give a whole number, without quotes or a fraction."
        elif code in ("model_type", "model_attributes_type"):
            code, message = "object_type", "Give a JSON object."
        elif code == "too_long" and message.startswith("Value"):
            # Of a text that was looked at before its length: it would speak of "items".
            most = detail.get("ctx", {}).get("max_length")
            code, message = "string_too_long", f"String should have at most {most} characters"
        if place in ("query", "path", "header"):
            name = _shown(str(path[0]) if path else str(place))
            if code == "unknown":
                message = "There is no such parameter; check its spelling."
            faults.append(Fault(code, message, parameter=name))
        else:
            faults.append(Fault(code, message, pointer=pointer_of(path)))
    return faults


def pointer_of(path: Iterable[object]) -> str:
    """Return the JSON Pointer (RFC 6901) of a path into a document; the whole document is ''."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return _shown("".join(f"/{step}" for step in steps))


def _shown(place: str) -> str:
    """Return where a fault is, fit to be sent back: it may be a name that the client made up."""
    return re.sub(r"[^\x20-\x7e]", "?", place[:200])


def invalid(faults: list[Fault]) -> Invalid:
    """Build the 422 that lists `faults`, its detail naming where they are."""
    named = (f.pointer or "the body" if f.parameter is None else f.parameter or "the query" for f in faults)
    places = ", ".join(dict.fromkeys(named))
    return Invalid(f"{len(faults)} fault{'s'[: len(faults) > 1]}: {places[:300]}.", faults)


def refused(code: str, message: str, *, pointer: str | None = None, parameter: str | None = None) -> Invalid:
    """Build the 422 for a single fault."""
    return invalid([Fault(code, message, pointer=pointer, parameter=parameter)])


def install_error_handlers(app: FastAPI) -> None:
    """Make every expected failure of `app` leave as a problem, the framework's own included."""

    @app.exception_handler(TrackerError)
    async def expected(request: Request, error: TrackerError) -> Response:
        return problem(request, error)

    @app.exception_handler(RequestValidationError)
    async def badly_formed(request: Request, error: RequestValidationError) -> Response:
        return problem(request, invalid(faults_of(error.errors())))

    @app.exception_handler(HTTPException)
    async def of_the_framework(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            # Files take no other methods than these two.
            allow = ", ".join(sorted(allowed_methods(request) or {"GET", "HEAD"}))
            return problem(request, MethodNotAllowed(headers={"Allow": allow}))
        if error.status_code == 404:
            return problem(request, NotFound("Nothing is at this path; /docs lists what is."))
        return problem(request, refused("malformed", "The request could not be read.", pointer=""))

    @app.exception_handler(PoolTimeout)
    async def no_connection_free(request: Request, _: Exception) -> Response:
        return problem(request, Busy(headers={"Retry-After": "2"}))

    @app.exception_handler(DBAPIError)
    async def of_the_database(request: Request, error: DBAPIError) -> Response:
        failure = failure_of(error)
        if failure is None:
            raise error
        if error.connection_invalidated and request.method == "POST":
            # The answer to its commit may be what got lost.
            failure.detail = (
                "The database went away while this was being recorded. Send it again with its "
                "`Idempotency-Key`: it is recorded once."
            )
        return problem(request, failure)


def failure_of(error: DBAPIError) -> TrackerError | None:
    """Return what an error of the database means for who asked; None for a fault of ours.

    SQLite tells it by its primary result code, PostgreSQL by its SQLSTATE.
    """
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF or getattr(error.orig, "sqlstate", None)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, "53100"):
        return StorageFull(headers={"Retry-After": "30"})
    if code in (sqlite3.SQLITE_READONLY, "25006", "0A000"):  # the last: to BEGIN READ WRITE on a standby
        return ReadOnly(headers={"Retry-After": "30"})
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        return Busy(headers={"Retry-After": "2"})
    return None


def allowed_methods(request: Request) -> set[str]:
    """Return every method that some route takes at the request's path (RFC 9110, `Allow`)."""
    methods: set[str] = set()
    for method in ("GET", "HEAD", "POST"):
        scope = dict(request.scope, method="GET" if method == "HEAD" else method)
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            methods.add(method)
    return methods
