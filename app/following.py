"""Following the ledger live: one watch per process, however many clients follow."""

import asyncio
from collections.abc import AsyncIterator, Callable

from fastapi.concurrency import run_in_threadpool

from app.changes import head_of
from app.db import Database
from app.metrics import FOLLOWERS

LOOK_EVERY = 0.5
"""Seconds between looks at the ledger's head, while anybody follows."""

HEARTBEAT = 15.0
"""Seconds after which a silent stream says that it is alive, so that proxies keep it open."""


class Watch:
    """Knows the newest seq while anybody follows, and wakes those who wait for a newer one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._newest = 0
        self._followers = 0
        self._moved = asyncio.Condition()
        self._looking: asyncio.Task[None] | None = None
        self._is_closed = False

    async def close(self) -> None:
        """Let every follower go: the server is stopping, and each can come back to the next one."""
        async with self._moved:
            self._is_closed = True
            self._moved.notify_all()

    async def newer_than(self, seq: int) -> AsyncIterator[int | None]:
        """Yield the newest seq whenever it is above what was yielded last, at first above `seq`.

        Yields None after each silent `HEARTBEAT`.
        """
        self._followers += 1
        FOLLOWERS.inc()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            while not self._is_closed:
                try:
                    async with asyncio.timeout(HEARTBEAT), self._moved:
                        while self._newest <= seq and not self._is_closed:
                            await self._moved.wait()
                        seq = max(seq, self._newest)
                except TimeoutError:
                    yield None
                else:
                    yield seq
        finally:
            self._followers -= 1
            FOLLOWERS.dec()
            if self._followers == 0 and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _look(self) -> None:
        while True:
            try:
                newest = await run_in_threadpool(self._read_head)
            except Exception:
                newest = self._newest
            if newest != self._newest:
                async with self._moved:
                    self._newest = newest
                    self._moved.notify_all()
            await asyncio.sleep(LOOK_EVERY)

    def _read_head(self) -> int:
        with self._database.reading() as session:
            return head_of(session).seq


async def stream(
    watch: Watch, after: int, read: Callable[[int, int], tuple[list[tuple[int, str]], int]]
) -> AsyncIterator[bytes]:
    """Yield the ledger from entry `after` on as server-sent events (WHATWG HTML, section 9.2).

    `read(after, until)` returns the next wanted entries as (seq, JSON), and the last seq that it
    has looked at. The id of an event is its seq: a client that comes back with it as
    `Last-Event-ID` misses nothing and meets nothing twice.
    """
    yield b"retry: 2000\n\n"
    async for newest in watch.newer_than(after):
        if newest is None:
            yield b": alive\n\n"
            continue
        while after < newest:
            found, after = await run_in_threadpool(read, after, newest)
            if found:
                yield "".join(f"id: {seq}\nevent: change\ndata: {text}\n\n" for seq, text in found).encode()
