"""What routes ask for: a reading of the record at a moment, or a transaction under the write lock."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property, lru_cache
from typing import Any, TypeVar, cast

from fastapi import Request, Response
from pydantic import BaseModel, Field
from pydantic_core import to_json
from sqlmodel import Session

from app import __version__
from app.as_of import Moment, Viewer, viewer
from app.auth import authorization, note_use, writer_of
from app.changes import Head, Writer, first_recorded_at, head_at, head_known_at, head_of
from app.countries import every_country
from app.db import Database, canonical_json, utc_now
from app.errors import NotAcceptable, refused
from app.export import MEDIA_TYPES, Column, Format, csv_text, item_json, ndjson_lines
from app.freshness import needed
from app.items import Item as ItemOf
from app.lines import LineKey, tracked_countries
from app.paging import (
    PAIRS,
    FormatQuery,
    Key,
    KnownQuery,
    Meta,
    NoQuery,
    Page,
    PageQuery,
    bad_cursor,
    cut,
    link,
    read_cursor,
)
from app.recording import Entered, as_dry_run
from app.retries import find_answer, idempotency_key, keep_answer
from app.settings import Settings
from app.sources import newest_source_id
from app.vocabulary import Component

Item = TypeVar("Item")
Row = TypeVar("Row", bound=BaseModel)
Line = TypeVar("Line", bound=BaseModel)


ACCEPTED = {
    "*/*": Format.JSON,
    "application/*": Format.JSON,
    "application/json": Format.JSON,
    "text/csv": Format.CSV,
    "text/*": Format.CSV,
    "application/x-ndjson": Format.NDJSON,
    "application/ndjson": Format.NDJSON,
    "application/jsonl": Format.NDJSON,
}
"""The format that each media range in `Accept` means."""


_CODE = re.compile("[A-Z]{2}")
_COMPONENTS = frozenset(map(str, Component))


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
    format: Format
    excel: bool
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

    def tracked(self) -> set[str]:
        """Return the countries of which the record holds any live statement."""
        return tracked_countries(self.session, self.seq)

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

    def line_of_cursor(self, query: PageQuery) -> LineKey:
        """Return the line in which the page before ends, that of the cursor; before all lines without one."""
        if not query.cursor:
            return "", ""
        match self.cursor_key(query):
            # A client can make a cursor itself, and no database takes every text.
            case [str(country), str(component), *_] if _CODE.fullmatch(country) and component in _COMPONENTS:
                return country, component
        raise bad_cursor()

    def feed_url(self, after: int) -> str:
        """Return the URL that asks for the entries numbered above `after`.

        It stays open for entries still to come, unless the state of our knowledge was named.
        """
        is_named = any(name in ("seq", "known_at") for name, _ in _asked(self.request))
        pinned = {"seq": str(self.seq)} if is_named else {}
        return self._url(pinned | {"after": str(after)})

    def _url(self, changed: dict[str, str]) -> str:
        kept = [
            (name, value)
            for name, value in _asked(self.request)
            if name not in ("cursor", "known_at", *changed)
        ]
        return link(base_url(self.request), self.request.scope["path"], [*kept, *changed.items()])

    def between(self, newer: Head, ends: dict[str, str]) -> "Read":
        """Return this reading for an answer about two states of knowledge, `newer` being the later.

        `ends` are the parameters that name the two, resolved: links lead on with them.
        """
        asked = json.loads(self.question)
        kept = [[name, value] for name, value in asked[1] if name not in ends]
        question = canonical_json([asked[0], kept, ends | {"as_of": self.day.isoformat()}])
        return replace(self, moment=Moment(self.day, newer), question=question, pins=ends)

    def answer(self, body: BaseModel) -> Response:
        """Return the answer, with the headers that let it be kept."""
        text = body.model_dump_json(by_alias=True)
        return Response(text, headers=self.headers, media_type=MEDIA_TYPES[Format.JSON])

    def answer_list(
        self, page: Page[Row], columns: Sequence[Column[Line]], rows: Sequence[Line] | None = None
    ) -> Response:
        """Return a list in the format that was asked for; its `Link` header leads on in each.

        As CSV the items are the rows, unless `rows` says them in another shape.
        """
        table = cast("Sequence[Line]", page.items) if rows is None else rows
        return self._list(page.meta, page.items, page.next, columns, table)

    def answer_items(
        self,
        meta: Meta,
        items: Sequence[ItemOf[Line]],
        following: str | None,
        columns: Sequence[Column[Line]],
    ) -> Response:
        """Return a list of items as `answer_list` returns one of objects."""
        return self._list(meta, items, following, columns, items)

    def answer_joined(self, meta: Meta, items: bytes, following: str | None = None) -> Response:
        """Return a list as JSON, its items as `answer_items` would join them."""
        text = _enveloped(meta, items, following)
        return Response(text, headers=self._leading_on(following), media_type=MEDIA_TYPES[Format.JSON])

    def _leading_on(self, following: str | None) -> dict[str, str]:
        return self.headers | ({} if following is None else {"Link": f'<{following}>; rel="next"'})

    def _list(
        self,
        meta: Meta,
        items: Sequence[Any],
        following: str | None,
        columns: Sequence[Column[Line]],
        rows: Sequence[Line | ItemOf[Line]],
    ) -> Response:
        text: str | bytes
        match self.format:
            case Format.CSV:
                text = csv_text(rows, columns, every_country(self.session), excel=self.excel)
            case Format.NDJSON:
                text = "".join(ndjson_lines(items))
            case Format.JSON:
                text = _enveloped(meta, b",".join(map(item_json, items)), following)
        return Response(text, headers=self._leading_on(following), media_type=MEDIA_TYPES[self.format])


def _enveloped(meta: Meta, items: bytes, following: str | None) -> bytes:
    told = meta.model_dump_json(by_alias=True).encode()
    # Joined: to format so many bytes takes twenty times as long.
    return b"".join((b'{"meta":', told, b',"items":[', items, b'],"next":', to_json(following), b"}"))


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
    wanted = _format(request, query)
    need = needed(request, query, sources=version is newest_source_id) if database.replicas else None
    with database.reading(need, is_light=getattr(request.state, "is_light", False)) as session:
        head = _head(session, query)
        day = getattr(query, "as_of", None) or utc_now().date()
        asked = _asked(request)
        question = _question(request.scope["path"], asked, day if has_day else None, head)
        given = dict(asked)
        named = "seq" in given or "known_at" in given
        distinct = version(session, head.seq if named else None) if version else ""
        headers = _validators(request, query, given, question + distinct + wanted, head)
        if (not has_day or "as_of" in given) and _is_settled(session, query, head):
            headers["Cache-Control"] = "public, max-age=31536000, immutable"
        if _is_known_to_client(request, headers["ETag"]):
            raise NotModified(headers)
        first = first_recorded_at(session) if query.known_at is not None and head.seq == 0 else None
        excel = getattr(query, "excel", False)
        yield Read(
            request,
            session,
            settings,
            Moment(day, head),
            first,
            question,
            distinct,
            has_day,
            headers,
            wanted,
            excel,
        )


def _format(request: Request, query: KnownQuery) -> Format:
    """Return the format of the answer: what `format` says, else what `Accept` likes best.

    What is not a list is answered as JSON. Raises `NotAcceptable` where nothing fits.
    """
    if not isinstance(query, FormatQuery):
        return Format.JSON
    if query.excel and query.format is not Format.CSV:
        raise refused("needs_csv", "Give `format=csv` with it.", parameter="excel")
    if query.format is not None:
        return query.format
    liked = _liked(_header(request, b"accept", "*/*"))
    if liked is None:
        raise NotAcceptable("Ask for application/json, text/csv or application/x-ndjson.")
    return liked


# Few are met again and again.
@lru_cache(200)
def _liked(accept: str) -> Format | None:
    liked: list[tuple[float, Format]] = []
    for part in accept.split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        weight = float(quality) if re.fullmatch(r"[01](\.[0-9]{0,3})?", quality) else 0.0
        if weight and name in ACCEPTED:
            liked.append((weight, ACCEPTED[name]))
    return max(liked, key=lambda like: like[0])[1] if liked else None


def _head(session: Session, query: KnownQuery) -> Head:
    if query.known_at is not None:
        return head_known_at(session, query.known_at)
    return head_of(session) if query.seq is None else head_at(session, query.seq)


def _asked(request: Request) -> Sequence[tuple[str, str]]:
    """Return the parameters of a question, as given."""
    return request.scope.get(PAIRS) or request.query_params.multi_items()


def _question(path: str, asked: Sequence[tuple[str, str]], day: date | None, head: Head) -> str:
    """Return what is asked, in one spelling: the same for every way of asking it."""
    kept = sorted(pair for pair in asked if pair[0] not in _NOT_ASKED)
    moment = ({"as_of": day.isoformat()} if day else {}) | {"seq": head.seq}
    return to_json([path, kept, moment]).decode()


_NOT_ASKED = frozenset(("cursor", "limit", "as_of", "known_at", "seq"))
"""Parameters that do not belong to a question, or that it tells resolved."""


def _is_settled(session: Session, query: KnownQuery, head: Head) -> bool:
    """Tell whether the answer can never differ: its state of knowledge is named."""
    if query.known_at is not None:
        return head.seq < head_of(session).seq
    return query.seq is not None


def _validators(
    request: Request, query: KnownQuery, given: Mapping[str, str], question: str, head: Head
) -> dict[str, str]:
    settings: Settings = request.app.state.settings
    parts = [
        __version__,
        settings.stale_after_days,
        base_url(request),
        question,
        given.get("cursor"),
        given.get("limit"),
        query.known_at is not None,
    ]
    tag = hashlib.sha256(to_json(parts)).hexdigest()[:32]
    return {
        "ETag": f'W/"{tag}"',
        "Cache-Control": "no-cache",
        "Vary": "Accept",
        # CSV and NDJSON have no `meta`: this is what makes them citable.
        "Ledger-Seq": str(head.seq),
        "Ledger-Digest": head.digest,
    }


def _is_known_to_client(request: Request, tag: str) -> bool:
    known = _header(request, b"if-none-match", "")
    return known.strip() == "*" or tag in (each.strip() for each in known.split(","))


def _header(request: Request, wanted: bytes, default: str) -> str:
    found = (value for name, value in request.scope["headers"] if name == wanted)
    value = next(found, None)
    return default if value is None else value.decode("latin-1")


def base_url(request: Request) -> str:
    """Return the address under which the client reaches the API, without a slash at its end."""
    settings: Settings = request.app.state.settings
    if settings.public_url:
        return settings.public_url.rstrip("/")
    scope = request.scope
    root = scope.get("app_root_path", scope.get("root_path", ""))
    return _address(scope["scheme"], _header(request, b"host", ""), tuple(scope.get("server") or ()), root)


@lru_cache(200)
def _address(scheme: str, host: str, server: tuple[str, int] | tuple[()], root: str) -> str:
    scope = {"type": "http", "scheme": scheme, "server": server or None, "path": "/", "query_string": b""}
    headers = [(b"host", host.encode("latin-1"))] if host else []
    return str(Request(scope | {"root_path": root, "headers": headers}).base_url).rstrip("/")


@dataclass(frozen=True, slots=True)
class Write:
    """A transaction under the write lock, for whoever sent the request."""

    session: Session
    writer: Writer
    viewer: Viewer


@dataclass(frozen=True)
class Answer:
    """What a write answers."""

    body: BaseModel | ItemOf[Any]
    location: str | None
    status: int = 201

    @cached_property
    def text(self) -> str:
        """The body as it leaves, and as it is kept for retries."""
        return self.body.json if isinstance(self.body, ItemOf) else self.body.model_dump_json()

    def response(self) -> Response:
        """Return it as it leaves."""
        return _written(self.status, self.text, self.location)


class WriteQuery(NoQuery):
    """How a POST is meant."""

    dry_run: bool = Field(
        default=False, description="Validate, and answer with what it would change; write nothing."
    )


def write(request: Request, query: WriteQuery, work: Callable[[Write], Answer]) -> Response:
    """Do the work of a POST in one transaction; it commits before the answer is sent.

    With an `Idempotency-Key` the answer is kept in the same transaction, and a retry is given it
    again. Under `dry_run` the work is done and undone, and answered with 200. The key of the
    client is looked at once more under the lock: a revocation counts for those who waited too.
    """
    database: Database = request.app.state.database
    settings: Settings = request.app.state.settings
    key = idempotency_key(request)
    digest: str = request.state.request_digest
    with database.writing() as session:
        writer = writer_of(session, authorization(request))
        if key is not None and (kept := find_answer(session, writer.id, key, digest)):
            return _written(kept.status, kept.body, kept.location, {"Idempotent-Replayed": "true"})
        doing = Write(session, writer, viewer(session, settings.stale_after_days))
        if query.dry_run:
            with session.begin_nested() as attempt:
                answer = work(doing)
                attempt.rollback()
            return replace(answer, location=None, status=200).response()
        answer = work(doing)
        note_use(session, writer)
        if key is not None:
            kept_answer = {
                "api_key_id": writer.id,
                "idempotency_key": key,
                "request_digest": digest,
                "status": answer.status,
                "location": answer.location,
                "body": answer.text,
                "kept_at": utc_now(),
            }
            keep_answer(session, kept_answer)
    return answer.response()


def recorded(doing: Write, found: Entered, *, dry_run: bool) -> Answer:
    """Return the answer to an entry that was added, or would have been."""
    shown = as_dry_run(doing.session, found) if dry_run else found
    return Answer(shown, f"/v1/changes/{found.seq}")


def _written(status: int, body: str, location: str | None, more: dict[str, str] | None = None) -> Response:
    headers = {"Cache-Control": "no-store"} | (more or {})
    if location is not None:
        headers["Location"] = location
    return Response(body, status, headers, media_type=MEDIA_TYPES[Format.JSON])
