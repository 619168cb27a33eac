"""A name for the record's state, another one whenever anything was written: what caches ask.

SQLite itself counts commits for every process. On PostgreSQL the processes of one server share a
few bytes of memory, renewed by each writer before it answers; other machines are told by NOTIFY.
"""

import logging
import mmap
import os
import secrets
import sqlite3
import threading
import time
from pathlib import Path

import psycopg

CHANNEL = "tracker_moved"
SHARED = "TRACKER_BEACON_FILE"
"""Environment variable that names the file shared by the processes of one server."""

BEAT = 1.0
"""Seconds between looks at the head: by then a notification that was missed is made up for."""

PATIENCE = 3.0
"""Seconds after which a state that nobody could confirm is called unknown, and nothing is cached."""

_log = logging.getLogger("tracker.beacon")


class Beacon:
    """Eight random bytes, in a file's memory where several processes serve: never the same twice.

    Random and not counted, so that two writers at once cannot bring an old name back.
    """

    def __init__(self, path: str | None) -> None:
        self._memory: mmap.mmap | bytearray = bytearray(8)
        if path is not None:
            with Path(path).open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), 8)

    def renew(self) -> None:
        """Give the state another name: what was answered before may no longer be so."""
        self._memory[:8] = secrets.token_bytes(8)

    def name(self) -> bytes:
        """Return the state's name."""
        return bytes(self._memory[:8])


def new_beacon_file(path: Path) -> None:
    """Make the file that the processes of one server share."""
    path.write_bytes(secrets.token_bytes(8))


class FileState:
    """The state of a SQLite file, by SQLite's own count of commits; asking takes microseconds."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._cursor: sqlite3.Cursor | None = None
        self._opened = b""

    def name(self) -> bytes | None:
        """Return the state's name, or None while the file cannot be read."""
        try:
            version = (self._cursor or self._open()).execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:
            self.close()
            return None
        return b"%s %d" % (self._opened, version)

    def close(self) -> None:
        """Close the connection; a later question opens another."""
        if self._cursor is not None:
            self._cursor.connection.close()
            self._cursor = None

    def _open(self) -> sqlite3.Cursor:
        # It never writes: a connection does not count its own commits.
        uri = f"{Path(self._path).absolute().as_uri()}?mode=ro"
        self._cursor = sqlite3.connect(uri, uri=True, timeout=0, check_same_thread=False).cursor()
        self._opened = secrets.token_bytes(8)
        return self._cursor


class Listener:
    """Renews a beacon when PostgreSQL tells of a write by another machine, and sees that it does.

    `is_sure` is False while the database has not confirmed the state for `PATIENCE` seconds.
    """

    def __init__(self, conninfo: str, beacon: Beacon) -> None:
        self._conninfo = conninfo
        self._beacon = beacon
        self._confirmed = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracker-listener", daemon=True)

    @property
    def is_sure(self) -> bool:
        """Whether the beacon tells of every write by now."""
        return time.monotonic() - self._confirmed < PATIENCE

    def start(self) -> None:
        """Begin to listen, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; the thread ends within about a second."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=BEAT * 3)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._conninfo, autocommit=True, connect_timeout=3) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._beacon.renew()
                    self._listen(connection)
            except psycopg.Error as error:
                self._confirmed = 0.0
                _log.warning("not listening to the database: %s", type(error).__name__)
                self._stop.wait(0.5)

    def _listen(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        head: object = None
        while not self._stop.is_set():
            asked = time.monotonic()
            newest = connection.execute("SELECT max(seq) FROM change").fetchone()
            if newest != head:
                self._beacon.renew()
                head = newest
            self._confirmed = asked
            for _ in connection.notifies(timeout=BEAT, stop_after=1):
                self._beacon.renew()


def shared_beacon() -> Beacon:
    """Return the beacon of this server: shared with its other processes, if it has any."""
    return Beacon(os.environ.get(SHARED))
