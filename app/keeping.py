"""The commands that keep the record safe elsewhere: backup."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from app.backup import back_up, dump_commands
from app.console import Steps, configured, say, tell_verified
from app.db import Database

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
