"""What every command starts from: the settings, the database, and a place to talk to the person."""

from types import TracebackType

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress, TaskID

from app.db import Database
from app.settings import Settings
from app.verify import Verified

say = Console(stderr=True, highlight=False)
"""Words for the person; standard output belongs to the answer."""


def progress() -> Progress:
    """Return a bar that shows how far the work is, where somebody watches."""
    return Progress(console=say, transient=True, disable=not say.is_terminal)


class Steps:
    """Bars for work in several steps, each of which knows how much there is to do."""

    def __init__(self) -> None:
        self._bars = progress()
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Steps":
        self._bars.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, step: str, done: int, total: int) -> None:
        """Show how much of a step is done."""
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step)
        self._bars.update(self._tasks[step], completed=done, total=total)


def tell_verified(found: Verified) -> None:
    """Say whether the record is sound, its digest alone on standard output; stop if it is not."""
    if found.finding is not None:
        say.print(
            f"Not sound: entry {found.finding.seq}: {found.finding.what}.", markup=False, soft_wrap=True
        )
        raise typer.Exit(1)
    say.print(f"Sound: {found.seq} entries.")
    typer.echo(found.digest)


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
