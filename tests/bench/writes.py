"""Writing: statements a second, each in a transaction of its own, on a copy of a record."""

import json
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from pathlib import Path

import httpx

from app.auth import create_key
from app.vocabulary import Scope
from tests import make
from tests.bench.history import ENDED
from tests.bench.load import measure, request
from tests.bench.records import Records, open_database, world
from tests.bench.serving import BARE, SERVE, Rounds, Server, say, started
from tests.bench.tables import median, ratio, table

CROWDS = (1, 16)
"""How many clients write at once."""

MOST_A_SECOND = 4_000
"""For how many writes a second there are bodies; whoever is faster is told to prepare more."""

KINDS, FIRMNESS = ("troops", "air", "sea"), ("planned", "signalled", "committed")
UNHINDERED = {"TRACKER_WRITE_LIMIT": "100000000/minute"}
"""The limit is kept count of, as it is served, and never reached."""


class Stating:
    """Statements that nobody has made before, one after the other."""

    def __init__(self, countries: list[str], key: str) -> None:
        self._countries = countries
        self._key = key
        self._numbers = count(1)

    def requests(self, address: str, wanted: int) -> list[bytes]:
        """Return so many requests, each with an `Idempotency-Key` of its own."""
        return [self._request(address, next(self._numbers)) for _ in range(wanted)]

    def _request(self, address: str, number: int) -> bytes:
        body = make.body(
            country=self._countries[number % len(self._countries)],
            kind=KINDS[number // 7 % 3],
            firmness=FIRMNESS[number // 3 % 3],
            stated_on=(ENDED.date() - timedelta(days=number % 300)).isoformat(),
            summary=f"It is said for the {number}th time.",
            speaker=f"Speaker {number}",
            source=make.SOURCE | {"url": f"https://example.org/{number // 12}"},
        )
        headers = {"Authorization": f"Bearer {self._key}", "Idempotency-Key": f"bench-{number}"}
        content = json.dumps(body).encode()
        return request(address, "/v1/positions", method="POST", headers=headers, body=content)


def measure_writes(records: Records, size: int, *, rounds: int, seconds: int) -> None:
    """Measure and print how many statements a second are recorded, by one client and by many."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="writes-", dir=records.folder)))
        url = stack.enter_context(records.copied(size))
        database = open_database(url)
        with database.writing() as session:
            key = create_key(session, "bench", Scope.CONTRIBUTE)
        database.close()
        ours = stack.enter_context(
            started(
                "writes",
                SERVE,
                scratch,
                database_url=url,
                beside=records.processes,
                variables=UNHINDERED,
            )
        )
        stating = Stating(list(world(url, size).countries), key)
        _keep_answer(ours, stating, scratch)
        bare = stack.enter_context(started("bare", BARE, scratch, variables={"BENCH_ANSWERS": str(scratch)}))
        found: dict[tuple[int, str], Rounds] = {}
        for number in range(rounds):
            for clients in CROWDS:
                say(f"writes, round {number + 1} of {rounds}: {clients} at once")
                for server in (bare, ours):
                    kept = found.setdefault((clients, server.name), Rounds())
                    _measure(server, stating, seconds, clients, kept, is_ours=server is ours)
    head = [
        "clients",
        "bare, a second",
        "recorded, a second",
        "recorded : bare",
        "by the processor",
        "ms of it",
    ]
    rows = []
    for clients in CROWDS:
        least, kept = found[clients, "bare"], found[clients, "writes"]
        rows.append(
            [
                clients,
                median(least.a_second),
                median(kept.a_second),
                ratio(kept.a_second, least.a_second),
                ratio(kept.a_processor_second, least.a_processor_second),
                f"{median(least.milliseconds)}, {median(kept.milliseconds)}",
            ]
        )
    table(f"POST /v1/positions on {size:,} entries, {rounds} rounds of {seconds} s", head, rows)


def _keep_answer(server: Server, stating: Stating, folder: Path) -> None:
    """Keep the answer to one write for the bare server."""
    (asked,) = stating.requests(server.address, 1)
    head, _, body = asked.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    answer = httpx.post(f"{server.address}/v1/positions", content=body, headers=headers, timeout=60)
    if answer.status_code != 201:
        raise SystemExit(f"bench: a write is answered {answer.status_code}: {answer.text}")
    (folder / "write.body").write_bytes(answer.content)
    (folder / "write.json").write_text(json.dumps(["POST", "/v1/positions", False, 201]))


def _measure(
    server: Server, stating: Stating, seconds: int, clients: int, rounds: Rounds, *, is_ours: bool
) -> None:
    requests = stating.requests(server.address, MOST_A_SECOND * seconds if is_ours else 1000)
    before = _newest(server) if is_ours else 0
    found = measure(server, requests, seconds, clients, rounds)
    if not is_ours:
        return
    recorded = _newest(server) - before
    if found.answers + found.left > len(requests):
        raise SystemExit(
            "bench: more was written than prepared; raise MOST_A_SECOND in tests/bench/writes.py"
        )
    if not found.answers <= recorded <= found.answers + found.left:
        raise SystemExit(f"bench: {found.answers} writes were answered and {recorded} recorded")


def _newest(server: Server) -> int:
    return int(httpx.get(f"{server.address}/v1/changes?limit=1", timeout=60).headers["Ledger-Seq"])
