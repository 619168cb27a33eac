import asyncio
import threading
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.in_process import ADDRESS, InProcess


async def telling(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that says what it was asked."""
    body = (await receive())["body"]
    await send(
        {"type": "http.response.start", "status": 201, "headers": [(b"x-query", scope["query_string"])]}
    )
    for piece in (scope["method"].encode(), scope["path"].encode(), body):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def failing(scope: Scope, _: Receive, send: Send) -> None:
    """An application that breaks before its answer, or in the middle of it."""
    if scope["path"] == "/middle":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise RuntimeError("broken")


def client(application: Any) -> httpx.Client:
    return httpx.Client(base_url=ADDRESS, transport=InProcess(application))


def test_an_application_is_asked_as_a_server_would_ask_it() -> None:
    with client(telling) as http:
        answer = http.post("/a%20b", params={"q": "ž"}, content=b"body")

    assert (answer.status_code, answer.text) == (201, "POST/a bbody")
    assert answer.headers["x-query"] == "q=%C5%BE"


@pytest.mark.parametrize("path", ["/before", "/middle"])
def test_what_breaks_inside_is_seen_outside(path: str) -> None:
    with client(failing) as http, pytest.raises(RuntimeError, match="broken"):
        http.get(path)


def test_an_answer_arrives_while_it_is_made_and_ends_when_nobody_reads() -> None:
    ended = threading.Event()

    async def endless(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                piece: Message = {"type": "http.response.body", "body": b"tick", "more_body": True}
                await send(piece)
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    with client(endless) as http:
        with http.stream("GET", "/") as answer:
            assert next(answer.iter_bytes()) == b"tick"
        assert ended.wait(5)


def test_closing_ends_what_still_runs() -> None:
    async def waiting(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    before = threading.active_count()
    http = client(waiting)
    answer = http.send(http.build_request("GET", "/"), stream=True)
    http.close()

    assert answer.status_code == 200
    assert threading.active_count() == before
