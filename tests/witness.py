"""Clients that write without pause and remember what they were told, and the judge of what is left."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import sqlalchemy as sa
from sqlmodel import col

from app.changes import Change
from app.db import Database
from app.lines import LineEntry
from app.retries import KeptAnswer
from app.statements import Statement
from app.verify import verify
from tests import make

COUNTRIES = (
    *("AL", "AT", "AU", "BE", "BG", "CA", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB", "GR", "HR"),
    *("HU", "IE", "IS", "IT", "JP", "LT", "LU", "LV", "ME", "MK", "MT", "NL", "NO", "NZ", "PL", "PT", "RO"),
    *("SE", "SI", "SK", "TR"),
)
KINDS = ("troops", "air", "sea")
WRITERS = 8


@dataclass
class Tale:
    """What the clients tell: each statement is known by its speaker."""

    attempted: set[str] = field(default_factory=set)
    acknowledged: dict[str, set[int]] = field(default_factory=dict)
    keyed: set[str] = field(default_factory=set)
    answers: Counter[int] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)
    cut: int = 0
    replayed: int = 0
    last_at: float = 0.0
    """When the last write was acknowledged, by the monotonic clock."""


class Writer(threading.Thread):
    """States one thing after the other; every second statement with an `Idempotency-Key`.

    Such a one is sent again until it is answered. One without that is not answered is left as it is:
    nobody can know whether it was recorded.
    """

    def __init__(self, address: str, key: str, tale: Tale, number: int, is_over: threading.Event) -> None:
        super().__init__()
        self.tale, self.number, self.is_over = tale, number, is_over
        headers = {"Authorization": f"Bearer {key}"}
        self.client = httpx.Client(base_url=address, headers=headers, timeout=30)

    def run(self) -> None:
        """Write until it is over; what then has a key and no answer yet is settled first."""
        with self.client:
            count = 0
            while not self.is_over.is_set():
                self.state(count)
                count += 1

    def state(self, count: int) -> None:
        """State one thing."""
        speaker = f"Speaker {self.number}, {count}"
        body = make.body(
            country=COUNTRIES[(self.number * 7 + count) % len(COUNTRIES)],
            kind=KINDS[count % 3],
            speaker=speaker,
            source=make.SOURCE | {"url": f"https://example.org/{self.number}/{count % 50}"},
        )
        is_keyed = count % 2 == 0
        if is_keyed:
            self.tale.keyed.add(speaker)
        self.tale.attempted.add(speaker)
        while not self.send(speaker, body, is_keyed=is_keyed):
            time.sleep(0.02)
            if self.is_over.is_set() and not is_keyed:
                return

    def send(self, speaker: str, body: dict[str, object], *, is_keyed: bool) -> bool:
        """Send a statement; return whether there is nothing more to do about it."""
        headers = {"Idempotency-Key": speaker.replace(" ", "")} if is_keyed else {}
        tale = self.tale
        try:
            answer = self.client.post("/v1/positions", json=body, headers=headers)
        except httpx.ConnectError:
            return self.is_over.is_set()  # nobody is there: it was not sent
        except httpx.TransportError:
            tale.cut += 1
            return not is_keyed or self.is_over.is_set()
        tale.answers[answer.status_code] += 1
        if answer.status_code == 201:
            tale.acknowledged.setdefault(speaker, set()).add(answer.json()["change"]["seq"])
            tale.replayed += answer.headers.get("Idempotent-Replayed") == "true"
            tale.last_at = time.monotonic()
            return True
        is_refusal = answer.headers["Content-Type"] == "application/problem+json"
        if answer.status_code not in (503, 507) or not is_refusal or "Retry-After" not in answer.headers:
            tale.strange.append(f"{answer.status_code} {answer.text[:300]}")
            return True
        return not is_keyed or self.is_over.is_set()


@contextmanager
def writing(address: str, key: str, tale: Tale, writers: int = WRITERS) -> Iterator[None]:
    """Have clients write while the context lasts."""
    is_over = threading.Event()
    threads = [Writer(address, key, tale, number, is_over) for number in range(writers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


@dataclass(frozen=True)
class Verdict:
    """What is wrong with what was kept; nothing, if all is well."""

    lost: list[str]
    twice: list[str]
    invented: list[str]
    half: dict[str, int]
    finding: str | None
    integrity: str

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing is wrong."""
        return self == Verdict([], [], [], {}, None, "ok")


def judge(database: Database, tale: Tale) -> Verdict:
    """Compare what clients were told with what the record holds."""
    with database.reading() as session:
        found: dict[str, list[int]] = {}
        for seq, speaker in session.execute(sa.select(col(Statement.seq), col(Statement.speaker))):
            found.setdefault(str(speaker), []).append(seq)
        half = {
            "entries without statement": sa.select(col(Change.seq)).except_(sa.select(col(Statement.seq))),
            "statements in no line": sa.select(col(Statement.seq)).except_(sa.select(col(LineEntry.seq))),
            "answers without entry": sa.select(col(KeptAnswer.location)).except_(
                sa.select(sa.literal("/v1/changes/") + sa.cast(col(Change.seq), sa.Text))
            ),
        }
        counts = {name: len(session.execute(query).all()) for name, query in half.items()}
        kept = set(session.execute(sa.select(col(KeptAnswer.idempotency_key))).scalars())
        keyed = {speaker for speaker in found if speaker in tale.keyed}
        counts["entries without answer"] = len({each.replace(" ", "") for each in keyed} - kept)
        finding = verify(session).finding
        integrity = "ok"
        if database.is_embedded:
            integrity = session.execute(sa.text("PRAGMA integrity_check")).scalar_one()
    return Verdict(
        lost=[each for each, seqs in tale.acknowledged.items() if set(found.get(each, ())) != seqs],
        twice=[each for each, seqs in found.items() if len(seqs) > 1],
        invented=[each for each in found if each not in tale.attempted],
        half={name: count for name, count in counts.items() if count},
        finding=None if finding is None else finding.what,
        integrity=integrity,
    )
