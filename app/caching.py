"""Answers kept in memory: the outermost layer, in front of the framework (pure ASGI).

An answer is kept exactly as it left, under everything of the request that it depends on. It serves
until the record moves, or for ever where its day and its state of knowledge are both named. What
tells that the record moved is asked before an answer is made, so that none is kept as newer than it is.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.db import utc_now
from app.edge import ROUTE, note_answer, request_id_of
from app.metrics import CACHE_EVICTIONS, CACHE_LOOKUPS, TOLD_AFTER, count_hit, tell_hits

Key = tuple[object, ...]
Headers = list[tuple[bytes, bytes]]

LARGEST = 0.25
"""Part of the cache that one answer may fill."""

_OVERHEAD = 2_000
"""About how many bytes an answer takes beside its body."""

_MISSES = CACHE_LOOKUPS.labels("answers", "miss")


class Now(NamedTuple):
    """What an answer is of that names no moment: today's record."""

    state: bytes
    """What the record's state is called."""
    day: int


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it left, and what it holds for; without a body it only tells that nothing changed."""

    now: Now | None
    """When it was made; None: it can never differ."""
    etag: bytes
    headers: Headers
    bare_headers: Headers
    """Those that it has without its body."""
    body: bytes | None
    route: str

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.body or b"") + _OVERHEAD


class Cache:
    """Answers GET and HEAD with what was answered before, while that is still so.

    `state` names the record's state: another name whenever anything was written, at the latest
    when the writer is answered; None while that cannot be told. Errors, writes, streams and
    whatever comes with credentials are never kept.
    """

    def __init__(self, app: ASGIApp, state: Callable[[], bytes | None], limit: int) -> None:
        self.app = app
        self._state = state
        self._limit = limit
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._size = 0
        self._making: dict[Key, asyncio.Event] = {}
        self._asked: Now | None = None
        self._is_asked = False
        self._will_tell = False
        self._last: Now | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        given: dict[bytes, bytes] = dict(scope["headers"])
        # A header that is given twice is left to those who know what that means.
        is_plain = len(given) == len(scope["headers"]) and b"authorization" not in given
        now = self._look() if is_plain else None
        if now is None:
            await self.app(scope, receive, send)
            return
        if now != self._last:
            self._drop_outdated(now)
        key = (
            scope["scheme"],
            given.get(b"host"),
            scope.get("raw_path"),
            scope["query_string"],
            given.get(b"accept"),
            b"origin" in given,
            given.get(b"ledger-min-seq"),
            b"gzip" in given.get(b"accept-encoding", b""),
        )
        making = self._making.get(key)
        if making is not None and key not in self._kept:
            await making.wait()  # somebody else has asked the same just now
        kept = self._kept.get(key)
        if kept is not None and kept.now in (None, now):
            is_known = _is_known(kept, given.get(b"if-none-match"))
            if is_known or kept.body is not None:
                self._kept.move_to_end(key)
                await _answer(kept, scope, given, send, begun, is_known=is_known)
                return
        _MISSES.inc()
        if scope["method"] == "HEAD" or key in self._making:
            await self.app(scope, receive, send)
            return
        self._making[key] = made = asyncio.Event()
        try:
            await self.app(scope, receive, self._keeping(key, now, scope, send, made))
        finally:
            self._release(key, made)

    def _look(self) -> Now | None:
        """Return today's record, None while it cannot be told; asked once for all requests that are there.

        A request that comes later stands behind the forgetting in the loop's queue.
        """
        if not self._is_asked:
            state = self._state()
            self._asked = None if state is None else Now(state, utc_now().toordinal())
            self._is_asked = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._forget)
            if not self._will_tell:
                self._will_tell = True
                loop.call_later(TOLD_AFTER, self._tell)
        return self._asked

    def _forget(self) -> None:
        self._is_asked = False

    def _tell(self) -> None:
        self._will_tell = False
        tell_hits()

    def _keeping(self, key: Key, now: Now, scope: Scope, send: Send, made: asyncio.Event) -> Send:
        """Return a `send` that keeps what passes, if it may be kept; `made` tells when that is decided."""
        start: Message = {}

        async def pass_on(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                if not _may_be_kept(start):
                    self._release(key, made)
            elif not made.is_set():
                if not message.get("more_body", False):
                    self._keep(key, now, scope, start, message.get("body", b""))
                self._release(key, made)
            await send(message)

        return pass_on

    def _release(self, key: Key, made: asyncio.Event) -> None:
        """Let those go on who wait for an answer that was made, or that will not be kept."""
        if self._making.get(key) is made:
            del self._making[key]
        made.set()

    def _keep(self, key: Key, now: Now, scope: Scope, start: Message, body: bytes) -> None:
        headers = [pair for pair in start["headers"] if pair[0] != b"x-request-id"]
        told: dict[bytes, bytes] = dict(headers)
        kept = Kept(
            now=None if b"immutable" in told.get(b"cache-control", b"") else now,
            etag=told[b"etag"],
            headers=headers,
            bare_headers=[pair for pair in headers if pair[0] not in _OF_A_BODY],
            body=body if start["status"] == 200 else None,
            route=scope.get(ROUTE, "none"),  # whatever stands in between may have passed on a copy
        )
        if kept.size > self._limit * LARGEST:
            return
        self._drop(key)
        self._kept[key] = kept
        self._size += kept.size
        while self._size > self._limit:
            self._drop(next(iter(self._kept)))
            CACHE_EVICTIONS.inc()

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        self._size -= 0 if kept is None else kept.size

    def _drop_outdated(self, now: Now) -> None:
        self._last = now
        for key in [key for key, kept in self._kept.items() if kept.now not in (None, now)]:
            self._drop(key)


def _may_be_kept(start: Message) -> bool:
    """Tell whether an answer that begins so may serve others."""
    headers: dict[bytes, bytes] = dict(start["headers"])
    is_private = b"no-store" in headers.get(b"cache-control", b"")
    return start["status"] in (200, 304) and b"etag" in headers and not is_private


def _is_known(kept: Kept, known: bytes | None) -> bool:
    """Tell whether the client has the answer already (RFC 9110, 13.1.2)."""
    if known is None or known == kept.etag:
        return known is not None
    return kept.etag in _each(known) or known.strip() == b"*"


def _each(tags: bytes) -> list[bytes]:
    return [tag.strip() for tag in tags.split(b",")]


async def _answer(
    kept: Kept, scope: Scope, given: dict[bytes, bytes], send: Send, begun: float, *, is_known: bool
) -> None:
    method, status = scope["method"], 304 if is_known else 200
    request_id = request_id_of(given.get(b"x-request-id", b"").decode("latin-1"))
    headers = [*(kept.bare_headers if is_known else kept.headers), (b"x-request-id", request_id.encode())]
    body = b"" if is_known or method == "HEAD" else kept.body or b""
    count_hit(method, kept.route, status, time.perf_counter() - begun)
    note_answer(request_id, method, kept.route, status, begun)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_OF_A_BODY = frozenset((b"content-length", b"content-type", b"content-encoding"))
