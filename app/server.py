"""The HTTP server: uvicorn, with the manners that it lacks towards slow, many and departing clients."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from fastapi import Request
from starlette.types import Receive, Scope, Send
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import multiprocess

from app.beacon import SHARED, new_beacon_file
from app.edge import SECURITY
from app.errors import Busy, NotHttp, problem
from app.logs import configuration
from app.metrics import CLIENTS, FOLDER
from app.settings import Settings

STARTS_WITHIN = 60
"""Seconds that a process may be silent: on a busy machine it takes a while to start."""

LAST_REQUESTS = 0.5
"""Seconds in which a server that stops still takes requests on the connections that it has."""


class Connection(HttpToolsProtocol):
    """A connection that ends when a request's head does not come or an answer is not taken.

    It is refused when there are too many.
    When the server stops, those who follow the ledger are let go before it waits for the rest. A
    client that keeps its connection may just be sending on it: it is answered, and told to go.
    """

    _head_deadline: asyncio.TimerHandle | None = None
    _taking_deadline: asyncio.TimerHandle | None = None

    def __init__(self, *parts: Any, is_leaving: bool = False, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._is_leaving = is_leaving

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        CLIENTS.inc()
        self._settings: Settings = self.app_state["settings"]
        if len(self.connections) > self._settings.connection_limit:
            self.app = _refuse
        if self._is_leaving:
            self.loop.call_later(LAST_REQUESTS, self._leave)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_head()
        if self._is_leaving:
            self._say_goodbye()

    def connection_lost(self, exc: Exception | None) -> None:
        CLIENTS.dec()
        self._forget_head()
        self._forget_taking()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self._await_taking()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._forget_taking()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        answer = problem(Request({"type": "http", "state": {}}), NotHttp())
        head = "".join(f"{name}: {value}\r\n" for name, value in (SECURITY | dict(answer.headers)).items())
        self.transport.write(f"HTTP/1.1 400 Bad Request\r\n{head}connection: close\r\n\r\n".encode())
        self.transport.write(bytes(answer.body))
        self.transport.close()

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

    def _await_taking(self, before: int | None = None) -> None:
        """Close the connection when nothing of what waits to be sent is taken for a while."""
        waiting = self.transport.get_write_buffer_size()
        if before is not None and waiting >= before:
            self.transport.abort()
        else:
            wait = self._settings.client_wait_seconds
            self._taking_deadline = self.loop.call_later(wait, self._await_taking, waiting)

    def _forget_taking(self) -> None:
        if self._taking_deadline is not None:
            self._taking_deadline.cancel()
            self._taking_deadline = None


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Retry-After": "2", "Connection": "close"}
    error = Busy("This server has as many connections as it can keep.", headers=headers)
    await problem(Request(scope), error)(scope, receive, send)


class Server(uvicorn.Server):
    """A server that also answers those who had connected, and were not heard yet, when it stops."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        late = [
            loop.create_task(loop.connect_accepted_socket(self._last_connection, accepted))
            for listening in sockets or []
            for accepted in _waiting(listening)
        ]
        await super().shutdown(sockets)
        await asyncio.gather(*late, return_exceptions=True)

    def _last_connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state, is_leaving=True)


def _waiting(listening: socket.socket) -> Iterator[socket.socket]:
    """Yield the connections that nobody has accepted: closing the socket would reset them."""
    with listening.dup() as mine:
        mine.setblocking(False)
        while True:
            try:
                accepted, _ = mine.accept()
            except OSError:
                return
            accepted.setblocking(False)
            yield accepted


class Worker(multiprocess.Process):
    """One of several processes, with our server in it."""

    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = Server(self.config)
        return self._server


class Workers(multiprocess.Multiprocess):
    """Several processes that share a socket; it is closed before they are told to stop."""

    def terminate_all(self) -> None:
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; raise OSError, with the cure, where that cannot be."""
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        message = f"{error.strerror}; give another --host or --port."
        raise OSError(error.errno, message, f"{host}:{port}") from None
    found.set_inheritable(True)
    return found


def configure(settings: Settings, workers: int) -> uvicorn.Config:
    """Return how uvicorn serves under these settings."""
    options: dict[str, Any] = {}
    if settings.trusted_proxies:
        options["forwarded_allow_ips"] = settings.trusted_proxies
    return uvicorn.Config(
        "app.main:create_app",
        factory=True,
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
        timeout_worker_healthcheck=STARTS_WITHIN,
        **options,
    )


def run(settings: Settings, bound: socket.socket, workers: int) -> None:
    """Serve at a bound socket until told to stop, in this process or in `workers`; then exit with 0."""
    # The server raises the signal again when it has stopped in good order: that is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = configure(settings, workers)
    sockets = [bound]
    if workers == 1:
        server = Server(config)
        server.run(sockets)
        if not server.started:
            sys.exit(STARTUP_FAILURE)
        return
    multiprocess.Process = Worker  # type: ignore[misc]  # no other way to say which server they run
    with ExitStack() as stack:
        if FOLDER not in os.environ:
            os.environ[FOLDER] = stack.enter_context(TemporaryDirectory(prefix="tracker-metrics-"))
        shared = stack.enter_context(TemporaryDirectory(prefix="tracker-beacon-"))
        os.environ[SHARED] = f"{shared}/state"
        new_beacon_file(Path(os.environ[SHARED]))
        Workers(config, sockets).run()
