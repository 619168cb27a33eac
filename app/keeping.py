"""The commands that put the whole record elsewhere: backup into a file, copy into another database."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from app.backup import back_up, dump_commands
from app.changes import head_of
from app.console import Steps, configured, open_database, say, tell_verified
from app.copying import CannotCopy, copy_record
from app.db import Database
from app.settings import Settings

app = typer.Typer()


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="A new file; one that is there is kept.")],
) -> None:
    """Write the whole record into one new file, while the tracker goes on working.

    It holds everything that was recorded when it began, and is verified before it gets its name.
    The last line is the digest of its newest entry: keep it elsewhere, for verify --head.

    To restore, stop the tracker, put the file where TRACKER_DATABASE_URL says, remove the -wal and
    -shm files beside it, and run verify. The file holds the hashes of the API keys (never a key)
    and all answers kept for retries, so only its owner may read it.

    PostgreSQL has a tool of its own for this: for such a database the command line is shown.
    """
    with closing(Database(configured())) as database:
        if not database.is_embedded:
            dump, restore = dump_commands(database.url, file)
            say.print("PostgreSQL backs itself up. Run this, which waits for nobody:")
            say.print(f"  {dump}", markup=False, soft_wrap=True)
            say.print("To restore, into a new empty database of that name, and then run verify:")
            say.print(f"  {restore}", markup=False, soft_wrap=True)
            raise typer.Exit(1)
        try:
            with Steps() as steps:
                found = back_up(database, file, steps.show)
        except sqlite3.Error as error:
            say.print(f"Nothing was written to {file}: {error}", markup=False, soft_wrap=True)
            raise typer.Exit(1) from None
    say.print(f"Backed up to {file}.", markup=False, soft_wrap=True)
    if found is None:
        say.print("Its schema is not this release's: verify it with the release that it is of.")
    else:
        tell_verified(found)


@app.command()
def copy(
    to: Annotated[str, typer.Option(metavar="URL", help="sqlite:///FILE or postgresql://user@host/name")],
) -> None:
    """Copy the whole record into another database: from SQLite to PostgreSQL, or back.

    The other database must be new or empty; it is migrated, and if anything goes wrong it stays
    empty. Entries keep their numbers, instants and digests, keys stay good, retries are known
    still: every answer is the same. The copy is verified before it is kept, and the digest of its
    newest entry is the last line.

    Stop the tracker first, because what is recorded meanwhile is not copied; then set
    TRACKER_DATABASE_URL to the new address and start it again. The database copied from stays as
    it is. A password need not be in the URL: PostgreSQL also looks into ~/.pgpass.
    """
    try:
        settings = Settings(database_url=to)
    except ValidationError as error:
        say.print(f"--to: {error.errors()[0]['msg']}", markup=False)
        raise typer.Exit(2) from None
    with closing(open_database()) as source, closing(Database(settings)) as target:
        try:
            with Steps() as steps:
                found = copy_record(source, target, steps.show)
        except CannotCopy as error:
            say.print(f"Nothing was copied. {error}", markup=False, soft_wrap=True)
            raise typer.Exit(1) from None
        except DBAPIError as error:
            say.print(f"Nothing was copied: {error.orig}", markup=False, soft_wrap=True)
            raise typer.Exit(1) from None
        with source.reading() as session:
            late = head_of(session).seq - found.seq
        address = target.url.render_as_string(hide_password=True)
    say.print(f"Copied to {address}.", markup=False, soft_wrap=True)
    tell_verified(found)
    if late:
        say.print(f"{late} more were recorded meanwhile and are not in the copy: stop the tracker first.")
        raise typer.Exit(1)
