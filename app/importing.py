"""A researcher's own table: their headings, their words and their dates, read as ours.

Nothing is guessed: a value that could mean two things is a fault that names both. What was
normalised is kept, as it was given, in the statement's `notes`.
"""

import csv
import io
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.bulk import COLUMNS, CSV, JSON, NDJSON, Row, body_of, ndjson_rows, read_rows
from app.countries import ALIASES
from app.dates import BadDate, parse_edtf
from app.errors import Fault, faults_of, invalid, refused

ALSO_CALLED = {
    "Czech Republic": "CZ",
    "Great Britain": "GB",
    "Republic of Korea": "KR",
    "Russian Federation": "RU",
    "The Netherlands": "NL",
    "Turkey": "TR",
    "United States of America": "US",
}
"""Names in use beside those that we show; each means one country and no other."""

_DATES = ("stated_on", "source_published_on")
_TYPES = {".csv": CSV, ".tsv": CSV, ".txt": CSV, ".json": JSON, ".ndjson": NDJSON, ".jsonl": NDJSON}


@dataclass(frozen=True, slots=True)
class Reading:
    """How their table is to be read: the mapping that a researcher gives."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Their heading → our column."""
    values: Mapping[str, Mapping[str, str | Mapping[str, str]]] = field(default_factory=dict)
    """Their heading → their value → our value, or the values of several columns of ours."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Our column → its value in every row that has none."""
    date_format: str | None = None
    """How their dates are written, as for `strptime`: `%d.%m.%Y`."""
    ignore: frozenset[str] = frozenset()
    """Their headings that say nothing of ours."""
    delimiter: str | None = None
    """What stands between cells; found out from the header when not given."""


class Names:
    """What countries are called, to find a code by a name."""

    def __init__(self, countries: Iterable[tuple[str, str, str]]) -> None:
        """Take each country's alpha-2 code, alpha-3 code and name."""
        self._names: dict[str, str] = {}
        self._codes = {_plain(name): code for name, code in (ALSO_CALLED | ALIASES).items()}
        for code, alpha3, name in countries:
            self._names[code] = name
            self._codes |= dict.fromkeys(map(_plain, (code, alpha3, name)), code)

    def code(self, given: str) -> str:
        """Return the code that a code or a name means; raise ValueError with the cure if unclear."""
        asked = _plain(given)
        if asked in self._codes:
            return self._codes[asked]
        near = [f"{name} ({code})" for code, name in self._names.items() if asked in _plain(name)]
        if near:
            raise ValueError(f"{given!r} may mean {', '.join(near[:6])}: say which by its code.")
        raise ValueError(f"{given!r} is no country that we know: give its ISO 3166-1 code.")


def _plain(name: str) -> str:
    """Return a name without case and accents, for comparison."""
    split = unicodedata.normalize("NFKD", name.strip().casefold())
    return "".join(each for each in split if not unicodedata.combining(each))


def read_mapping(path: Path) -> Reading:
    """Return the mapping in a TOML file; raise `Invalid` for what does not belong in one.

    Tables `columns`, `values."Their heading"` and `constants`; keys `date_format`, `delimiter`
    and `ignore`.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise refused("malformed", f"{path.name} is not TOML: {error}", pointer="") from None
    known = {"columns", "values", "constants", "date_format", "delimiter", "ignore"}
    if unknown := sorted(found.keys() - known):
        message = f"{path.name} has {', '.join(unknown)}; known are {', '.join(sorted(known))}."
        raise refused("unknown", message, pointer="")
    try:
        return TypeAdapter(Reading).validate_python(found)
    except ValidationError as error:
        raise invalid(faults_of({**each, "loc": ("body", *each["loc"])} for each in error.errors())) from None


def read_file(
    path: Path, mapping: Reading, names: Names, progress: Callable[[int], object] = lambda _: None
) -> Iterator[Row]:
    """Yield the rows of a CSV, JSON or NDJSON file, told apart by its ending; a JSON array is read whole.

    A mapping is for CSV; the other two hold bodies as for POST /v1/positions. Raises `Invalid`
    for a file that cannot be read at all; what is wrong with a row stands in the row. `progress`
    is told how many bytes have been read.
    """
    media_type = _TYPES.get(path.suffix.lower())
    if media_type is None:
        raise refused("unknown", f"{path.name}: the ending is none of {', '.join(_TYPES)}.", pointer="")
    if media_type != CSV and mapping != Reading():
        message = f"{path.name} holds statements in our own words: a mapping is for CSV."
        raise refused("not_for_json", message, pointer="")
    if media_type == JSON:
        yield from read_rows(path.read_bytes(), media_type, most=None)
        return
    is_empty = True
    with path.open("rb") as file:
        end = "\n" if media_type == NDJSON else ""
        lines = io.TextIOWrapper(file, encoding="utf-8-sig", newline=end)
        rows = ndjson_rows(lines) if media_type == NDJSON else _table(lines, mapping, names)
        try:
            for row in rows:
                is_empty = False
                progress(file.tell())
                yield row
        except UnicodeDecodeError:
            kind = "CSV UTF-8" if media_type == CSV else "UTF-8"
            message = f"{path.name} is not UTF-8: save it as {kind}."
            raise refused("malformed", message, pointer="") from None
    if is_empty:
        raise refused("empty", f"{path.name} has no rows.", pointer="")


def _table(lines: Iterable[str], mapping: Reading, names: Names) -> Iterable[Row]:
    _check_date_format(mapping.date_format)
    ahead = iter(lines)
    first = next(ahead, "")
    delimiter = mapping.delimiter or max(",;\t", key=first.count)
    try:
        reader = csv.reader(chain([first], ahead), delimiter=delimiter, strict=True)
        header = [heading.strip() for heading in next(reader, [])]
    except (csv.Error, TypeError, ValueError) as error:
        raise refused("malformed", f"The header cannot be read: {error}.", pointer="") from None
    _check_headings(header, mapping)
    line = reader.line_num
    try:
        for cells in reader:
            number, line = line + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                message = f"This row has {len(cells)} cells, the header {len(header)}."
                yield Row(number, None, [Fault("ragged", message)], columns=True)
            else:
                yield _row(number, list(zip(header, cells, strict=True)), mapping, names)
    except csv.Error as error:
        yield Row(line + 1, None, [Fault("malformed", f"The CSV cannot be read: {error}.")], columns=True)


def _check_date_format(date_format: str | None) -> None:
    """Refuse a format that cannot be read, or that would leave a part of the day to be guessed."""
    if date_format is None:
        return
    day = date(2025, 11, 27)
    try:
        names_day = datetime.strptime(day.strftime(date_format), date_format).date() == day  # noqa: DTZ007
    except ValueError:
        names_day = False
    if not names_day:
        message = f"The date format {date_format!r} does not name day, month and year, as %d.%m.%Y does."
        raise refused("bad_date_format", message, pointer="")


def _check_headings(header: list[str], mapping: Reading) -> None:
    """Refuse a table before any row is read if a heading means nothing, or two mean the same."""
    faults = []
    for heading in (*mapping.columns, *mapping.values):
        if heading not in header:
            faults.append(Fault("unknown", f"The file has no heading {heading!r}.", column=heading))
    meant: dict[str, str] = {}
    for number, heading in enumerate(header):
        ours = mapping.columns.get(heading, heading)
        if heading == "" or heading in mapping.ignore:
            continue
        if heading in header[:number]:
            message = f"{heading!r} stands above two columns: which is it?"
            faults.append(Fault("ambiguous", message, row=1, column=heading))
        elif heading in mapping.values and ours not in COLUMNS:
            continue
        elif ours not in COLUMNS:
            message = f"{heading!r} is no column of ours: map it (--map '{heading}=…') or ignore it."
            faults.append(Fault("unknown", message, row=1, column=heading))
        elif ours in meant:
            message = f"{heading!r} and {meant[ours]!r} both mean {ours}: which is it?"
            faults.append(Fault("ambiguous", message, row=1, column=heading))
        meant.setdefault(ours, heading)
    faults += [
        Fault("unknown", f"{ours!r} is no column of ours.", column=ours)
        for ours in mapping.constants
        if ours not in COLUMNS
    ]
    if faults:
        raise invalid(faults)


def _row(number: int, theirs: Iterable[tuple[str, str]], mapping: Reading, names: Names) -> Row:
    faults: list[Fault] = []
    unclear: set[str] = set()
    ours: dict[str, str] = {}
    changed: list[str] = []
    for heading, cell in theirs:
        given = cell.strip()
        if heading in mapping.ignore or not given:
            continue
        if heading == "":
            faults.append(Fault("unclear", f"{given!r} stands in a column without a heading."))
            continue
        column = mapping.columns.get(heading, heading)
        try:
            meant = _meant(heading, column, given, mapping, names)
        except ValueError as error:
            faults.append(Fault("unclear", str(error), column=heading))
            unclear |= _columns_of(heading, column, mapping)
            continue
        for name, value in meant.items():
            if ours.setdefault(name, value) != value:
                message = f"{name} is {ours[name]!r} by another column and {value!r} by this one."
                faults.append(Fault("ambiguous", message, column=heading))
        if meant != {column: given}:
            changed.append(f"{heading} {given!r}")
    ours = dict(mapping.constants) | ours
    if changed:
        kept = f"As given: {'; '.join(changed)}."
        ours["notes"] = f"{ours['notes']}\n{kept}" if "notes" in ours else kept
    return Row(number, body_of(ours), faults, columns=True, unclear=frozenset(unclear))


def _columns_of(heading: str, column: str, mapping: Reading) -> set[str]:
    """Return the columns of ours that a heading of theirs may speak of."""
    words = mapping.values.get(heading, {}).values()
    return {column} | {ours for word in words if not isinstance(word, str) for ours in word}


def _meant(heading: str, column: str, given: str, mapping: Reading, names: Names) -> Mapping[str, str]:
    """Return what a cell of theirs says, by our columns; raise ValueError with the cure if unclear."""
    words = mapping.values.get(heading)
    if words is not None:
        exact = {value for key, value in _words(words) if key == given}
        found = exact or {value for key, value in _words(words) if _plain(key) == _plain(given)}
        if len(found) > 1:
            raise ValueError(f"{given!r} is mapped in two ways for {heading!r}: take one out.")
        if not found:
            raise ValueError(f"{given!r} is not among the values mapped for {heading!r}: add it.")
        (value,) = found
        return dict(value) if isinstance(value, tuple) else {column: value}
    if column == "country":
        return {column: names.code(given)}
    if column in _DATES and mapping.date_format is not None:
        return {column: _date(given, mapping.date_format)}
    return {column: given}


def _date(given: str, date_format: str) -> str:
    """Return a date written in their format, or in EDTF beside it; raise ValueError for any other."""
    with suppress(ValueError):
        return datetime.strptime(given, date_format).date().isoformat()  # noqa: DTZ007 (a day has no zone)
    try:
        return parse_edtf(given).text
    except BadDate:
        message = (
            f"{given!r} is written neither as {date_format} nor as we write dates (2025-03-27, 2025-03)."
        )
        raise ValueError(message) from None


def _words(words: Mapping[str, str | Mapping[str, str]]) -> Iterable[tuple[str, Any]]:
    for key, value in words.items():
        yield key, value if isinstance(value, str) else tuple(value.items())
