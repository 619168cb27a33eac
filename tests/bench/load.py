"""The load on a server: requests made beforehand, sent by wrk where there is one, else by ourselves.

    python -m tests.bench.load HOST:PORT SECONDS CONNECTIONS FILE

sends those of a file from a process of its own, so that the asking costs the server nothing.
"""

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count, cycle
from pathlib import Path
from typing import NamedTuple

from app.db import ROOT
from tests.bench.serving import Rounds, Server, processor_seconds, when_idle

SCRIPT = """
local prepared, last = {}, 0
function init(arguments)
    local file = assert(io.open(arguments[1], "rb"))
    local length = file:read("*l")
    while length do
        prepared[#prepared + 1] = file:read(tonumber(length))
        length = file:read("*l")
    end
    file:close()
end
function request()
    last = last % #prepared + 1
    return prepared[last]
end
"""
"""What wrk runs: each request is the next of the file, over whichever connection."""


class Load(NamedTuple):
    """What came of a load: answers, seconds, and answers that nobody waited for any more."""

    answers: int
    seconds: float
    left: int


def request(
    address: str,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> bytes:
    """Return a request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address.removeprefix('http://')}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def packed(requests: Sequence[bytes]) -> bytes:
    """Return requests one after the other, each after a line that tells its length."""
    return b"".join(b"%d\n%s" % (len(each), each) for each in requests)


def unpacked(content: bytes) -> Iterator[bytes]:
    """Yield the requests that were packed."""
    start = 0
    while start < len(content):
        line = content.index(b"\n", start)
        start = line + 1 + int(content[start:line])
        yield content[line + 1 : start]


class Connection:
    """A connection that asks one thing after the other and waits for each answer."""

    def __init__(self, address: str) -> None:
        host, _, port = address.removeprefix("http://").partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=300)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb", 2**16)
        self.lines = 0
        """Lines in the body that came last."""

    def ask(self, asked: bytes) -> int:
        """Return the status of the answer, once all of it is there."""
        self._socket.sendall(asked)
        status = int(self._reader.readline().split(b" ", 2)[1])
        length, is_chunked = 0, False
        while (line := self._reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            name = name.lower()
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                is_chunked = True
        if status == 304:
            length, is_chunked = 0, False
        parts = self._chunks() if is_chunked else [self._reader.read(length)]
        self.lines = sum(part.count(b"\n") for part in parts)
        return status

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._reader.readline(), 16):
            yield self._reader.read(size)
            self._reader.readline()
        self._reader.readline()

    def close(self) -> None:
        """Leave."""
        self._reader.close()
        self._socket.close()


def _check(address: str, asked: bytes, status: int) -> None:
    if status >= 400:
        line = asked.partition(b"\r\n")[0].decode()
        raise SystemExit(f"bench: {address} answers {status} to {line}")


def latencies(address: str, requests: Sequence[bytes], seconds: float) -> list[float]:
    """Return how long a single client waited for each answer, in milliseconds; each is asked in turn."""
    found: list[float] = []
    until = time.perf_counter() + seconds
    with closing(Connection(address)) as connection:
        for asked in cycle(requests):
            begun = time.perf_counter()
            _check(address, asked, connection.ask(asked))
            ended = time.perf_counter()
            found.append((ended - begun) * 1000)
            if ended > until:
                return found
    return found


def by_ourselves(address: str, requests: Sequence[bytes], seconds: float, connections: int) -> Load:
    """Send requests over some connections for some seconds; each ends with its last answer."""
    turn = count()
    begun = time.perf_counter()
    until = begun + seconds

    def ask() -> int:
        answers = 0
        with closing(Connection(address)) as connection:
            while time.perf_counter() < until:
                asked = requests[next(turn) % len(requests)]
                _check(address, asked, connection.ask(asked))
                answers += 1
        return answers

    with ThreadPoolExecutor(connections) as pool:
        asking = [pool.submit(ask) for _ in range(connections)]
        answers = sum(each.result() for each in asking)
    return Load(answers, time.perf_counter() - begun, 0)


def by_wrk(address: str, requests: Path, folder: Path, seconds: int, connections: int) -> Load:
    """Let wrk send the requests of a file."""
    script = folder / "requests.lua"
    script.write_text(SCRIPT)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "120s", "-s", str(script)]
    out = subprocess.run(
        [*command, address, "--", str(requests)], check=True, capture_output=True, text=True
    ).stdout
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", out)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+)", out)
    if found is None or "Non-2xx" in out or (errors and any(map(int, errors.groups()))):
        asked = next(unpacked(requests.read_bytes())).partition(b"\r\n")[0].decode()
        raise SystemExit(f"bench: {address} did not answer {asked} and the like:\n{out}")
    unit = {"ms": 0.001, "s": 1.0, "m": 60.0}[found[3]]
    # When its time is over it leaves one request on each connection.
    return Load(int(found[1]), float(found[2]) * unit, connections)


def load(address: str, requests: Sequence[bytes], seconds: int, connections: int) -> Load:
    """Send requests, one after the other and from the first again, for some seconds."""
    with tempfile.TemporaryDirectory(prefix="bench-load-") as scratch:
        folder = Path(scratch)
        path = folder / "requests"
        path.write_bytes(packed(requests))
        if shutil.which("wrk"):
            return by_wrk(address, path, folder, seconds, connections)
        command = [sys.executable, "-m", "tests.bench.load", address, str(seconds), str(connections)]
        done = subprocess.run([*command, str(path)], cwd=ROOT, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        return Load(*json.loads(done.stdout))


def measure(
    server: Server, requests: Sequence[bytes], seconds: int, connections: int, rounds: Rounds
) -> Load:
    """Load a server for some seconds, and keep what came of it."""
    before = when_idle(server.processes) if server.processes else 0.0
    found = load(server.address, requests, seconds, connections)
    rounds.a_second.append(found.answers / found.seconds)
    if server.processes:
        used = max(when_idle(server.processes), processor_seconds(server.processes)) - before
        rounds.milliseconds.append(used * 1000 / max(1, found.answers + found.left))
    return found


if __name__ == "__main__":
    where, how_long, how_many, file = sys.argv[1:]
    prepared = list(unpacked(Path(file).read_bytes()))
    print(json.dumps(by_ourselves(where, prepared, float(how_long), int(how_many))))
