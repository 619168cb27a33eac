import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient

from app.copying import CannotCopy, copy_record
from app.db import Database
from app.main import create_app
from app.settings import Settings
from tests import make
from tests.commands import Outcome, coalition
from tests.conftest import RECORD, Clock, client

OTHER = {"title": "Überblick", "publisher": "Gazette", "published_on": "2025-04~"}
MOMENT = "as_of=2025-12-31&seq=7"
QUESTIONS = [
    "/",
    f"/v1/positions?{MOMENT}",
    f"/v1/positions?{MOMENT}&dates=possible&limit=2",
    f"/v1/positions/PL/troops?{MOMENT}",
    f"/v1/countries?{MOMENT}&tracked=true",
    f"/v1/countries/FR?{MOMENT}",
    "/v1/changes",
    "/v1/changes?seq=5&action=correct",
    "/v1/changes.atom",
    "/v1/changes/3",
    "/v1/diff?from=2025-03-01&to=2025-12-31&seq=7&mode=events",
    "/v1/diff?from=0&to=7&axis=recorded&as_of=2025-12-31",
    "/v1/diff?from=2026-01-15T12:30:00Z&to=2026-01-15T14:30:00Z&axis=recorded&as_of=2025-12-31",
    "/v1/sources",
    "/v1/sources/2",
    f"/v1/summary?{MOMENT}",
    "/v1/timeline?from=2025-03-01&to=2025-12-31&interval=month&seq=7",
    "/v1/export/datapackage.json",
    *(
        f"/v1/export/{table}.{extension}?{question}"
        for table, question in (
            ("positions", MOMENT),
            ("history", f"{MOMENT}&country=PL&country=FR&country=DE"),
            ("changes", ""),
            ("sources", ""),
        )
        for extension in ("csv", "ndjson")
    ),
]


@pytest.fixture
def record(contributor: TestClient, database: Database, clock: Clock) -> Database:
    """A record with everything in it that a record can hold."""
    make.state(contributor, conditions=[{"type": "ceasefire"}], quantity={"min": 5, "unit": "soldiers"})
    clock.pass_(hours=1)
    make.refuse(contributor, country="FR", refuses=["sea", "air"], source=OTHER, notes='Über\nall; "so"')
    clock.pass_(hours=1)
    make.correct(contributor, 1, firmness="committed")
    again = [{"seq": 1, "relation": "repeats"}]
    make.state(contributor, source=OTHER, relates_to=again, firmness="committed", stated_on="2025-04?")
    clock.pass_(hours=1)
    make.retract(contributor, 2)
    make.state(
        contributor, kind="support", component="training", authority="media", stated_on="../2025-05-01"
    )
    retried(contributor)
    return database


def retried(anyone: TestClient) -> bool:
    """Send one write, the same each time; tell whether it was known already."""
    headers = {"Idempotency-Key": "once"}
    answer = anyone.post("/v1/positions", json=make.body(country="DE", kind="sea"), headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.headers.get("idempotent-replayed") == "true"


@pytest.fixture
def there(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a new database, of the other kind than the record's."""
    url: str = (
        request.getfixturevalue("new_postgresql") if backend == "sqlite" else f"sqlite:///{tmp_path}/there.db"
    )
    return url


@pytest.fixture
def target(there: str) -> Iterator[Database]:
    database = Database(Settings(database_url=there, _env_file=None))
    yield database
    database.close()


def moved(record: Database, there: str, folder: Path) -> Outcome:
    return coalition("copy", "--to", there, database_url=url_of(record), folder=folder)


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


def answers(anyone: TestClient) -> dict[str, tuple[str, str | None]]:
    found = {url: anyone.get(url) for url in QUESTIONS}
    assert {url: answer.text for url, answer in found.items() if answer.status_code != 200} == {}
    return {url: (answer.text, answer.headers.get("etag")) for url, answer in found.items()}


def test_every_answer_is_the_same_to_the_byte(
    record: Database, anyone: TestClient, there: str, tmp_path: Path
) -> None:
    outcome = moved(record, there, tmp_path)
    tracker = create_app(Settings(database_url=there, _env_file=None))
    found = answers(client(tracker))
    tracker.state.database.close()

    assert (outcome.code, len(outcome.out.strip())) == (0, 64)
    assert outcome.said.endswith("Sound: 7 entries.")
    assert found == answers(anyone)


def test_keys_stay_good_and_retries_known(
    record: Database, contributor: TestClient, there: str, tmp_path: Path
) -> None:
    outcome = moved(record, there, tmp_path)
    tracker = create_app(Settings(database_url=there, _env_file=None))
    writer = client(tracker, contributor.headers["authorization"].removeprefix("Bearer "))
    was_known, seq = retried(writer), make.state(writer, country="NO")
    make.correct(writer, seq, firmness="considering")
    tracker.state.database.close()
    verified = coalition("verify", "--head", outcome.out.strip(), database_url=there, folder=tmp_path)

    assert was_known
    assert seq == 8
    assert verified.said == "Sound: 9 entries."


@pytest.mark.parametrize("table", ["source", "change", "statement", "statement_relation"])
def test_what_was_copied_is_neither_changed_nor_deleted(
    record: Database, target: Database, table: str
) -> None:
    copy_record(record, target)
    forgeries = (f"DELETE FROM {table}", f"UPDATE {table} SET {'id' if table == 'source' else 'seq'} = 99")

    for forgery in forgeries:
        with (
            pytest.raises(sa.exc.DBAPIError, match=f"append-only: {table}"),
            target.engine.begin() as connection,
        ):
            connection.execute(sa.text(forgery))


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_record_comes_back_as_it_went(record: Database, target: Database, tmp_path: Path) -> None:
    back = Database(Settings(database_url=f"sqlite:///{tmp_path / 'back.db'}", _env_file=None))
    copy_record(record, target)
    copy_record(target, back)
    back.close()

    assert stored(tmp_path / "back.db") == stored(Path(str(record.url.database)))


def stored(file: Path) -> dict[str, list[tuple[object, ...]]]:
    """What a SQLite file holds, as it is in the file."""
    with closing(sqlite3.connect(file)) as connection:
        return {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3").fetchall()
            for name in RECORD.split(", ")
        }


def test_a_record_that_is_there_already_is_left_alone(
    record: Database, target: Database, there: str, tmp_path: Path
) -> None:
    target.migrate()
    with target.writing() as session:
        session.execute(sa.text("INSERT INTO line VALUES (1, 'PL', 'troops')"))
    outcome = moved(record, there, tmp_path)

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.said == "Nothing was copied. That database is not empty: there are rows in line."


def test_a_record_is_not_copied_onto_itself(record: Database, tmp_path: Path) -> None:
    outcome = moved(record, url_of(record), tmp_path)

    assert outcome.code == 1
    assert "That database is not empty" in outcome.said


def test_a_database_of_something_else_is_not_touched(
    record: Database, target: Database, there: str, tmp_path: Path
) -> None:
    with target.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE customer (id INTEGER)"))
    outcome = moved(record, there, tmp_path)

    assert "That database holds tables of something else." in outcome.said
    assert sa.inspect(target.engine).get_table_names() == ["customer"]


def test_of_a_forged_record_nothing_is_kept(record: Database, target: Database) -> None:
    forged = "UPDATE statement SET summary = 'forged' WHERE seq = 3"
    with record.engine.begin() as connection:
        if record.is_embedded:
            connection.execute(sa.text("DROP TRIGGER statement_refuse_update"))
        else:
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.execute(sa.text(forged))

    with pytest.raises(CannotCopy, match="Entry 3 is not sound: its digest"):
        copy_record(record, target)
    with target.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM source")) == 0


def test_what_is_recorded_meanwhile_is_told(
    record: Database,
    contributor: TestClient,
    there: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def show(_: object, step: str, *__: int) -> None:
        if step == "Verifying":
            make.state(contributor, country="NO")

    monkeypatch.setattr("app.keeping.Steps.show", show)
    outcome = moved(record, there, tmp_path)

    assert outcome.code == 1
    assert "Sound: 7 entries. 1 more were recorded meanwhile" in outcome.said


@pytest.mark.parametrize("url", ["mysql://host/name", "nonsense"])
def test_only_databases_that_can_hold_a_record_are_taken(url: str, tmp_path: Path) -> None:
    outcome = coalition("copy", "--to", url, database_url="sqlite:///none.db", folder=tmp_path)

    assert outcome.code == 2
    assert "--to: Value error, give sqlite:///FILE or postgresql://" in outcome.said
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_cannot_be_reached_is_named(record: Database, tmp_path: Path) -> None:
    outcome = moved(record, "postgresql://127.0.0.1:1/none", tmp_path)

    assert outcome.code == 1
    assert "Nothing was copied: connection failed" in outcome.said


def test_what_is_copied_may_wait_for_a_slow_disk(new_postgresql: str) -> None:
    impatient = {"options": "-c timezone=UTC -c idle_in_transaction_session_timeout=100"}
    url = sa.make_url(new_postgresql).update_query_dict(impatient).render_as_string(hide_password=False)
    with closing(Database(Settings(database_url=url, _env_file=None))) as database:

        def paused(*, is_long: bool) -> int | None:
            with database.writing(is_long=is_long) as session:
                time.sleep(0.4)
                return session.scalar(sa.select(1))

        assert paused(is_long=True) == 1
        with pytest.raises(DBAPIError, match="idle-in-transaction"):
            paused(is_long=False)
