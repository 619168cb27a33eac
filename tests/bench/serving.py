"""Servers that are measured: each in processes of its own, with what they use of the machine."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.serving import environment, free_port, stop

STARTS_WITHIN = 120.0
SERVE = (sys.executable, "-m", "app", "serve", "--no-seed", "--port", "{port}")
BARE = (
    *(sys.executable, "-m", "uvicorn", "--log-level", "warning", "--no-access-log", "--loop", "uvloop"),
    *("--http", "httptools", "--port", "{port}", "tests.bench.bare:app"),
)


@dataclass(slots=True)
class Server:
    """A server that is measured; `processes` is empty for one that runs elsewhere."""

    name: str
    address: str
    processes: tuple[int, ...] = ()
    """Its own processes; those that they have started are counted with them."""


@dataclass(slots=True)
class Rounds:
    """What came of asking one server one thing, round by round."""

    a_second: list[float] = field(default_factory=list)
    """Answers a second."""
    milliseconds: list[float] = field(default_factory=list)
    """Of the processor, for each answer; empty for a server that runs elsewhere."""

    @property
    def a_processor_second(self) -> list[float]:
        """Answers for each second of the processor."""
        return [1000 / each if each else 0.0 for each in self.milliseconds]


def say(line: str) -> None:
    """Tell how far it is; standard output belongs to the tables."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def started(
    name: str,
    command: Sequence[str],
    folder: Path,
    *,
    database_url: str = "",
    beside: tuple[int, ...] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run a server from `folder` while the context lasts; `{port}` in the command is its port.

    `beside` are processes of others that work for it. It is ended whatever happens.
    """
    port = free_port()
    log = folder / f"{name.replace(' ', '-')}.log"
    line = [part.format(port=port) for part in command]
    with log.open("ab") as words:
        process = subprocess.Popen(
            line,
            cwd=folder,
            env=environment(database_url) | dict(variables or {}),
            stdout=words,
            stderr=words,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(name, process, address, log)
        yield Server(name, address, (process.pid, *beside))
    finally:
        stop(process)


def _wait_for(name: str, process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            httpx.get(f"{address}/healthz", timeout=5)
            return
        except httpx.TransportError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"bench: {name} did not start:\n{log.read_text()[-3000:]}") from None
            time.sleep(0.02)


def family(processes: Sequence[int]) -> set[int]:
    """Return these processes and all that they have started and that still run."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            parents[int(folder.name)] = int(fields[1])
    found, new = set(processes), set(processes)
    while new:
        new = {process for process, parent in parents.items() if parent in new} - found
        found |= new
    return found


def _stat(process: int) -> list[str]:
    """Return what proc(5) tells of a process, from its state on; nothing for one that is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def processor_seconds(processes: Sequence[int]) -> float:
    """Return the processor time that processes and those that they have started have used."""
    ticks = 0
    for process in family(processes):
        # Its own time, and that of its children that have ended.
        ticks += sum(map(int, _stat(process)[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def when_idle(processes: Sequence[int]) -> float:
    """Return the processor time that was used when all that was asked is done."""
    deadline = time.monotonic() + 60
    before = -1.0
    while (now := processor_seconds(processes)) > before + 0.011 and time.monotonic() < deadline:
        before = now
        time.sleep(0.2)
    return now


def held(process: int) -> float:
    """Return the memory that a process holds, in MiB; none by one that is gone."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def resident(processes: Sequence[int]) -> float:
    """Return the memory that processes and those that they have started hold, in MiB."""
    return sum(held(process) for process in family(processes))


@dataclass(slots=True)
class Memory:
    """How much memory a process held at most while somebody looked, in MiB."""

    most: float = 0.0


@contextmanager
def watched(process: int) -> Iterator[Memory]:
    """Look at the memory of one process, a hundred times a second, while the context lasts."""
    found, over = Memory(), threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            found.most = max(found.most, held(process))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield found
    finally:
        over.set()
        looking.join()
