"""Who may write: API keys, and the check that comes before a body is read. Reading is open to all."""

import hashlib
import hmac
import secrets
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from fastapi import Request
from sqlmodel import Field, Session, SQLModel, col, select

from app.changes import Writer
from app.db import Database, TextEnum, UTCDateTime, table_of, utc_now
from app.errors import Unauthenticated
from app.prepared import Prepared
from app.vocabulary import Scope

PREFIX = "cct"
"""What every key begins with, so that a leaked one is recognised."""

LAST_USE_STEP = timedelta(minutes=5)
"""How exactly the last use of a key is kept: a write for each request would cost too much."""


class ApiKey(SQLModel, table=True):
    """An API key: its public id, and a hash of it whole."""

    __tablename__ = "api_key"

    id: str = Field(sa_type=sa.String(16), primary_key=True)
    name: str = Field(sa_type=sa.String(100))
    scope: Scope = Field(sa_type=TextEnum(Scope))
    key_hash: str = Field(sa_type=sa.String(64))
    created_at: datetime = Field(sa_type=UTCDateTime)
    expires_on: date | None
    """Last day (UTC, inclusive) on which it is good; None: until revoked."""
    revoked_at: datetime | None = Field(sa_type=UTCDateTime)
    last_used_at: datetime | None = Field(sa_type=UTCDateTime)
    """Kept to five minutes."""


_keys = table_of(ApiKey)
_KEY = Prepared(sa.select(_keys).where(_keys.c.id == sa.bindparam("key_id")))
_NOTE_USE = Prepared(
    sa.update(_keys).where(_keys.c.id == sa.bindparam("key_id")).values(last_used_at=sa.bindparam("now"))
)


def create_key(session: Session, name: str, scope: Scope, expires_on: date | None = None) -> str:
    """Make a key and return it: this is the only time that it can be seen."""
    public = secrets.token_hex(6)
    key = f"{PREFIX}_{public}_{secrets.token_hex(24)}"
    session.add(
        ApiKey(
            id=public,
            name=name,
            scope=scope,
            key_hash=_hash(key.encode()),
            created_at=utc_now(),
            expires_on=expires_on,
            revoked_at=None,
            last_used_at=None,
        )
    )
    session.flush()
    return key


def revoke_key(session: Session, key_id: str) -> ApiKey | None:
    """End a key from the next request on; return it, or None if there is none of that id."""
    found = session.get(ApiKey, key_id)
    if found is not None and found.revoked_at is None:
        found.revoked_at = utc_now()
        session.flush()
    return found


def every_key(session: Session) -> list[ApiKey]:
    """Return all keys, the oldest first."""
    return list(session.exec(select(ApiKey).order_by(col(ApiKey.created_at), col(ApiKey.id))))


def writer_of(session: Session, header: bytes | None) -> Writer:
    """Return who sends an `Authorization` header; raise `Unauthenticated` if nobody does who may.

    The header is compared as bytes: a client can send any.
    """
    scheme, _, key = (header or b"").partition(b" ")
    parts = key.strip().split(b"_")
    if scheme.lower() != b"bearer" or len(parts) != 3 or not parts[1].isalnum():
        raise _unauthenticated("Send `Authorization: Bearer <key>`.")
    found = _KEY.first(session, key_id=parts[1].decode("ascii", "replace"))
    known = found.key_hash if found else "-"
    if not hmac.compare_digest(_hash(key.strip()), known) or found is None:
        raise _unauthenticated("There is no such key.")
    if found.revoked_at is not None:
        raise _unauthenticated("This key has been revoked.")
    if found.expires_on is not None and found.expires_on < utc_now().date():
        raise _unauthenticated("This key has expired.")
    return Writer(found.id, found.name, found.scope, found.last_used_at)


def note_use(session: Session, writer: Writer) -> None:
    """Keep when a key was last used, cheaply: only when the last note is old enough."""
    now = utc_now()
    if writer.last_used_at is None or now - writer.last_used_at > LAST_USE_STEP:
        _NOTE_USE.change(session, {"key_id": writer.id, "now": now})


def authenticate(request: Request) -> Writer:
    """Return who sends a request, before its body is read."""
    database: Database = request.app.state.database
    with database.reading(is_light=True) as session:
        return writer_of(session, authorization(request))


def authorization(request: Request) -> bytes | None:
    """Return the `Authorization` header as the bytes that came; None unless there is exactly one."""
    found = [value for name, value in request.headers.raw if name == b"authorization"]
    return found[0] if len(found) == 1 else None


def _hash(key: bytes) -> str:
    # A key holds 192 random bits: nothing slower than SHA-256 is needed to keep it from being found.
    return hashlib.sha256(key).hexdigest()


def _unauthenticated(detail: str) -> Unauthenticated:
    return Unauthenticated(detail, headers={"WWW-Authenticate": 'Bearer realm="tracker"'})
