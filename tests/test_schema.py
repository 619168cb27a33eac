import multiprocessing
import re
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event
from sqlmodel import SQLModel
from starlette.testclient import TestClient

from app.db import ROOT, Database
from app.main import create_app
from app.settings import Settings
from app.verify import verify
from app.vocabulary import Scope
from app.writers import SERIALISED
from tests import make
from tests.conftest import with_key
from tests.make import Asked
from tests.test_spelling import AWKWARD

FORGERIES = {
    "source": "title = 'forged'",
    "change": "reason = 'forged'",
    "statement": "summary = 'forged'",
    "statement_relation": "relation = 'denies'",
}
RECORDED = list(FORGERIES)


@pytest.fixture
def blank(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    is_embedded = backend == "sqlite"
    url = f"sqlite:///{tmp_path}/blank.db" if is_embedded else request.getfixturevalue("new_postgresql")
    database = Database(Settings(database_url=url, _env_file=None))
    yield database
    database.close()


@pytest.fixture
def recorded(contributor: TestClient, database: Database) -> Database:
    first = make.state(contributor)
    again = [{"seq": first, "relation": "repeats"}]
    make.state(contributor, stated_on="2025-03-28", relates_to=again)
    return database


def differences(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, SQLModel.metadata))


def tables(database: Database) -> set[str]:
    return set(sa.inspect(database.engine).get_table_names())


def functions(database: Database) -> int:
    if database.is_embedded:
        return 0
    ours = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    with database.engine.connect() as connection:
        return int(connection.execute(sa.text(ours)).scalar_one())


def refused(database: Database, forgery: str) -> list[str]:
    found = []
    plain = sa.create_engine(database.url)  # without what our own connections are told
    for table, change in FORGERIES.items():
        with plain.connect() as connection:
            try:
                connection.execute(sa.text(forgery.format(table=table, change=change)))
            except sa.exc.DBAPIError as error:
                found += [table] * (f"the record is append-only: {table}" in str(error))
    plain.dispose()
    return found


def test_models_and_migrations_agree(database: Database) -> None:
    assert differences(database) == []


def test_migrations_go_down_to_nothing_and_up_again(blank: Database) -> None:
    blank.migrate()
    blank.migrate("base")
    at_base = tables(blank), functions(blank)
    blank.migrate()

    assert at_base == ({"alembic_version"}, 0)
    assert differences(blank) == []
    assert blank.schema_is_current()


READS = (
    "/v1/positions?as_of=2025-04-01",
    "/v1/positions?as_of=2025-04-01&dates=possible&format=csv",
    "/v1/positions/PL/troops?as_of=2025-04-01",
    "/v1/countries/PL?as_of=2025-04-01",
    "/v1/changes?limit=1000",
    "/v1/diff?axis=recorded&from=0&to=3&mode=events",
    "/v1/timeline?from=2025-03-01&to=2025-04-01",
    "/v1/export/history.csv",
    "/v1/export/changes.ndjson",
    "/v1/sources",
)


def test_what_was_recorded_outlives_migrations_down_and_up_to_the_byte(
    recorded: Database, contributor: TestClient
) -> None:
    awkward = f"{AWKWARD}\n/\u00a0é"
    correction = {"reason": awkward, "statement": {"firmness": "committed", "notes": awkward}}
    assert contributor.post("/v1/changes/1/correction", json=correction).status_code == 201

    def answers() -> dict[str, tuple[int, bytes]]:
        found = {path: contributor.get(path) for path in READS}
        return {path: (each.status_code, each.content) for path, each in found.items()}

    before = answers()
    # What follows is made from the entries alone; or, in part, from what an earlier release made.
    for revision in ("0002", "0002", "0007", "0007", "0008", "0008"):
        recorded.migrate(revision)
        recorded.migrate()

    assert {status for status, _ in before.values()} == {200}
    assert answers() == before
    assert differences(recorded) == []
    with recorded.reading() as session:
        assert verify(session).finding is None


def test_migrating_a_current_schema_changes_nothing(database: Database, asked: Asked) -> None:
    database.migrate()

    writing = ("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE")
    assert asked != []
    assert [each for each, _ in asked if each.lstrip().upper().startswith(writing)] == []


def migrate(url: str, together: Barrier) -> None:
    database = Database(Settings(database_url=url, _env_file=None))
    together.wait(timeout=60)
    database.migrate()
    database.close()


def test_all_migrations_are_one_transaction(blank: Database) -> None:
    """Else another process could go on in between, and both would make the same table."""
    begun, ended = list[bool](), list[object]()
    note_end = ended.append

    def note_begin(connection: sa.Connection) -> None:
        begun.append(bool(connection.get_execution_options().get(SERIALISED)))

    event.listen(blank.engine, "begin", note_begin)
    event.listen(blank.engine, "commit", note_end)
    blank.migrate()

    assert begun == [False, True]  # what there is by then is read first
    assert len(ended) == 1
    assert tables(blank) >= set(SQLModel.metadata.tables)


def test_several_processes_may_migrate_at_once(blank: Database) -> None:
    url = blank.url.render_as_string(hide_password=False)
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(3)
    processes = [context.Process(target=migrate, args=(url, together)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert differences(blank) == []


@pytest.mark.parametrize("forgery", ["UPDATE {table} SET {change}", "DELETE FROM {table}"])
def test_what_was_recorded_is_neither_changed_nor_deleted(recorded: Database, forgery: str) -> None:
    assert refused(recorded, forgery) == RECORDED


def test_what_was_recorded_is_not_truncated(migrated_postgresql: str) -> None:
    database = Database(Settings(database_url=migrated_postgresql, _env_file=None))
    found = refused(database, "TRUNCATE {table} CASCADE")
    database.close()

    assert found == RECORDED


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)  # PostgreSQL has no such statement
def test_what_was_recorded_is_not_replaced(recorded: Database) -> None:
    assert refused(recorded, "INSERT OR REPLACE INTO {table} SELECT * FROM {table}") == RECORDED


def test_every_connection_to_sqlite_is_durable_and_keeps_its_references(tmp_path: Path) -> None:
    database = Database(Settings(database_url=f"sqlite:///{tmp_path / 'new.db'}", _env_file=None))
    database.migrate()
    wanted = {"synchronous": 2, "foreign_keys": 1, "journal_mode": "wal"}
    with ExitStack() as stack:
        engines = [database.engine] * 6 + [database.unmapped] * 2
        connections = [stack.enter_context(engine.connect()) for engine in engines]
        found = [
            {name: each.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted}
            for each in connections
        ]
        mapped = [each.exec_driver_sql("PRAGMA mmap_size").scalar_one() for each in connections]
    database.close()

    assert found == [wanted] * 8
    assert min(mapped[:6]) > 2**30
    assert mapped[6:] == [0, 0]


GRANTS = re.findall(r"(?ms)^```sql\n(.*?)^```", (ROOT / "SECURITY.md").read_text())


def test_a_role_that_owns_nothing_is_enough_to_work(new_postgresql: str) -> None:
    owner = Database(Settings(database_url=new_postgresql, _env_file=None))
    owner.migrate()
    with owner.engine.begin() as connection:
        connection.execute(sa.text(GRANTS[0]))
    url = owner.url.set(username="tracker_api").render_as_string(hide_password=False)
    tracker = create_app(Settings(database_url=url, _env_file=None))
    database: Database = tracker.state.database
    try:
        curator = with_key(tracker, "curator", Scope.CURATE)
        headers = {"Idempotency-Key": "once"}
        first = make.kept(curator.post("/v1/positions", json=make.body(), headers=headers))
        make.retract(curator, make.correct(curator, first, firmness="committed"))
        bulk = curator.post("/v1/positions/bulk", json=[make.body(country="FR")])
        database.probe()
        read = curator.get("/v1/positions").json()["meta"]["seq"]
        with pytest.raises(sa.exc.ProgrammingError, match="must be owner"), database.writing() as session:
            session.execute(sa.text("ALTER TABLE change DISABLE TRIGGER ALL"))
    finally:
        database.close()
        with owner.engine.begin() as connection:
            connection.execute(sa.text("DROP OWNED BY tracker_api; DROP ROLE tracker_api"))
        owner.close()

    assert (bulk.status_code, read) == (201, 4)
