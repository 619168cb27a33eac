"""Tables: what a list looks like as CSV (RFC 4180) or NDJSON, and what each column means.

One registry of columns makes the header and the codebook. A cell holds one value; several words
of a closed set are joined by `;`, in the order of the JSON.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from itertools import chain, zip_longest
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlencode

from pydantic import BaseModel

from app.as_of import CountryView, PositionFilter, Viewer
from app.changes import ChangeView, Head, SourceView
from app.countries import CountryFacts
from app.dates import parse_edtf
from app.diff import DiffEntry
from app.items import Item
from app.lines import LineKey
from app.positions import PositionView
from app.standings import CHANGED, Stand
from app.statements import Caveat, Condition, Quantity, StatementView
from app.summary import Count, CountOn
from app.vocabulary import Component

Row = TypeVar("Row", bound=BaseModel)
Countries = Mapping[str, CountryFacts]
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
    value: Callable[[Row, Countries], Cell]


def marks(values: Iterable[Condition | Caveat]) -> str:
    """Return the types of conditions or caveats in one cell."""
    return ";".join(each.type for each in values)


def mark_texts(values: Iterable[Condition | Caveat]) -> str | None:
    """Return the texts of conditions or caveats in one cell."""
    return "; ".join(each.text for each in values if each.text) or None


def amount(quantity: Quantity | None, part: str) -> Any:
    """Return one part of a quantity."""
    return None if quantity is None else getattr(quantity, part)


def numbers(values: Iterable[int | None]) -> str:
    """Return numbers in one cell."""
    return ";".join(str(value) for value in values)


POSITIONS: Sequence[Column[PositionView]] = (
    Column("country", "string", "ISO 3166-1 alpha-2 code; XK is Kosovo.", lambda p, _: p.country),
    Column("country_alpha3", "string", "ISO 3166-1 alpha-3 code.", lambda p, c: c[p.country].alpha3),
    Column("country_name", "string", "Name in English.", lambda p, _: p.country_name),
    Column("component", "string", "Part of the effort.", lambda p, _: p.component),
    Column("kind", "string", "The component, support, or refusal.", lambda p, _: p.kind),
    Column("firmness", "string", "How far it goes.", lambda p, _: p.firmness),
    Column("voice", "string", "For whom the speaker speaks.", lambda p, _: p.voice),
    Column("certainty", "string", "certain, or possible on the day.", lambda p, _: p.certainty),
    Column("conditional", "boolean", "Whether there are conditions.", lambda p, _: p.conditional),
    Column("conditions", "string", "Types of condition.", lambda p, _: marks(p.conditions)),
    Column("condition_texts", "string", "Their texts.", lambda p, _: mark_texts(p.conditions)),
    Column("caveats", "string", "Types of caveat.", lambda p, _: marks(p.caveats)),
    Column("caveat_texts", "string", "Their texts.", lambda p, _: mark_texts(p.caveats)),
    Column("location", "string", "Where it would be.", lambda p, _: p.location),
    Column("quantity_min", "integer", "Least number.", lambda p, _: amount(p.quantity, "min")),
    Column("quantity_max", "integer", "Greatest number.", lambda p, _: amount(p.quantity, "max")),
    Column("quantity_unit", "string", "What is counted.", lambda p, _: amount(p.quantity, "unit")),
    Column("quantity_verbatim", "string", "As said.", lambda p, _: amount(p.quantity, "verbatim")),
    Column("since", "date", "Day on which the run began.", lambda p, _: p.since),
    Column("last_affirmed_on", "date", "Day of the last affirmation.", lambda p, _: p.last_affirmed_on),
    Column("affirmations", "integer", "Times it was affirmed.", lambda p, _: p.affirmations),
    Column("stale", "boolean", "Whether that is long ago.", lambda p, _: p.stale),
    Column("contested", "boolean", "Whether it is contested.", lambda p, _: p.contested),
    Column(
        "side_seqs", "string", "Entries of the other sides.", lambda p, _: numbers(s.seq for s in p.sides)
    ),
    Column("reports", "integer", "Reports beside it.", lambda p, _: p.reports),
    Column("stated_on", "string", "When it was said, EDTF as the source has it.", lambda p, _: p.stated_on),
    Column(
        "stated_earliest_on",
        "date",
        "First possible day; empty if open.",
        lambda p, _: parse_edtf(p.stated_on).earliest_on,
    ),
    Column(
        "stated_latest_on",
        "date",
        "Last possible day.",
        lambda p, _: parse_edtf(p.stated_on).latest_on,
    ),
    Column("effective_on", "date", "Day from which it counts.", lambda p, _: p.effective_on),
    Column("summary", "string", "What was said, in a sentence.", lambda p, _: p.summary),
    Column("speaker", "string", "Who said it.", lambda p, _: p.speaker),
    Column("quote", "string", "The speaker's words.", lambda p, _: p.quote),
    Column("seq", "integer", "Entry of the ledger.", lambda p, _: p.seq),
    Column("source_id", "integer", "Source.", lambda p, _: p.source.id),
    Column("source_title", "string", "Its title.", lambda p, _: p.source.title),
    Column("source_publisher", "string", "Its publisher.", lambda p, _: p.source.publisher),
    Column("source_url", "string", "Its address.", lambda p, _: p.source.url),
    Column("source_published_on", "string", "EDTF, as given.", lambda p, _: p.source.published_on),
)


def _of_statement(
    name: str, type_: str, description: str, value: Callable[[StatementView, Countries], Cell]
) -> Column[ChangeView]:
    """Return a column of the ledger that a retraction, which has no statement, leaves empty."""
    return Column(
        name, type_, description, lambda c, n: None if c.statement is None else value(c.statement, n)
    )


CHANGES: Sequence[Column[ChangeView]] = (
    Column("seq", "integer", "Number in the ledger.", lambda c, _: c.seq),
    Column("action", "string", "state, correct or retract.", lambda c, _: c.action),
    Column(
        "recorded_at",
        "datetime",
        "When it was recorded, UTC.",
        lambda c, _: c.recorded_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    ),
    Column("recorded_by_id", "string", "Public id of the API key.", lambda c, _: c.recorded_by.id),
    Column("recorded_by_name", "string", "Name of the API key.", lambda c, _: c.recorded_by.name),
    Column("reason", "string", "Why it corrects or retracts.", lambda c, _: c.reason),
    Column("replaces", "integer", "Entry that it replaces.", lambda c, _: c.replaces),
    Column("replaced_by", "integer", "Entry that replaced it.", lambda c, _: c.replaced_by),
    Column("live", "boolean", "Neither corrected nor retracted.", lambda c, _: c.live),
    Column("digest", "string", "Digest of the chain here.", lambda c, _: c.digest),
    _of_statement("country", "string", "ISO 3166-1 alpha-2 code.", lambda s, _: s.country),
    _of_statement("country_alpha3", "string", "ISO 3166-1 alpha-3.", lambda s, n: n[s.country].alpha3),
    _of_statement("country_name", "string", "Name in English.", lambda s, n: n[s.country].name),
    _of_statement("kind", "string", "What it is about.", lambda s, _: s.kind),
    _of_statement("component", "string", "Component offered.", lambda s, _: s.component),
    _of_statement("refuses", "string", "Components refused.", lambda s, _: ";".join(s.refuses or ())),
    _of_statement("firmness", "string", "How far it goes.", lambda s, _: s.firmness),
    _of_statement("stated_on", "string", "EDTF, as the source has it.", lambda s, _: s.stated_on),
    _of_statement("stated_earliest_on", "date", "First possible day.", lambda s, _: s.stated_earliest_on),
    _of_statement("stated_latest_on", "date", "Last possible day.", lambda s, _: s.stated_latest_on),
    _of_statement("effective_on", "date", "Day from which it counts.", lambda s, _: s.effective_on),
    _of_statement("summary", "string", "What was said.", lambda s, _: s.summary),
    _of_statement("speaker", "string", "Who said it.", lambda s, _: s.speaker),
    _of_statement("speaker_role", "string", "In what role.", lambda s, _: s.speaker_role),
    _of_statement("authority", "string", "What kind of speaker.", lambda s, _: s.authority),
    _of_statement("voice", "string", "For whom the speaker speaks.", lambda s, _: s.voice),
    _of_statement("attribution", "string", "How the source carries it.", lambda s, _: s.attribution),
    _of_statement("quote", "string", "The speaker's words.", lambda s, _: s.quote),
    _of_statement("quote_language", "string", "BCP 47 tag.", lambda s, _: s.quote_language),
    _of_statement("conditions", "string", "Types of condition.", lambda s, _: marks(s.conditions)),
    _of_statement("condition_texts", "string", "Their texts.", lambda s, _: mark_texts(s.conditions)),
    _of_statement("caveats", "string", "Types of caveat.", lambda s, _: marks(s.caveats)),
    _of_statement("caveat_texts", "string", "Their texts.", lambda s, _: mark_texts(s.caveats)),
    _of_statement("location", "string", "Where it would be.", lambda s, _: s.location),
    _of_statement("quantity_min", "integer", "Least number.", lambda s, _: amount(s.quantity, "min")),
    _of_statement("quantity_max", "integer", "Greatest number.", lambda s, _: amount(s.quantity, "max")),
    _of_statement("quantity_unit", "string", "What is counted.", lambda s, _: amount(s.quantity, "unit")),
    _of_statement("quantity_verbatim", "string", "As said.", lambda s, _: amount(s.quantity, "verbatim")),
    _of_statement(
        "relates_to",
        "string",
        "Relations to earlier entries, as relation:seq.",
        lambda s, _: ";".join(f"{each.relation}:{each.seq}" for each in s.relates_to),
    ),
    _of_statement("credibility", "integer", "Admiralty figure, 1 to 6.", lambda s, _: s.credibility),
    _of_statement("locator", "string", "Where in the source.", lambda s, _: s.locator),
    _of_statement("notes", "string", "Remarks of whoever recorded it.", lambda s, _: s.notes),
    _of_statement("source_id", "integer", "Source.", lambda s, _: s.source.id),
    _of_statement("source_title", "string", "Its title.", lambda s, _: s.source.title),
    _of_statement("source_publisher", "string", "Its publisher.", lambda s, _: s.source.publisher),
    _of_statement("source_url", "string", "Its address.", lambda s, _: s.source.url),
    _of_statement("source_published_on", "string", "EDTF, as given.", lambda s, _: s.source.published_on),
)

_ENDS: Mapping[str, Callable[[DiffEntry], PositionView | None]] = {
    "before": lambda entry: entry.before,
    "after": lambda entry: entry.after,
}
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

    def value(entry: DiffEntry, countries: Countries) -> Cell:
        position = _ENDS[end](entry)
        return None if position is None else column.value(position, countries)

    return Column(f"{end}_{column.name}", column.type, f"{column.description} ({end})", value)


DIFF: Sequence[Column[DiffEntry]] = (
    Column("op", "string", "added, removed, changed or affirmed.", lambda d, _: d.op),
    Column("country", "string", "ISO 3166-1 alpha-2 code.", lambda d, _: d.country),
    Column("country_alpha3", "string", "ISO 3166-1 alpha-3 code.", lambda d, c: c[d.country].alpha3),
    Column("country_name", "string", "Name in English.", lambda d, c: c[d.country].name),
    Column("component", "string", "Part of the effort.", lambda d, _: d.component),
    Column("cause", "string", "stated, withdrawn, corrected or retracted.", lambda d, _: d.cause),
    Column("on", "date", "Day of the step.", lambda d, _: d.on),
    Column("seq", "integer", "Entry of the step.", lambda d, _: d.seq),
    Column("fields", "string", "Fields that differ.", lambda d, _: ";".join(d.fields)),
    Column("seqs", "string", "Entries responsible.", lambda d, _: numbers(d.seqs)),
    *(
        _at_end(end, column)
        for end in _ENDS
        for name in _SHOWN_AT_ENDS
        for column in POSITIONS
        if column.name == name
    ),
)


def _held_in(component: Component, part: str) -> Column[CountryView]:
    """Return a column of what a country holds in a component, empty where it holds nothing."""

    def value(country: CountryView, _: Countries) -> Cell:
        position = country.positions.get(component)
        return None if position is None else str(getattr(position, part))

    return Column(f"{component}_{part}", "string", f"The {part} of its position in {component}.", value)


SOURCES: Sequence[Column[SourceView]] = (
    Column("id", "integer", "Id of the source.", lambda s, _: s.id),
    Column("url", "string", "Address, as given.", lambda s, _: s.url),
    Column("title", "string", "Title.", lambda s, _: s.title),
    Column("publisher", "string", "Publisher.", lambda s, _: s.publisher),
    Column("published_on", "string", "Day of publication, EDTF as given.", lambda s, _: s.published_on),
    Column("reliability", "string", "Admiralty letter.", lambda s, _: s.reliability),
    Column("notes", "string", "Remarks.", lambda s, _: s.notes),
    Column(
        "supports", "string", "Live entries that rest on it.", lambda s, _: numbers(e.seq for e in s.supports)
    ),
)


COUNTRIES: Sequence[Column[CountryView]] = (
    Column("code", "string", "ISO 3166-1 alpha-2 code.", lambda c, _: c.code),
    Column("alpha3", "string", "ISO 3166-1 alpha-3 code.", lambda c, _: c.alpha3),
    Column("name", "string", "Name in English.", lambda c, _: c.name),
    Column("groups", "string", "Groups that it belongs to.", lambda c, _: ";".join(c.groups)),
    Column(
        "executive_president",
        "boolean",
        "Head of state leads.",
        lambda c, _: c.executive_president,
    ),
    Column("tracked", "boolean", "Whether the record holds any statement.", lambda c, _: c.tracked),
    *(_held_in(component, part) for component in Component for part in ("kind", "firmness")),
)


class HistoryRow(PositionView):
    """A position with the days on which it held."""

    valid_from: date
    valid_to: date | None


HISTORY: Sequence[Column[HistoryRow]] = (
    Column("valid_from", "date", "First day on which it held.", lambda h, _: h.valid_from),
    Column("valid_to", "date", "First day on which it held no more; empty: still.", lambda h, _: h.valid_to),
    *(cast("Column[HistoryRow]", each) for each in POSITIONS),
)

COUNTS: Sequence[Column[Count]] = (
    Column("component", "string", "Part of the effort.", lambda c, _: c.component),
    Column("kind", "string", "The component, support, or refusal.", lambda c, _: c.kind),
    Column("firmness", "string", "How far it goes.", lambda c, _: c.firmness),
    Column("count", "integer", "Countries that hold this.", lambda c, _: c.count),
    Column("conditional", "integer", "Those that are conditional.", lambda c, _: c.conditional),
    Column("contested", "integer", "Those that are contested.", lambda c, _: c.contested),
    Column("stale", "integer", "Those affirmed long ago.", lambda c, _: c.stale),
)

COUNTS_ON: Sequence[Column[CountOn]] = (
    Column("on", "date", "Day counted on.", lambda c, _: c.on),
    *(cast("Column[CountOn]", each) for each in COUNTS),
)


def csv_text(
    items: Iterable[Row], columns: Sequence[Column[Row]], countries: Countries, *, excel: bool = False
) -> str:
    """Return a table as CSV: UTF-8 text, comma, CRLF, a header even when there are no rows.

    For `excel` it begins with a byte order mark, and a cell that a spreadsheet would take for a
    formula is marked as text by an apostrophe.
    """
    return "".join(csv_lines(items, columns, countries, excel=excel))


def csv_lines(
    items: Iterable[Row], columns: Sequence[Column[Row]], countries: Countries, *, excel: bool = False
) -> Iterator[str]:
    """Yield a table as `csv_text` writes it, a row at a time."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    yield "\ufeff" if excel else ""
    rows = ([_spelt(column.value(item, countries)) for column in columns] for item in items)
    for row in chain([[column.name for column in columns]], rows):
        writer.writerow([f"'{cell}" if excel and cell.startswith(_FORMULA) else cell for cell in row])
        yield out.getvalue()
        out.seek(0)
        out.truncate()


def ndjson_lines(items: Iterable[BaseModel | Item[Any]]) -> Iterator[str]:
    """Yield a list as NDJSON, a line at a time: each item as in the JSON list."""
    return (f"{item_json(item)}\n" for item in items)


def item_json(item: BaseModel | Item[Any]) -> str:
    """Return an item as JSON."""
    return item.json if isinstance(item, Item) else item.model_dump_json(by_alias=True)


def history_rows(
    stands: Mapping[LineKey, Sequence[Stand]], viewer: Viewer, until: date, wanted: PositionFilter
) -> Iterator[HistoryRow]:
    """Yield every position that held up to `until`, inclusive, with the days on which it did.

    One row for each country, component and stretch of days on which no compared field differs;
    a row shows the position as it was on the stretch's last day. Sorted by country, component, day.
    `stands` are all that the lines answer up to `until`.
    """
    for key, line in stands.items():
        firsts = [number for number, stand in enumerate(line) if stand.step == CHANGED]
        lasts = [line[number - 1] for number in [*firsts[1:], len(line)]]
        viewer.load_shown(lasts)
        for first, last, following in zip_longest(firsts, lasts, firsts[1:]):
            ends = None if following is None else line[following].holds_from
            item = viewer.position(key, until if ends is None else ends - timedelta(days=1), last)
            if item is not None and wanted.passes(item.view):
                yield HistoryRow(**dict(item.view), valid_from=line[first].holds_from, valid_to=ends)


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


def _spelt(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else str(value)
