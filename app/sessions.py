"""Sessions: the connection of one, and those that readings follow each other in."""

import weakref

from psycopg.pq import TransactionStatus
from sqlalchemy.engine import Connection, Engine
from sqlmodel import Session

from app.metrics import CONNECTIONS

KEPT_READERS = 3
"""How many sessions are kept open for readings to come; a process seldom reads more at once."""

BEGIN = {"sqlite": "BEGIN", "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}
"""How a transaction begins that sees one state of the record."""


def keep_connection(session: Session) -> None:
    """Begin a session's transaction, the only one that it will have, and keep its connection at hand."""
    session.info["connection"] = session.connection()


def connection_of(session: Session) -> Connection:
    """Return the connection of a session, which itself takes a while to tell."""
    # A savepoint is not set before it is asked.
    kept = None if session.in_nested_transaction() else session.info.get("connection")
    return kept or session.connection()


class Readers:
    """Sessions that see one state of the record each, from one reading to the next kept open.

    To open one takes longer than most answers.
    """

    def __init__(self, engine: Engine, most: int) -> None:
        self._most = most
        self._begin = BEGIN[engine.dialect.name]
        self._is_embedded = engine.dialect.name == "sqlite"
        # PostgreSQL's driver would begin a transaction by itself. SQLite's does not (see `make_engine`).
        self._engine = engine if self._is_embedded else engine.execution_options(isolation_level="AUTOCOMMIT")
        self._kept: list[Session] = []
        weakref.finalize(self, _close, self._kept)

    def take(self) -> Session:
        """Return a session in a transaction that has just begun; it is for `give_back`."""
        while (session := _next(self._kept)) is not None:
            try:
                session.info["driver"].execute(self._begin)
            except self._engine.dialect.loaded_dbapi.Error:
                # The server has ended it meanwhile, and the others with it: each might take long to find out.
                self._kept.append(session)
                self.close()
                continue
            CONNECTIONS.inc()
            return session
        session = Session(self._engine, expire_on_commit=False)
        try:
            keep_connection(session)
            connection = connection_of(session)
            session.info["driver"] = connection.connection.dbapi_connection
            if not self._is_embedded:
                connection.exec_driver_sql(self._begin)
        except BaseException:
            session.close()
            raise
        return session

    def give_back(self, session: Session) -> None:
        """End the session's transaction; what a reading of it has found is whole already."""
        if session.identity_map or session.new:
            session.expunge_all()
        driver = session.info["driver"]
        try:
            # PostgreSQL's driver prepares everything anew after a rollback: only where something failed,
            # be it what was prepared.
            if self._is_embedded or driver.info.transaction_status == TransactionStatus.INERROR:
                driver.rollback()
            else:
                driver.commit()
        except self._engine.dialect.loaded_dbapi.Error:
            session.invalidate()
            return
        if len(self._kept) < self._most:
            self._kept.append(session)
            CONNECTIONS.dec()
        else:
            session.close()

    def close(self) -> None:
        """Close every session that is kept."""
        _close(self._kept)


def _next(kept: list[Session]) -> Session | None:
    try:
        return kept.pop()
    except IndexError:
        return None


def _close(kept: list[Session]) -> None:
    while (session := _next(kept)) is not None:
        CONNECTIONS.inc()  # the pool counts it out once more
        session.invalidate()
