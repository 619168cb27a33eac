import os
import random
import signal
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from app.auth import create_key
from app.db import Database
from app.settings import Settings
from app.vocabulary import Scope
from tests.commands import coalition
from tests.serving import free_port, start, stop, wait_until_ready
from tests.witness import Tale, judge, writing

LONG = bool(os.environ.get("TRACKER_TEST_LONG"))
ROUNDS = 50 if LONG else 2
STOPS = 20 if LONG else 1


@pytest.fixture
def key(database: Database) -> str:
    with database.writing() as session:
        return create_key(session, "witness", Scope.CONTRIBUTE)


def ready(settings: Settings, folder: Path, port: int) -> tuple["subprocess.Popen[bytes]", float]:
    """Start a server; return it when it is ready, and the seconds that it took."""
    begun = time.monotonic()
    process = start(settings.database_url, folder, port)
    wait_until_ready(process, f"http://127.0.0.1:{port}")
    return process, time.monotonic() - begun


def left_behind(database: Database) -> list[str]:
    """Return the write-ahead log of an embedded database, if anything is in it."""
    path = Path(f"{database.url.database}-wal")
    return [path.name] if database.is_embedded and path.exists() and path.stat().st_size else []


def told(capsys: pytest.CaptureFixture[str], *figures: str) -> None:
    if LONG:
        with capsys.disabled():
            print("", *figures, sep="\n")


def test_what_was_acknowledged_is_there_after_the_server_was_killed(
    backend: str,
    settings: Settings,
    database: Database,
    key: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tale, starts, port = Tale(), [], free_port()
    process, _ = ready(settings, tmp_path, port)
    try:
        with writing(f"http://127.0.0.1:{port}", key, tale):
            for _ in range(ROUNDS):
                wanted = len(tale.acknowledged) + random.randint(1, 220 if LONG else 20)
                while len(tale.acknowledged) < wanted:
                    time.sleep(random.uniform(0, 0.05))
                process.send_signal(signal.SIGKILL)
                process.wait()
                process, seconds = ready(settings, tmp_path, port)
                starts.append(seconds)
    finally:
        stop(process)
    verdict = judge(database, tale)
    outcome = coalition("verify", database_url=settings.database_url, folder=tmp_path)
    told(
        capsys,
        f"{backend}: {ROUNDS} kills, {len(tale.attempted)} statements sent, {len(tale.acknowledged)} "
        f"acknowledged, {tale.cut} requests cut, {tale.replayed} answered from memory",
        f"ready again after {statistics.median(starts):.1f} s (median), {max(starts):.1f} s (longest)",
        str(verdict),
    )

    assert tale.strange == []
    assert tale.cut > 0
    assert verdict.is_clean, verdict
    assert (outcome.code, outcome.out[-1:]) == (0, "\n")


def test_a_server_that_is_told_to_stop_cuts_no_request(
    backend: str,
    settings: Settings,
    database: Database,
    key: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tale, port, spans, codes = Tale(), free_port(), [], []
    database.close()  # else this process would keep the write-ahead log open
    left = []
    with writing(f"http://127.0.0.1:{port}", key, tale):
        for _ in range(STOPS):
            process, _ = ready(settings, tmp_path, port)
            before = len(tale.acknowledged)
            while len(tale.acknowledged) < before + 10:
                time.sleep(random.uniform(0, 0.05))
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            codes.append(process.wait(30))
            spans.append(time.monotonic() - begun)
            left += left_behind(database)
    verdict = judge(database, tale)
    told(
        capsys,
        f"{backend}: {STOPS} stops, {len(tale.acknowledged)} acknowledged, {tale.cut} requests cut, "
        f"longest stop {max(spans):.1f} s",
    )

    assert (tale.cut, tale.strange) == (0, [])
    assert set(tale.answers) == {201}
    assert codes == [0] * STOPS
    assert left == []
    assert verdict.is_clean, verdict
