"""The `coalition` command: run the tracker and look after its record."""

import hashlib
import re
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import httpx
import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from app import auth, bulk, importing, keeping, questions, seed, server, verify
from app.changes import Writer
from app.collecting import collect_seldom
from app.console import configured, open_database, progress, say, tell_verified
from app.countries import every_country
from app.db import Database, canonical_json, utc_now
from app.errors import Fault, Invalid, ReadOnly, StorageFull, TrackerError, failure_of
from app.vocabulary import Scope

app = typer.Typer(
    name="coalition",
    help="Run the coalition commitment tracker and look after its record. "
    "Settings come from TRACKER_… environment variables; the README lists them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys = typer.Typer(help="Make, list and revoke the API keys that may write.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(questions.app)
app.add_typer(keeping.app)
LOCAL = Writer(id="local", name="command line", scope=Scope.CURATE)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Processes that answer.", min=1, max=64)] = 1,
    with_seed: Annotated[
        bool, typer.Option("--seed/--no-seed", help="Load the seed data into a new embedded database.")
    ] = True,
) -> None:
    """Serve the API.

    An embedded (SQLite) database is made, migrated and seeded as needed, and the first time an
    API key is printed, once. A PostgreSQL database must be at the schema of this release already:
    run `coalition migrate` first.
    """
    database, settings = open_database(), configured()
    bound = server.listening(host, port)
    if database.is_embedded and not settings.read_only:
        database.probe()
        with database.writing() as session:
            key = (
                auth.create_key(session, "first run", Scope.CONTRIBUTE)
                if not auth.every_key(session)
                else None
            )
            added = seed.seed(session) if with_seed and not verify.count_entries(session) else 0
        if added:
            say.print(f"Seeded {added} statements from seed_data/.")
        if key:
            say.print(f"API key (shown once, may contribute): {key}", soft_wrap=True)
    for setting in database.risks():
        say.print(f"Warning: {setting} is off: PostgreSQL may lose acknowledged entries in a power cut.")
    database.close()
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    say.print(f"Dashboard  {address}/\nAPI docs   {address}/docs\nPositions  {address}/v1/positions")
    say.print("Stop with Ctrl-C.")
    server.run(settings, bound, workers)


@app.command()
def migrate() -> None:
    """Bring the database to the schema of this release; safe to run several times and at once."""
    with closing(Database(configured())) as database:
        database.migrate()
    address = database.url.render_as_string(hide_password=True)
    say.print(f"The schema of {address} is current.", soft_wrap=True)


@app.command(name="seed")
def load_seed() -> None:
    """Record the statements of seed_data/ that are not in the record yet."""
    with closing(open_database()) as database, database.writing() as session:
        added = seed.seed(session)
    say.print(f"{added} statements added." if added else "Nothing to add: the seed is in the record.")


@app.command(name="import")
def import_file(
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A CSV, JSON or NDJSON file.")],
    columns: Annotated[
        list[str] | None, typer.Option("--map", metavar="THEIRS=OURS", help="A heading and our column.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="TOML: columns, values, constants …")
    ] = None,
    date_format: Annotated[
        str | None, typer.Option(help="How the dates are written, for example %d.%m.%Y.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every row and write nothing.")] = False,
    url: Annotated[
        str | None, typer.Option(help="Send them to this tracker instead of the database.")
    ] = None,
    key: Annotated[str | None, typer.Option(envvar="COALITION_KEY", help="API key for --url.")] = None,
) -> None:
    """Record the statements in a file: all of them, or none.

    A table of your own goes in as it is: name its headings with --map Land=country, or its
    headings, words and constants in a TOML file with --mapping (docs/importing.md shows one).
    Countries may be given by name. Whatever is unclear is reported with its row, never guessed.
    """
    pairs = [each.rpartition("=") for each in columns or ()]
    if any(not (theirs and ours) for theirs, _, ours in pairs):
        say.print("--map takes THEIRS=OURS, for example --map Land=country.")
        raise typer.Exit(2)
    reading = importing.Reading()
    try:
        reading = importing.read_mapping(mapping) if mapping else reading
        reading = replace(
            reading,
            columns=dict(reading.columns) | {theirs.strip(): ours.strip() for theirs, _, ours in pairs},
            date_format=date_format or reading.date_format,
        )
        if url:
            found = _import_remotely(path, reading, url, key, dry_run=dry_run)
        else:
            found = _import_locally(path, reading, dry_run=dry_run)
    except Invalid as error:
        _list_faults(error, reading)
        raise typer.Exit(1) from None
    if dry_run:
        differing = f"{found.differing} positions of today would differ"
        say.print(f"{found.rows} rows are fit to be recorded; {differing}.")
    else:
        say.print(f"Recorded {found.rows} statements as entries {found.first} to {found.last}.")
        say.print(f"{found.differing} positions of today differ.")


class Imported(NamedTuple):
    """What became of a file: how many rows, their entries, and how many positions of today differ."""

    rows: int
    first: int | None
    last: int | None
    differing: int


def _import_locally(path: Path, reading: importing.Reading, *, dry_run: bool) -> Imported:
    collect_seldom()
    with (
        closing(open_database()) as database,
        database.writing(is_long=True) as session,
        progress() as bar,
    ):
        known = every_country(session).values()
        names = importing.Names((each.code, each.alpha3, each.name) for each in known)
        task = bar.add_task("Recording", total=path.stat().st_size)
        rows = importing.read_file(path, reading, names, lambda read: bar.update(task, completed=read))
        with session.begin_nested() as attempt:
            batch = bulk.state_rows(session, LOCAL, rows)
            differing = bulk.count_differing(session, batch)
            if dry_run:
                attempt.rollback()
    return Imported(batch.rows, batch.before.seq + 1, batch.after.seq, differing)


def _import_remotely(
    path: Path, reading: importing.Reading, url: str, key: str | None, *, dry_run: bool
) -> Imported:
    if not key:
        say.print("Give the API key with --key, or in COALITION_KEY.")
        raise typer.Exit(2)
    try:
        caller = httpx.Client(
            base_url=url.rstrip("/"), timeout=300, headers={"Authorization": f"Bearer {key}"}
        )
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        say.print(f"--url or --key cannot be used: {error}", markup=False)
        raise typer.Exit(2) from None
    with caller as client, progress() as bar:
        task = bar.add_task("Sending", total=3)
        listed = _sent(client.build_request("GET", "/v1/countries", params={"limit": 1000}), client)
        bar.advance(task)
        known = listed.get("items", ())
        names = importing.Names((each["code"], each["alpha3"], each["name"]) for each in known)
        rows = list(importing.read_file(path, reading, names))
        bar.advance(task)
        answer = _send_rows(client, rows, dry_run=dry_run)
        bar.advance(task)
    found = bulk.BulkRecorded.model_validate(answer)
    return Imported(found.count, found.first_seq, found.last_seq, len(found.diff))


def _send_rows(client: httpx.Client, rows: list[bulk.Row], *, dry_run: bool) -> Any:
    """Return what the tracker answers to rows; raise `Invalid` with all that it or the file says is wrong."""
    faults = [replace(fault, row=row.number) for row in rows for fault in row.faults]
    readable = [row for row in rows if row.is_readable]
    body = "".join(f"{canonical_json(row.body)}\n" for row in readable).encode()
    headers, asked = {"Content-Type": bulk.NDJSON}, {"dry_run": "true"}
    if not faults and not dry_run:
        asked = {}
        # The same file sent again, after a lost connection, is recorded once.
        headers["Idempotency-Key"] = hashlib.sha256(body).hexdigest()
    request = client.build_request("POST", "/v1/positions/bulk", params=asked, content=body, headers=headers)
    try:
        answer = _sent(request, client) if readable else None
    except Invalid as error:
        if not faults:
            raise Invalid(error.detail, [_in_file(fault, readable) for fault in error.faults]) from None
        faults += [_in_file(fault, readable) for fault in error.faults if not _is_told(fault, readable)]
    if faults:
        bad = len({fault.row for fault in faults})
        in_order = sorted(faults, key=lambda fault: fault.row or 0)
        raise Invalid(f"{bad} of {len(rows)} rows are not valid.", in_order)
    return answer


def _is_told(fault: Fault, rows: list[bulk.Row]) -> bool:
    """Tell whether a column is unclear already, so that the tracker has nothing to add to it."""
    return fault.row is not None and bulk.column_of(fault.pointer or "") in rows[fault.row - 1].unclear


def _in_file(fault: Fault, rows: list[bulk.Row]) -> Fault:
    """Return a fault of the line that was sent as one of the file's row that the line came from."""
    if fault.row is None:
        return fault
    row = rows[fault.row - 1]
    column = bulk.column_of(fault.pointer or "") if row.columns else None
    return replace(
        fault, row=row.number, column=column or None, pointer=None if row.columns else fault.pointer
    )


def _sent(request: httpx.Request, client: httpx.Client) -> Any:
    """Return the answer to a request; raise `Invalid` for a 422, stop with the reason for the rest."""
    try:
        response = client.send(request)
        answer = response.json()
        if not isinstance(answer, dict):
            raise ValueError("it is another service")
    except (httpx.HTTPError, ValueError) as error:
        say.print(f"{request.url.host} did not answer as a tracker does: {error}", markup=False)
        raise typer.Exit(1) from None
    if response.status_code == 422:
        faults = [Fault(**fault) for fault in answer.get("errors", ())]
        raise Invalid(answer.get("detail", ""), faults)
    if response.is_error:
        say.print(f"{answer.get('title')}: {answer.get('detail')}", markup=False)
        raise typer.Exit(1)
    return answer


def _list_faults(error: Invalid, reading: importing.Reading) -> None:
    """Print every fault with its row and column, the column as the file calls it."""
    theirs = {ours: heading for heading, ours in reading.columns.items()}
    table = Table("row", "column", "what is wrong", box=None, padding=(0, 2, 0, 0))
    for fault in error.faults:
        column = fault.column or (fault.pointer or "").strip("/")
        table.add_row(str(fault.row or "-"), Text(theirs.get(column, column)), Text(fault.message))
    if not error.faults:
        say.print(f"Nothing was recorded. {error.detail}", markup=False)
        return
    say.print(table)
    count, rows = len(error.faults), len({fault.row for fault in error.faults})
    say.print(f"Nothing was recorded: {count} fault{'s'[: count > 1]} in {rows} row{'s'[: rows > 1]}.")


@app.command(name="verify")
def verify_record(
    head: Annotated[
        str | None,
        typer.Option(
            help="A digest kept earlier (meta.digest of any answer): the record must contain it still."
        ),
    ] = None,
) -> None:
    """Check that nothing recorded was changed, removed or slipped in.

    Walks the chain of digests from the first entry, derives again everything that is derived, and
    names the first entry that is not as it was recorded. Exit code 1 if there is one. A chain
    alone cannot show that its end was cut off: keep a digest elsewhere and give it as --head.
    """
    if head is not None and not re.fullmatch(r"[0-9a-f]{64}", head):
        say.print("A digest has 64 hexadecimal digits; meta.digest of any answer holds one.")
        raise typer.Exit(2)
    with closing(open_database()) as database, database.reading() as session:
        total = verify.count_entries(session)
        with progress() as bar:
            walk = bar.add_task("Verifying", total=total)
            found = verify.verify(session, head=head, progress=lambda more: bar.advance(walk, more))
    tell_verified(found)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is; shown in every entry that it records.")],
    scope: Annotated[Scope, typer.Option(help="contribute: own entries; curate: also others'.")],
    expires: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day on which it is good.")
    ] = None,
) -> None:
    """Make an API key and print it, once, on the last line."""
    if not name.strip() or len(name) > 100 or not name.isprintable():
        say.print("A name has 1 to 100 printable characters.")
        raise typer.Exit(2)
    expires_on = expires.replace(tzinfo=UTC).date() if expires else None
    if expires_on is not None and expires_on < utc_now().date():
        say.print(f"{expires_on} is past: the key would never be good.")
        raise typer.Exit(2)
    with closing(open_database()) as database, database.writing() as session:
        key = auth.create_key(session, name, scope, expires_on)
    typer.echo(key)


@keys.command("list")
def list_keys() -> None:
    """List the keys: id, name, scope, and whether each is good."""
    with closing(open_database()) as database, database.reading() as session:
        found = auth.every_key(session)
    if not found:
        say.print("There are no keys; make one with: coalition keys create NAME --scope contribute")
    for key in found:
        instants = (key.created_at, key.last_used_at, key.revoked_at)
        made, used, revoked = ((at and f"{at:%Y-%m-%d %H:%M}") or "never" for at in instants)
        expires = key.expires_on or "never"
        typer.echo(
            f"{key.id}  {key.scope:10}  {key.name}  "
            f"(made {made}, last used {used}, expires {expires}, revoked {revoked})"
        )


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="Id of the key, as `keys list` shows it.")],
) -> None:
    """End a key, from the next request on. What it recorded stays."""
    with closing(open_database()) as database, database.writing() as session:
        found = auth.revoke_key(session, key_id)
    if found is None:
        say.print(f"There is no key {key_id}; `coalition keys list` shows them.")
        raise typer.Exit(1)
    say.print(f"Revoked {found.id} ({found.name}).")


def main() -> None:
    """Run the command; what goes wrong is said in a sentence, without a traceback."""
    try:
        app()
    except TrackerError as error:
        say.print(f"{error.title}. {error.detail or error.cure}", markup=False)
        sys.exit(1)
    except DBAPIError as error:
        address = Database(configured()).url.render_as_string(hide_password=True)
        say.print(f"The database {address} cannot be used: {error.orig}", markup=False, soft_wrap=True)
        if isinstance(failure_of(error), ReadOnly | StorageFull):
            say.print(
                "It has to be writable: look at the permissions of its file and folder, "
                "and the room on its disk.",
                soft_wrap=True,
            )
        sys.exit(1)
    except OSError as error:
        say.print(f"{error.filename or 'The system'}: {error.strerror}", markup=False, soft_wrap=True)
        sys.exit(1)
