"""A release: the whole record as files that never change again, with what it takes to cite and check them.

The bytes depend on the ledger, the day and this release of the software, and on nothing else: not
on the clock, the settings or the database.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sqlmodel import Session

from app.as_of import Moment, Viewer, positions_as_of
from app.changes import ChangeView, Head, LedgerFilter, SourceView, changes_after, source_views
from app.countries import every_country
from app.export import TABLES, HistoryRow, csv_lines, datapackage, history_rows, ndjson_lines, stretches
from app.fields import instant_text
from app.filters import PositionFilter
from app.items import Item
from app.lines import Lines, tracked_countries
from app.sources import newest_source_id, sources_up_to
from app.standings import report_days, stands_of
from app.vocabulary import CREDIBILITY, OFFERS, REFUSALS, SETS, Firmness, Word

STALE_AFTER = timedelta(days=180)
"""The same for every release, whatever a tracker's setting is."""
STRETCH = 1_000
CHECKSUMS = "SHA256SUMS"
KEYS = {
    "positions": ["country", "component"],
    "history": ["country", "component", "valid_from"],
    "changes": ["seq"],
    "sources": ["id"],
}
"""What tells the rows of a table apart."""
WORDS = {
    "component": "components",
    "kind": "kinds",
    "firmness": "firmness",
    "voice": "voices",
    "location": "locations",
    "authority": "authorities",
    "attribution": "attributions",
    "action": "actions",
    "reliability": "reliability",
}
"""The closed set that a column's cells are from, one word a cell."""
LISTS = {"conditions": "conditions", "caveats": "caveats", "refuses": "components"}
"""The same for columns whose cells hold several words, joined by `;`."""


def write_release(
    session: Session,
    folder: Path,
    head: Head,
    day: date | None = None,
    *,
    progress: Callable[[], object] = lambda: None,
) -> date:
    """Write the record as known at `head` into `folder`, and return the day that its positions are as of.

    That is `day`, by default the UTC day on which `head` was recorded. `progress` is called after
    each file. The folder appears whole or not at all. Raises FileExistsError unless it is new or
    empty, and ValueError where nothing is recorded.
    """
    if head.recorded_at is None:
        raise ValueError("Nothing is recorded there: a release needs at least one entry.")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already: a release is never overwritten.")
    day = day or head.recorded_at.date()
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".release-"))
    try:
        for name, lines in _files(session, scratch, head, day):
            with (scratch / name).open("w", encoding="utf-8", newline="") as file:
                file.writelines(lines)
            (scratch / name).chmod(0o444)
            progress()
        scratch.chmod(0o755)
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch)
        raise
    return day


def count_files() -> int:
    """Return how many files a release has."""
    return 2 * len(TABLES) + 4


def _files(session: Session, folder: Path, head: Head, day: date) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield each file's name and text; the later ones describe those that are written by then."""
    countries = every_country(session)
    for table, (_, columns) in TABLES.items():
        yield f"{table}.csv", csv_lines(table_rows(session, table, head, day), columns, countries)
        yield f"{table}.ndjson", ndjson_lines(table_rows(session, table, head, day))
    yield "datapackage.json", [_pretty(package(folder, head, day))]
    yield "CITATION.cff", [citation(head, day)]
    yield "codebook.md", [codebook(head, day)]
    written = sorted(path.name for path in folder.iterdir())
    yield CHECKSUMS, [f"{digest_of(folder / name)}  {name}\n" for name in written]


def table_rows(session: Session, table: str, head: Head, day: date) -> Iterable[BaseModel | Item[Any]]:
    """Return the rows of one of `TABLES` as `/v1/export` gives them for that day and that seq."""
    if table == "changes":
        return _ledger(session, head.seq)
    if table == "sources":
        return _sources(session, head.seq)
    viewer = Viewer(session, every_country(session), STALE_AFTER)
    if table == "history":
        return _history(viewer, head, day)
    return positions_as_of(viewer, Moment(day, head), PositionFilter())


def _history(viewer: Viewer, head: Head, day: date) -> Iterator[Item[HistoryRow]]:
    for code in sorted(tracked_countries(viewer.session, head.seq)):
        stands = stands_of(viewer.session, head.seq, Lines({code}), until=day)
        reports = report_days(viewer.session, head.seq, Lines({code}))
        ahead = stretches(stands)
        while found := list(islice(ahead, STRETCH)):
            seen = Viewer(viewer.session, viewer.countries, viewer.stale_after)  # which forgets the others
            yield from history_rows(found, reports, seen, day, PositionFilter())


def _ledger(session: Session, seq: int) -> Iterator[Item[ChangeView]]:
    for after in range(0, seq, STRETCH):
        for _, item in changes_after(session, after, seq, STRETCH, LedgerFilter()):
            yield item


def _sources(session: Session, seq: int) -> Iterator[SourceView]:
    newest, after = int(newest_source_id(session, seq)), 0
    while found := source_views(session, sources_up_to(session, newest, after, STRETCH), seq):
        yield from found
        after = found[-1].id or newest


def digest_of(path: Path) -> str:
    """Return the SHA-256 digest of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def package(folder: Path, head: Head, day: date) -> dict[str, Any]:
    """Return the description of a release (Frictionless Data Package v2), with its tables' digests.

    To what `/v1/export/datapackage.json` says it adds keys, references and the closed sets, so that
    whoever validates the package checks them too. The standard knows only tables: NDJSON is none.
    """
    described = datapackage(head)
    resources = []
    for resource in described["resources"]:
        table = resource["name"]
        schema = resource["schema"] | {
            "fields": [_with_words(field) for field in resource["schema"]["fields"]],
            "primaryKey": KEYS[table],
            "foreignKeys": _references(table),
        }
        file = folder / resource["path"]
        size = {"bytes": file.stat().st_size, "hash": f"sha256:{digest_of(file)}"}
        resources.append(resource | {"schema": schema} | size)
    assert head.recorded_at is not None
    return described | {
        "created": instant_text(head.recorded_at),
        "as_of": day.isoformat(),
        "resources": resources,
    }


def _with_words(field: dict[str, Any]) -> dict[str, Any]:
    name = WORDS.get(field["name"])
    return field | {"constraints": {"enum": _values(SETS[name])}} if name else field


def _values(words: Iterable[Word]) -> list[str]:
    return [word.value for word in words]


def _references(table: str) -> list[dict[str, Any]]:
    ledger = {"resource": "changes", "fields": ["seq"]}
    sources = {"resource": "sources", "fields": ["id"]}
    targets = {"seq": ledger, "source_id": sources}
    if table == "changes":
        targets = {"replaces": {"fields": ["seq"]}, "source_id": sources}
    elif table == "sources":
        targets = {}
    return [{"fields": [field], "reference": reference} for field, reference in targets.items()]


def citation(head: Head, day: date) -> str:
    """Return how to cite a release (Citation File Format 1.2.0)."""
    assert head.recorded_at is not None
    described = datapackage(head)
    fields = {
        "cff-version": "1.2.0",
        "message": "If you use these data, cite them as below.",
        "type": "dataset",
        "title": f"{described['title']}: positions as of {day}, record up to entry {head.seq}",
        "abstract": f"{described['description']} Digest of the record: {head.digest}.",
        "version": described["version"],
        "date-released": head.recorded_at.date().isoformat(),
        "license": "CC-BY-4.0",
    }
    # JSON strings are YAML strings.
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items()]
    return "".join([*lines, 'authors:\n  - name: "The coalition commitment tracker\'s authors"\n'])


def codebook(head: Head, day: date) -> str:
    """Return what the files, their columns and their words mean, as Markdown."""
    assert head.recorded_at is not None
    described = datapackage(head)
    parts = [
        f"# Codebook\n\n{described['description']}\n\n"
        f"* Positions as of {day}; history up to that day, inclusive.\n"
        f"* Known at {instant_text(head.recorded_at)}: the record up to entry {head.seq}.\n"
        f"* Digest of the record at that entry: `{head.digest}`.\n"
        f"* Licence: [{described['licenses'][0]['title']}]({described['licenses'][0]['path']}).\n\n"
        "Each table comes as CSV (UTF-8, comma, CRLF, a header; an empty cell is no value; `;` joins\n"
        "several words) and as NDJSON (one JSON object a line, with what CSV cannot nest). Where there\n"
        "is no position, nothing is recorded: that is not a refusal. A position is `stale` when it was\n"
        f"last affirmed more than {STALE_AFTER.days} days before.\n\n"
        f"`sha256sum -c {CHECKSUMS}` checks the files; `datapackage.json` describes them for programs.\n"
    ]
    for table, (description, columns) in TABLES.items():
        rows = [(f"`{each.name}`", each.type, _meaning(each.name, each.description)) for each in columns]
        parts.append(f"\n## {table}\n\n{description}\n\n{_table(('column', 'type', 'meaning'), rows)}")
    parts.append(
        "\n## Words\n\n"
        f"The ladder of an offer: {', '.join(OFFERS)}. Of a refusal: {', '.join(REFUSALS)}.\n"
        f"Either can be {Firmness.WITHDRAWN}.\n"
    )
    for name, words in SETS.items():
        defined = [(f"`{word.value}`", word.definition) for word in words]
        parts.append(f"\n### {name}\n\n{_table(('word', 'meaning'), defined)}")
    figures = [(f"`{figure}`", meaning) for figure, meaning in CREDIBILITY.items()]
    parts.append(f"\n### credibility\n\n{_table(('figure', 'meaning'), figures)}")
    return "".join(parts)


def _meaning(column: str, description: str) -> str:
    if column in WORDS:
        return f"{description} One of [{WORDS[column]}](#{WORDS[column]})."
    if column in LISTS:
        return f"{description} Any of [{LISTS[column]}](#{LISTS[column]}), joined by `;`."
    return description


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = ([cell.replace("|", "&#124;") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _pretty(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"
