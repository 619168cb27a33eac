"""Asks an application that runs in this process, without a socket: for the client, a transport."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

import httpx
from starlette.types import ASGIApp, Message

ADDRESS = "http://tracker"
"""Address under which such an application is asked: it leads nowhere else."""


class InProcess(httpx.BaseTransport):
    """Runs an ASGI application in a thread of its own; answers arrive as they are made."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the application's answer as soon as its headers are there."""
        answer = _Answer(request.read())
        running = self._app(_scope(request), answer.receive, answer.send)
        answer.work = asyncio.run_coroutine_threadsafe(_run(running), self._loop)
        answer.work.add_done_callback(lambda _: answer.messages.put(None))
        start = answer.messages.get()
        if start is None:
            answer.work.result()
            raise httpx.RemoteProtocolError("The application did not answer.", request=request)
        return httpx.Response(start["status"], headers=start["headers"], stream=answer)

    def close(self) -> None:
        """Stop the thread; what still runs is cancelled."""
        asyncio.run_coroutine_threadsafe(_cancel_everything(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Answer(httpx.SyncByteStream):
    """One request's messages, between the application's thread and the one that asked."""

    work: "Future[None]"

    def __init__(self, body: bytes) -> None:
        self.messages: SimpleQueue[Message | None] = SimpleQueue()
        self._body: bytes | None = body

    async def receive(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        self.messages.put(message)

    def __iter__(self) -> Iterator[bytes]:
        while True:
            message = self.messages.get()
            if message is None:
                self.work.result()
                raise httpx.RemoteProtocolError("The application broke off its answer.")
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return

    def close(self) -> None:
        self.work.cancel()


async def _run(running: Any) -> None:
    await running


async def _cancel_everything() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _scope(request: httpx.Request) -> dict[str, Any]:
    """Return a request as ASGI has it (ASGI 3.0, HTTP connection scope)."""
    raw_path, _, query = request.url.raw_path.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "server": (request.url.host, request.url.port),
        "client": None,
    }
