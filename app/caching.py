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

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.db import utc_now
from app.edge import ROUTE, note_answer, request_id_of
from app.metrics import CACHE_EVICTIONS, CACHE_LOOKUPS, REQUEST_SECONDS, REQUESTS, count_request

Key = tuple[object, ...]
Headers = list[tuple[bytes, bytes]]

LARGEST = 0.25
"""Part of the cache that one answer may fill."""

_OVERHEAD = 2_000
"""About how many bytes an answer takes beside its body."""

_HITS = CACHE_LOOKUPS.labels("answers", "hit")
_MISSES = CACHE_LOOKUPS.labels("answers", "miss")


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it left, and what it holds for; without a body it only tells that nothing changed."""

    state: bytes | None
    """What the record's state was called when it was made; None: it can never differ."""
    day: int
    etag: bytes
    headers: Headers
    body: bytes | None
    route: str
    answered: Counter
    seconds: Histogram

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
        self._last_state: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        given: dict[bytes, bytes] = dict(scope["headers"])
        # A header that is given twice is left to those who know what that means.
        is_plain = len(given) == len(scope["headers"]) and b"authorization" not in given
        state = self._state() if is_plain else None
        if state is None:
            await self.app(scope, receive, send)
            return
        if state != self._last_state:
            self._drop_outdated(state)
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
        known = given.get(b"if-none-match")
        if kept is not None and _serves(kept, state) and (kept.body is not None or _is_known(kept, known)):
            self._kept.move_to_end(key)
            _HITS.inc()
            await _answer(kept, scope, given, send, begun)
            return
        _MISSES.inc()
        if scope["method"] == "HEAD" or key in self._making:
            await self.app(scope, receive, send)
            return
        self._making[key] = made = asyncio.Event()
        try:
            await self.app(scope, receive, self._keeping(key, state, scope, send, made))
        finally:
            self._release(key, made)

    def _keeping(self, key: Key, state: bytes, scope: Scope, send: Send, made: asyncio.Event) -> Send:
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
                    self._keep(key, state, scope, start, message.get("body", b""))
                self._release(key, made)
            await send(message)

        return pass_on

    def _release(self, key: Key, made: asyncio.Event) -> None:
        """Let those go on who wait for an answer that was made, or that will not be kept."""
        if self._making.get(key) is made:
            del self._making[key]
        made.set()

    def _keep(self, key: Key, state: bytes, scope: Scope, start: Message, body: bytes) -> None:
        headers: dict[bytes, bytes] = dict(start["headers"])
        control = headers.get(b"cache-control", b"")
        route = scope.get(ROUTE, "none")  # whatever stands in between may have passed on a copy
        kept = Kept(
            state=None if b"immutable" in control else state,
            day=utc_now().toordinal(),
            etag=headers[b"etag"],
            headers=[pair for pair in start["headers"] if pair[0] != b"x-request-id"],
            body=body if start["status"] == 200 else None,
            route=route,
            answered=REQUESTS.labels("GET", route, "200"),
            seconds=REQUEST_SECONDS.labels("GET", route),
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

    def _drop_outdated(self, state: bytes) -> None:
        self._last_state = state
        for key in [key for key, kept in self._kept.items() if not _serves(kept, state)]:
            self._drop(key)


def _may_be_kept(start: Message) -> bool:
    """Tell whether an answer that begins so may serve others."""
    headers: dict[bytes, bytes] = dict(start["headers"])
    is_private = b"no-store" in headers.get(b"cache-control", b"")
    return start["status"] in (200, 304) and b"etag" in headers and not is_private


def _serves(kept: Kept, state: bytes) -> bool:
    """Tell whether an answer is still right; one without a day of its own is as of today."""
    return kept.state is None or (kept.state == state and kept.day == utc_now().toordinal())


def _is_known(kept: Kept, known: bytes | None) -> bool:
    """Tell whether the client has the answer already (RFC 9110, 13.1.2)."""
    return known is not None and (kept.etag in (known, *_each(known)) or known.strip() == b"*")


def _each(tags: bytes) -> list[bytes]:
    return [tag.strip() for tag in tags.split(b",")]


async def _answer(kept: Kept, scope: Scope, given: dict[bytes, bytes], send: Send, begun: float) -> None:
    request_id = request_id_of(given.get(b"x-request-id", b"").decode("latin-1"))
    headers = [*kept.headers, (b"x-request-id", request_id.encode())]
    status, body = 200, kept.body or b""
    if _is_known(kept, given.get(b"if-none-match")):
        status, body = 304, b""
        headers = [pair for pair in headers if pair[0] not in _OF_A_BODY]
    elif scope["method"] == "HEAD":
        body = b""
    if status == 200 and scope["method"] == "GET":
        kept.answered.inc()
        kept.seconds.observe(time.perf_counter() - begun)
    else:
        count_request(scope["method"], kept.route, status, time.perf_counter() - begun)
    note_answer(request_id, scope["method"], kept.route, status, begun)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_OF_A_BODY = frozenset((b"content-length", b"content-type", b"content-encoding"))
