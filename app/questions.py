"""The commands that read: positions, diff, follow and export ask a tracker, release writes it down.

Without --url they ask the configured database, by the same client over the same application: what
is answered does not depend on where it is asked.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlmodel import Session

from app.changes import Head, head_at, head_known_at, head_of
from app.client import Tracker, TrackerFailure
from app.console import configured, open_database, progress, say
from app.dates import parse_day
from app.diff import Axis, Mode
from app.errors import TrackerError
from app.fields import parse_instant
from app.in_process import ADDRESS, InProcess
from app.main import create_app
from app.release import count_files, write_release
from app.replies import Answers
from app.reports import change_line, diff_table, positions_table

app = typer.Typer()

Several = list[str] | None
Url = Annotated[
    str | None,
    typer.Option("--url", metavar="ADDRESS", help="Ask this tracker, not the configured database."),
]
AsOf = Annotated[str | None, typer.Option(metavar="DAY", help="As of the end of this day. Default: today.")]
KnownAt = Annotated[str | None, typer.Option(metavar="INSTANT", help="With what was recorded by then.")]
Seq = Annotated[int | None, typer.Option(help="Likewise, by number: the ledger up to this entry.")]
Country = Annotated[Several, typer.Option(metavar="CODE", help="Of this country; repeatable.")]
Group = Annotated[Several, typer.Option(metavar="GROUP", help="Of the members of nato or eu; repeatable.")]
Component = Annotated[Several, typer.Option(metavar="WORD", help="troops, air, sea, training …; repeatable.")]
Kind = Annotated[
    Several, typer.Option(metavar="WORD", help="troops, air, sea, refusal or support; repeatable.")
]
Firmness = Annotated[Several, typer.Option(metavar="WORD", help="Exactly this firm; repeatable.")]
MinFirmness = Annotated[str | None, typer.Option(metavar="WORD", help="At least this firm, on its ladder.")]
Condition = Annotated[
    Several, typer.Option(metavar="WORD", help="Depending on ceasefire, us_backstop …; repeatable.")
]
Words = Annotated[
    str | None, typer.Option("--text", metavar="TEXT", help="With this in summary, quote or speaker.")
]
FORMAT = "Default: a table on a terminal, JSON into a file or a pipe."


class Shape(StrEnum):
    """How a list is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"


class LineShape(StrEnum):
    """How entries are printed that come one at a time."""

    TEXT = "text"
    NDJSON = "ndjson"


class TableName(StrEnum):
    """A table that can be had whole."""

    POSITIONS = "positions"
    HISTORY = "history"
    CHANGES = "changes"
    SOURCES = "sources"


@contextmanager
def failing_plainly() -> Iterator[None]:
    """Turn what can go wrong into a sentence and exit code 2; 1 is left to say that something differs."""
    try:
        yield
    except (TrackerFailure, httpx.InvalidURL) as error:
        say.print(str(error), markup=False, soft_wrap=True)
    except TrackerError as error:
        faults = "".join(f"\n  {fault.parameter}: {fault.message}" for fault in error.faults)
        say.print(f"{error.title}. {error.detail or error.cure}{faults}", markup=False, soft_wrap=True)
    except (OperationalError, InterfaceError) as error:
        say.print(f"The database cannot be used: {error.orig}", markup=False, soft_wrap=True)
    except OSError as error:
        say.print(f"{error.strerror or error}: {error.filename or ''}", markup=False, soft_wrap=True)
    except typer.Exit:
        pass
    else:
        return
    raise typer.Exit(2)


@contextmanager
def asking(url: str | None) -> Iterator[Tracker]:
    """Give a client of the tracker at `url`, or of the configured database."""
    with failing_plainly():
        if url is not None:
            with Tracker(url) as tracker:
                yield tracker
            return
        open_database().close()
        served = create_app(configured())
        with (
            closing(served.state.database),
            Tracker(ADDRESS, tries=2, transport=InProcess(served)) as tracker,
        ):
            yield tracker


def shape_of(asked: Shape | None) -> Shape:
    """Return how to print: as asked, else a table for a person and JSON for a program."""
    return asked or (Shape.TABLE if sys.stdout.isatty() else Shape.JSON)


def print_json(answers: Answers[Any, Any]) -> None:
    """Print a list whole as one JSON document: `meta` and all `items`."""
    pages = list(answers.pages())
    items = [item for page in pages for item in page["items"]]
    document = {"meta": pages[0]["meta"], "items": items}
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2).encode())


def print_text(tracker: Tracker, path: str, shape: Shape, asked: dict[str, Any]) -> None:
    """Print a list whole as CSV or NDJSON, page by page."""
    for text in tracker.text(path, format="csv" if shape is Shape.CSV else "ndjson", limit=1000, **asked):
        # As bytes: CSV keeps its line ends, whatever the terminal thinks of them.
        typer.echo(text.encode(), nl=False)


@app.command()
def positions(
    as_of: AsOf = None,
    known_at: KnownAt = None,
    seq: Seq = None,
    country: Country = None,
    group: Group = None,
    component: Component = None,
    kind: Kind = None,
    firmness: Firmness = None,
    min_firmness: MinFirmness = None,
    condition: Condition = None,
    contested: Annotated[
        bool | None, typer.Option("--contested/--uncontested", help="Only contested ones, or only others.")
    ] = None,
    text: Words = None,
    url: Url = None,
    shape: Annotated[Shape | None, typer.Option("--format", help=FORMAT)] = None,
) -> None:
    """Show what countries hold on a day, as known at a moment.

    Who has at least planned troops, as of 28 March 2025?

    $ coalition positions --as-of 2025-03-28 --component troops --min-firmness planned

    The same as a table for a spreadsheet, from a tracker elsewhere:

    $ coalition positions --as-of 2025-03-28 --url http://127.0.0.1:8000 --format csv > positions.csv
    """
    asked: dict[str, Any] = {
        "as_of": as_of,
        "known_at": known_at,
        "seq": seq,
        "country": country,
        "group": group,
        "component": component,
        "kind": kind,
        "firmness": firmness,
        "min_firmness": min_firmness,
        "condition": condition,
        "contested": contested,
        "q": text,
    }
    wanted = shape_of(shape)
    with asking(url) as tracker:
        if wanted in (Shape.CSV, Shape.NDJSON):
            print_text(tracker, "/v1/positions", wanted, asked)
            return
        answers = tracker.positions(**asked)
        if wanted is Shape.JSON:
            print_json(answers)
        else:
            console = Console(highlight=False)
            console.print(positions_table(answers, answers.meta, console.width))


@app.command()
def diff(
    from_: Annotated[
        str, typer.Option("--from", metavar="END", help="A day; along recorded time an instant or a seq.")
    ],
    to: Annotated[str, typer.Option(metavar="END", help="Likewise. Both ends are inclusive.")],
    axis: Annotated[
        Axis, typer.Option(help="valid: two days. recorded: two states of the record, for one day.")
    ] = Axis.VALID,
    mode: Annotated[Mode, typer.Option(help="net: what differs. events: every step on the way.")] = Mode.NET,
    as_of: Annotated[
        str | None, typer.Option(metavar="DAY", help="Along recorded time: the day. Default: today.")
    ] = None,
    known_at: Annotated[
        str | None, typer.Option(metavar="INSTANT", help="Along valid time: with what was recorded by then.")
    ] = None,
    seq: Seq = None,
    country: Country = None,
    group: Group = None,
    component: Component = None,
    kind: Kind = None,
    firmness: Firmness = None,
    min_firmness: MinFirmness = None,
    condition: Condition = None,
    text: Words = None,
    url: Url = None,
    shape: Annotated[Shape | None, typer.Option("--format", help=FORMAT)] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 1 where anything differs, 0 where nothing does.")
    ] = False,
) -> None:
    """Show what differs between two days, or between two states of the record.

    What did countries say differently at the end of March 2025?

    $ coalition diff --from 2025-03-27 --to 2025-03-31

    What have we learned or mended since entry 5, about that same day? In a script:

    $ coalition diff --axis recorded --from 5 --to 12 --as-of 2025-03-28 --exit-code || echo news

    Exit code 2 means that the question could not be answered.
    """
    asked: dict[str, Any] = {
        "as_of": as_of,
        "known_at": known_at,
        "seq": seq,
        "country": country,
        "group": group,
        "component": component,
        "kind": kind,
        "firmness": firmness,
        "min_firmness": min_firmness,
        "condition": condition,
        "q": text,
    }
    wanted = shape_of(shape)
    with asking(url) as tracker:
        answers = tracker.diff(from_, to, axis=axis.value, mode=mode.value, **asked)
        if wanted in (Shape.CSV, Shape.NDJSON):
            both = {"from": from_, "to": to, "axis": axis, "mode": mode}
            print_text(tracker, "/v1/diff", wanted, both | asked)
        elif wanted is Shape.JSON:
            print_json(answers)
        else:
            table = diff_table(answers, answers.meta, (answers.meta.from_, answers.meta.to))
            Console(highlight=False).print(table)
    if exit_code and answers:
        raise typer.Exit(1)


@app.command()
def follow(
    after: Annotated[
        int | None, typer.Option(min=0, help="Begin after this entry; 0: the first. Default: the newest.")
    ] = None,
    country: Country = None,
    group: Group = None,
    component: Component = None,
    kind: Kind = None,
    firmness: Firmness = None,
    min_firmness: MinFirmness = None,
    condition: Condition = None,
    text: Words = None,
    voice: Annotated[
        Several, typer.Option(metavar="WORD", help="government, head_of_state or report; repeatable.")
    ] = None,
    source: Annotated[list[int] | None, typer.Option(help="From a source, by its id; repeatable.")] = None,
    action: Annotated[
        Several, typer.Option(metavar="WORD", help="state, correct or retract; repeatable.")
    ] = None,
    url: Url = None,
    shape: Annotated[
        LineShape | None,
        typer.Option("--format", help="Default: text on a terminal, NDJSON into a file or a pipe."),
    ] = None,
) -> None:
    """Print the ledger's entries as they are recorded, a line each, until Ctrl-C.

    A broken connection or a restarted server is waited for; nothing is missed or printed twice.

    $ coalition follow --url http://127.0.0.1:8000 --after 5 --country PL
    """
    default = LineShape.TEXT if sys.stdout.isatty() else LineShape.NDJSON
    console = Console(highlight=False)
    with asking(url) as tracker:
        try:
            for change in tracker.follow(
                after,
                country=country,
                group=group,
                component=component,
                kind=kind,
                firmness=firmness,
                min_firmness=min_firmness,
                condition=condition,
                q=text,
                voice=voice,
                source=source,
                action=action,
            ):
                if (shape or default) is LineShape.TEXT:
                    console.print(change_line(change), soft_wrap=True)
                else:
                    typer.echo(change.model_dump_json().encode())
        except KeyboardInterrupt:
            return


@app.command()
def export(
    table: Annotated[TableName, typer.Argument(help="What to write.")],
    file: Annotated[Path, typer.Argument(dir_okay=False, help="Where to: a name ending in .csv or .ndjson.")],
    as_of: Annotated[
        str | None, typer.Option(metavar="DAY", help="For positions and history: the day. Default: today.")
    ] = None,
    known_at: KnownAt = None,
    seq: Seq = None,
    url: Url = None,
) -> None:
    """Write a whole table into a file; it is replaced only when all of it has come.

    $ coalition export history history.csv --as-of 2025-12-31

    $ coalition export changes changes.ndjson --url http://127.0.0.1:8000
    """
    ending = file.suffix.removeprefix(".").lower()
    if ending not in ("csv", "ndjson"):
        say.print("The file's name ends in .csv or .ndjson: that says how it is written.")
        raise typer.Exit(2)
    if not file.parent.is_dir():
        say.print(f"There is no directory {file.parent}.", markup=False)
        raise typer.Exit(2)
    asked: dict[str, Any] = {"as_of": as_of, "known_at": known_at, "seq": seq}
    with asking(url) as tracker, progress() as bar:
        lists: dict[str, Callable[..., Answers[Any, Any]]] = {
            "positions": tracker.positions,
            "changes": tracker.changes,
            "sources": tracker.sources,
        }
        total = lists[table](limit=1, **asked).meta.total if table in lists else None
        task = bar.add_task(f"Writing {table}", total=total)
        chunks = tracker.export(table.value, format="csv" if ending == "csv" else "ndjson", **asked)
        scratch, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
        try:
            with os.fdopen(scratch, "wb") as writing:
                for chunk in chunks:
                    writing.write(chunk)
                    bar.advance(task, chunk.count(b"\n"))
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    say.print(f"Wrote {file}.", markup=False)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@app.command()
def release(
    directory: Annotated[Path, typer.Argument(help="A directory that is new or empty.")],
    as_of: Annotated[
        str | None,
        typer.Option(metavar="DAY", help="Positions of this day. Default: that of the newest entry."),
    ] = None,
    known_at: KnownAt = None,
    seq: Seq = None,
) -> None:
    """Write the whole record down as a release: files to publish, cite and check, never overwritten.

    All tables as CSV and NDJSON, a Frictionless data package, a codebook, a citation, checksums.
    The same entries and the same day give the same bytes, wherever and whenever.

    $ coalition release releases/2025-12-31 --as-of 2025-12-31

    $ cd releases/2025-12-31 && sha256sum -c SHA256SUMS
    """
    with failing_plainly(), closing(open_database()) as database, database.reading() as session:
        try:
            head = _head(session, known_at, seq)
            day = parse_day(as_of) if as_of else None
            with progress() as bar:
                task = bar.add_task("Writing", total=count_files())
                day = write_release(session, directory, head, day, progress=lambda: bar.advance(task))
        except (ValueError, FileExistsError) as error:
            say.print(str(error), markup=False, soft_wrap=True)
            raise typer.Exit(2) from None
    say.print(f"Released {directory}: positions as of {day}, record up to entry {head.seq}.", markup=False)


def _head(session: Session, known_at: str | None, seq: int | None) -> Head:
    if known_at is not None and seq is not None:
        raise ValueError("Give --known-at or --seq, not both.")
    if known_at is not None:
        return head_known_at(session, parse_instant(known_at))
    return head_of(session) if seq is None else head_at(session, seq)
