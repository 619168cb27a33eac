"""Safe retries: the answer to a POST with an `Idempotency-Key` is kept, and given again."""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from fastapi import Request
from sqlmodel import Field, Session, SQLModel

from app.db import UTCDateTime, table_of, utc_now
from app.errors import TrackerError, refused
from app.prepared import Prepared, insert_rows

KEPT_FOR = timedelta(hours=72)
"""How long answers are kept; at least 48 hours are promised."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class KeyReused(TrackerError):
    """The same `Idempotency-Key` came with another request before."""

    status = 422
    code = "idempotency-key-reused"
    title = "This Idempotency-Key belongs to another request"
    cure = "Use a new key for each new request, and the same key only to retry the same one."


class KeptAnswer(SQLModel, table=True):
    """What a POST answered, in the transaction that kept its record."""

    __tablename__ = "kept_answer"

    api_key_id: str = Field(sa_type=sa.String(40), primary_key=True)
    idempotency_key: str = Field(sa_type=sa.String(255), primary_key=True)
    request_digest: str = Field(sa_type=sa.String(64))
    status: int
    location: str | None = Field(sa_type=sa.Text)
    body: str = Field(sa_type=sa.Text)
    kept_at: datetime = Field(sa_type=UTCDateTime, index=True)


_kept = table_of(KeptAnswer)
_KEPT = Prepared(
    sa.select(_kept).where(
        _kept.c.api_key_id == sa.bindparam("api_key_id"),
        _kept.c.idempotency_key == sa.bindparam("idempotency_key"),
    )
)
_LET_GO = Prepared(sa.delete(_kept).where(_kept.c.kept_at < sa.bindparam("since")))


def idempotency_key(request: Request) -> str | None:
    """Return the request's key, or None; raise `Invalid` for one that cannot be kept."""
    keys = request.headers.getlist("idempotency-key")
    if len(keys) > 1 or not all(_KEY.fullmatch(key) for key in keys):
        message = "Give one key of 1 to 255 visible ASCII characters, such as a UUID."
        raise refused("bad_idempotency_key", message, parameter="Idempotency-Key")
    return keys[0] if keys else None


def request_digest(request: Request, body: bytes) -> str:
    """Return what makes a request the same as another: method, path, query, type and body."""
    head = f"{request.method} {request.url.path}?{request.url.query} {request.headers.get('content-type')}\n"
    return hashlib.sha256(head.encode() + body).hexdigest()


def find_answer(session: Session, api_key_id: str, key: str, digest: str) -> Any:
    """Return what this key's request answered before, with the columns of `KeptAnswer`, or None.

    Raises `KeyReused` when the request was another one.
    """
    kept = _KEPT.first(session, api_key_id=api_key_id, idempotency_key=key)
    if kept is None or utc_now() - kept.kept_at > KEPT_FOR:
        return None
    if kept.request_digest != digest:
        raise KeyReused
    return kept


def keep_answer(session: Session, answer: Mapping[str, Any]) -> None:
    """Keep an answer, by the columns of `KeptAnswer`, and let go of those that are old enough."""
    _LET_GO.change(session, {"since": utc_now() - KEPT_FOR})
    insert_rows(session, _kept, [answer])
