"""How a request's body is read: who sends it first, then its type, its size, and strictly its JSON."""

import json
import math
from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from app.auth import authenticate
from app.errors import TooLarge, TrackerError, UnsupportedMediaType, refused
from app.settings import Settings

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
            request.state.writer = await run_in_threadpool(authenticate, request)
            settings: Settings = request.app.state.settings
            expect_json(request)
            body = await read_body(request, settings.body_limit_bytes)
            return await answer(ReadRequest(request, body, parse_json(body)))

        return handle


def expect_json(request: Request) -> None:
    """Raise `UnsupportedMediaType` unless the request says that it holds plain JSON."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body uncompressed.")
    message = Message()
    message["content-type"] = request.headers.get("content-type", "")
    charset = message.get_content_charset("utf-8")
    if message.get_content_type() != "application/json" or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("Send JSON, with `Content-Type: application/json`, in UTF-8.")


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body; raise `TooLarge` as soon as more than `limit` bytes are announced or come."""
    too_large = TooLarge(f"The body may hold {limit} bytes.", headers={"Connection": "close"})
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:19]) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """Return what a JSON text (RFC 8259) says; raise `Invalid` where it could be read in two ways.

    Refused: other encodings than UTF-8, duplicate names, NaN and Infinity, numbers too large to
    be held, nesting too deep to be meant.
    """
    try:
        return json.loads(
            body.decode("utf-8-sig"),
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_no_duplicates,
        )
    except UnicodeDecodeError:
        raise _malformed("The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        message = f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        raise _malformed(message) from None
    except RecursionError:
        raise _malformed("The body is nested too deeply.") from None
    except ValueError:
        raise _malformed("A number in the body has too many digits.") from None


def _no_constant(name: str) -> Any:
    raise _malformed(f"{name} is not JSON; leave the field out, or give null.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _malformed("A number in the body is too large.")
    return number


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _malformed("A name occurs twice in one object; which value is meant?")
    return found


def _malformed(message: str) -> TrackerError:
    return refused("malformed", message, pointer="")
