"""What every command starts from: the settings, the database, and a place to talk to the person."""

import typer
from pydantic import ValidationError
from rich.console import Console

from app.db import Database
from app.settings import Settings

say = Console(stderr=True, highlight=False)
"""Words for the person; standard output belongs to the answer."""


def configured() -> Settings:
    """Return the settings; stop, naming each that is wrong, where they cannot be used."""
    try:
        return Settings()
    except ValidationError as error:
        for fault in error.errors():
            say.print(f"TRACKER_{str(fault['loc'][0]).upper()}: {fault['msg']}", markup=False)
        raise typer.Exit(2) from None


def open_database() -> Database:
    """Return the configured database; stop with the cure if its schema is not this release's.

    An embedded database is made and migrated as needed, unless it is set read-only.
    """
    settings = configured()
    database = Database(settings)
    if database.is_embedded and not settings.read_only:
        database.migrate()
    elif not database.schema_is_current():
        database.close()
        say.print("The schema is not that of this release. Run: coalition migrate")
        raise typer.Exit(1)
    return database
