import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

import app.backup
from app.backup import back_up, dump_commands
from app.db import Database
from app.main import create_app
from app.settings import Settings
from tests import make
from tests.commands import coalition
from tests.conftest import RECORD, client

only_embedded = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


def dumped(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Everything that a database holds of the record."""
    with database.engine.connect() as connection:
        return {
            table: sorted(
                (tuple(row) for row in connection.execute(sa.text(f"SELECT * FROM {table}"))), key=repr
            )
            for table in RECORD.split(", ")
        }


@pytest.fixture
def record(contributor: TestClient, database: Database) -> Database:
    first = make.state(contributor)
    make.correct(contributor, first, firmness="committed")
    headers = {"Idempotency-Key": "once"}
    make.kept(contributor.post("/v1/positions", json=make.refusal(country="FR"), headers=headers))
    return database


@pytest.fixture
def file(record: Database, tmp_path: Path) -> Path:
    path = tmp_path / "backup.db"
    back_up(record, path)
    return path


@only_embedded
def test_a_backup_is_the_whole_record(record: Database, file: Path) -> None:
    copy = Database(Settings(database_url=f"sqlite:///{file}", _env_file=None))
    found = dumped(copy)
    copy.close()

    assert found == dumped(record)
    assert len(found["kept_answer"]) == 1


@only_embedded
def test_what_is_written_meanwhile_is_in_none_of_it(
    record: Database, contributor: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, steps = dumped(record), 0

    def write(step: str, done: int, total: int) -> None:
        nonlocal steps
        if step == "Copying" and 0 < done < total and steps < 10:
            steps += 1
            make.state(contributor, speaker=f"Speaker {steps}")

    monkeypatch.setattr(app.backup, "PAGES", 1)
    verified = back_up(record, tmp_path / "backup.db", write)
    copy = Database(Settings(database_url=f"sqlite:///{tmp_path / 'backup.db'}", _env_file=None))
    found = dumped(copy)
    copy.close()

    assert steps == 10
    assert len(dumped(record)["change"]) == 13
    assert {name: rows for name, rows in found.items() if name != "api_key"} == {
        name: rows for name, rows in before.items() if name != "api_key"
    }
    assert verified is not None
    assert (verified.seq, verified.finding) == (3, None)


@only_embedded
def test_a_backup_is_one_file_for_its_owner_alone(file: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(file)) as copy:
        mode = copy.execute("PRAGMA journal_mode").fetchone()

    assert mode == ("delete",)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("*backup*")] == ["backup.db"]


@only_embedded
def test_a_restored_tracker_is_sound_and_takes_writes(
    contributor: TestClient, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    url = f"sqlite:///{shutil.copy(file, tmp_path / 'elsewhere' / 'tracker.db')}"
    verified = coalition("verify", database_url=url, folder=tmp_path)
    restored = create_app(Settings(database_url=url, _env_file=None))
    key = contributor.headers["authorization"].removeprefix("Bearer ")
    seq = make.state(client(restored, key), country="DE")
    restored.state.database.close()

    assert (verified.code, verified.said) == (0, "Sound: 3 entries.")
    assert seq == 4


@only_embedded
def test_the_command_tells_the_digest_to_keep(record: Database, tmp_path: Path) -> None:
    outcome = coalition("backup", "b.db", database_url=url_of(record), folder=tmp_path)
    head = outcome.out.strip()
    again = coalition("verify", "--head", head, database_url=f"sqlite:///{tmp_path}/b.db", folder=tmp_path)

    assert outcome.said == "Backed up to b.db. Sound: 3 entries."
    assert (len(head), again.code) == (64, 0)


@only_embedded
def test_a_backup_of_a_forged_record_is_kept_and_called_so(record: Database, tmp_path: Path) -> None:
    with record.engine.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER statement_refuse_update"))
        connection.execute(sa.text("UPDATE statement SET summary = 'forged' WHERE seq = 1"))
    outcome = coalition("backup", "b.db", database_url=url_of(record), folder=tmp_path)

    assert outcome.code == 1
    assert "Not sound: entry 1" in outcome.said
    assert (tmp_path / "b.db").exists()


@only_embedded
def test_a_record_of_another_release_is_backed_up_as_it_is(record: Database, tmp_path: Path) -> None:
    with record.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0002'"))
    outcome = coalition("backup", "b.db", database_url=url_of(record), folder=tmp_path)
    with closing(sqlite3.connect(tmp_path / "b.db")) as copy:
        version = copy.execute("SELECT version_num FROM alembic_version").fetchone()

    assert (outcome.code, outcome.out) == (0, "")
    assert "verify it with the release that it is of" in outcome.said
    assert version == ("0002",)


@only_embedded
@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("taken.db", "taken.db: a backup never takes the place of a file"),
        ("missing/b.db", "missing: there is no such folder"),
    ],
)
def test_a_backup_that_cannot_be_made_leaves_everything_as_it_was(
    record: Database, tmp_path: Path, target: str, why: str
) -> None:
    (tmp_path / "taken.db").write_text("mine")
    record.close()  # so that its log is folded in, as a command's end would
    before = sorted(path.name for path in tmp_path.iterdir())
    outcome = coalition("backup", target, database_url=url_of(record), folder=tmp_path)

    assert (outcome.code, outcome.out, outcome.said) == (1, "", why)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "taken.db").read_text() == "mine"


@only_embedded
def test_a_file_that_came_meanwhile_is_not_replaced(record: Database, tmp_path: Path) -> None:
    path = tmp_path / "backup.db"

    with pytest.raises(FileExistsError):
        back_up(record, path, lambda *_: path.write_text("mine"))

    assert path.read_text() == "mine"


def test_where_there_is_no_record_none_is_made(tmp_path: Path) -> None:
    outcome = coalition("backup", "b.db", database_url="sqlite:///none.db", folder=tmp_path)

    assert (outcome.code, outcome.said) == (1, "none.db: there is no record here")
    assert list(tmp_path.iterdir()) == []


@only_postgresql
def test_on_postgresql_the_commands_shown_back_up_and_restore(
    record: Database, contributor: TestClient, new_postgresql: str, tmp_path: Path, postgresql_tools: Path
) -> None:
    file = tmp_path / "my backup.dump"
    shown = coalition("backup", str(file), database_url=url_of(record), folder=tmp_path)
    dump = next(line.strip() for line in shown.err.splitlines() if line.startswith("  pg_dump"))
    restore = dump_commands(sa.make_url(new_postgresql), file)[1]
    for line in (dump, restore):
        path = f"{postgresql_tools}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(line, shell=True, check=True, env=os.environ | {"PATH": path}, capture_output=True)
    verified = coalition("verify", database_url=new_postgresql, folder=tmp_path)
    restored = create_app(Settings(database_url=new_postgresql, _env_file=None))
    found = dumped(restored.state.database)
    before = dumped(record)
    key = contributor.headers["authorization"].removeprefix("Bearer ")
    seq = make.state(client(restored, key), country="DE")
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), restored.state.database.writing() as session:
        session.execute(sa.text("DELETE FROM change"))
    restored.state.database.close()

    assert shown.code == 1
    assert (verified.code, verified.said) == (0, "Sound: 3 entries.")
    assert found == before
    assert seq == 4


def test_the_commands_shown_name_no_password() -> None:
    address = "postgresql+psycopg://me:secret@one,two:5433/name?sslmode=require&password=secret"
    dump, restore = dump_commands(sa.make_url("postgresql+psycopg://me:secret@one/name"), Path("a b"))
    more = dump_commands(sa.make_url(address), Path("b"))

    assert dump == "pg_dump --format=custom --no-owner --file='a b' --dbname=postgresql://me@one/name"
    assert restore.endswith(" --no-owner --dbname=postgresql://me@one/name 'a b'")
    assert "secret" not in "".join(more)
