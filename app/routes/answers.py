"""What the routes declare that they answer besides success, for OpenAPI."""

from typing import Any

from fastapi import Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from app.errors import MEDIA_TYPE, Problem

Responses = dict[int | str, dict[str, Any]]

# It only declares: `bodies.WriteRoute` looks at the key, before anything else of the request.
KEY = Security(HTTPBearer(scheme_name="key", description="From `coalition keys create`.", auto_error=False))
"""What every route that writes depends on, so that the document says that it needs a key."""


def problems(*statuses: int) -> Responses:
    """Return the declaration of problem answers with these statuses."""
    reasons = {
        401: "No key, or one that is wrong, expired or revoked",
        403: "The key's scope does not reach that far",
        404: "The URL names something that is not there",
        406: "The answer cannot be given in that format",
        408: "The body took too long to come",
        409: "Recorded already, or no longer live",
        413: "The body is too large",
        415: "The body is not plain JSON",
        422: "A parameter or the body is not valid",
        429: "Too many requests of this key, or too many keys that are no good",
        503: "The database did not answer in time",
        507: "The database has no room left",
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": reasons[status],
            "content": {MEDIA_TYPE: {"schema": schema}},
            "model": Problem,
        }
        for status in statuses
    }


UNCHANGED: Responses = {304: {"description": "The client has this answer already"}}
READ: Responses = UNCHANGED | problems(422, 503)
READ_ONE: Responses = READ | problems(404)
LIST: Responses = READ | {
    200: {
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        }
    },
    **problems(406),
}
WRITE: Responses = problems(401, 403, 408, 409, 413, 415, 422, 429, 503, 507)
WRITE_ONE: Responses = WRITE | problems(404)


def under_dry_run(model: type[BaseModel]) -> Responses:
    """Return the declaration of what a write answers when nothing is written."""
    return {200: {"model": model, "description": "Under `dry_run`: what it would change"}}
