"""How a question is read from the query string, and where it is answered.

In its usual spelling it is validated at once: the framework looks for every parameter by itself,
which takes as long as answering. Whatever is unusual is left to the framework, which then says
what is wrong with it.
"""

import re
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, get_origin, get_type_hints
from urllib.parse import unquote_plus, unquote_to_bytes

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from pydantic import ValidationError

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
        endpoint = self.endpoint
        taken = {name: hint for name, hint in get_type_hints(endpoint).items() if name != "return"}
        model: type[NoQuery] = taken["query"]
        expected = {"request": Request, "query": model} | dict.fromkeys(self.param_convertors, str)
        if taken != expected or list(self.dependencies) != [SEEN]:
            return answer_anyhow

        async def handle(request: Request) -> Response:
            query = None if MIN_SEQ in request.headers else read_query(request, model)
            if query is None:
                return await answer_anyhow(request)
            request.state.min_seq = 0
            database: Database = request.app.state.database
            request.state.is_light = database.is_embedded and query.is_light
            given = {**request.path_params, "request": request, "query": query}
            if request.state.is_light:
                found: Response = endpoint(**given)
                return found
            return await run_in_threadpool(endpoint, **given)

        return handle


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
