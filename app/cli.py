"""The `coalition` command: run the tracker and look after its record."""

import re
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
import uvicorn
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy.exc import InterfaceError, OperationalError

from app import auth, seed, verify
from app.db import Database
from app.errors import TrackerError
from app.main import create_app
from app.settings import Settings
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
say = Console(stderr=True, highlight=False)


def open_database() -> Database:
    """Return the configured database; stop with the cure if its schema is not this release's.

    An embedded database is made and migrated as needed.
    """
    database = Database(_settings())
    if database.is_embedded:
        database.migrate()
    elif not database.schema_is_current():
        say.print("The schema is not that of this release. Run: coalition migrate")
        raise typer.Exit(1)
    return database


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        for fault in error.errors():
            say.print(f"TRACKER_{str(fault['loc'][0]).upper()}: {fault['msg']}", markup=False)
        raise typer.Exit(2) from None


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    with_seed: Annotated[
        bool, typer.Option("--seed/--no-seed", help="Load the seed data into a new embedded database.")
    ] = True,
) -> None:
    """Serve the API.

    An embedded (SQLite) database is made, migrated and seeded as needed, and the first time an
    API key is printed, once. A PostgreSQL database must be at the schema of this release already:
    run `coalition migrate` first.
    """
    database = open_database()
    if database.is_embedded:
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
    database.close()
    address = f"http://{host}:{port}"
    say.print(f"Positions  {address}/v1/positions\nAPI docs   {address}/docs\nStop with Ctrl-C.")
    uvicorn.run(
        create_app(_settings()), host=host, port=port, log_level="warning", timeout_graceful_shutdown=10
    )


@app.command()
def migrate() -> None:
    """Bring the database to the schema of this release; safe to run several times and at once."""
    database = Database(_settings())
    database.migrate()
    say.print(f"The schema of {database.url.render_as_string(hide_password=True)} is current.")


@app.command(name="seed")
def load_seed() -> None:
    """Record the statements of seed_data/ that are not in the record yet."""
    with open_database().writing() as session:
        added = seed.seed(session)
    say.print(f"{added} statements added." if added else "Nothing to add: the seed is in the record.")


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
    with open_database().reading() as session:
        total = verify.count_entries(session)
        with Progress(console=say, transient=True) as bar:
            walk = bar.add_task("Verifying", total=total)
            found = verify.verify(session, head=head, progress=lambda more: bar.advance(walk, more))
    if found.finding is not None:
        say.print(f"[bold red]Not sound[/]: entry {found.finding.seq}: {found.finding.what}.")
        raise typer.Exit(1)
    say.print(f"Sound: {found.seq} entries.")
    typer.echo(found.digest)


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
    with open_database().writing() as session:
        key = auth.create_key(session, name, scope, expires_on)
    typer.echo(key)


@keys.command("list")
def list_keys() -> None:
    """List the keys: id, name, scope, and whether each is good."""
    with open_database().reading() as session:
        found = auth.every_key(session)
    table = Table("id", "name", "scope", "made", "last used", "expires", "revoked", box=None)
    for key in found:
        instants = (key.created_at, key.last_used_at, key.revoked_at)
        made, used, revoked = ((at and at.isoformat(timespec="minutes")) or "-" for at in instants)
        table.add_row(key.id, key.name, key.scope, made, used, str(key.expires_on or "-"), revoked)
    Console().print(table if found else "There are no keys; make one with: coalition keys create NAME")


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="Id of the key, as `keys list` shows it.")],
) -> None:
    """End a key, from the next request on. What it recorded stays."""
    with open_database().writing() as session:
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
    except (OperationalError, InterfaceError) as error:
        address = Database(_settings()).url.render_as_string(hide_password=True)
        say.print(f"The database {address} cannot be used: {error.orig}", markup=False, soft_wrap=True)
        sys.exit(1)
