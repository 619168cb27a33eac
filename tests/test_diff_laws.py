"""What holds of every net diff, whatever the record: along both axes, whole or filtered."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Clock
from tests.model import Line, compared
from tests.test_model_based import (
    EXAMPLES,
    UNHURRIED,
    Body,
    Services,
    asked_ends,
    bodies,
    parts,
    seen,
    seen_entry,
    source,
)

COUNTRIES = ("PL",) * 6 + ("NO",) * 3 + ("AT",)
"""Of both groups, of NATO only, of the EU only."""

Snapshot = dict[Line, Any]
"""The compared fields of each position."""

writes: st.SearchStrategy[tuple[str, int, Body]] = st.one_of(
    st.tuples(st.just("state"), st.integers(1, 6), bodies(COUNTRIES)),
    st.tuples(st.just("state"), st.integers(1, 6), bodies(COUNTRIES)),
    st.tuples(st.just("correction"), st.integers(1, 6), parts(COUNTRIES)),
    st.tuples(st.just("retraction"), st.integers(1, 6), st.just({})),
)
records = st.tuples(
    st.lists(bodies(COUNTRIES).map(lambda body: ("state", 1, body)), min_size=5, max_size=9),
    st.lists(writes, min_size=3, max_size=9),
).map(lambda pair: [*pair[0], *pair[1]])
filters: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {},
        optional={
            "country": st.sampled_from(("PL", "PL", "NO")),
            "group": st.sampled_from(("nato", "eu")),
            "component": st.sampled_from(("troops", "troops", "troops", "other")),
        },
    ),
)
spans = st.tuples(
    st.sampled_from(("valid", "recorded")),
    asked_ends,
    st.tuples(st.integers(0, 20), st.integers(0, 20)),
    filters,
)
law = given(record=records, spans=st.lists(spans, min_size=6, max_size=12))
few = settings(UNHURRIED, max_examples=EXAMPLES or 5)


class Span:
    """Two moments, along one axis and under one filter."""

    def __init__(self, service: Services, drawn: tuple[Any, ...]) -> None:
        self.service = service
        self.axis, days, numbers, self.filters = drawn
        head = self.ask("/v1/changes", limit=1)["meta"]["seq"]
        seqs = [number % (head + 1) for number in numbers]
        if self.axis == "valid":
            self.ends: tuple[Any, Any] = days
            self.moments = [{"as_of": day, "seq": seqs[0]} for day in days]
            self.still = {"seq": seqs[0]}
        else:
            self.ends = seqs[0], seqs[1]
            self.moments = [{"as_of": days[0], "seq": seq} for seq in seqs]
            self.still = {"as_of": days[0]}

    def ask(self, path: str, **parameters: Any) -> Any:
        """Return what the service answers."""
        query = "&".join(f"{name.rstrip('_')}={value}" for name, value in parameters.items())
        return json.loads(self.service.get(f"{path}?{query}"))

    def diff(self, first: int, last: int) -> list[dict[str, Any]]:
        """Return the diff from one of the two ends to another."""
        asked = {"from_": self.ends[first], "to": self.ends[last], "axis": self.axis, "limit": 1000}
        found: list[dict[str, Any]] = self.ask("/v1/diff", **asked, **self.still, **self.filters)["items"]
        return found

    def snapshot(self, end: int) -> Snapshot:
        """Return the positions at one of the two ends."""
        views = self.ask("/v1/positions", **self.moments[end], **self.filters)["items"]
        return {(view["country"], view["component"]): compared(seen(view)) for view in views}


def write(service: Services, record: list[tuple[str, int, Body]]) -> None:
    """Empty the record and write another; what the service refuses is left out."""
    service.empty()
    head = 0
    for name, back, drawn in record:
        entry = max(1, head + 1 - back)
        body = drawn | {"source": source(f"of-{head}")}
        if "relates_to" in drawn:
            links = [(how, head - number % 4) for how, number in drawn["relates_to"]]
            body["relates_to"] = [{"seq": seq, "relation": how} for how, seq in links if seq > 0]
        if name == "state":
            answer = service.post("/v1/positions", body)
        elif name == "correction":
            sent = {"reason": "A slip.", "statement": body}
            answer = service.post(f"/v1/changes/{entry}/correction", sent)
        else:
            answer = service.post(f"/v1/changes/{entry}/retraction", {"reason": "Never said."})
        assert answer.status_code in (201, 409, 422)
        head += answer.status_code == 201


def changed_by(snapshot: Snapshot, diff: list[dict[str, Any]]) -> Snapshot:
    """Return a snapshot after a diff; fail where the diff does not fit it."""
    found = dict(snapshot)
    for each in diff:
        entry, line = seen_entry(each), (each["country"], each["component"])
        assert found.get(line) == compared(entry["before"])
        if entry["op"] == "removed":
            del found[line]
        elif entry["op"] == "added":
            found[line] = compared(entry["after"])
        else:
            found[line] |= {name: new for name, (_, new) in entry["fields"].items()}
    return found


def inverted(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of a diff as seen from the other end."""
    op = {"added": "removed", "removed": "added", "changed": "changed"}[entry["op"]]
    fields = {name: [new, old] for name, (old, new) in entry["fields"].items()}
    return entry | {"op": op, "before": entry["after"], "after": entry["before"], "fields": fields}


@pytest.fixture
def service(migrated: Path, tmp_path: Path, clock: Clock) -> Iterator[Services]:
    clock.set("2025-11-30")
    with Services(migrated, tmp_path) as found:
        yield found


@few
@law
def test_a_moment_does_not_differ_from_itself(service: Services, record: list[Any], spans: list[Any]) -> None:
    write(service, record)

    for drawn in spans:
        assert Span(service, drawn).diff(0, 0) == []


@few
@law
def test_swapping_the_ends_inverts_a_diff(service: Services, record: list[Any], spans: list[Any]) -> None:
    write(service, record)

    for drawn in spans:
        span = Span(service, drawn)
        assert span.diff(1, 0) == [inverted(entry) for entry in span.diff(0, 1)]


@few
@law
def test_the_positions_at_one_end_changed_as_the_diff_says_are_those_at_the_other(
    service: Services, record: list[Any], spans: list[Any]
) -> None:
    write(service, record)

    for drawn in spans:
        span = Span(service, drawn)
        assert changed_by(span.snapshot(0), span.diff(0, 1)) == span.snapshot(1)
