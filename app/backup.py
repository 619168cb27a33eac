"""A backup: the whole record as one file that somebody can put back, taken while the tracker works on."""

import errno
import os
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlmodel import Session

from app.db import Database, make_engine
from app.verify import Verified, count_entries, verify

PAGES = 1024
"""How many pages of the file are copied at a time: four megabytes."""


def back_up(
    database: Database, path: Path, progress: Callable[[str, int, int], object] = lambda *_: None
) -> Verified | None:
    """Write the record of an embedded database into the new file `path`, and walk the copy's chain.

    It holds all that was committed when it began and nothing half; others go on reading and
    writing. What is found is returned, None where the schema is not this release's and so cannot
    be walked. `progress` is told what is being done, how much of it is done, and how much there is.
    The file appears whole or not at all, for its owner alone. Raises FileExistsError where there
    is one, and FileNotFoundError where there is nothing to back up or no such folder.
    """
    record = Path(database.url.database or ":memory:")
    for needed, what in ((record, "there is no record here"), (path.parent, "there is no such folder")):
        if not needed.exists():
            raise FileNotFoundError(errno.ENOENT, what, str(needed))
    _refuse_existing(path)
    with TemporaryDirectory(dir=path.parent, prefix=".backup-") as folder:
        scratch = Path(folder) / path.name
        scratch.touch(mode=0o600)
        with database.reading() as session, closing(sqlite3.connect(scratch)) as copy:
            # What has begun to read keeps its state of the record, whoever writes meanwhile:
            # without that the copying would begin anew after each write.
            session.execute(sa.text("SELECT count(*) FROM sqlite_master"))
            source = session.connection().connection.dbapi_connection
            assert isinstance(source, sqlite3.Connection)
            source.backup(
                copy, pages=PAGES, progress=lambda _, left, total: progress("Copying", total - left, total)
            )
        found = _verified(scratch, progress) if database.schema_is_current() else None
        _seal(scratch)
        try:
            path.hardlink_to(scratch)  # unlike a renaming, it never replaces a file
        except OSError:
            _refuse_existing(path)
            scratch.rename(path)  # some file systems know no second names
    _settle(path.parent)
    return found


def _refuse_existing(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise FileExistsError(errno.EEXIST, "a backup never takes the place of a file", str(path))


def _verified(path: Path, progress: Callable[[str, int, int], object]) -> Verified:
    engine = make_engine(URL.create("sqlite", database=str(path)))
    with Session(engine) as session:
        total, done = count_entries(session), 0

        def walked(more: int) -> None:
            nonlocal done
            done += more
            progress("Verifying", done, total)

        found = verify(session, progress=walked)
    engine.dispose()
    return found


def _seal(path: Path) -> None:
    """Make of a database one file, without a log beside it, and see it onto the disk."""
    with closing(sqlite3.connect(path)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")
    _settle(path)


def _settle(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def dump_commands(url: URL, path: Path) -> tuple[str, str]:
    """Return the command lines that back a PostgreSQL database up and that put the backup back.

    They name no password: PostgreSQL's own tools take it from PGPASSWORD or ~/.pgpass.
    """
    address = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    named = shlex.quote(address.difference_update_query(["password"]).render_as_string())
    file = shlex.quote(str(path))
    return (
        f"pg_dump --format=custom --no-owner --file={file} --dbname={named}",
        f"pg_restore --exit-on-error --single-transaction --no-owner --dbname={named} {file}",
    )
