"""Sources: publications that can be opened and cited, found again by their canonical URL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Described
from sqlmodel import Field, Session, SQLModel, col, select

from app.db import TextEnum, UTCDateTime, table_of
from app.errors import NotFound
from app.fields import EdtfText, Line, Text, Url, canonical_url
from app.prepared import Prepared
from app.vocabulary import Reliability


class Source(SQLModel, table=True):
    """A publication. Rows are never changed: a correction of one is a new row."""

    id: int = Field(default=None, primary_key=True, sa_type=sa.BigInteger)
    url: str | None = Field(sa_type=sa.String(2000))
    canonical_url: str | None = Field(sa_type=sa.String(2200), index=True)
    title: str = Field(sa_type=sa.String(500), index=True)
    publisher: str | None = Field(sa_type=sa.String(200))
    published_on: str | None = Field(sa_type=sa.String(32))
    reliability: Reliability = Field(sa_type=TextEnum(Reliability))
    notes: str | None = Field(sa_type=sa.String(2000))
    recorded_at: datetime = Field(sa_type=UTCDateTime)
    recorded_by_id: str = Field(sa_type=sa.String(40))
    recorded_by_name: str = Field(sa_type=sa.String(100))
    known_from_seq: int = Field(sa_type=sa.BigInteger)
    """Seq of the first entry that was recorded with or after it: what a pinned list goes by."""


class NewSource(BaseModel):
    """A publication as a client names it.

    With a `url` that is known, the existing source is meant and the other fields are not looked
    at; without a `url`, publisher, title and published_on together find it. A source that is not
    known yet needs a title, and without a URL a publisher too.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "url": "https://example.org/2025/03/27/paris-summit",
                    "title": "After the Paris summit",
                    "publisher": "Example Gazette",
                    "published_on": "2025-03-27",
                }
            ]
        },
    )

    url: Url | None = Described(default=None, examples=["https://example.org/statement"])
    title: Annotated[Line, Described(max_length=500)] | None = None
    publisher: Annotated[Line, Described(max_length=200)] | None = None
    published_on: EdtfText | None = Described(
        default=None, description="Day of publication, EDTF as the publication supports it."
    )
    reliability: Reliability = Described(
        default=Reliability.F, description="Admiralty letter of the source; F = cannot be judged."
    )
    notes: Annotated[Text, Described(max_length=2000)] | None = None


class SourceBrief(BaseModel):
    """A source as it stands beside what it supports."""

    id: int | None = Described(description="Null only under `dry_run`, for a source not kept.")
    title: str
    publisher: str | None
    url: str | None
    published_on: str | None = Described(description="EDTF, as given.")


_sources = table_of(Source)
_NEWEST = sa.select(_sources).order_by(_sources.c.id.desc()).limit(1)
_BY_URL = Prepared(_NEWEST.where(_sources.c.canonical_url == sa.bindparam("canonical_url")))


def find_source(session: Session, new: NewSource) -> Any:
    """Return the newest source that `new` means, or None: by canonical URL, else by what it is called.

    It comes with the columns of `Source`.
    """
    if new.url is not None:
        return _BY_URL.first(session, canonical_url=canonical_url(new.url))
    query = _NEWEST.where(
        _sources.c.canonical_url.is_(None),
        _sources.c.title == new.title,
        _sources.c.publisher.is_not_distinct_from(new.publisher),
        _sources.c.published_on.is_not_distinct_from(new.published_on),
    )
    return session.execute(query).first()


def newest_source_id(session: Session, seq: int | None) -> str:
    """Return the id of the newest source, or of the newest that was known at `seq`; 0 if none.

    A source is known from the entry that was recorded with it, or next after it.
    """
    query = select(sa.func.max(Source.id))
    if seq is not None:
        query = query.where(col(Source.known_from_seq) <= seq)
    return str(session.exec(query).one() or 0)


def sources_up_to(session: Session, newest: int, after: int, limit: int) -> Sequence[Source]:
    """Return the sources above the id `after` and up to the id `newest`, at most `limit`, by id."""
    query = select(Source).where(col(Source.id) > after, col(Source.id) <= newest)
    return session.exec(query.order_by(col(Source.id)).limit(limit)).all()


def count_sources(session: Session, newest: int) -> int:
    """Return how many sources there are up to the id `newest`."""
    return session.exec(select(sa.func.count()).select_from(Source).where(col(Source.id) <= newest)).one()


def get_source(session: Session, source_id: int, newest: int) -> Source:
    """Return one source of those up to the id `newest`; raise `NotFound` if there is none."""
    source = session.get(Source, source_id) if source_id <= newest else None
    if source is None:
        raise NotFound("No such source; /v1/sources lists them all.")
    return source
