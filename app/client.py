"""The Python client: a tracker's answers as typed objects.

    with Tracker("http://127.0.0.1:8000") as tracker:
        for position in tracker.positions(component="troops", as_of="2025-03-28"):
            print(position.country_name, position.kind, position.firmness, position.source.url)

Filters are those of the API, by its names; it refuses what it does not know, so a typo is an
exception and never a longer answer. docs/client.md shows a session.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote
from uuid import uuid4

import httpx
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from app import __version__
from app.calling import (
    WORTH_RETRYING,
    Caller,
    Parameters,
    TrackerFailure,
    TrackerProblem,
    TrackerUnreachable,
    events,
    parameters_of,
)
from app.paging import Meta
from app.replies import (
    Answers,
    BulkRecorded,
    Change,
    ChangeAnswer,
    Country,
    CountryAnswer,
    Difference,
    DiffMeta,
    Item,
    MetaItem,
    Position,
    PositionAnswer,
    Recorded,
    Shape,
    Source,
    SummaryMeta,
    shaped,
)
from app.summary import Count, Point

__all__ = [
    "Answers",
    "BulkRecorded",
    "Change",
    "Country",
    "Difference",
    "Position",
    "Recorded",
    "Source",
    "Tracker",
    "TrackerFailure",
    "TrackerProblem",
    "TrackerUnreachable",
]

Day = date | str
Table = Literal["positions", "history", "changes", "sources"]
Spelling = Literal["csv", "ndjson"]

LARGEST_PAGE = 1000
SILENCE = 45.0
"""Seconds after which a stream that does not even say that it is alive is taken for broken."""


class Tracker:
    """A tracker at an address. Reading needs no key.

    No answer is older than one that came before, whichever of the tracker's servers gives it.
    What is asked for again is revalidated rather than sent again. Busy servers and broken
    connections are tried again `tries` times in all, writes included: each carries an
    `Idempotency-Key`, so it is recorded once. Raises `TrackerProblem` when the tracker refuses,
    `TrackerUnreachable` when nobody answers; both are `TrackerFailure`.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        *,
        timeout: float = 30.0,
        tries: int = 5,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._key = key and key.strip()
        if self._key and not (self._key.isascii() and self._key.isprintable()):
            raise ValueError("That is no API key: it has characters that no key has.")
        self._http = httpx.Client(
            base_url=self.url,
            timeout=timeout,
            transport=transport,
            headers={"Accept": "application/json", "User-Agent": f"coalition-client/{__version__}"},
        )
        self._caller = Caller(self._http, tries)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Tracker at {self.url}>"

    def close(self) -> None:
        """Close the connections; a `with` block does so by itself."""
        self._http.close()

    def positions(self, **filters: object) -> Answers[Position, Meta]:
        """Return the positions in force, by country and component."""
        return self._list("/v1/positions", Position, Meta, {"limit": LARGEST_PAGE} | filters)

    def position(self, country: str, component: str, **filters: object) -> PositionAnswer:
        """Return one position, with its history, what is possible, and the reports beside it."""
        path = f"/v1/positions/{_quoted(country)}/{_quoted(component)}"
        return self._one(path, PositionAnswer, filters)

    def countries(self, **filters: object) -> Answers[Country, Meta]:
        """Return all countries, each with its positions."""
        return self._list("/v1/countries", Country, Meta, {"limit": LARGEST_PAGE} | filters)

    def country(self, code: str, **filters: object) -> CountryAnswer:
        """Return all that the record holds of one country."""
        return self._one(f"/v1/countries/{_quoted(code)}", CountryAnswer, filters)

    def changes(self, after: int = 0, **filters: object) -> Answers[Change, Meta]:
        """Return the entries of the ledger numbered above `after`, to its end."""
        asked = {"after": after, "limit": LARGEST_PAGE} | filters
        return self._list("/v1/changes", Change, Meta, asked)

    def change(self, seq: int, **filters: object) -> ChangeAnswer:
        """Return one entry of the ledger, with what replaced it."""
        return self._one(f"/v1/changes/{int(seq)}", ChangeAnswer, filters)

    def diff(
        self,
        from_: Day | int,
        to: Day | int,
        *,
        axis: Literal["valid", "recorded"] = "valid",
        mode: Literal["net", "events"] = "net",
        **filters: object,
    ) -> Answers[Difference, DiffMeta]:
        """Return what differs between two days, or (axis recorded) between two states of the record."""
        asked = {"from_": from_, "to": to, "axis": axis, "mode": mode, "limit": LARGEST_PAGE} | filters
        return self._list("/v1/diff", Difference, DiffMeta, asked)

    def summary(self, **filters: object) -> Answers[Count, SummaryMeta]:
        """Return how many countries hold what on a day."""
        return self._list("/v1/summary", Count, SummaryMeta, filters)

    def timeline(self, **filters: object) -> Answers[Point, Meta]:
        """Return the same counts over time: `interval`, `from_` and `to` say on which days."""
        return self._list("/v1/timeline", Point, Meta, filters)

    def sources(self, **filters: object) -> Answers[Source, Meta]:
        """Return the sources, each with the live entries that rest on it."""
        return self._list("/v1/sources", Source, Meta, {"limit": LARGEST_PAGE} | filters)

    def state(
        self,
        body: Mapping[str, object] | BaseModel | None = None,
        *,
        dry_run: bool = False,
        idempotency_key: str | None = None,
        **fields: object,
    ) -> Recorded:
        """Record what a country said: the fields of POST /v1/positions, as `body`, by name, or both.

        With `dry_run` it is checked and nothing is written. An `idempotency_key` of your own makes
        it safe to run a whole script again.
        """
        given = body.model_dump(mode="json", exclude_unset=True) if isinstance(body, BaseModel) else body
        return self._write("/v1/positions", dict(given or {}) | fields, dry_run, idempotency_key, Recorded)

    def state_all(
        self,
        bodies: Iterable[Mapping[str, object]],
        *,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> BulkRecorded:
        """Record many statements, all or none, at most 10,000: each is a body as for POST /v1/positions."""
        body = [dict(each) for each in bodies]
        return self._write("/v1/positions/bulk", body, dry_run, idempotency_key, BulkRecorded)

    def add_source(
        self, *, dry_run: bool = False, idempotency_key: str | None = None, **fields: object
    ) -> Source:
        """Record a source: the fields of POST /v1/sources. One that is known already is returned."""
        return self._write("/v1/sources", fields, dry_run, idempotency_key, Source)

    def correct(
        self,
        seq: int,
        reason: str,
        *,
        dry_run: bool = False,
        idempotency_key: str | None = None,
        **fields: object,
    ) -> Recorded:
        """Correct our record of entry `seq`: give the fields that change; None empties a field."""
        body = {"reason": reason, "statement": fields}
        return self._write(f"/v1/changes/{int(seq)}/correction", body, dry_run, idempotency_key, Recorded)

    def retract(
        self, seq: int, reason: str, *, dry_run: bool = False, idempotency_key: str | None = None
    ) -> Recorded:
        """Take entry `seq` out of the record: it was never so."""
        path = f"/v1/changes/{int(seq)}/retraction"
        return self._write(path, {"reason": reason}, dry_run, idempotency_key, Recorded)

    def follow(self, after: int | None = None, **filters: object) -> Iterator[Change]:
        """Return the entries numbered above `after` (None: the newest) for ever, each as it is recorded.

        A broken connection or a restarted server is waited for and taken up where it broke off:
        nothing is missed, nothing comes twice. Raises `TrackerProblem` only for a refusal.
        """
        start = self.changes(after or 0, **({"limit": 1} | filters)).meta.seq
        return self._follow(start if after is None else after, parameters_of(filters))

    def _follow(self, last: int, parameters: Parameters) -> Iterator[Change]:
        failures, asked = 0, 0.0
        while True:
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(last)}
            stream = self._caller.streamed(
                "/v1/changes/stream", parameters, headers, tries=1, silence=SILENCE
            )
            try:
                with suppress(TrackerUnreachable), stream as response:
                    for event in events(response.iter_bytes()):
                        failures = 0
                        if event.get("retry", "").isdecimal():
                            asked = int(event["retry"]) / 1000
                        if "data" in event:
                            change = shaped(Change, self._read(event["data"]))
                            last = change.seq or last
                            self._caller.note(last)
                            yield change
            except TrackerProblem as problem:
                if problem.status not in WORTH_RETRYING:
                    raise
                asked = problem.retry_after or asked
            failures += 1
            self._caller.wait(failures, asked)

    def text(self, path: str, *, format: Spelling = "csv", **filters: object) -> Iterator[str]:
        """Yield the list at `path` as CSV or NDJSON, a page at a time, the header once."""
        parameters = parameters_of({**filters, "format": format})
        is_first = True
        while True:
            response = self._caller.get(path, parameters)
            text = response.text
            lines = text if is_first or format == "ndjson" else text.partition("\r\n")[2]
            yield lines
            following = response.links.get("next", {}).get("url")
            if following is None or not lines:
                return
            parameters, is_first = _query(following), False

    def export(self, table: Table, *, format: Spelling = "csv", **filters: object) -> Iterator[bytes]:
        """Yield a whole table as it arrives: positions, history, changes or sources."""
        path = f"/v1/export/{_quoted(table)}.{format}"
        with self._caller.streamed(path, parameters_of(filters), {"Accept": "*/*"}) as response:
            yield from response.iter_bytes()

    def _page(self, path: str, parameters: Parameters, following: str | None) -> dict[str, Any]:
        # Only the query of `next` is followed: the address stays the one that was given to us.
        asked = parameters if following is None else _query(following)
        page = self._read(self._caller.get(path, asked).text)
        if not (isinstance(page, dict) and {"meta", "items", "next"} <= page.keys()):
            raise TrackerFailure(f"{self.url} does not answer as a tracker does.")
        return page

    def _list(
        self, path: str, item: type[Item], meta: type[MetaItem], filters: Mapping[str, object]
    ) -> Answers[Item, MetaItem]:
        parameters = parameters_of(filters)
        return Answers(lambda following: self._page(path, parameters, following), item, meta)

    def _one(self, path: str, shape: type[Shape], filters: Mapping[str, object]) -> Shape:
        return shaped(shape, self._read(self._caller.get(path, parameters_of(filters)).text))

    def _write(
        self, path: str, body: object, dry_run: bool, idempotency_key: str | None, shape: type[Shape]
    ) -> Shape:
        response = self._caller.post(
            path,
            to_jsonable_python(body),
            key=self._key,
            idempotency_key=idempotency_key or str(uuid4()),
            parameters=[("dry_run", "true")] if dry_run else [],
        )
        answer = shaped(shape, self._read(response.text))
        if isinstance(answer, Recorded):
            self._caller.note(answer.change.seq or 0)
        elif isinstance(answer, BulkRecorded):
            self._caller.note(answer.last_seq or 0)
        return answer

    def _read(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise TrackerFailure(f"{self.url} does not answer as a tracker does.") from None


def _quoted(segment: str) -> str:
    return quote(segment, safe="")


def _query(url: str) -> list[tuple[str, str]]:
    return httpx.URL(url).params.multi_items()
