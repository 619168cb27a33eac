import json
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import httpx
import pytest
from starlette.testclient import TestClient

from app import server
from app.auth import create_key
from app.db import Database
from app.main import create_app
from app.settings import Settings
from app.vocabulary import Scope
from tests import make
from tests.conftest import client
from tests.serving import running

SLOW, MOST = 20, 70


def connected(stack: ExitStack, address: str, sent: bytes) -> socket.socket:
    host, _, port = address.removeprefix("http://").partition(":")
    found = stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
    found.sendall(sent)
    return found


def answer(found: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"}"):
        received += found.recv(65536)
    return received


def rest(found: socket.socket) -> bytes:
    received = b""
    while piece := found.recv(65536):
        received += piece
    return received


@pytest.fixture(scope="module")
def folder(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("server")
    shutil.copy(migrated, found / "tracker.db")
    return found


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    variables = {
        "TRACKER_CLIENT_WAIT_SECONDS": "2",
        "TRACKER_CONNECTION_LIMIT": str(MOST),
        "TRACKER_TRUSTED_PROXIES": "127.0.0.1",
    }
    with running(f"sqlite:///{folder / 'tracker.db'}", folder, **variables) as (_, found):
        yield found


@pytest.fixture(scope="module")
def two(folder: Path) -> Iterator[str]:
    """Address of a server of two processes, of which each lets a key write six times."""
    limit = {"TRACKER_WRITE_LIMIT": "6/hour"}
    with running(f"sqlite:///{folder / 'tracker.db'}", folder, "--workers", "2", **limit) as (_, found):
        yield found


@pytest.fixture
def key(folder: Path) -> str:
    database = Database(Settings(database_url=f"sqlite:///{folder / 'tracker.db'}", _env_file=None))
    with database.writing() as session:
        found = create_key(session, "slow", Scope.CONTRIBUTE)
    database.close()
    return found


def test_clients_that_send_half_a_request_hold_nobody_up_and_are_let_go(address: str, key: str) -> None:
    head = f"POST /v1/positions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    begun = f"{head}Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{{".encode()
    with ExitStack() as stack:
        silent = [connected(stack, address, b"") for _ in range(SLOW)]
        headless = [connected(stack, address, head[:40].encode()) for _ in range(SLOW)]
        bodiless = [connected(stack, address, begun) for _ in range(SLOW)]
        headers = {"Authorization": f"Bearer {key}"}
        read = httpx.get(f"{address}/v1/positions", timeout=20)
        written = httpx.post(f"{address}/v1/positions", json=make.body(), headers=headers, timeout=20)

        assert (read.status_code, written.status_code) == (200, 201)
        assert {rest(each) for each in silent + headless} == {b""}
        answers = [rest(each).partition(b"\r\n\r\n") for each in bodiless]
        assert {head.split(b" ")[1] for head, _, _ in answers} == {b"408"}
        assert {json.loads(body)["type"] for _, _, body in answers} == {"/problems/too-slow"}


def test_a_kept_connection_has_the_same_time_for_each_of_its_requests(address: str) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as stack:
        kept = connected(stack, address, request)
        answers = [answer(kept)]
        kept.sendall(request)
        answers.append(answer(kept))
        kept.sendall(request[:20])
        after = rest(kept)

    assert [each[:12] for each in answers] == [b"HTTP/1.1 200"] * 2
    assert after == b""


def connections(address: str) -> int | None:
    answer = httpx.get(f"{address}/metrics")
    if answer.status_code != 200:
        return None
    told = answer.text
    return int(float(told.partition("\ntracker_connections ")[2].partition("\n")[0]))


def wait_for(count: int, address: str) -> None:
    deadline = time.monotonic() + 30
    while connections(address) != count:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_who_does_not_take_an_answer_is_let_go(address: str) -> None:
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    wait_for(1, address)
    with ExitStack() as stack:
        stuck = stack.enter_context(socket.socket())
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect((address.split("/")[2].split(":", maxsplit=1)[0], int(address.rpartition(":")[2])))
        stuck.sendall(request * 200)
        wait_for(2, address)
        wait_for(1, address)


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_request_is_a_problem_too(address: str, sent: bytes) -> None:
    with ExitStack() as stack:
        head, _, body = rest(connected(stack, address, sent)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["type"] == "/problems/not-http"


def test_a_connection_too_many_is_told_to_come_back(address: str) -> None:
    with ExitStack() as stack:
        follow = b"GET /v1/changes/stream HTTP/1.1\r\nHost: x\r\n\r\n"
        kept = [connected(stack, address, follow) for _ in range(MOST)]
        assert {each.recv(12) for each in kept} == {b"HTTP/1.1 200"}
        refused = httpx.get(f"{address}/healthz")
    wait_for(1, address)

    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/busy")
    assert (refused.headers["Retry-After"], refused.headers["Connection"]) == ("2", "close")


def test_a_trusted_proxy_says_where_a_request_came_from(address: str) -> None:
    found = httpx.get(f"{address}/v1/changes", headers={"X-Forwarded-Proto": "https"})

    assert found.json()["next"].startswith("https://")
    assert "Server" not in found.headers


@pytest.mark.parametrize(("trusted", "believed"), [("", None), ("10.0.0.0/8", "10.0.0.0/8")])
def test_no_proxy_is_trusted_that_is_not_named(trusted: str, believed: str | None) -> None:
    with mock.patch("uvicorn.Config") as config:
        server.configure(Settings(trusted_proxies=trusted, _env_file=None), 1)
    options = config.call_args.kwargs

    assert (options["proxy_headers"], options.get("forwarded_allow_ips")) == (bool(trusted), believed)


def test_a_tracker_that_is_set_read_only_reads_and_refuses_to_write(
    settings: Settings, contributor: TestClient
) -> None:
    make.state(contributor)
    tracker = create_app(settings.model_copy(update={"read_only": True}))
    reader = client(tracker)
    headers = dict(contributor.headers)

    refused = reader.post("/v1/positions", json=make.body(country="FR"), headers=headers)
    unknown = reader.post("/v1/positions", json=make.body(country="FR"))
    read = reader.get("/v1/positions?as_of=2025-04-01")
    ready = reader.get("/readyz")
    tracker.state.database.close()

    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/read-only")
    assert refused.headers["Retry-After"] == "60"
    assert unknown.status_code == 401
    assert (read.status_code, read.json()["meta"]["total"]) == (200, 1)
    assert ready.status_code == 200


def each_on_its_own(address: str, request: httpx.Request, count: int) -> list[httpx.Response]:
    """Send a request over `count` connections at once, so that both processes get some."""
    with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=address, timeout=30) as client:
        request.headers["Connection"] = "close"
        return list(pool.map(lambda _: client.send(request), range(count)))


def test_each_process_keeps_the_limit_for_itself(two: str, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    write = httpx.Request(
        "POST", f"{two}/v1/positions?dry_run=true", json=make.body(country="FR"), headers=headers
    )
    answers = Counter(each.status_code for each in each_on_its_own(two, write, 40))

    assert set(answers) == {200, 429}
    assert 6 <= answers[200] <= 12


def test_the_figures_of_both_processes_are_added_up(two: str) -> None:
    each_on_its_own(two, httpx.Request("GET", f"{two}/v1/vocabulary"), 40)
    told = each_on_its_own(two, httpx.Request("GET", f"{two}/metrics"), 8)
    counted = [
        line.rpartition(" ")[2]
        for each in told
        for line in each.text.splitlines()
        if line.startswith("tracker_requests_total{") and "/v1/vocabulary" in line
    ]

    assert counted == ["40.0"] * 8
