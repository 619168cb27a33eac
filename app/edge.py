"""The HTTP edge: what holds for every request, before any route (pure ASGI)."""

import logging
import re
import time
from random import getrandbits
from urllib.parse import quote

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import TrackerError, problem
from app.logs import ACCESS
from app.metrics import count_request

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
"""Headers that every answer carries."""

NO_PAGE = "default-src 'none'; frame-ancestors 'none'"
"""What a browser may do with an answer that is no page, should somebody open it as one: nothing."""


_SECURITY = [(name.lower().encode(), value.encode()) for name, value in SECURITY.items()]
_NO_PAGE = [(b"content-security-policy", NO_PAGE.encode())]

ROUTE = "tracker.route"
"""Where the template of the route stands in the scope of a request, for those in front."""


class Edge:
    """Gives each request an id, answers HEAD as GET without its body, counts and logs each answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_of(_given_id(scope))
        is_head = scope["method"] == "HEAD"
        given = scope
        scope = dict(scope, method="GET") if is_head else dict(scope)
        scope["state"] = dict(scope.get("state", {}), request_id=request_id, is_head=is_head)

        method = "HEAD" if is_head else scope["method"]
        begun = time.perf_counter()
        status = 0

        async def reply(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given[ROUTE] = route_of(scope)
                count_request(method, given[ROUTE], status, time.perf_counter() - begun)
                headers = list(message["headers"])
                if status == 307:
                    MutableHeaders(raw=headers)["Location"] = _elsewhere(scope)
                more = scope["state"].get("more_headers", {})
                headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in more.items()]
                headers.append((b"x-request-id", request_id.encode()))
                message = dict(message, headers=_secured(headers))
            elif is_head and message["type"] == "http.response.body":
                message = dict(message, body=b"")
            await send(message)

        try:
            await self.app(scope, receive, reply)
        except Exception:
            # Answered here, because the framework would do so outside of this: without the id.
            if not status:
                await problem(Request(scope), TrackerError())(scope, receive, reply)
            raise
        finally:
            key = {name: scope["state"][name] for name in ("key_id",) if name in scope["state"]}
            note_answer(request_id, method, route_of(scope), status, begun, **key)


def _given_id(scope: Scope) -> str:
    """Return the id that a request was given; nothing where it has none."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode("latin-1")


def _secured(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers with those that every answer carries, where it has none of its own."""
    told = dict(headers)
    headers += [pair for pair in _SECURITY if pair[0] not in told]
    if told.get(b"content-type", b"").startswith((b"application/", b"text/csv")):
        headers += [pair for pair in _NO_PAGE if pair[0] not in told]
    return headers


def _elsewhere(scope: Scope) -> str:
    """Return where the framework sends a path with a slash too many or too few, as seen from there.

    It would name the host that was asked, which need not be the one that clients know.
    """
    path, query = scope["path"].rstrip("/"), scope["query_string"].decode("latin-1")
    name, more = quote(path.rpartition("/")[2]), len(scope["path"]) - len(path)
    return ("../" * more + name if more else f"{name}/") + (f"?{query}" if query else "")


def note_answer(request_id: str, method: str, route: str, status: int, begun: float, **more: str) -> None:
    """Log an answer that began to be made at `begun`, by `time.perf_counter`."""
    level = logging.ERROR if status >= 500 else logging.INFO
    if ACCESS.isEnabledFor(level):
        event = {
            "request_id": request_id,
            "method": method,
            "route": route,
            "status": status,
            "duration_ms": round((time.perf_counter() - begun) * 1000, 1),
        }
        ACCESS.log(level, "answered", extra=event | more)


def request_id_of(given: str) -> str:
    """Return the id of a request: the one that it was given, if that is one, or a new one."""
    return given if _REQUEST_ID.fullmatch(given) else f"{getrandbits(64):016x}"


def route_of(scope: Scope) -> str:
    """Return the template of the route that a request went to, never what the client wrote."""
    if "route" in scope:
        return str(scope["route"].path_format)
    return "static" if "endpoint" in scope else "none"
