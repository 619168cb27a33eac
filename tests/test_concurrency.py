import asyncio
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.auth import create_key
from app.db import Database
from app.settings import Settings
from app.verify import verify
from app.vocabulary import Scope
from tests import make
from tests.serving import served

COUNTRIES = ("PL", "FR", "GB", "DE", "IT", "ES", "NO", "SE", "FI", "DK", "NL", "BE", "EE", "LV", "LT", "CZ")
KINDS = ("troops", "air", "sea")
LONG = bool(os.environ.get("TRACKER_TEST_LONG"))
WRITERS, POSTS = (64, 20) if LONG else (16, 6)
WALKERS, FOLLOWERS = 4, 2


@dataclass
class Seen:
    """What everybody who used the server met."""

    total: int
    recorded: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    followed: list[list[int]] = field(default_factory=list)
    walks: int = 0

    @property
    def is_over(self) -> bool:
        return len(self.recorded) + len(self.refused) >= self.total


async def get(client: httpx.AsyncClient, seen: Seen, url: str) -> dict[str, Any]:
    begun = time.perf_counter()
    answer = await client.get(url)
    seen.reads.append(time.perf_counter() - begun)
    if answer.status_code != 200:
        seen.refused.append(f"GET {url}: {answer.status_code} {answer.text}")
        return {"items": [], "next": None, "meta": {"total": 0}}
    found: dict[str, Any] = answer.json()
    return found


async def write(client: httpx.AsyncClient, seen: Seen, number: int) -> None:
    for post in range(POSTS):
        body = make.body(
            country=COUNTRIES[(number + post) % len(COUNTRIES)],
            kind=KINDS[number % 3],
            speaker=f"Speaker {number}, {post}",
            source=make.SOURCE | {"url": f"https://example.org/{number}"},
        )
        begun = time.perf_counter()
        answer = await client.post("/v1/positions", json=body)
        seen.waits.append(time.perf_counter() - begun)
        if answer.status_code == 201:
            seen.recorded.append(answer.json()["change"]["seq"])
        else:
            seen.refused.append(f"POST: {answer.status_code} {answer.text}")


async def walk(client: httpx.AsyncClient, seen: Seen, path: str, names: tuple[str, ...]) -> None:
    before = 0
    while not seen.is_over:
        keys: list[tuple[Any, ...]] = []
        url: str | None = path
        while url is not None:
            page = await get(client, seen, url)
            keys += [tuple(item[name] for name in names) for item in page["items"]]
            url = page["next"] if page["items"] else None
        seen.walks += 1
        if sorted(set(keys)) != sorted(keys):
            seen.broken.append(f"{path} repeats")
        if len(keys) < before:
            seen.broken.append(f"{path} shrinks from {before} to {len(keys)}")
        before = len(keys)


async def follow(client: httpx.AsyncClient, seen: Seen) -> None:
    found: list[int] = []
    seen.followed.append(found)
    url = "/v1/changes?limit=50"
    while not (seen.is_over and len(found) >= len(seen.recorded)):
        page = await get(client, seen, url)
        found += [item["seq"] for item in page["items"]]
        url = page["next"] or url
        if not page["items"]:
            await asyncio.sleep(0.02)
        if len(seen.refused) > 20:
            return


async def use(address: str, key: str) -> Seen:
    seen = Seen(WRITERS * POSTS)
    limits = httpx.Limits(max_connections=200)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=60, limits=limits) as client:
        await asyncio.gather(
            *(write(client, seen, number) for number in range(WRITERS)),
            walk(client, seen, "/v1/positions?limit=7", ("country", "component")),
            walk(client, seen, "/v1/positions?limit=7", ("country", "component")),
            walk(client, seen, "/v1/sources?limit=9", ("id",)),
            walk(client, seen, "/v1/changes?limit=90", ("seq",)),
            *(follow(client, seen) for _ in range(FOLLOWERS)),
        )
    return seen


def figures(name: str, seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    worst = max(seconds)
    return f"{name}: {len(seconds)}, p50 {cuts[49]:.3f} s, p99 {cuts[98]:.3f} s, longest {worst:.3f} s"


def test_many_write_at_once_and_nobody_misses_anything(
    backend: str, settings: Settings, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.writing() as session:
        key = create_key(session, "crowd", Scope.CONTRIBUTE)
    with served(settings.database_url, tmp_path, workers=1 if backend == "sqlite" else 2) as address:
        seen = asyncio.run(use(address, key))
    if LONG:
        with capsys.disabled():
            print(f"\n{backend}, {seen.walks} walks")
            print(figures("POST", seen.waits), figures("GET", seen.reads), sep="\n")

    every = list(range(1, seen.total + 1))
    assert seen.refused == []
    assert seen.broken == []
    assert sorted(seen.recorded) == every
    assert seen.followed == [every] * FOLLOWERS
    assert seen.walks >= WALKERS
    with database.reading() as session:
        found = verify(session)
    assert (found.finding, found.seq) == (None, seen.total)
