"""Measures the server beside the least that a server can be: one that sends the same bytes from memory.

    python3 dev.py bench --help

Every round asks each server in turn, so that what else the machine does falls on all of them. Only
ratios within one run say anything; the figures of a full run are in docs/performance.md.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

import httpx

from app.db import Database
from app.settings import Settings
from tests.bench.history import make_history

ROOT = Path(__file__).parents[2]
FEW = 2
"""Connections to a server that keeps no answers."""

DAY, WEEK_LATER = "2026-05-04", "2026-05-11"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and with what header."""

    name: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Server:
    """A server that is measured; `process` is None for one that runs elsewhere."""

    name: str
    address: str
    process: int | None
    connections: int = 16
    found: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """By question: requests a second, and processor seconds a request, of each round."""


def free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(name: str, *command: str, **variables: str) -> Iterator[Server]:
    """Run a server while the context lasts; `{port}` in the command is its port."""
    port = free_port()
    line = [part.format(port=port) for part in command]
    process = subprocess.Popen(
        line, cwd=ROOT, env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{address}/healthz", timeout=5)
                break
            except httpx.TransportError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"bench: {name} did not start: {' '.join(line)}") from None
                time.sleep(0.05)
        yield Server(name, address, process.pid)
    finally:
        process.terminate()
        process.wait(30)


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has used, in seconds (proc(5))."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _when_idle(process: int) -> float:
    """Return the processor time that a process has used when it has done all that it was asked."""
    before = -1.0
    while (now := processor_seconds(process)) > before:
        before = now
        time.sleep(0.2)
    return now


def resident(process: int) -> float:
    """Return the memory that a process holds, in MiB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


async def _ask_again(address: str, question: Question, until: float) -> int:
    """Ask over one connection, again and again, until the clock says `until`; return how often."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**24)
    headers = "".join(f"{name}: {value}\r\n" for name, value in question.headers.items())
    request = f"GET {question.path} HTTP/1.1\r\nHost: {host}:{port}\r\n{headers}\r\n".encode()
    count = 0
    while time.monotonic() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if length is not None and b" 304 " not in head[:20]:
            await reader.readexactly(int(length[1]))
        count += 1
    writer.close()
    return count


async def _load(address: str, question: Question, seconds: int, connections: int) -> float:
    until = time.monotonic() + seconds
    asking = (_ask_again(address, question, until) for _ in range(connections))
    return sum(await asyncio.gather(*asking)) / seconds


def rate(server: Server, question: Question, seconds: int) -> float:
    """Return how many requests a second the server answers: by wrk where there is one, else by ourselves."""
    if shutil.which("wrk") is None:
        script = "import sys, json; from tests.bench.__main__ import load_alone; load_alone(sys.argv[1])"
        asked = json.dumps([server.address, question.path, question.headers, seconds, server.connections])
        out = subprocess.run(
            [sys.executable, "-c", script, asked], cwd=ROOT, check=True, capture_output=True, text=True
        )
        return float(out.stdout)
    headers = [part for name, value in question.headers.items() for part in ("-H", f"{name}: {value}")]
    out = subprocess.run(
        [
            "wrk",
            "-t1",
            f"-c{server.connections}",
            f"-d{seconds}s",
            *headers,
            f"{server.address}{question.path}",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r"Requests/sec:\s+([\d.]+)", out.stdout)
    if found is None or "Non-2xx" in out.stdout:
        raise SystemExit(f"bench: {server.name} did not answer {question.path}:\n{out.stdout}")
    return float(found[1])


def load_alone(asked: str) -> None:
    """Put a load on a server from a process of its own; prints requests a second."""
    address, path, headers, seconds, connections = json.loads(asked)
    print(asyncio.run(_load(address, Question("", path, headers), seconds, connections)))


def measure(server: Server, question: Question, seconds: int) -> None:
    """Ask one question for some seconds, and keep what came of it."""
    before = _when_idle(server.process) if server.process else 0.0
    a_second = rate(server, question, seconds)
    used = _when_idle(server.process) - before if server.process else 0.0
    server.found.setdefault(question.name, []).append((a_second, used / max(1.0, a_second * seconds)))


def record(size: int, folder: Path) -> str:
    """Return the address of a record of so many entries; it is made where it is missing."""
    path = folder / f"history-{size}.db"
    url = f"sqlite:///{path}"
    if not path.exists():
        print(f"making a record of {size} entries ...", file=sys.stderr, flush=True)
        making = path.with_suffix(".making")
        making.unlink(missing_ok=True)
        database = Database(Settings(database_url=f"sqlite:///{making}", _env_file=None))
        database.migrate()
        make_history(database, size)
        database.close()
        making.rename(path)
    return url


def questions(address: str, size: int) -> list[Question]:
    """Return what is asked of a record of `size` entries; the country is one that says much."""
    held = httpx.get(f"{address}/v1/countries?tracked=true&limit=1").json()["items"][0]["code"]
    snapshot = f"/v1/positions?as_of={DAY}&seq={size}&component=troops&component=air&component=sea"
    snapshot += "&component=logistics"
    tag = httpx.get(address + snapshot).headers["ETag"]
    return [
        Question("one country", f"/v1/positions?country={held}&as_of={DAY}"),
        Question("snapshot", snapshot),
        Question("diff of 7 days", f"/v1/diff?from={DAY}&to={WEEK_LATER}"),
        Question("feed", f"/v1/changes?after={size // 2}&limit=100"),
        Question("not modified", snapshot, {"If-None-Match": tag}),
    ]


def save_answers(address: str, asked: Sequence[Question], folder: Path) -> None:
    """Keep each answer for the bare server: status, headers that matter, and the body's bytes."""
    for number, question in enumerate(asked):
        answer = httpx.get(
            address + question.path, headers={"Accept-Encoding": "identity"} | question.headers
        )
        (folder / f"{number}.body").write_bytes(answer.content)
        kept = [question.path, bool(question.headers), answer.status_code]
        (folder / f"{number}.json").write_text(json.dumps(kept))


def ratios(ours: Server, other: Server, name: str, value: Callable[[tuple[float, float]], float]) -> str:
    """Return the ratio of two servers, round by round: minimum, median, maximum."""
    pairs = zip(ours.found[name], other.found[name], strict=True)
    found = sorted(value(a) / value(b) for a, b in pairs if value(b))
    return f"{found[0]:.3f} / {statistics.median(found):.3f} / {found[-1]:.3f}" if found else "-"


def main() -> None:
    """Run the measurement and print its tables."""
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    parser.add_argument("--size", type=int, default=100_000, help="entries of the record (100,000)")
    parser.add_argument("--grown", type=int, nargs="*", default=[1_000], help="other sizes to compare with")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each asking every server (3)")
    parser.add_argument("--seconds", type=int, default=3, help="seconds for each question (3)")
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "bench", help="where records are kept")
    parser.add_argument(
        "--against", action="append", default=[], metavar="NAME=URL", help="another server; repeatable"
    )
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    serve = (sys.executable, "-m", "app", "serve", "--no-seed", "--port", "{port}")
    bare = (sys.executable, "-m", "uvicorn", "--log-level", "warning", "--no-access-log", "--loop", "uvloop")
    with ExitStack() as stack:
        answers = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = record(chosen.size, chosen.folder)
        hot = stack.enter_context(started("hot", *serve, TRACKER_DATABASE_URL=url))
        # What is slow is asked by few: whom nobody waits for any more is answered nevertheless.
        cold = stack.enter_context(started("cold", *serve, TRACKER_DATABASE_URL=url, TRACKER_CACHE_BYTES="0"))
        idle = resident(hot.process or 0)
        asked = questions(hot.address, chosen.size)
        save_answers(hot.address, asked, answers)
        least = stack.enter_context(
            started("bare", *bare, "--port", "{port}", "tests.bench.bare:app", BENCH_ANSWERS=str(answers))
        )
        grown = [
            stack.enter_context(
                started(
                    f"cold {size}",
                    *serve,
                    TRACKER_DATABASE_URL=record(size, chosen.folder),
                    TRACKER_CACHE_BYTES="0",
                )
            )
            for size in chosen.grown
        ]
        others = [
            Server(name, address, None)
            for name, _, address in (each.partition("=") for each in chosen.against)
        ]
        for server in (cold, *grown):
            server.connections = FEW
        for number in range(chosen.rounds):
            for question in asked:
                print(f"round {number + 1}: {question.name}", file=sys.stderr, flush=True)
                for server in (least, hot, cold, *grown, *others):
                    measure(server, _fit(question, server, chosen.size), chosen.seconds)
        report(chosen, least, hot, cold, grown, others)
        print(f"\nmemory: {idle:.0f} MiB idle, {resident(hot.process or 0):.0f} MiB after the run")


def _fit(question: Question, server: Server, size: int) -> Question:
    """Return a question as a record of another size can be asked it."""
    grown = re.fullmatch(r"cold (\d+)", server.name)
    if grown is None:
        return question
    path = question.path.replace(f"&seq={size}", f"&seq={grown[1]}")
    path = path.replace(f"after={size // 2}&", f"after={int(grown[1]) // 2}&")
    return Question(question.name, path, {})


def report(
    chosen: argparse.Namespace,
    least: Server,
    hot: Server,
    cold: Server,
    grown: list[Server],
    others: list[Server],
) -> None:
    """Print the tables: ratios of requests a second, of processor time, and growth with the record."""
    print(f"\n{chosen.size} entries, {chosen.rounds} rounds of {chosen.seconds} s;")
    print("each ratio: minimum / median / maximum over the rounds\n")
    print("| question | bare, requests/s | hot : bare | cold : bare | processor ms, bare, hot, cold |")
    print("|---|---|---|---|---|")
    for name in least.found:
        a_second = statistics.median(found[0] for found in least.found[name])
        spent = (
            statistics.median(each[1] for each in server.found[name]) * 1000 for server in (least, hot, cold)
        )
        milliseconds = ", ".join(f"{each:.3f}" for each in spent)
        rates = [ratios(server, least, name, lambda found: found[0]) for server in (hot, cold)]
        print(f"| {name} | {a_second:,.0f} | {rates[0]} | {rates[1]} | {milliseconds} |")
    for server in grown:
        print(f"\n| question | processor time, {chosen.size} entries : {server.name.split()[1]} |\n|---|---|")
        for name in cold.found:
            print(f"| {name} | {ratios(cold, server, name, lambda found: found[1])} |")
    for server in others:
        print(f"\n| question | hot : {server.name} | cold : {server.name} |\n|---|---|---|")
        for name in hot.found:
            rates = [ratios(each, server, name, lambda found: found[0]) for each in (hot, cold)]
            print(f"| {name} | {rates[0]} | {rates[1]} |")


if __name__ == "__main__":
    main()
