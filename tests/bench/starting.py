"""Starting: how long it takes from nothing to the first answer, and what an idle server holds."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.bench.serving import resident, say
from tests.bench.tables import spread, table
from tests.serving import environment, free_port, stop

WITHIN = 120.0
SETTLED = 2.0
"""Seconds after which a server that nobody asks is idle."""


def measure_starts(folder: Path, *, rounds: int) -> None:
    """Start a server on a database that is not there yet, again and again; print what it took.

    The first start is not counted: in that Python compiles what it keeps for all that follow.
    """
    seconds, memory = [], []
    with tempfile.TemporaryDirectory(prefix="compiled-", dir=folder) as compiled:
        for number in range(rounds + 1):
            say(f"start {number} of {rounds}" if number else "starting once, to have all compiled")
            with tempfile.TemporaryDirectory(prefix="start-", dir=folder) as scratch:
                taken, held = _start(Path(scratch), compiled)
            if number:
                seconds.append(taken)
                memory.append(held)
    rows = [
        ["seconds from the start of the process to the first answer", spread(seconds)],
        [f"MiB that it holds {SETTLED:.0f} s later", spread(memory)],
    ]
    title = f"A new embedded database, migrated and seeded ({rounds} rounds): minimum / median / maximum"
    table(title, ["what", "found"], rows)


def _start(folder: Path, compiled: str) -> tuple[float, float]:
    """Return the seconds until /v1/positions is answered, and the memory held after a while in MiB.

    What is compiled is kept in a folder of its own, also where Python is told to keep nothing.
    """
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled}
    port = free_port()
    log = folder / "serve.log"
    with log.open("wb") as words:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", str(port)],
            cwd=folder,
            env=environment(f"sqlite:///{folder / 'tracker.db'}") | kept,
            stdout=words,
            stderr=words,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            while not _answers(client):
                if process.poll() is not None or time.perf_counter() - begun > WITHIN:
                    raise SystemExit(f"bench: the server did not start:\n{log.read_text()[-3000:]}")
                time.sleep(0.005)
            taken = time.perf_counter() - begun
        time.sleep(SETTLED)
        return taken, resident([process.pid])
    finally:
        stop(process)


def _answers(client: httpx.Client) -> bool:
    try:
        answer = client.get("/v1/positions")
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and bool(answer.json()["items"])
