"""What routes ask for: a reading of the record at a moment, or a transaction under the write lock."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TypeVar

from fastapi import Request, Response
from pydantic import BaseModel
from sqlmodel import Session

from app import __version__
from app.as_of import Moment, Viewer, viewer
from app.auth import authorization, note_use, writer_of
from app.changes import Head, first_recorded_at, head_at, head_known_at, head_of
from app.db import Database, canonical_json, utc_now
from app.errors import refused
from app.paging import Key, KnownQuery, Meta, Page, PageQuery, cut, link, read_cursor
from app.recording import Recorded, Writer
from app.settings import Settings

Item = TypeVar("Item")


class NotModified(Exception):
    """The client has this answer already (RFC 9110, 304)."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__()
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Read:
    """A reading of the record: what was asked, and the moment that it is answered for."""

    request: Request
    session: Session
    settings: Settings
    moment: Moment
    first: datetime | None
    question: str
    version: str
    has_day: bool
    headers: dict[str, str]
    pins: dict[str, str] | None = None
    """Parameters that name the state of knowledge in links, where it is not `seq`."""

    @property
    def seq(self) -> int:
        """The last entry that the answer may use."""
        return self.moment.head.seq

    @property
    def day(self) -> date:
        """The day that the answer is as of."""
        return self.moment.as_of

    def viewer(self) -> Viewer:
        """Return what turns lines into views, under this tracker's settings."""
        return viewer(self.session, self.settings.stale_after_days)

    def meta(self, total: int) -> Meta:
        """Return what an answer of `total` items is of."""
        head = self.moment.head
        return Meta(
            as_of=self.day if self.has_day else None,
            known_at=head.recorded_at,
            seq=head.seq,
            digest=head.digest,
            first_recorded_at=self.first,
            total=total,
        )

    def cut(
        self, items: Sequence[Item], key: Callable[[Item], Key], query: PageQuery
    ) -> tuple[list[Item], str | None]:
        """Return the page that `query` asks for, and the URL of the next one."""
        page, cursor = cut(items, key, query, self.question)
        return page, None if cursor is None else self.next_url(cursor=cursor)

    def next_url(self, **more: str) -> str:
        """Return the URL that asks the same question on from here, at the same moment."""
        day = {"as_of": self.day.isoformat()} if self.has_day else {}
        return self._url(day | (self.pins or {"seq": str(self.seq)}) | more)

    def cursor_key(self, query: PageQuery) -> Key:
        """Return the key in the cursor of `query`."""
        return read_cursor(query.cursor or "", self.question)

    def feed_url(self, after: int) -> str:
        """Return the URL that asks for the entries numbered above `after`.

        It stays open for entries still to come, unless the state of our knowledge was named.
        """
        asked = self.request.query_params
        pinned = {"seq": str(self.seq)} if {"seq", "known_at"} & set(asked) else {}
        return self._url(pinned | {"after": str(after)})

    def _url(self, changed: dict[str, str]) -> str:
        kept = [
            (name, value)
            for name, value in self.request.query_params.multi_items()
            if name not in ("cursor", "known_at", *changed)
        ]
        return link(base_url(self.request), self.request.url.path, [*kept, *changed.items()])

    def between(self, newer: Head, ends: dict[str, str]) -> "Read":
        """Return this reading for an answer about two states of knowledge, `newer` being the later.

        `ends` are the parameters that name the two, resolved: links lead on with them.
        """
        asked = json.loads(self.question)
        kept = [[name, value] for name, value in asked[1] if name not in ends]
        question = canonical_json([asked[0], kept, ends | {"as_of": self.day.isoformat()}])
        return replace(self, moment=Moment(self.day, newer), question=question, pins=ends)

    def answer(self, body: BaseModel) -> Response:
        """Return the answer, with the headers that let it be kept and followed."""
        headers = dict(self.headers)
        if isinstance(body, Page) and body.next is not None:
            headers["Link"] = f'<{body.next}>; rel="next"'
        return Response(body.model_dump_json(by_alias=True), headers=headers, media_type="application/json")


@contextmanager
def reading(
    request: Request,
    query: KnownQuery,
    *,
    version: Callable[[Session, int | None], str] | None = None,
    has_day: bool | None = None,
) -> Iterator[Read]:
    """Open a reading of the record for a GET at the moment that `query` names.

    Raises `Invalid` for a moment that cannot be answered for, and `NotModified`, before any row
    of the answer is read, where the client has it already. `version`, asked with the seq where
    one was named, distinguishes answers that differ though the ledger does not. `has_day` tells
    whether a day matters, where the parameters alone do not.
    """
    database: Database = request.app.state.database
    settings: Settings = request.app.state.settings
    if query.known_at is not None and query.seq is not None:
        message = "Give `known_at` or `seq`, not both: each names a state of our knowledge."
        raise refused("exclusive", message, parameter="seq")
    has_day = hasattr(query, "as_of") if has_day is None else has_day
    with database.reading() as session:
        head = _head(session, query)
        day = getattr(query, "as_of", None) or utc_now().date()
        question = _question(request, day if has_day else None, head)
        named = {"seq", "known_at"} & set(request.query_params)
        distinct = version(session, head.seq if named else None) if version else ""
        headers = _validators(request, query, question + distinct)
        if _is_settled(session, request, query, head, has_day=has_day):
            headers["Cache-Control"] = "public, max-age=31536000, immutable"
        if _is_known_to_client(request, headers["ETag"]):
            raise NotModified(headers)
        first = first_recorded_at(session) if query.known_at is not None and head.seq == 0 else None
        yield Read(request, session, settings, Moment(day, head), first, question, distinct, has_day, headers)


def _head(session: Session, query: KnownQuery) -> Head:
    if query.known_at is not None:
        return head_known_at(session, query.known_at)
    return head_of(session) if query.seq is None else head_at(session, query.seq)


def _question(request: Request, day: date | None, head: Head) -> str:
    """Return what is asked, in one spelling: the same for every way of asking it."""
    asked = sorted(
        (name, value)
        for name, value in request.query_params.multi_items()
        if name not in ("cursor", "limit", "as_of", "known_at", "seq")
    )
    moment = {"seq": head.seq} | ({"as_of": day.isoformat()} if day else {})
    return canonical_json([request.url.path, asked, moment])


def _is_settled(session: Session, request: Request, query: KnownQuery, head: Head, *, has_day: bool) -> bool:
    """Tell whether the answer can never differ: its day and its state of knowledge are both named."""
    if has_day and "as_of" not in request.query_params:
        return False
    if query.known_at is not None:
        return head.seq < head_of(session).seq
    return query.seq is not None


def _validators(request: Request, query: KnownQuery, question: str) -> dict[str, str]:
    settings: Settings = request.app.state.settings
    asked = request.query_params
    parts = [
        __version__,
        settings.stale_after_days,
        base_url(request),
        question,
        asked.get("cursor"),
        asked.get("limit"),
        query.known_at is not None,
    ]
    tag = hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:32]
    return {"ETag": f'W/"{tag}"', "Cache-Control": "no-cache", "Vary": "Accept"}


def _is_known_to_client(request: Request, tag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or tag in (each.strip() for each in known.split(","))


def base_url(request: Request) -> str:
    """Return the address under which the client reaches the API, without a slash at its end."""
    settings: Settings = request.app.state.settings
    return (settings.public_url or str(request.base_url)).rstrip("/")


@dataclass(frozen=True, slots=True)
class Write:
    """A transaction under the write lock, for whoever sent the request."""

    session: Session
    writer: Writer
    viewer: Viewer


@contextmanager
def writing(request: Request) -> Iterator[Write]:
    """Open the one transaction of a POST; it commits on leaving, before the answer is sent.

    The key is looked at once more under the lock: a revocation counts from the next request on,
    also for one that waited.
    """
    database: Database = request.app.state.database
    settings: Settings = request.app.state.settings
    with database.writing() as session:
        writer = writer_of(session, authorization(request))
        note_use(session, writer)
        yield Write(session, writer, viewer(session, settings.stale_after_days))


def recorded_answer(recorded: Recorded) -> Response:
    """Return the answer to a write that was kept."""
    location = {"Location": f"/v1/changes/{recorded.change.seq}"}
    return Response(recorded.model_dump_json(), 201, location, media_type="application/json")
