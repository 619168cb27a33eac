import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.db import ROOT, Database
from app.metrics import CACHE_LOOKUPS, REGISTRY, count_hit, count_request, exposition
from app.settings import Settings
from tests import make


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def requests(method: str, route: str, status: int) -> float:
    return value("tracker_requests_total", method=method, route=route, status=str(status))


@pytest.mark.parametrize(
    ("method", "path", "series"),
    [
        ("GET", "/v1/changes/17?seq=0", ("GET", "/v1/changes/{seq}", 404)),
        ("HEAD", "/v1/positions", ("HEAD", "/v1/positions", 200)),
        ("POST", "/v1/positions", ("POST", "/v1/positions", 401)),
        ("GET", "/web/tracker.css", ("GET", "static", 200)),
        ("GET", "/made/up/cct_abc_def", ("GET", "none", 404)),
        ("BREW", "/v1/positions", ("other", "/v1/positions", 405)),
    ],
)
def test_requests_are_counted_by_route_and_status(
    anyone: TestClient, method: str, path: str, series: tuple[str, str, int]
) -> None:
    before = requests(*series)
    anyone.request(method, path)

    assert requests(*series) == before + 1
    assert value("tracker_request_seconds_count", method=series[0], route=series[1]) >= 1


def test_the_metrics_tell_how_the_record_is(anyone: TestClient, contributor: TestClient) -> None:
    waits = value("tracker_write_wait_seconds_count")
    in_use = value("tracker_database_connections")
    make.state(contributor)
    CACHE_LOOKUPS.labels("tested", "hit").inc()
    answer = anyone.get("/metrics")
    lines = answer.text.splitlines()

    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "tracker_ledger_head_seq 1.0" in lines
    assert f"tracker_database_connections {in_use}" in lines  # none is kept by those who were answered
    assert "tracker_followers 0.0" in lines
    assert 'tracker_cache_lookups_total{cache="tested",result="hit"}' in answer.text
    assert value("tracker_write_wait_seconds_count") > waits
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


def test_answers_from_memory_are_counted_as_all_others_are() -> None:
    def found(route: str) -> list[str]:
        lines = exposition().decode().replace(route, "route").splitlines()
        return [each for each in lines if '"route"' in each and "_created" not in each]

    before = value("tracker_cache_lookups_total", cache="answers", result="hit")
    for seconds in (0.001, 0.25, 0.003, 0.001):
        count_hit("GET", "/kept", 200, seconds)
        count_request("GET", "/made", 200, seconds)

    assert found("/kept") == found("/made") != []
    assert value("tracker_cache_lookups_total", cache="answers", result="hit") == before + 4


def test_the_metrics_can_be_had_while_the_database_cannot(tracker: FastAPI, anyone: TestClient) -> None:
    tracker.state.database.close()
    tracker.state.database = Database(Settings(database_url="postgresql://127.0.0.1:1/none", _env_file=None))

    assert anyone.get("/metrics").status_code == 200
    assert anyone.get("/v1/positions").status_code == 503
    tracker.state.database.close()


def test_what_a_killed_process_had_in_use_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    killed = "import app.metrics as m, os; m.FOLLOWERS.inc(); m.CACHE_LOOKUPS.labels('a', 'hit').inc()"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", f"{killed}; os._exit(9)"], env=environment, check=False)
    before = len(list(tmp_path.glob("gauge_livesum_*.db")))
    lines = exposition().decode().splitlines()

    assert before == 1
    assert list(tmp_path.glob("gauge_livesum_*.db")) == []
    assert 'tracker_cache_lookups_total{cache="a",result="hit"} 1.0' in lines
