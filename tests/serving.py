"""A server of its own: what a client meets, in a process that can be stopped, or in this one."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import httpx
import uvicorn

from app.db import ROOT
from app.main import create_app
from app.settings import Settings

STARTS_WITHIN = 90.0


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(database_url: str) -> dict[str, str]:
    """Return an environment that names a database, and no other setting of this machine's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    return kept | {"TRACKER_DATABASE_URL": database_url, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


@contextmanager
def served(database_url: str, folder: Path, *, workers: int = 1) -> Iterator[str]:
    """Serve a migrated database from `folder` while the context lasts; give the address."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    options += ["--timeout-worker-healthcheck", "60"]  # else a busy machine's are ended while they start
    process = subprocess.Popen(
        [*command, *options, "--workers", str(workers)], cwd=folder, env=environment(database_url)
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, address)
        yield address
    finally:
        stop(process)


def start(
    database_url: str, folder: Path, port: int, *options: str, **variables: str
) -> "subprocess.Popen[bytes]":
    """Start `coalition serve` on a port; what it says goes to `serve.log` in `folder`."""
    with (folder / "serve.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--no-seed", "--port", str(port), *options],
            cwd=folder,
            env=environment(database_url) | variables,
            stderr=log,
        )


@contextmanager
def running(
    database_url: str, folder: Path, *options: str, **variables: str
) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Run `coalition serve` while the context lasts; give its process, and its address when it is ready."""
    port = free_port()
    process = start(database_url, folder, port, *options, **variables)
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}")
        yield process, f"http://127.0.0.1:{port}"
    finally:
        stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a server, by force if it has to be."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def answering(settings: Settings) -> Iterator[str]:
    """Serve a migrated database from this process while the context lasts; give the address.

    Starts at once, and is for those who only need somebody to ask.
    """
    port = free_port()
    config = uvicorn.Config(create_app(settings), port=port, log_config=None, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + STARTS_WITHIN
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended before it was ready"
            assert time.monotonic() < deadline, "the server was not ready in time"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def wait_until_ready(process: subprocess.Popen[bytes] | subprocess.Popen[str], address: str) -> None:
    """Return once the server is ready; fail if it ends first, or takes too long."""
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        assert process.poll() is None, "the server ended before it was ready"
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "the server was not ready in time"
        time.sleep(0.05)
