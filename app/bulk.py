"""Many statements at once: from a JSON array, NDJSON or CSV, all or nothing."""

import csv
import io
import re
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError
from sqlmodel import Session

from app.appending import next_instant
from app.as_of import Viewer
from app.changes import Head, Writer
from app.db import tell_how_much
from app.diff import DiffEntry, Mode, diff_knowledge
from app.errors import Duplicate, Fault, Invalid, faults_of, invalid, refused
from app.filters import PositionFilter
from app.intake import intake
from app.items import listed
from app.recording import add_statement, not_kept
from app.standings import NOTHING, stands_on
from app.statements import NewPosition
from app.strict_json import parse_json

MOST_ROWS = 10_000
"""How many rows one request may hold."""

STRETCH = 5_000
"""How many rows are on their way into the database at a time."""

DERIVED_AT_ONCE = 50_000
"""How many rows are recorded before what follows from them is worked out.

Each time a line is heard anew from the first day on that any of them changes.
"""

MOST_BAD_ROWS = 10_000
"""How many bad rows are named; how many there are is told in any case."""

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
BULK_TYPES = (JSON, NDJSON, "application/ndjson", "application/jsonl", CSV)
"""The media types that bulk input may have."""

_LISTS = ("refuses", "conditions", "caveats", "relates_to")
_NUMBERS = ("credibility", "source_id", "quantity_min", "quantity_max")
_SOURCE = ("url", "title", "publisher", "published_on", "reliability", "notes")
_QUANTITY = ("min", "max", "unit", "verbatim")
COLUMNS = (
    *(name for name in NewPosition.model_fields if name not in ("source", "quantity")),
    *(f"quantity_{name}" for name in _QUANTITY),
    *(f"source_{name}" for name in _SOURCE),
)
"""The columns of CSV input: the fields of a statement, `quantity` and `source` spread out.

`refuses` holds components joined by `;`; `conditions` and `caveats` types joined by `;`, each
with its text after a colon (`ceasefire;other: after the election`); `relates_to` relations with
their seq (`repeats:17;clarifies:18`). An empty cell means that the field is left out.
"""


HOW_RELATED = "Write each as the relation, a colon and the seq: repeats:17;clarifies:18."


@dataclass(slots=True)
class Row:
    """A row of the input: its line (or place in the array, from 1), and what it says or what is wrong."""

    number: int
    body: Any
    faults: list[Fault] = field(default_factory=list)
    columns: bool = False
    """Whether faults are named by column rather than by pointer."""
    unclear: frozenset[str] = frozenset()
    """Columns that `faults` speak of already: validation has nothing to add there."""
    _meant: NewPosition | list[Fault] | None = None

    @property
    def is_readable(self) -> bool:
        """Whether there is a body to validate."""
        return self.body is not None or not self.faults

    def meant(self) -> NewPosition:
        """Return the statement that it means; raise `Invalid` with all that can be said against it at once.

        What takes the time, and needs no look at the record, is done the first time only.
        """
        if self._meant is None:
            self._meant = self._validated()
        if isinstance(self._meant, NewPosition):
            return self._meant
        raise invalid(self._meant)

    def _validated(self) -> NewPosition | list[Fault]:
        found: list[Fault] = []
        if self.is_readable:
            try:
                new = NewPosition.model_validate(self.body)
            except ValidationError as error:
                details = error.errors(include_input=False, include_url=False)
                found = faults_of([each | {"loc": ("body", *each["loc"])} for each in details])
            else:
                if not self.faults:
                    return new
        return self.faults + [
            replace(fault, message=HOW_RELATED) if self.columns and _is_unrelated(fault) else fault
            for fault in found
            if column_of(fault.pointer or "") not in self.unclear
        ]


class BulkRecorded(BaseModel):
    """What a bulk request answers."""

    first_seq: int | None = Field(description="First entry added; null when none was, or under `dry_run`.")
    last_seq: int | None = Field(description="Last entry added; null when none was, or under `dry_run`.")
    count: int = Field(description="How many rows were recorded, or would be.")
    diff: list[DiffEntry] = Field(description="What the rows changed together in the positions of today.")


def read_rows(body: bytes, media_type: str, most: int | None = MOST_ROWS) -> list[Row]:
    """Return the rows of a body, at most `most`, None: all; what cannot be read at all is refused."""
    if media_type == JSON:
        rows = _json_rows(body)
    elif media_type == CSV:
        rows = list(csv_rows(_text(body)))
    else:
        rows = list(ndjson_rows(_text(body).split("\n")))
    if not rows:
        raise refused("empty", "There are no rows.", pointer="")
    if most is not None and len(rows) > most:
        message = f"There are {len(rows)} rows; send at most {most} at a time."
        raise refused("too_many", message, pointer="")
    return rows


def validated(rows: list[Row]) -> list[Row]:
    """Return the rows with all checked that needs no look at the record, so that nobody waits for it."""
    for row in rows:
        with suppress(Invalid):
            row.meant()
    return rows


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise refused("malformed", "The body is not UTF-8.", pointer="") from None


def _json_rows(body: bytes) -> list[Row]:
    parsed = parse_json(body)
    if not isinstance(parsed, list):
        raise refused("malformed", "Send a JSON array of statements.", pointer="")
    return [Row(number, each) for number, each in enumerate(parsed, 1)]


def ndjson_rows(lines: Iterable[str]) -> Iterator[Row]:
    """Yield the rows of NDJSON input, one line each; an empty line is none."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield Row(number, parse_json(line.encode(), is_line=True))
        except Invalid as error:
            yield Row(number, None, error.faults)


def csv_rows(text: str, delimiter: str = ",") -> Iterator[Row]:
    """Yield the rows of CSV input as bodies, by the header's names (see `COLUMNS`).

    Raises `Invalid` for a header that names no column of ours twice or one that is not ours.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(line + 1, None, [Fault("malformed", f"The CSV cannot be read: {error}.")])
            return
        if header is None:
            header = [name.strip() for name in cells]
            _check_header(header)
        elif any(cells):
            yield _csv_row(line + 1, header, cells)


def _check_header(header: list[str]) -> None:
    if len(header) == 1 and re.search("[;\t]", header[0]):
        raise invalid([Fault("malformed", "Separate the cells by commas.", row=1)])
    faults = [
        Fault("unknown", "There is no such column; the README lists them.", row=1, column=name[:60])
        for name in header
        if name not in COLUMNS
    ]
    twice = {name for name in header if header.count(name) > 1}
    faults += [Fault("twice", "This column occurs twice.", row=1, column=name[:60]) for name in sorted(twice)]
    if faults:
        raise invalid(faults)


def _csv_row(number: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        message = f"This row has {len(cells)} cells, the header {len(header)}."
        return Row(number, None, [Fault("ragged", message)], columns=True)
    return Row(number, body_of(dict(zip(header, cells, strict=True))), columns=True)


def body_of(cells: dict[str, str]) -> dict[str, Any]:
    """Return the body that a CSV row means; a cell that cannot be read is left for validation."""
    body: dict[str, Any] = {}
    for name, given in cells.items():
        cell = given.replace("\r\n", "\n")
        value = _value(name, cell)
        if cell == "":
            continue
        if name != "source_id" and name.startswith("source_"):
            body.setdefault("source", {})[name.removeprefix("source_")] = value
        elif name.startswith("quantity_"):
            body.setdefault("quantity", {})[name.removeprefix("quantity_")] = value
        else:
            body[name] = value
    return body


def _value(name: str, cell: str) -> Any:
    if name in _NUMBERS:
        return int(cell) if re.fullmatch(r"-?[0-9]{1,18}", cell) else cell
    if name not in _LISTS:
        return cell
    parts = [part.strip() for part in cell.split(";") if part.strip()]
    if name == "refuses":
        return parts
    pairs = [[each.strip() for each in part.partition(":")[::2]] for part in parts]
    if name == "relates_to":
        return [{"relation": word, "seq": _value("source_id", rest)} for word, rest in pairs]
    return [{"type": word, "text": rest or None} for word, rest in pairs]


def _is_unrelated(fault: Fault) -> bool:
    return fault.code == "int_type" and column_of(fault.pointer or "") == "relates_to"


def column_of(pointer: str) -> str:
    """Return the CSV column that a JSON Pointer into a statement lies in."""
    _, first, *rest = f"{pointer}/".split("/")
    return f"{first}_{rest[0]}" if first in ("source", "quantity") and rest and rest[0] else first


class Batch(NamedTuple):
    """What many rows came to: the record's state before them and after them, and how many they were."""

    before: Head
    after: Head
    rows: int


def state_rows(session: Session, writer: Writer, rows: Iterable[Row]) -> Batch:
    """Record every row, or none: raises `Invalid` that names each bad row's faults, up to `MOST_BAD_ROWS`.

    Rows are taken one by one, and put into the database a stretch at a time: however many there
    are, few are held in memory. All entries carry the same `recorded_at`: no state of knowledge
    holds a part of them. The caller rolls back when this raises.
    """
    taken = intake(session)
    before = taken.head
    recorded_at = next_instant(before)
    faults: list[Fault] = []
    recorded = array("Q")
    """The number of the row behind each entry."""
    count = told = bad = 0
    for row in rows:
        found: list[Fault] = []
        try:
            add_statement(taken, recorded_at, writer, row.meant())
            recorded.append(row.number)
        except Invalid as error:
            found = [_in_row(fault, row) for fault in error.faults]
        except Duplicate as error:
            message = error.detail
            if error.entry > before.seq:  # which nobody will ever see
                earlier = recorded[error.entry - before.seq - 1]
                message = f"Row {earlier} holds the same statement from the same source."
            found = [_in_row(Fault("duplicate", message, pointer=""), row)]
        count += 1
        if found:
            bad += 1
            faults += found if bad <= MOST_BAD_ROWS else ()
        if count % STRETCH == 0:
            taken.flush()
            if count >= 2 * told:
                tell_how_much(session)
                told = count
        if count % DERIVED_AT_ONCE == 0 and not bad:
            taken.derive()
    if bad:
        raise Invalid(f"{bad} of {count} rows are not valid.", faults)
    taken.derive()
    return Batch(before, taken.head, count)


def state_all(
    session: Session, viewer: Viewer, writer: Writer, rows: Iterable[Row], *, dry_run: bool = False
) -> BulkRecorded:
    """Record every row, or none, as `state_rows` does, and tell what differs since."""
    before, after, count = state_rows(session, writer, rows)
    diff = _diff(viewer, before, after)
    return BulkRecorded(
        first_seq=None if dry_run else before.seq + 1,
        last_seq=None if dry_run else after.seq,
        count=count,
        diff=[not_kept(session, before.seq).entry(entry) for entry in diff] if dry_run else diff,
    )


def count_differing(session: Session, batch: Batch) -> int:
    """Return in how many lines the positions of the day differ since rows were recorded."""
    assert batch.after.recorded_at is not None
    today = batch.after.recorded_at.date()
    old, new = (stands_on(session, head.seq, today) for head in (batch.before, batch.after))
    return sum(stand.differs(old.get(key, NOTHING)) for key, stand in new.items())


def _in_row(fault: Fault, row: Row) -> Fault:
    if row.columns:
        column = fault.column or column_of(fault.pointer or "") or None
        return replace(fault, row=row.number, pointer=None, column=column)
    return replace(fault, row=row.number)


def _diff(viewer: Viewer, before: Head, after: Head) -> list[DiffEntry]:
    assert after.recorded_at is not None
    span, today = (before.seq, after.seq), after.recorded_at.date()
    return listed(diff_knowledge(viewer, span, today, Mode.NET, PositionFilter()).all_items())
