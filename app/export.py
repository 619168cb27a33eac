"""Tables: what a list looks like as CSV (RFC 4180) or NDJSON, and what each column means.

One registry of columns makes the header and the codebook. A cell holds one value; several words
of a closed set are joined by `;`, in the order of the JSON.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import partial
from itertools import groupby, zip_longest
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar, cast
from urllib.parse import urlencode

from pydantic import BaseModel
from pydantic_core import from_json

from app.as_of import CountryView, Viewer
from app.changes import ChangeView, Head, SourceView
from app.countries import CountryFacts
from app.dates import parse_edtf
from app.diff import DiffEntry
from app.filters import PositionFilter
from app.items import Item
from app.lines import LineKey
from app.positions import PositionView
from app.standings import CHANGED, Stand, counted
from app.summary import Count, CountOn
from app.vocabulary import Component

Row = TypeVar("Row", bound=BaseModel)
Countries = Mapping[str, CountryFacts]
Plain = Mapping[str, Any]
"""An item as in the JSON list, or a part of one."""
Cell = str | int | bool | date | None


class Format(StrEnum):
    """How a list can be had."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"


MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv; charset=utf-8; header=present",
    Format.NDJSON: "application/x-ndjson",
}

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A column: its name, the type of its values, what they mean, and where they come from.

    `type` is a Frictionless field type: string, integer, boolean, date or datetime.
    """

    name: str
    type: str
    description: str
    value: Callable[[Plain, Countries], Cell] | None = None
    """What its cell says of an item as in the JSON list; left out: the field of the same name."""
    part: str | None = None
    """The field that holds what this is of, where that is not the item: empty where there is none."""


def marks(values: Sequence[Plain]) -> str:
    """Return the types of conditions or caveats in one cell."""
    return ";".join(each["type"] for each in values) if values else ""


def mark_texts(values: Sequence[Plain]) -> str:
    """Return the texts of conditions or caveats in one cell."""
    return "; ".join(each["text"] for each in values if each["text"]) if values else ""


def amount(part: str) -> Callable[[Plain, Countries], Cell]:
    """Return what takes one part of an item's quantity."""
    return lambda item, _: None if item["quantity"] is None else item["quantity"][part]


def source(part: str) -> Callable[[Plain, Countries], Cell]:
    """Return what takes one part of an item's source."""
    return lambda item, _: item["source"][part]


def numbers(values: Iterable[int]) -> str:
    """Return numbers in one cell."""
    return ";".join(map(str, values))


def seqs_in(name: str) -> Callable[[Plain, Countries], Cell]:
    """Return what takes the seqs of the entries in one field of an item."""
    return lambda item, _: numbers(each["seq"] for each in item[name])


POSITIONS: Sequence[Column[PositionView]] = (
    Column("country", "string", "ISO 3166-1 alpha-2 code; XK is Kosovo."),
    Column("country_alpha3", "string", "ISO 3166-1 alpha-3 code.", lambda p, c: c[p["country"]].alpha3),
    Column("country_name", "string", "Name in English."),
    Column("component", "string", "Part of the effort."),
    Column("kind", "string", "The component, support, or refusal."),
    Column("firmness", "string", "How far it goes."),
    Column("voice", "string", "For whom the speaker speaks."),
    Column("certainty", "string", "certain, or possible on the day."),
    Column("conditional", "boolean", "Whether there are conditions."),
    Column("conditions", "string", "Types of condition.", lambda p, _: marks(p["conditions"])),
    Column("condition_texts", "string", "Their texts.", lambda p, _: mark_texts(p["conditions"])),
    Column("caveats", "string", "Types of caveat.", lambda p, _: marks(p["caveats"])),
    Column("caveat_texts", "string", "Their texts.", lambda p, _: mark_texts(p["caveats"])),
    Column("location", "string", "Where it would be."),
    Column("quantity_min", "integer", "Least number.", amount("min")),
    Column("quantity_max", "integer", "Greatest number.", amount("max")),
    Column("quantity_unit", "string", "What is counted.", amount("unit")),
    Column("quantity_verbatim", "string", "As said.", amount("verbatim")),
    Column("since", "date", "Day on which the run began."),
    Column("last_affirmed_on", "date", "Day of the last affirmation."),
    Column("affirmations", "integer", "Times it was affirmed."),
    Column("stale", "boolean", "Whether that is long ago."),
    Column("contested", "boolean", "Whether it is contested."),
    Column("side_seqs", "string", "Entries of the other sides.", seqs_in("sides")),
    Column("reports", "integer", "Reports beside it."),
    Column("stated_on", "string", "When it was said, EDTF as the source has it."),
    Column(
        "stated_earliest_on",
        "date",
        "First possible day; empty if open.",
        lambda p, _: parse_edtf(p["stated_on"]).earliest_on,
    ),
    Column(
        "stated_latest_on",
        "date",
        "Last possible day.",
        lambda p, _: parse_edtf(p["stated_on"]).latest_on,
    ),
    Column("effective_on", "date", "Day from which it counts."),
    Column("summary", "string", "What was said, in a sentence."),
    Column("speaker", "string", "Who said it."),
    Column("quote", "string", "The speaker's words."),
    Column("seq", "integer", "Entry of the ledger."),
    Column("source_id", "integer", "Source.", source("id")),
    Column("source_title", "string", "Its title.", source("title")),
    Column("source_publisher", "string", "Its publisher.", source("publisher")),
    Column("source_url", "string", "Its address.", source("url")),
    Column("source_published_on", "string", "EDTF, as given.", source("published_on")),
)


_of_statement: Callable[..., Column[ChangeView]] = partial(Column, part="statement")
"""A column of the ledger that a retraction, which has no statement, leaves empty."""

CHANGES: Sequence[Column[ChangeView]] = (
    Column("seq", "integer", "Number in the ledger."),
    Column("action", "string", "state, correct or retract."),
    Column("recorded_at", "datetime", "When it was recorded, UTC."),
    Column("recorded_by_id", "string", "Public id of the API key.", lambda c, _: c["recorded_by"]["id"]),
    Column("recorded_by_name", "string", "Name of the API key.", lambda c, _: c["recorded_by"]["name"]),
    Column("reason", "string", "Why it corrects or retracts."),
    Column("replaces", "integer", "Entry that it replaces."),
    Column("replaced_by", "integer", "Entry that replaced it."),
    Column("live", "boolean", "Neither corrected nor retracted."),
    Column("digest", "string", "Digest of the chain here."),
    _of_statement("country", "string", "ISO 3166-1 alpha-2 code."),
    _of_statement("country_alpha3", "string", "ISO 3166-1 alpha-3.", lambda s, n: n[s["country"]].alpha3),
    _of_statement("country_name", "string", "Name in English.", lambda s, n: n[s["country"]].name),
    _of_statement("kind", "string", "What it is about."),
    _of_statement("component", "string", "Component offered."),
    _of_statement("refuses", "string", "Components refused.", lambda s, _: ";".join(s["refuses"] or ())),
    _of_statement("firmness", "string", "How far it goes."),
    _of_statement("stated_on", "string", "EDTF, as the source has it."),
    _of_statement("stated_earliest_on", "date", "First possible day."),
    _of_statement("stated_latest_on", "date", "Last possible day."),
    _of_statement("effective_on", "date", "Day from which it counts."),
    _of_statement("summary", "string", "What was said."),
    _of_statement("speaker", "string", "Who said it."),
    _of_statement("speaker_role", "string", "In what role."),
    _of_statement("authority", "string", "What kind of speaker."),
    _of_statement("voice", "string", "For whom the speaker speaks."),
    _of_statement("attribution", "string", "How the source carries it."),
    _of_statement("quote", "string", "The speaker's words."),
    _of_statement("quote_language", "string", "BCP 47 tag."),
    _of_statement("conditions", "string", "Types of condition.", lambda s, _: marks(s["conditions"])),
    _of_statement("condition_texts", "string", "Their texts.", lambda s, _: mark_texts(s["conditions"])),
    _of_statement("caveats", "string", "Types of caveat.", lambda s, _: marks(s["caveats"])),
    _of_statement("caveat_texts", "string", "Their texts.", lambda s, _: mark_texts(s["caveats"])),
    _of_statement("location", "string", "Where it would be."),
    _of_statement("quantity_min", "integer", "Least number.", amount("min")),
    _of_statement("quantity_max", "integer", "Greatest number.", amount("max")),
    _of_statement("quantity_unit", "string", "What is counted.", amount("unit")),
    _of_statement("quantity_verbatim", "string", "As said.", amount("verbatim")),
    _of_statement(
        "relates_to",
        "string",
        "Relations to earlier entries, as relation:seq.",
        lambda s, _: ";".join(f"{each['relation']}:{each['seq']}" for each in s["relates_to"]),
    ),
    _of_statement("credibility", "integer", "Admiralty figure, 1 to 6."),
    _of_statement("locator", "string", "Where in the source."),
    _of_statement("notes", "string", "Remarks of whoever recorded it."),
    _of_statement("source_id", "integer", "Source.", source("id")),
    _of_statement("source_title", "string", "Its title.", source("title")),
    _of_statement("source_publisher", "string", "Its publisher.", source("publisher")),
    _of_statement("source_url", "string", "Its address.", source("url")),
    _of_statement("source_published_on", "string", "EDTF, as given.", source("published_on")),
)

_SHOWN_AT_ENDS = (
    "kind",
    "firmness",
    "voice",
    "conditions",
    "condition_texts",
    "caveats",
    "caveat_texts",
    "location",
    "quantity_min",
    "quantity_max",
    "quantity_unit",
    "contested",
    "since",
    "summary",
    "seq",
    "source_title",
    "source_url",
)


def _at_end(end: str, column: Column[PositionView]) -> Column[DiffEntry]:
    """Return a column of the position before or after, empty where there is none."""
    name, description = f"{end}_{column.name}", f"{column.description} ({end})"
    value = column.value or (lambda position, _: position[column.name])
    return Column(name, column.type, description, value, part=end)


DIFF: Sequence[Column[DiffEntry]] = (
    Column("op", "string", "added, removed, changed or affirmed."),
    Column("country", "string", "ISO 3166-1 alpha-2 code."),
    Column("country_alpha3", "string", "ISO 3166-1 alpha-3 code.", lambda d, c: c[d["country"]].alpha3),
    Column("country_name", "string", "Name in English.", lambda d, c: c[d["country"]].name),
    Column("component", "string", "Part of the effort."),
    Column("cause", "string", "stated, withdrawn, corrected or retracted."),
    Column("on", "date", "Day of the step."),
    Column("seq", "integer", "Entry of the step."),
    Column("fields", "string", "Fields that differ.", lambda d, _: ";".join(d["fields"])),
    Column("seqs", "string", "Entries responsible.", lambda d, _: numbers(d["seqs"])),
    *(
        _at_end(end, column)
        for end in ("before", "after")
        for name in _SHOWN_AT_ENDS
        for column in POSITIONS
        if column.name == name
    ),
)


def _held_in(component: Component, part: str) -> Column[CountryView]:
    """Return a column of what a country holds in a component, empty where it holds nothing."""

    def value(country: Plain, _: Countries) -> Cell:
        position = country["positions"].get(component)
        return None if position is None else position[part]

    return Column(f"{component}_{part}", "string", f"The {part} of its position in {component}.", value)


SOURCES: Sequence[Column[SourceView]] = (
    Column("id", "integer", "Id of the source."),
    Column("url", "string", "Address, as given."),
    Column("title", "string", "Title."),
    Column("publisher", "string", "Publisher."),
    Column("published_on", "string", "Day of publication, EDTF as given."),
    Column("reliability", "string", "Admiralty letter."),
    Column("notes", "string", "Remarks."),
    Column("supports", "string", "Live entries that rest on it.", seqs_in("supports")),
)


COUNTRIES: Sequence[Column[CountryView]] = (
    Column("code", "string", "ISO 3166-1 alpha-2 code."),
    Column("alpha3", "string", "ISO 3166-1 alpha-3 code."),
    Column("name", "string", "Name in English."),
    Column("groups", "string", "Groups that it belongs to.", lambda c, _: ";".join(c["groups"])),
    Column("executive_president", "boolean", "Head of state leads."),
    Column("tracked", "boolean", "Whether the record holds any statement."),
    *(_held_in(component, part) for component in Component for part in ("kind", "firmness")),
)


class HistoryRow(PositionView):
    """A position with the days on which it held."""

    valid_from: date
    valid_to: date | None


HISTORY: Sequence[Column[HistoryRow]] = (
    Column("valid_from", "date", "First day on which it held."),
    Column("valid_to", "date", "First day on which it held no more; empty: still."),
    *(cast("Column[HistoryRow]", each) for each in POSITIONS),
)

COUNTS: Sequence[Column[Count]] = (
    Column("component", "string", "Part of the effort."),
    Column("kind", "string", "The component, support, or refusal."),
    Column("firmness", "string", "How far it goes."),
    Column("count", "integer", "Countries that hold this."),
    Column("conditional", "integer", "Those that are conditional."),
    Column("contested", "integer", "Those that are contested."),
    Column("stale", "integer", "Those affirmed long ago."),
)

COUNTS_ON: Sequence[Column[CountOn]] = (
    Column("on", "date", "Day counted on."),
    *(cast("Column[CountOn]", each) for each in COUNTS),
)


def csv_text(
    items: Iterable[Row | Item[Row]],
    columns: Sequence[Column[Row]],
    countries: Countries,
    *,
    excel: bool = False,
) -> str:
    """Return a table as CSV: UTF-8 text, comma, CRLF, a header even when there are no rows.

    For `excel` it begins with a byte order mark, and a cell that a spreadsheet would take for a
    formula is marked as text by an apostrophe.
    """
    return "".join(csv_lines(items, columns, countries, excel=excel))


def csv_lines(
    items: Iterable[Row | Item[Row]],
    columns: Sequence[Column[Row]],
    countries: Countries,
    *,
    excel: bool = False,
) -> Iterator[str]:
    """Yield a table as `csv_text` writes it, a row at a time."""
    line = csv.writer(_Echo()).writerow
    header = line([column.name for column in columns])
    yield f"\ufeff{header}" if excel else header
    runs = groupby(columns, key=attrgetter("part"))
    parts = [(part, [(column.name, column.value) for column in run]) for part, run in runs]
    flags = [place for place, column in enumerate(columns) if column.type == "boolean"]
    for item in items:
        plain = from_json(item_json(item), cache_strings="keys")
        row: list[Cell] = []
        for part, run in parts:
            of = plain if part is None else plain[part]
            if of is None:
                row += [None] * len(run)
            else:
                row += [of[name] if value is None else value(of, countries) for name, value in run]
        for place in flags:
            row[place] = _FLAGS[row[place]]
        yield line(map(_unlike_formula, row) if excel else row)


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


_FLAGS: Mapping[Cell, Cell] = {True: "true", False: "false", None: None}


def _unlike_formula(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def ndjson_lines(items: Iterable[BaseModel | Item[Any]]) -> Iterator[str]:
    """Yield a list as NDJSON, a line at a time: each item as in the JSON list."""
    return (f"{item_json(item).decode()}\n" for item in items)


def item_json(item: BaseModel | Item[Any]) -> bytes:
    """Return an item as JSON."""
    return item.utf8 if isinstance(item, Item) else item.model_dump_json(by_alias=True).encode()


class Stretch(NamedTuple):
    """Days of a line on which no compared field differs."""

    key: LineKey
    first: date
    last: Stand
    """What it answers on the last of them."""
    ends: date | None
    """The day after; None where they go on."""


def stretches(stands: Mapping[LineKey, Sequence[Stand]]) -> Iterator[Stretch]:
    """Yield the stretches of lines, line by line and in order, by all that these answer."""
    for key, line in stands.items():
        firsts = [number for number, stand in enumerate(line) if stand.step == CHANGED]
        for first, following in zip_longest(firsts, firsts[1:]):
            ends = None if following is None else line[following].holds_from
            yield Stretch(key, line[first].holds_from, line[-1 if following is None else following - 1], ends)


def history_rows(
    found: Sequence[Stretch],
    reports: Mapping[LineKey, Sequence[date]],
    viewer: Viewer,
    until: date,
    wanted: PositionFilter,
) -> Iterator[Item[HistoryRow]]:
    """Yield the wanted positions of stretches that begin up to `until`, inclusive, with their days.

    A row shows the position as it was on the stretch's last day up to `until`. `reports` are the days
    from which the lines' reports count.
    """
    takes_all = wanted.takes_all_of_lines
    viewer.load_shown(stretch.last for stretch in found)
    for key, first, last, ends in found:
        day = until if ends is None else ends - timedelta(days=1)
        item = viewer.position(day, counted(last, reports.get(key, ()), day))
        if item is not None and (takes_all or wanted.passes(item.view)):
            valid_to = "null" if ends is None else f'"{ends}"'
            days = f'"valid_from":"{first}","valid_to":{valid_to}'
            yield Item(HistoryRow, b"".join((item.utf8[:-1], b",", days.encode(), b"}")))


def datapackage(
    head: Head, pins: Mapping[str, str] | None = None, day: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the description of the exported tables (Frictionless Data Package v2).

    `pins` and `day` are parameters that name the moment of every table, and of those that are of a day.
    """
    pinned = dict(pins or {})
    of_a_day = pinned | dict(day or {})
    return {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "name": "coalition-commitments",
        "title": "Coalition commitment tracker",
        "description": "What countries say they will, might or will not give to the reassurance force.",
        "version": f"0.{head.seq}.0",
        "licenses": [
            {
                "name": "CC-BY-4.0",
                "title": "Creative Commons Attribution 4.0",
                "path": "https://creativecommons.org/licenses/by/4.0/",
            }
        ],
        "ledger": {"seq": head.seq, "digest": head.digest},
        "resources": [
            {
                "name": name,
                "path": _path(name, of_a_day if name in OF_A_DAY else pinned),
                "type": "table",
                "format": "csv",
                "mediatype": "text/csv",
                "encoding": "utf-8",
                "description": description,
                "schema": {
                    "fields": [
                        {"name": each.name, "type": each.type, "description": each.description}
                        for each in columns
                    ],
                    "missingValues": [""],
                },
            }
            for name, (description, columns) in TABLES.items()
        ],
    }


def _path(name: str, parameters: Mapping[str, str]) -> str:
    return f"{name}.csv?{urlencode(parameters)}" if parameters else f"{name}.csv"


OF_A_DAY = ("positions", "history")
TABLES: Mapping[str, tuple[str, Sequence[Column[Any]]]] = {
    "positions": ("Positions in force on the day, by country and component.", POSITIONS),
    "history": ("Every position with the days on which it held: [valid_from, valid_to).", HISTORY),
    "changes": ("The ledger: every statement, correction and retraction.", CHANGES),
    "sources": ("Publications.", SOURCES),
}
"""The tables that are exported whole."""
