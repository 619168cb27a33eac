"""Much at once: rows taken in and the ledger given out, beside what the driver alone can do."""

import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import SQLModel

from app.appending import ORDER
from app.as_of import viewer
from app.bulk import NDJSON, read_rows, state_all, validated
from app.changes import Change, Writer
from app.collecting import collect_seldom
from app.db import canonical_json, table_of
from app.lines import Line
from app.sources import Source
from app.standings import PositionJSON, Standing
from app.vocabulary import Scope
from tests import make
from tests.bench.load import Connection, request
from tests.bench.records import Records, connect, open_database
from tests.bench.serving import SERVE, Rounds, Server, processor_seconds, resident, say, started, watched
from tests.bench.tables import median, ratio, short, table
from tests.serving import environment, stop

ROWS = 10_000
COUNTRIES = ("PL", "FR", "GB", "DE", "IT", "ES", "NO", "SE", "FI", "DK", "NL", "BE", "EE", "LV", "LT", "CZ")
KINDS = ("troops", "air", "sea")
LEDGER = """SELECT c.seq, c.action, c.recorded_at, c.recorded_by_id, c.recorded_by_name, c.reason, c.replaces,
later.seq, later.seq IS NULL, c.digest, s.country_code, k.alpha3, k.name, s.kind, s.component, s.refuses,
s.firmness, s.stated_on, s.stated_earliest_on, s.stated_latest_on, s.effective_on, s.summary, s.speaker,
s.speaker_role, s.authority, s.voice, s.attribution, s.quote, s.quote_language, s.conditions, s.caveats,
s.location, s.quantity_min, s.quantity_max, s.quantity_unit, s.quantity_verbatim, s.credibility, s.locator,
s.notes, o.id, o.title, o.publisher, o.url, o.published_on
FROM change c
LEFT JOIN change later ON later.replaces = c.seq
LEFT JOIN statement s ON s.seq = c.seq
LEFT JOIN source o ON o.id = s.source_id
LEFT JOIN country k ON k.code = s.country_code
ORDER BY c.seq"""
"""The columns of the exported ledger, but for relations."""

Table = tuple[str, list[tuple[Any, ...]]]


@dataclass(slots=True)
class Spent:
    """What something took: seconds, and seconds of the processor."""

    seconds: float = 0.0
    processor: float = 0.0

    def keep(self, rows: int, rounds: Rounds) -> None:
        """Keep it as what each of so many rows took."""
        rounds.a_second.append(rows / self.seconds)
        rounds.milliseconds.append(self.processor * 1000 / rows)


@contextmanager
def timed(*processes: int) -> Iterator[Spent]:
    """Tell afterwards what this process, and some that work for it, took while the context lasted."""
    spent, others = Spent(), processor_seconds(processes)
    begun, used = time.perf_counter(), time.process_time()
    yield spent
    spent.seconds = time.perf_counter() - begun
    spent.processor = time.process_time() - used + processor_seconds(processes) - others


def rows(count: int) -> bytes:
    """Return a body of `count` statements, twelve to a source."""
    return b"\n".join(
        canonical_json(
            make.body(
                country=COUNTRIES[number % len(COUNTRIES)],
                kind=KINDS[number % 3],
                firmness=("planned", "signalled", "committed")[number % 7 % 3],
                stated_on=f"2025-{number % 9 + 1:02}-{number % 28 + 1:02}",
                speaker=f"Speaker {number}",
                source=make.SOURCE | {"url": f"https://example.org/{number // 12}"},
            )
        ).encode()
        for number in range(count)
    )


def measure_bulk(records: Records, size: int, *, rounds: int) -> None:
    """Measure and print imports, exports, and the memory that both take."""
    with tempfile.TemporaryDirectory(prefix="bulk-", dir=records.folder) as scratch:
        _measure_imports(records, size, rounds)
        _measure_exports(records, size, rounds, Path(scratch))
        _measure_import_memory(records, size, Path(scratch))


def _measure_imports(records: Records, size: int, rounds: int) -> None:
    checked, recorded, whole, bare = (Rounds() for _ in range(4))
    body = rows(ROWS)
    for number in range(rounds):
        say(f"import, round {number + 1} of {rounds}: {ROWS} rows")
        with records.copied(size) as url:
            before = _newest(url)
            spent = _recorded(url, body, records.processes)
            new = list(_rows_above(url, before))
        for each, kept in zip(spent, (checked, recorded), strict=True):
            each.keep(ROWS, kept)
        both = Spent(sum(each.seconds for each in spent), sum(each.processor for each in spent))
        both.keep(ROWS, whole)
        with records.copied(size) as url:
            _inserted_bare(url, new, records.processes).keep(ROWS, bare)
    named = {
        "read and validated, before the lock": checked,
        "recorded under the lock": recorded,
        "both": whole,
        "bare executemany of the same rows": bare,
    }
    head = ["what", "rows a second", "ms of the processor a row", "as fast as bare", "by the processor"]
    table(
        f"{ROWS:,} statements into {size:,} entries, in one transaction ({rounds} rounds)",
        head,
        [
            [
                name,
                median(found.a_second),
                median(found.milliseconds),
                ratio(found.a_second, bare.a_second),
                ratio(found.a_processor_second, bare.a_processor_second),
            ]
            for name, found in named.items()
        ],
    )


def _recorded(url: str, body: bytes, processes: Sequence[int]) -> tuple[Spent, Spent]:
    """State everything in a body; return what validating and what recording it took."""
    database = open_database(url)
    collect_seldom()  # as it is served
    try:
        with timed(*processes) as checking:
            read = validated(read_rows(body, NDJSON, most=None))
        with timed(*processes) as recording, database.writing() as session:
            state_all(session, viewer(session, 180), Writer("bench", "bench", Scope.CONTRIBUTE), read)
    finally:
        database.close()
    return checking, recording


def _newest(url: str) -> dict[str, int]:
    """Return the newest entry, source and line."""
    asked: dict[str, tuple[type[SQLModel], str]] = {
        "seq": (Change, "seq"),
        "source": (Source, "id"),
        "line": (Line, "id"),
        "position_json": (PositionJSON, "id"),
    }
    with closing(connect(url)) as connection:
        return {
            name: connection.execute(f"SELECT max({column}) FROM {table_of(model).name}").fetchone()[0] or 0
            for name, (model, column) in asked.items()
        }


def _rows_above(url: str, before: dict[str, int]) -> Iterator[Table]:
    """Yield each table with the rows that it was given, as the driver has them."""
    with closing(connect(url)) as connection:
        filled: tuple[type[SQLModel], ...] = (*ORDER, Standing, PositionJSON)
        for model in filled:
            name = table_of(model).name
            column = "seq" if "seq" in model.model_fields else "id"
            least = before.get(name, before["seq"])
            found = connection.execute(f"SELECT * FROM {name} WHERE {column} > {least} ORDER BY {column}")
            yield name, found.fetchall()


def _inserted_bare(url: str, tables: Sequence[Table], processes: Sequence[int]) -> Spent:
    """Return what the driver takes to insert the same rows in one transaction, into a copy of the record."""
    mark = "?" if url.startswith("sqlite") else "%s"
    with closing(connect(url)) as connection, timed(*processes) as spent:
        cursor = connection.cursor()
        cursor.execute("BEGIN")
        for name, found in tables:
            if found:
                marks = ", ".join([mark] * len(found[0]))
                cursor.executemany(f"INSERT INTO {name} VALUES ({marks})", found)
        cursor.execute("COMMIT")
    return spent


def _measure_exports(records: Records, size: int, rounds: int, scratch: Path) -> None:
    url = records.url(size)
    found = {name: Rounds() for name in ("csv.writer over a cursor", "ndjson", "csv")}
    most = {"ndjson": 0.0, "csv": 0.0}
    with started("exports", SERVE, scratch, database_url=url, beside=records.processes) as server:
        _export(server, "ndjson", 1)
        idle = resident(server.processes[:1])
        for number in range(rounds):
            say(f"export, round {number + 1} of {rounds}: {size} entries")
            _written_bare(url, scratch / "ledger.csv", records.processes).keep(
                size, found["csv.writer over a cursor"]
            )
            for extension, before in most.items():
                with watched(server.processes[0]) as memory:
                    _export(server, extension, size).keep(size, found[extension])
                most[extension] = max(before, memory.most - idle)
    bare = found["csv.writer over a cursor"]
    head = ["what", "rows a second", "ms of the processor a row", "as fast as csv.writer", "MiB above idle"]
    table(
        f"The whole ledger, {size:,} entries, given out over HTTP ({rounds} rounds; idle: {idle:.0f} MiB)",
        head,
        [
            [
                name,
                median(each.a_second),
                median(each.milliseconds),
                ratio(each.a_second, bare.a_second),
                short(most[name]) if name in most else None,
            ]
            for name, each in found.items()
        ],
    )


def _export(server: Server, extension: str, size: int) -> Spent:
    """Return what the server takes to send the first entries of the ledger."""
    asked = request(server.address, f"/v1/export/changes.{extension}?seq={size}")
    spent, before = Spent(), processor_seconds(server.processes)
    with closing(Connection(server.address)) as connection:
        begun = time.perf_counter()
        status = connection.ask(asked)
        spent.seconds = time.perf_counter() - begun
        if status != 200 or (extension == "ndjson" and connection.lines != size):
            raise SystemExit(f"bench: the export is answered {status}, with {connection.lines} lines")
    spent.processor = processor_seconds(server.processes) - before
    return spent


def _written_bare(url: str, path: Path, processes: Sequence[int]) -> Spent:
    """Return what csv.writer takes for the ledger, over a cursor of the driver."""
    with closing(connect(url)) as connection, path.open("w", newline="") as file, timed(*processes) as spent:
        connection.execute("BEGIN")
        # PostgreSQL would otherwise send everything before the first row is seen.
        cursor = connection.cursor() if url.startswith("sqlite") else connection.cursor(name="ledger")
        cursor.execute(LEDGER)
        csv.writer(file).writerows(cursor)
        connection.execute("ROLLBACK")
    return spent


def _measure_import_memory(records: Records, size: int, scratch: Path) -> None:
    found: list[list[object]] = []
    for count in (1, ROWS):
        say(f"coalition import of {count} rows")
        file = scratch / f"{count}.ndjson"
        file.write_bytes(rows(count))
        with records.copied(size) as url:
            seconds, most = _imported(url, file)
        found.append([f"{count:,}", short(seconds), short(most)])
    table("`coalition import` of a file, as a whole", ["rows", "seconds", "MiB at most"], found)


def _imported(url: str, file: Path) -> tuple[float, float]:
    """Return the seconds that `coalition import` takes for a file, and the memory that it held at most."""
    log = file.with_suffix(".log")
    with log.open("wb") as words:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "import", str(file)],
            cwd=file.parent,
            env=environment(url),
            stdout=words,
            stderr=words,
        )
    try:
        # What wait4(2) tells of the most that it held would be what we held when it was begun.
        with watched(process.pid) as memory:
            code = process.wait()
    finally:
        stop(process)
    if code != 0:
        raise SystemExit(f"bench: the import failed:\n{log.read_text()[-3000:]}")
    return time.perf_counter() - begun, memory.most
