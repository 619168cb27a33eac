"""The connection that writes follow each other on: kept open from one to the next.

To open a session of one's own takes as long as ten of a write's questions.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from app.beacon import CHANNEL
from app.metrics import CONNECTIONS

WRITE_LOCK = 0x7C0A117104  # PostgreSQL advisory lock of everyone who writes to the record
SERIALISED = "tracker_writing"
"""Of a connection: whether its transactions begin with SQLite's write lock."""

PAUSING = "idle_in_transaction_session_timeout"
LOCK = (
    f"SELECT set_config('lock_timeout', %s, true), "
    f"set_config('{PAUSING}', coalesce(CAST(%s AS text), current_setting('{PAUSING}')), true), "
    f"pg_advisory_xact_lock(%s), pg_notify(%s, '')"
)
"""What waits for the write lock at a PostgreSQL server; others are told when it commits, and only then.

A long write may pause for as long as it needs: it may wait for a slow disk of ours.
"""


class Writers:
    """Sessions that change the record, one at a time; the caller sees to that."""

    def __init__(
        self, engine: Engine, patience: float, *, is_kept: bool = False, is_long: bool = False
    ) -> None:
        """Write by an engine, waiting `patience` seconds for the lock.

        A connection is kept only where all threads can use it; what `is_long` may pause.
        """
        self._engine = engine.execution_options(**{SERIALISED: True})
        self._asked = (f"{int(patience * 1000)}", "0" if is_long else None, WRITE_LOCK, CHANNEL)
        self._is_kept = is_kept
        self._kept: list[Connection] = []
        weakref.finalize(self, _close, self._kept)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Give a session in a transaction under the lock; it commits on leaving, rolls back on any error."""
        connection = self._begun()
        try:
            with Session(connection, expire_on_commit=False) as session:
                session.info["connection"] = connection
                yield session
                session.flush()
        except BaseException:
            connection.close()  # given back to the pool, it is rolled back
            raise
        try:
            connection.commit()
        except BaseException:
            # Who knows what it has become: another one is opened.
            connection.invalidate()
            connection.close()
            raise
        self._keep(connection)

    def _begun(self) -> Connection:
        if self._kept:
            CONNECTIONS.inc()
            try:
                return self._locked(self._kept.pop())
            except DBAPIError as error:
                # Where the server has ended it meanwhile, another one will do.
                if not error.connection_invalidated:
                    raise
        return self._locked(self._engine.connect())

    def _locked(self, connection: Connection) -> Connection:
        try:
            connection.begin()
            if connection.dialect.name == "postgresql":  # SQLite's lock comes with the transaction
                connection.exec_driver_sql(LOCK, self._asked)
        except BaseException:
            connection.close()
            raise
        return connection

    def _keep(self, connection: Connection) -> None:
        if self._is_kept:
            self._kept.append(connection)
            CONNECTIONS.dec()
        else:
            connection.close()

    def close(self) -> None:
        """Close the connection that is kept."""
        _close(self._kept)


def _close(kept: list[Connection]) -> None:
    for connection in kept:
        CONNECTIONS.inc()  # the pool counts it out once more
        connection.invalidate()
        connection.close()
    kept.clear()
