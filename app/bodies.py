"""How a request's body is read: who sends it first, then its type, its size, and strictly its JSON."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from email.message import Message
from functools import cached_property
from typing import Any, get_type_hints

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from app.auth import authenticate
from app.bulk import BULK_TYPES
from app.db import Database
from app.errors import ReadOnly, TooLarge, TooSlow, Unauthenticated, UnsupportedMediaType, refused
from app.limiting import Limits, address_of
from app.retries import request_digest
from app.settings import Settings
from app.strict_json import parse_json

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class ReadRequest(Request):
    """A request whose body has been read and parsed already."""

    def __init__(self, request: Request, body: bytes, parsed: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._read, self._parsed = body, parsed

    async def body(self) -> bytes:
        return self._read

    async def json(self) -> Any:
        return self._parsed


class WriteRoute(APIRoute):
    """A route that only a key may use: the key is checked before the body is looked at."""

    def get_route_handler(self) -> Handler:
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            settings: Settings = request.app.state.settings
            await self.admit(request, settings)
            self.expect_type(request)
            body = await read_body(request, self.limit(settings), settings.client_wait_seconds)
            request.state.request_digest = request_digest(request, body)
            request.state.body = body
            parsed = self.parse(body)
            found = await self.answer(request, parsed)
            return await answer(ReadRequest(request, body, parsed)) if found is None else found

        return handle

    @cached_property
    def shapes(self) -> tuple[type[BaseModel], type[BaseModel]] | None:
        """What its body and its query are; None where it takes anything else but the request."""
        taken = {name: hint for name, hint in get_type_hints(self.endpoint).items() if name != "return"}
        if self.param_convertors or taken.keys() != {"request", "new", "query"}:
            return None
        return taken["new"], taken["query"]

    async def answer(self, request: Request, parsed: Any) -> Response | None:
        """Return the answer to a valid body without a query; None where that is left to the framework.

        It looks for every parameter by itself, and says what is wrong with what is not valid.
        """
        if self.shapes is None or request.scope["query_string"]:
            return None
        body, query = self.shapes
        try:
            new = body.model_validate(parsed)
        except ValidationError:
            return None
        return await run_in_threadpool(self.endpoint, request=request, new=new, query=query())

    async def admit(self, request: Request, settings: Settings) -> None:
        """Raise unless the request comes with a good key, not too often, while writing is open.

        Who fails too often is told so; a good key is never refused for what others sent.
        """
        limits: Limits = request.app.state.limits
        database: Database = request.app.state.database
        try:
            # A file answers for one key in less time than it takes to hand the question over.
            at_once = database.is_embedded
            writer = authenticate(request) if at_once else await run_in_threadpool(authenticate, request)
        except Unauthenticated:
            await limits.failures.count(request, address_of(request))
            raise
        request.state.key_id = writer.id
        await limits.writes.count(request, writer.id)
        if settings.read_only:
            raise ReadOnly("This server only answers reads.", headers={"Retry-After": "60"})

    def expect_type(self, request: Request) -> None:
        """Raise `UnsupportedMediaType` unless the request says that it holds plain JSON."""
        expect_type(request, ("application/json",))

    def limit(self, settings: Settings) -> int:
        """Return how many bytes the body may hold."""
        return settings.body_limit_bytes

    def parse(self, body: bytes) -> Any:
        """Return what the body says."""
        return parse_json(body)


class BulkRoute(WriteRoute):
    """A route that takes many statements at once, in any of the formats of `bulk`."""

    def expect_type(self, request: Request) -> None:
        request.state.media_type = expect_type(request, BULK_TYPES)

    def limit(self, settings: Settings) -> int:
        return settings.bulk_limit_bytes

    def parse(self, body: bytes) -> Any:
        return None


def expect_type(request: Request, accepted: Sequence[str]) -> str:
    """Return the body's media type; raise `UnsupportedMediaType` unless it is one of `accepted`."""
    if {each.lower() for each in request.headers.getlist("content-encoding")} - {"identity"}:
        raise UnsupportedMediaType("Send the body uncompressed.")
    given = request.headers.getlist("content-type")
    message = Message()
    message["content-type"] = given[0] if len(given) == 1 else ""
    charset = message.get_content_charset("utf-8")
    if message.get_content_type() not in accepted or charset not in ("utf-8", "utf8"):
        types = " or ".join(f"`{name}`" for name in accepted)
        raise UnsupportedMediaType(f"Send the body in UTF-8 with the `Content-Type` {types}.")
    return message.get_content_type()


async def read_body(request: Request, limit: int, patience: float) -> bytes:
    """Return the body, waiting for it for `patience` seconds.

    Raises `TooLarge` as soon as more than `limit` bytes are announced or come, and `TooSlow`.
    """
    too_large = TooLarge(f"The body may hold {limit} bytes.", headers={"Connection": "close"})
    announced = request.headers.get("content-length", "").lstrip("0")
    if announced.isdecimal() and int(announced[:19]) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(patience):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        detail = f"The body has to come within {patience:g} seconds."
        raise TooSlow(detail, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        # Nobody is left to be answered; a half body is no fault of ours.
        raise refused("malformed", "The body broke off.", pointer="") from None
    return bytes(body)
