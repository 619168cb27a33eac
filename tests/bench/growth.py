"""Growth: what an answer that nobody kept costs in a short, a long and a very long record."""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.bench.load import latencies, measure, request
from tests.bench.questions import GROWING, WAYS, Question, World, answered
from tests.bench.reads import FEW, KEEPS_NOTHING
from tests.bench.records import Records, world
from tests.bench.serving import SERVE, Rounds, Server, say, started
from tests.bench.tables import median, ratio, short, table

LOOKED_AT = 5
"""Of how many answers the items are counted."""


@dataclass(slots=True)
class Grown:
    """A record of one length, with its server and what was found."""

    asking: World
    server: Server
    items: dict[str, float] = field(default_factory=dict)
    rounds: dict[str, Rounds] = field(default_factory=dict)
    waits: dict[str, list[float]] = field(default_factory=dict)
    """By question: the median wait of a single client in each round, in milliseconds."""

    def requests(self, question: Question, ways: int) -> list[bytes]:
        """Return what is asked of it."""
        return [
            request(self.server.address, question.path(each)) for each in question.ways(self.asking, ways)
        ]

    def waits_for_an_item(self, question: str) -> list[float]:
        """Return the waits divided by the items of an answer, in microseconds."""
        return [wait * 1000 / max(self.items[question], 1) for wait in self.waits[question]]

    def count_items(self, question: Question) -> None:
        """Keep how many items an answer has, so that it is seen what grew besides the record."""
        with httpx.Client(base_url=self.server.address, timeout=300) as client:
            counts = [
                len(answered(question, client.get(question.path(each)).raise_for_status().content))
                for each in question.ways(self.asking, LOOKED_AT)
            ]
        self.items[question.name] = statistics.median(counts)


def measure_growth(
    records: Records, sizes: Sequence[int], *, rounds: int, seconds: int, ways: int = WAYS
) -> None:
    """Measure and print what cold answers cost in records of several lengths."""
    sizes = sorted(set(sizes))
    urls = {size: records.url(size) for size in sizes}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="growth-", dir=records.folder)))
        grown = []
        for size, url in urls.items():
            server = stack.enter_context(
                started(
                    f"cold {size}",
                    SERVE,
                    scratch,
                    database_url=url,
                    beside=records.processes,
                    variables=KEEPS_NOTHING,
                )
            )
            grown.append(Grown(world(url, size), server))
        for number in range(rounds):
            for question in GROWING:
                say(f"growth, round {number + 1} of {rounds}: {question.name}")
                for each in grown:
                    _measure(each, question, seconds, ways)
        report(grown, f"{rounds} rounds of {seconds} s, cold, {ways} different ones in turn")


def _measure(grown: Grown, question: Question, seconds: int, ways: int) -> None:
    if question.name not in grown.items:
        grown.count_items(question)
    requests = grown.requests(question, ways)
    found = grown.rounds.setdefault(question.name, Rounds())
    measure(grown.server, requests, seconds, FEW, found)
    waits = latencies(grown.server.address, requests, seconds)
    grown.waits.setdefault(question.name, []).append(statistics.median(waits))


def report(grown: Sequence[Grown], what: str) -> None:
    """Print both tables of growth: by time of the processor, and by the wait of a single client."""
    least, most = grown[0], grown[-1]
    span = f"{most.asking.size:,} : {least.asking.size:,}"
    head = ["question", *(f"{each.asking.size:,}" for each in grown), span]
    kinds: dict[str, Callable[[Grown, str], list[float]]] = {
        "Growth, ms of the processor for each answer": lambda each, name: each.rounds[name].milliseconds,
        "Growth, ms that a single client waits": lambda each, name: each.waits[name],
        "Growth, us that it waits for each item of an answer": Grown.waits_for_an_item,
    }
    for title, value in kinds.items():
        rows = [
            [
                name,
                *(median(value(each, name)) for each in grown),
                ratio(value(most, name), value(least, name)),
            ]
            for name in least.rounds
        ]
        table(f"{title} ({what}): medians; minimum / median / maximum of the ratio", head, rows)
    rows = [
        [name, *(short(each.items[name]) for each in grown), _growth(most.items[name], least.items[name])]
        for name in least.rounds
    ]
    table("Items in an answer: what the ratios above have to be read beside", head, rows)


def _growth(most: float, least: float) -> str | None:
    return short(most / least) if least else None
