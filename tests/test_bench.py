from datetime import timedelta
from typing import Any

import pytest

from tests.bench import datasette, drf
from tests.bench.history import ENDED
from tests.bench.load import packed, request, unpacked
from tests.bench.questions import (
    DIFF,
    GROWING,
    NOT_MODIFIED,
    READ,
    SNAPSHOT,
    WAYS,
    Question,
    World,
    check_same,
    differences,
)
from tests.bench.tables import ratio, short
from tests.bench.writes import Stating

EVERY = sorted({*READ, *GROWING}, key=lambda question: question.name)
WORLDS = [World(size, ["FR", "GB", "PL"]) for size in (1_000, 100_000, 1_000_000)]


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: str(world.size))
@pytest.mark.parametrize("question", EVERY, ids=lambda question: question.name)
def test_no_question_is_asked_twice(question: Question, world: World) -> None:
    asked = [question.path(given) for given in question.ways(world, WAYS)]

    assert len(set(asked)) == WAYS


@pytest.mark.parametrize("question", EVERY, ids=lambda question: question.name)
def test_no_question_is_about_a_day_after_the_history(question: Question) -> None:
    world = WORLDS[0]
    given = [each for asked in question.ways(world, WAYS) for each in asked.items()]

    assert all(day <= ENDED.date().isoformat() for name, day in given if name in ("day", "first", "last"))
    assert world.day(WAYS) > (ENDED - timedelta(days=365)).date()


def test_answers_that_are_the_same_are_measured() -> None:
    check_same(SNAPSHOT, "/", [["FR", "air"]], "another", [["FR", "air"]])


@pytest.mark.parametrize("theirs", [[], [["FR", "sea"]], [["FR", "air"], ["GB", "air"]]])
def test_answers_that_differ_are_not_measured(theirs: list[list[str]]) -> None:
    with pytest.raises(SystemExit, match="another answers snapshot"):
        check_same(SNAPSHOT, "/", [["FR", "air"]], "another", theirs)


def test_what_is_only_contested_differs_for_us_alone() -> None:
    held = {"voice": "government", "kind": "air", "firmness": "planned"}
    entry: dict[str, Any] = {"country": "FR", "component": "air", "before": held, "after": held}
    contested = entry | {"fields": {"contested": [False, True]}}
    firmer = entry | {"fields": {"contested": [False, True], "firmness": ["planned", "binding"]}}
    added = entry | {"before": None, "fields": {}}

    assert len(differences({"items": [contested, firmer, added]})) == 2


def test_datasette_is_asked_what_it_can_answer() -> None:
    given = DIFF.parameters(WORLDS[0], 0)

    assert datasette.path(DIFF, given) == (
        "/record/difference.json?first=2026-10-23&last=2026-10-30&_shape=array"
    )
    assert datasette.path(NOT_MODIFIED, given) is None


def test_a_service_of_django_is_asked_what_it_can_answer() -> None:
    given = DIFF.parameters(WORLDS[0], 0)

    assert drf.path(DIFF, given) == "/difference?first=2026-10-23&last=2026-10-30"
    assert drf.path(NOT_MODIFIED, given) is None


def test_a_ratio_is_taken_round_by_round() -> None:
    assert ratio([10, 40, 30], [10, 20, 60]) == (0.5, 1.0, 2.0)
    assert ratio([10, 40], [0, 20]) == (2.0, 2.0, 2.0)
    assert ratio([10], [0]) is None
    assert str(ratio([1, 2], [1, 1])) == "1.00 / 1.50 / 2.00"


@pytest.mark.parametrize(
    ("value", "seen"), [(21399.4, "21,399"), (12.71, "12.7"), (1, "1.00"), (0.04, "0.040")]
)
def test_three_digits_are_shown(value: float, seen: str) -> None:
    assert short(value) == seen


def test_requests_come_out_of_their_file_as_they_went_in() -> None:
    requests = [request("http://127.0.0.1:1", "/a"), request("http://127.0.0.1:1", "/b", body=b"1\n2\r\n")]

    assert list(unpacked(packed(requests))) == requests


def test_no_statement_is_made_twice() -> None:
    stating = Stating(["FR", "GB", "PL"], "key")
    requests = [*stating.requests("http://127.0.0.1:1", 500), *stating.requests("http://127.0.0.1:1", 500)]

    assert len(set(requests)) == 1000
