"""The HTTP server: uvicorn, with the manners that it lacks towards slow, many and departing clients."""

import asyncio
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from fastapi import Request
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.beacon import SHARED, new_beacon_file
from app.errors import Busy, problem
from app.logs import configuration
from app.metrics import FOLDER
from app.settings import Settings

LAST_REQUESTS = 0.5
"""Seconds in which a server that stops still takes requests on the connections that it has."""


class Connection(HttpToolsProtocol):
    """A connection that ends when a request's head does not come, and is refused when there are too many.

    When the server stops, those who follow the ledger are let go before it waits for the rest. A
    client that keeps its connection may just be sending on it: it is answered, and told to go.
    """

    _head_deadline: asyncio.TimerHandle | None = None
    _is_leaving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._settings: Settings = self.app_state["settings"]
        if len(self.connections) > self._settings.connection_limit:
            self.app = _refuse
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_head()
        if self._is_leaving:
            self._say_goodbye()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self.loop.create_task(self.app_state["watch"].close())
        self._is_leaving = True
        self._say_goodbye()
        self.loop.call_later(LAST_REQUESTS, self._leave)

    def _say_goodbye(self) -> None:
        """Let the answer that is to come say that it is the connection's last."""
        if self._is_answering:
            self.cycle.keep_alive = False
            self.cycle.default_headers = [*self.cycle.default_headers, (b"connection", b"close")]

    def _leave(self) -> None:
        if not self._is_answering:
            self.transport.close()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        """Give the next request's head its time; between requests the keep-alive timeout rules."""
        if self._is_answering:
            self._forget_head()
        elif self._head_deadline is None and not self.transport.is_closing():
            wait = self._settings.client_wait_seconds
            self._head_deadline = self.loop.call_later(wait, self.transport.close)

    def _forget_head(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Retry-After": "2", "Connection": "close"}
    error = Busy("This server has as many connections as it can keep.", headers=headers)
    await problem(Request(scope), error)(scope, receive, send)


def run(settings: Settings, host: str, port: int, workers: int) -> None:
    """Serve until told to stop, in this process or in `workers` of its own; then exit with 0."""
    options: dict[str, Any] = {}
    if settings.trusted_proxies:
        options["forwarded_allow_ips"] = settings.trusted_proxies
    # The server raises the signal again when it has stopped in good order: that is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as stack:
        if workers > 1 and FOLDER not in os.environ:
            os.environ[FOLDER] = stack.enter_context(TemporaryDirectory(prefix="tracker-metrics-"))
        if workers > 1:
            shared = stack.enter_context(TemporaryDirectory(prefix="tracker-beacon-"))
            os.environ[SHARED] = f"{shared}/state"
            new_beacon_file(Path(os.environ[SHARED]))
        uvicorn.run(
            "app.main:create_app",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            http=Connection,
            loop="uvloop",
            ws="none",
            lifespan="on",
            log_config=configuration(settings),
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            timeout_graceful_shutdown=settings.stop_wait_seconds,
            **options,
        )
