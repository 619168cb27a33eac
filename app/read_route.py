"""How a question is read from the query string, and where it is answered.

In its usual spelling it is validated at once: the framework looks for every parameter by itself,
which takes as long as answering. Whatever is unusual is left to the framework, which then says
what is wrong with it.
"""

import re
from collections.abc import Callable, Coroutine, Iterable
from functools import cache, cached_property
from typing import Any, get_origin, get_type_hints
from urllib.parse import unquote_plus, unquote_to_bytes

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.db import Database
from app.errors import refused
from app.fields import MIN_SEQ
from app.freshness import SEEN
from app.paging import NoQuery

_PLAIN = re.compile(rb"[A-Za-z0-9_.~:,=&-]*")
"""A query string in which every character stands for itself."""


async def check_query(request: Request) -> None:
    """Refuse a query string that can be read in two ways: broken UTF-8, or one value given twice.

    The framework would take a replacement character for the one, and the last value for the other.
    """
    seen: set[str] = set()
    for pair in filter(None, request.scope["query_string"].split(b"&")):
        name = pair.partition(b"=")[0][:200].decode("latin-1")
        try:
            unquote_to_bytes(pair.decode("ascii")).decode()
        except UnicodeDecodeError:
            raise refused("not_utf8", "Percent-encode it as UTF-8.", parameter=name) from None
        name = unquote_plus(name)
        if name in seen and name not in _repeatable(request.scope["endpoint"]):
            raise refused("repeated", "Give this once: which value is meant?", parameter=name)
        seen.add(name)


@cache
def _repeatable(endpoint: Callable[..., Any]) -> frozenset[str]:
    """Return the parameters of a route that are lists."""
    return frozenset(
        field.alias or name
        for model in get_type_hints(endpoint).values()
        if isinstance(model, type) and issubclass(model, NoQuery)
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is list
    )


class ReadRoute(APIRoute):
    """A route that answers a GET.

    One that takes anything but the request, a query, and texts of the path, or that depends on more
    than what the client has seen, is left to the framework.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer_anyhow = super().get_route_handler()
        if not self.is_plain:
            return answer_anyhow

        async def handle(request: Request) -> Response:
            found = await self.answer(request)
            return await answer_anyhow(request) if found is None else found

        return handle

    @cached_property
    def is_plain(self) -> bool:
        """Whether it takes and depends on nothing else."""
        taken = {name: hint for name, hint in get_type_hints(self.endpoint).items() if name != "return"}
        expected = {"request": Request, "query": taken["query"]} | dict.fromkeys(self.param_convertors, str)
        return taken == expected and list(self.dependencies) == [SEEN]

    @cached_property
    def model(self) -> type[NoQuery]:
        """What its query is."""
        model: type[NoQuery] = get_type_hints(self.endpoint)["query"]
        return model

    async def answer(self, request: Request) -> Response | None:
        """Return the answer; None where the question is not in its usual spelling."""
        if any(name == _MIN_SEQ for name, _ in request.scope["headers"]):
            return None
        query = read_query(request, self.model)
        if query is None:
            return None
        request.state.min_seq = 0
        database: Database = request.app.state.database
        request.state.is_light = database.is_embedded and query.is_light
        given = {**request.path_params, "request": request, "query": query}
        if request.state.is_light:
            found: Response = self.endpoint(**given)
            return found
        return await run_in_threadpool(self.endpoint, **given)


_MIN_SEQ = MIN_SEQ.lower().encode()


class AtOnce:
    """Answers a question in its usual spelling before the framework tries every route (pure ASGI)."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        plain = (route for route in routes if isinstance(route, ReadRoute) and route.is_plain)
        self.app = app
        self._routes = {route.path: route for route in plain if not route.param_convertors}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_read = scope["type"] == "http" and scope["method"] == "GET"
        route = self._routes.get(scope["path"]) if is_read else None
        found = None
        if route is not None:
            scope.update(route=route, endpoint=route.endpoint, path_params={})
            found = await route.answer(Request(scope, receive))
        await (self.app if found is None else found)(scope, receive, send)


def read_query(request: Request, model: type[NoQuery]) -> NoQuery | None:
    """Return the query of a request; None where it is not in its usual spelling, or not valid."""
    text: bytes = request.scope["query_string"]
    if not _PLAIN.fullmatch(text):
        return None
    repeatable = _repeatable(request.scope["endpoint"])
    given: dict[str, Any] = {}
    for pair in filter(None, text.decode().split("&")):
        name, _, value = pair.partition("=")
        if name in repeatable:
            given.setdefault(name, []).append(value)
        elif name in given:
            return None
        else:
            given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError:
        return None
