"""What servers are asked, each question in as many ways as there are to be, and what its answer comes to."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from tests.bench.history import ENDED

WAYS = 200
"""In how many ways a question is asked, at most, where no answer is to be one given before."""

LEAST = 1_000
"""Entries of the shortest record that can be asked so many questions."""

COMPONENTS = ("troops", "air", "sea", "logistics")
PAGE = 100
Parameters = dict[str, str]
Items = list[Any]


@dataclass(frozen=True, slots=True)
class World:
    """What the questions of one record depend on."""

    size: int
    countries: Sequence[str]
    """Those that say something; the first says much."""

    def day(self, number: int) -> date:
        """Return one of the last days of the history, a few hundred of which differ."""
        return ENDED.date() - timedelta(days=8 + number)


@dataclass(frozen=True, slots=True)
class Question:
    """A question: what of it differs from one way of asking to the next, and what is in its answer."""

    name: str
    parameters: Callable[[World, int], Parameters]
    """By record and number of the way."""
    path: Callable[[Parameters], str]
    items: Callable[[Any], Items]
    """What of an answer has to be the same whoever gives it."""
    is_conditional: bool = False
    """Whether the client says which answer it has."""

    def ways(self, world: World, count: int) -> list[Parameters]:
        """Return what is asked, `count` times, never the same twice."""
        return [self.parameters(world, number) for number in range(count)]


def answered(question: Question, body: bytes) -> Items:
    """Return what of an answer has to be the same whoever gives it; nothing for one without a body."""
    return question.items(json.loads(body)) if body else []


def check_same(question: Question, asked: str, ours: Items, other: str, theirs: Items) -> None:
    """Refuse to measure servers that do not answer the same."""
    if ours == theirs:
        return
    missing = [each for each in ours if each not in theirs][:5]
    more = [each for each in theirs if each not in ours][:5]
    raise SystemExit(
        f"bench: {other} answers {question.name} ({asked}) otherwise, {len(theirs)} items for {len(ours)}: "
        f"without {missing}, with {more}. What differs is not compared."
    )


def positions(answer: Any) -> Items:
    """Return which positions are held, and what each comes to."""
    return [
        [each["country"], each["component"], each["voice"], each["kind"], each["firmness"]]
        for each in answer["items"]
    ]


def differences(answer: Any) -> Items:
    """Return which positions differ, but for those that only came to be contested, or ceased to be."""
    return [
        [each["country"], each["component"], _end(each["before"]), _end(each["after"])]
        for each in answer["items"]
        if set(each["fields"]) != {"contested"}
    ]


def _end(position: Any) -> Any:
    return position and [position["voice"], position["kind"], position["firmness"]]


def seqs(answer: Any) -> Items:
    """Return the entries of a page of the ledger."""
    return [each["seq"] for each in answer["items"]]


def _country(world: World, number: int) -> Parameters:
    countries = world.countries
    day = world.day(number // len(countries))
    return {"country": countries[number % len(countries)], "day": day.isoformat()}


def _snapshot(world: World, number: int) -> Parameters:
    return {"day": world.day(number).isoformat(), "seq": str(world.size)}


def _week(world: World, number: int) -> Parameters:
    first = world.day(number)
    return {"first": first.isoformat(), "last": (first + timedelta(days=7)).isoformat()}


def _page(world: World, number: int) -> Parameters:
    room = world.size - PAGE
    return {"after": str((world.size // 2 + number * room // WAYS) % room), "limit": str(PAGE)}


def _long_ago(world: World, number: int) -> Parameters:
    # A short record has few states of knowledge long ago: then other days are asked for as well.
    eve, later = divmod(number, world.size // 10)
    day = ENDED.date() - timedelta(days=eve)
    return {"day": day.isoformat(), "seq": str(world.size // 10 + later)}


def _snapshot_path(given: Parameters) -> str:
    components = "".join(f"&component={each}" for each in COMPONENTS)
    return f"/v1/positions?as_of={given['day']}&seq={given['seq']}{components}"


ONE_COUNTRY = Question(
    "one country",
    _country,
    lambda given: f"/v1/positions?country={given['country']}&as_of={given['day']}",
    positions,
)
SNAPSHOT = Question("snapshot", _snapshot, _snapshot_path, positions)
DIFF = Question(
    "diff of 7 days",
    _week,
    lambda given: f"/v1/diff?from={given['first']}&to={given['last']}&limit=1000",
    differences,
)
FEED = Question(
    "feed",
    _page,
    lambda given: f"/v1/changes?after={given['after']}&limit={given['limit']}",
    seqs,
)
NOT_MODIFIED = Question("not modified", _snapshot, _snapshot_path, positions, is_conditional=True)
LONG_AGO = Question("known long ago", _long_ago, _snapshot_path, positions)

READ = (ONE_COUNTRY, SNAPSHOT, DIFF, FEED, NOT_MODIFIED)
GROWING = (ONE_COUNTRY, SNAPSHOT, DIFF, FEED, LONG_AGO)
