"""Reading: our server hot and cold beside a bare one and others, in the same rounds."""

import json
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.bench import datasette, drf, rows
from tests.bench.load import measure, request
from tests.bench.questions import (
    READ,
    WAYS,
    Items,
    Parameters,
    Question,
    World,
    answered,
    check_same,
)
from tests.bench.records import Records, world
from tests.bench.serving import BARE, SERVE, Rounds, Server, resident, say, started
from tests.bench.tables import median, ratio, short, table

MANY, FEW = 16, 2
"""Connections to servers that are asked the same again, and to those that are asked something new."""

IDENTITY = {"Accept-Encoding": "identity"}
KEEPS_NOTHING = {"TRACKER_CACHE_BYTES": "0"}

OTHERS = {"datasette": datasette, "drf": drf}
"""Servers of other kinds, which answer with rows; each has paths of its own."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it is put, in all its ways, and what our server answers."""

    question: Question
    ways: Sequence[Parameters]
    tags: Sequence[str]
    items: Sequence[Items]
    length: int
    """Bytes of the first answer."""

    def requests(self, server: Server, count: int) -> list[bytes]:
        """Return the first requests of a server; none where it cannot be asked this."""
        return [
            request(
                server.address, path, headers={"If-None-Match": tag} if self.question.is_conditional else {}
            )
            for path, tag in zip(paths(server, self.question, self.ways[:count]), self.tags, strict=False)
        ]


@dataclass(slots=True)
class State:
    """A state of our server, with those that are asked the same beside it."""

    name: str
    ours: Server
    others: Sequence[Server]
    connections: int
    ways: int
    found: dict[tuple[str, str], Rounds] = field(default_factory=dict)
    """By question and server."""


def paths(server: Server, question: Question, ways: Sequence[Parameters]) -> list[str]:
    """Return where a server is asked a question; nothing where it cannot be asked it."""
    other = OTHERS.get(server.name)
    if other is not None:
        asked = (other.path(question, each) for each in ways)
        return [each for each in asked if each is not None]
    return [question.path(each) for each in ways]


def prepared(server: Server, asking: World, folder: Path, count: int) -> list[Asked]:
    """Ask our server everything once; keep the answers for the bare server in a folder."""
    found = []
    with httpx.Client(base_url=server.address, headers=IDENTITY, timeout=300) as client:
        for number, question in enumerate(READ):
            say(f"preparing {question.name}: {count} ways of asking")
            ways = question.ways(asking, count)
            tags, items, first = [], [], b""
            for way, given in enumerate(ways):
                path = question.path(given)
                answer = client.get(path).raise_for_status()
                tags.append(answer.headers.get("ETag", ""))
                items.append(answered(question, answer.content))
                if question.is_conditional:
                    answer = client.get(path, headers={"If-None-Match": tags[-1]})
                first = first or answer.content
                name = f"{number}-{way}"
                (folder / f"{name}.body").write_bytes(answer.content)
                kept = ["GET", path, question.is_conditional, answer.status_code]
                (folder / f"{name}.json").write_text(json.dumps(kept))
            found.append(Asked(question, ways, tags, items, len(first)))
    return found


def check(server: Server, asked: Sequence[Asked], count: int) -> None:
    """Refuse to measure a server that answers anything else than ours does."""
    with httpx.Client(base_url=server.address, headers=IDENTITY, timeout=300) as client:
        for each in asked:
            if each.question.is_conditional:
                if server.name not in OTHERS:
                    _check_not_modified(client, server, each, count)
                continue
            where = paths(server, each.question, each.ways[:count])
            for path, ours in zip(where, each.items, strict=False):
                answer = client.get(path)
                if answer.status_code != 200:
                    raise SystemExit(f"bench: {server.name} answers {answer.status_code} to {path}")
                theirs = (
                    rows.items(each.question, answer.json())
                    if server.name in OTHERS
                    else answered(each.question, answer.content)
                )
                check_same(each.question, path, ours, server.name, theirs)


def _check_not_modified(client: httpx.Client, server: Server, asked: Asked, count: int) -> None:
    where = paths(server, asked.question, asked.ways[:count])
    for path, tag in zip(where, asked.tags, strict=False):
        status = client.get(path, headers={"If-None-Match": tag}).status_code
        if status != 304:
            raise SystemExit(f"bench: {server.name} answers {status} to {path} though nothing changed")


def measure_reads(
    records: Records,
    size: int,
    *,
    rounds: int,
    seconds: int,
    ways: int = WAYS,
    without: Collection[str] = (),
    against: Sequence[tuple[str, str]] = (),
) -> None:
    """Measure and print how fast our server reads, hot and cold, beside others."""
    url = records.url(size)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reads-", dir=records.folder)))
        answers = scratch / "answers"
        answers.mkdir()

        def ours(name: str, **variables: str) -> Server:
            return stack.enter_context(
                started(name, SERVE, scratch, database_url=url, beside=records.processes, variables=variables)
            )

        # Under one name, so that what one has given is known to the other.
        named = {"TRACKER_PUBLIC_URL": "https://tracker.example"}
        hot, cold = ours("hot", **named), ours("cold", **KEEPS_NOTHING, **named)
        idle = resident(hot.processes[:1])
        asked = prepared(cold, world(url, size), answers, ways)
        bare = stack.enter_context(started("bare", BARE, scratch, variables={"BENCH_ANSWERS": str(answers)}))
        others = [bare]
        # What they ask is in the words of SQLite.
        chosen = [each for name, each in OTHERS.items() if records.is_embedded and name not in without]
        found = (stack.enter_context(each.serving(records.folder, url, scratch)) for each in chosen)
        others += [server for server in found if server is not None]
        others += [Server(name, address.rstrip("/")) for name, address in against]
        for server in others:
            say(f"comparing the answers of {server.name}")
            check(server, asked, ways)
        check(hot, asked, 1)
        states = [State("hot", hot, others, MANY, 1), State("cold", cold, others, FEW, ways)]
        for number in range(rounds):
            for each in asked:
                say(f"round {number + 1} of {rounds}: {each.question.name}")
                for state in states:
                    _measure(state, each, seconds, is_odd=number % 2 == 1)
        for state in states:
            report(state, asked, f"{size:,} entries, {rounds} rounds of {seconds} s")
        print(f"\nMemory: {idle:.0f} MiB idle, {resident(hot.processes[:1]):.0f} MiB after the run.")


def _measure(state: State, asked: Asked, seconds: int, *, is_odd: bool) -> None:
    """Ask every server in turn; every other round from the last to the first."""
    servers = [*state.others, state.ours]
    for server in reversed(servers) if is_odd else servers:
        requests = asked.requests(server, state.ways)
        if requests:
            found = state.found.setdefault((asked.question.name, server.name), Rounds())
            measure(server, requests, seconds, state.connections, found)


def report(state: State, asked: Sequence[Asked], what: str) -> None:
    """Print what was measured in one state: ratios of both kinds, and the figures themselves."""
    told = "the same again" if state.ways == 1 else f"{state.ways} different ones in turn"
    said = f"{what}, {state.connections} connections, {told}"
    kinds: tuple[tuple[str, Callable[[Rounds], list[float]]], ...] = (
        ("requests a second", lambda rounds: rounds.a_second),
        ("requests for a second of the processor", lambda rounds: rounds.a_processor_second),
    )
    head = ["question", *(f"{state.name} : {other.name}" for other in state.others)]
    for kind, value in kinds:
        rows: list[list[object]] = []
        for each in asked:
            name = each.question.name
            ours = value(state.found[name, state.name])
            row: list[object] = [name]
            for other in state.others:
                rounds = state.found.get((name, other.name))
                theirs = value(rounds) if rounds else []
                row.append(ratio(ours, theirs) if theirs else None)
            rows.append(row)
        table(f"{state.name.capitalize()}, {kind} ({said}): minimum / median / maximum", head, rows)
    servers = [*state.others, state.ours]
    head = ["question", "items", "KB", *(f"{server.name}: a second; ms" for server in servers)]
    rows = []
    for each in asked:
        row = [each.question.name, len(each.items[0]), short(each.length / 1000)]
        for server in servers:
            rounds = state.found.get((each.question.name, server.name))
            row.append(rounds and f"{median(rounds.a_second)}; {median(rounds.milliseconds)}")
        rows.append(row)
    table(
        f"{state.name.capitalize()}: requests a second, and ms of the processor for each (medians)",
        head,
        rows,
    )
