"""What the client gives back: the API's answers as typed objects, each with a short `repr`."""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.as_of import CountryView
from app.calling import TrackerFailure
from app.changes import ChangeView, SourceView
from app.country_page import CountryPage
from app.diff import Axis, DiffEntry, Mode, Op
from app.paging import Meta
from app.positions import PositionView
from app.statements import StatementView
from app.vocabulary import Component

Item = TypeVar("Item", bound=BaseModel)
Shape = TypeVar("Shape", bound=BaseModel)
MetaItem = TypeVar("MetaItem", bound=Meta)


class Position(PositionView):
    """What a country holds on one component on a day."""

    def __repr__(self) -> str:
        marks = [name for name in ("conditional", "contested", "stale") if getattr(self, name)]
        words = ", ".join([self.firmness, self.voice, f"since {self.since}", *marks])
        return f"<Position {self.country} {self.component}: {self.kind}, {words}>"

    __str__ = __repr__


class Difference(DiffEntry):
    """One difference between two days, or between two states of the record."""

    before: Position | None
    after: Position | None

    def __repr__(self) -> str:
        ends = [f"{end.kind}, {end.firmness}" if end else "nothing" for end in (self.before, self.after)]
        return (
            f"<Difference {self.country} {self.component}: {self.op}, {ends[0]} → {ends[1]} ({self.cause})>"
        )

    __str__ = __repr__


class Change(ChangeView):
    """An entry of the ledger."""

    def __repr__(self) -> str:
        said = self.statement
        about = f"{said.country} {said.kind}, {said.firmness}" if said else f"entry {self.replaces}"
        return f"<Change {self.seq}: {self.action} {about}>"

    __str__ = __repr__


class Source(SourceView):
    """A publication, with what it supports."""

    def __repr__(self) -> str:
        return f"<Source {self.id}: {self.title!r}, {self.publisher}, {self.published_on}>"

    __str__ = __repr__


class Country(CountryView):
    """A country with its positions by component."""

    def __repr__(self) -> str:
        held = ", ".join(f"{name}: {each and each.firmness}" for name, each in self.positions.items())
        return f"<Country {self.code} {self.name}: {held}>"

    __str__ = __repr__


class CountryAnswer(CountryPage):
    """All that the record holds of one country on a day."""

    meta: Meta

    def __repr__(self) -> str:
        return f"<CountryAnswer {self.code} {self.name}: {self.counts.positions} positions>"

    __str__ = __repr__


class PositionAnswer(BaseModel):
    """One line of the record: the position, if any, and what it stands among."""

    meta: Meta
    position: Position | None
    possible: list[Position]
    history: list[Difference]
    reports: list[StatementView]


class ChangeAnswer(Change):
    """One entry of the ledger."""

    meta: Meta


class DiffMeta(Meta):
    """What a diff is of."""

    model_config = ConfigDict(validate_by_name=True)

    axis: Axis
    mode: Mode
    from_: date | int = Field(alias="from")
    to: date | int
    counts: dict[Op, int]


class SummaryMeta(Meta):
    """What a summary is of, and for how many countries nothing is recorded."""

    none_recorded: dict[Component, int]


class Recorded(BaseModel):
    """What a write did: the entry, what the lines it touches hold now, and what that changed."""

    change: Change
    positions: list[Position]
    diff: list[Difference]


class BulkRecorded(BaseModel):
    """What a bulk request answers: how many rows, their entries, what they changed together."""

    first_seq: int | None
    last_seq: int | None
    count: int
    diff: list[Difference]


class Answers(Generic[Item, MetaItem]):
    """A list: iterate over it for the items of all pages, each page fetched when it is reached.

    `meta` says what it is of, and how many there are in all. False when there are none.
    """

    def __init__(
        self, fetch: Callable[[str | None], dict[str, Any]], item: type[Item], meta: type[MetaItem]
    ) -> None:
        self._fetch = fetch
        self._item = item
        # Asked for now, so that what is wrong with the question comes up where it is asked.
        self._first = fetch(None)
        self.meta = shaped(meta, self._first["meta"])

    def pages(self) -> Iterator[dict[str, Any]]:
        """Yield the pages as the API words them, to the end."""
        page = self._first
        yield page
        while page["items"] and page["next"] is not None:
            page = self._fetch(page["next"])
            yield page

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            for item in page["items"]:
                yield shaped(self._item, item)

    def __bool__(self) -> bool:
        return bool(self._first["items"])

    def __repr__(self) -> str:
        day = f" as of {self.meta.as_of}" if self.meta.as_of else ""
        return f"<{self._item.__name__} answers: {self.meta.total}{day}, known at seq {self.meta.seq}>"


def shaped(shape: type[Shape], answer: object) -> Shape:
    """Return an answer as a typed object; raise `TrackerFailure` where it is none of that type."""
    try:
        return shape.model_validate(answer)
    except ValidationError as error:
        why = "This client does not understand the answer; is it of the server's release?"
        raise TrackerFailure(f"{why} {error}") from None
