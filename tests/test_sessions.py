"""Readings follow each other in sessions that are kept open; none of them sees what another one saw."""

from contextlib import ExitStack

import psycopg
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlmodel import Session, select

from app.auth import ApiKey
from app.db import Database
from app.lines import Line
from app.metrics import REGISTRY
from app.prepared import run_each
from app.sessions import KEPT_READERS, Readers
from tests.make import state

EVERYTHING = sa.text("SELECT count(*) FROM change")
VERSION = sa.text("SELECT version_num FROM alembic_version")
NOT_SQL = sa.text("SELECT nothing FROM nowhere")


def in_use(database: Database) -> int:
    """Return how many connections the engine has given out."""
    pool = database.engine.pool
    assert isinstance(pool, sa.pool.QueuePool)
    return pool.checkedout()


def kept_by(session: Session) -> object:
    """Return the driver's connection of a session."""
    return session.connection().connection.dbapi_connection


def test_the_next_reading_goes_on_with_the_same_connection(database: Database) -> None:
    with database.reading() as session:
        first = kept_by(session)
    with database.reading() as session:
        assert kept_by(session) is first


def test_a_reading_sees_one_state_and_the_next_one_the_newest(
    database: Database, contributor: TestClient
) -> None:
    with database.reading() as session:
        before = session.execute(EVERYTHING).scalar_one()
        state(contributor)
        assert session.execute(EVERYTHING).scalar_one() == before

    with database.reading() as session:
        assert session.execute(EVERYTHING).scalar_one() == before + 1


def test_an_object_of_an_earlier_reading_is_not_shown_again(
    database: Database, contributor: TestClient
) -> None:
    state(contributor)
    with database.reading() as session:
        kept = session.exec(select(Line)).one()
    with database.writing() as session:
        session.execute(sa.update(Line).values(component="sea"))

    with database.reading() as session:
        found = session.exec(select(Line)).one()

    assert (kept.component, found.component) == ("troops", "sea")


def test_between_readings_no_transaction_is_open(database: Database, contributor: TestClient) -> None:
    with database.reading() as session:
        session.execute(EVERYTHING)
        driver = session.info["driver"]
    state(contributor)

    if database.is_embedded:
        assert not driver.in_transaction
        with database.unmapped.connect() as connection:
            # Whoever reads still would keep the log from being moved into the file.
            is_busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
        assert not is_busy
    else:
        asked = sa.text("SELECT state FROM pg_stat_activity WHERE pid = :pid")
        with database.engine.connect() as connection:
            found = connection.execute(asked, {"pid": driver.info.backend_pid}).scalar_one()
        assert found == "idle"


def test_no_more_are_kept_than_are_often_needed(database: Database) -> None:
    before = in_use(database)
    with ExitStack() as readings:
        for _ in range(KEPT_READERS + 2):
            readings.enter_context(database.reading(is_light=True)).execute(EVERYTHING)
        assert in_use(database) == before + KEPT_READERS + 2
    assert in_use(database) == before + KEPT_READERS


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "forgotten"])
def test_none_is_left_open(database: Database, is_closed: bool) -> None:
    readers = Readers(database.engine, 1)
    session = readers.take()
    readers.give_back(session)
    driver = session.info["driver"]
    driver.execute("SELECT 1")
    if is_closed:
        readers.close()
    else:
        del readers

    with pytest.raises(database.engine.dialect.loaded_dbapi.Error, match="closed"):
        driver.execute("SELECT 1")


def test_a_database_that_is_closed_keeps_none(database: Database) -> None:
    with database.reading() as session:
        driver = session.info["driver"]
    database.close()

    with pytest.raises(database.engine.dialect.loaded_dbapi.Error, match="closed"):
        driver.execute("SELECT 1")


def test_a_question_that_fails_does_not_spoil_the_next_reading(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError), database.reading() as session:
        session.execute(NOT_SQL)

    with database.reading() as session:
        assert session.execute(EVERYTHING).scalar_one() == 0


def end(database: Database, session: Session) -> None:
    """Have the PostgreSQL server end the connection of a session."""
    ask = sa.text("SELECT pg_terminate_backend(:pid, 5000)")
    with database.engine.connect() as connection:
        assert connection.execute(ask, {"pid": session.info["driver"].info.backend_pid}).scalar_one()


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_connection_that_the_server_has_ended_is_replaced(database: Database) -> None:
    with database.reading() as session:
        kept = kept_by(session)
    end(database, session)

    with database.reading() as session:
        assert kept_by(session) is not kept
        assert session.execute(EVERYTHING).scalar_one() == 0


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_connection_that_the_server_ends_in_between_fails_one_reading_only(database: Database) -> None:
    before = in_use(database)
    with database.reading() as session:
        end(database, session)
        with pytest.raises(sa.exc.OperationalError):
            session.execute(EVERYTHING)
    assert in_use(database) == before

    with database.reading() as session:
        assert session.execute(EVERYTHING).scalar_one() == 0


@pytest.mark.parametrize("backend", ["postgresql"])
def test_what_was_read_before_the_connection_ended_is_whole(database: Database) -> None:
    before = in_use(database)
    with database.reading() as session:
        found = session.execute(EVERYTHING).scalar_one()
        end(database, session)

    assert (found, in_use(database)) == (0, before)


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_reading_changes_nothing(database: Database) -> None:
    for _ in range(2):  # in a new session, and in one that was kept
        with pytest.raises(sa.exc.DBAPIError, match="read-only"), database.reading() as session:
            session.execute(sa.text("DELETE FROM country"))


@pytest.mark.parametrize("backend", ["sqlite"])
def test_what_a_reading_changes_is_gone_after_it(database: Database) -> None:
    for _ in range(2):
        with database.reading() as session:
            session.execute(sa.text("UPDATE alembic_version SET version_num = 'none'"))
            assert session.execute(VERSION).scalar_one() == "none"

    with database.reading() as session:
        assert session.execute(VERSION).scalar_one() != "none"


@pytest.mark.parametrize("backend", ["postgresql"])
def test_the_others_are_not_tried_where_one_was_ended(database: Database) -> None:
    """Where the way to the server swallows what is sent, each takes fifteen seconds to find out."""
    with ExitStack() as readings:
        kept = [readings.enter_context(database.reading(is_light=True)) for _ in range(KEPT_READERS)]
        drivers = [session.info["driver"] for session in kept]
    end(database, kept[0])
    before = in_use(database)

    with database.reading() as session:
        assert session.info["driver"] not in drivers

    assert in_use(database) == before - KEPT_READERS + 1
    assert [driver.closed for driver in drivers] == [True] * KEPT_READERS


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_question_whose_answer_has_another_type_now_fails_once(database: Database) -> None:
    """It was prepared for the type that it had; to prepare it anew is all that helps."""
    ask = sa.text("SELECT given FROM passing")
    with database.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE passing (given varchar(3))"))
    try:
        for _ in range(10):  # from the sixth time on, the driver has it prepared
            with database.reading() as session:
                session.execute(ask)
        with database.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE passing ALTER COLUMN given TYPE text"))
        with pytest.raises(sa.exc.DBAPIError, match="result type"), database.reading() as session:
            session.execute(ask)
        for _ in range(10):
            with database.reading() as session:
                session.execute(ask)
    finally:
        with database.engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE passing"))


def refused(*_: object, **__: object) -> None:
    raise psycopg.OperationalError


@pytest.mark.parametrize("backend", ["postgresql"])
def test_connections_are_counted_whatever_ends_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted() -> float | None:
        return REGISTRY.get_sample_value("tracker_database_connections")

    with database.reading() as session:
        session.execute(EVERYTHING)
    before = counted()

    for _ in range(3):
        end(database, session)
        with database.reading() as session:
            session.execute(EVERYTHING)
    assert counted() == before

    database.close()  # and with it every connection of its pool
    with database.engine.connect() as connection:
        ended = connection.connection.dbapi_connection
    assert ended is not None
    ended.close()
    monkeypatch.setattr(database.engine.dialect, "connect", refused)
    for _ in range(3):
        with pytest.raises(sa.exc.OperationalError), database.engine.connect():
            pass
    assert counted() == before


def test_the_next_write_goes_on_with_the_same_connection(database: Database) -> None:
    with database.writing() as session:
        first, idle = kept_by(session), in_use(database)
    with database.writing() as session:
        assert (kept_by(session), in_use(database)) == (first, idle)


def test_a_write_knows_nothing_of_the_one_before(database: Database) -> None:
    with database.writing() as session:
        session.info["known"] = session.get(ApiKey, "none")
    with database.writing() as session:
        assert session.info.keys() == {"connection"}


def fail_to_write(database: Database) -> None:
    with database.writing() as session:
        session.execute(sa.update(Line).values(component="sea"))
        session.execute(NOT_SQL)


def test_a_write_that_fails_is_undone_and_the_next_one_kept(
    database: Database, contributor: TestClient
) -> None:
    state(contributor)
    with pytest.raises(sa.exc.DBAPIError):
        fail_to_write(database)

    assert state(contributor, country="DE") == 2
    with database.reading() as session:
        assert set(session.scalars(select(Line.component))) == {"troops"}


def test_a_write_goes_on_after_the_server_has_ended_what_was_kept(
    database: Database, contributor: TestClient
) -> None:
    state(contributor)
    with database.writing() as session:
        driver = session.connection().connection.dbapi_connection
    assert driver is not None
    driver.close()

    assert state(contributor, country="DE") == 2


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_connection_that_is_lost_before_rows_are_changed_is_told_as_one(
    database: Database, rows: int
) -> None:
    with database.engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, psycopg.Connection)
        driver.close()
        with pytest.raises(sa.exc.DBAPIError) as lost:
            run_each(connection, "SELECT %s", [(1,)] * rows)
    assert lost.value.connection_invalidated
