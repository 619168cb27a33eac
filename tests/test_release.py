import csv
import hashlib
import json
import re
import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from frictionless import Package
from typer.testing import CliRunner, Result

from app.changes import head_of
from app.cli import app
from app.db import Database
from app.export import TABLES
from app.main import create_app
from app.release import LISTS, WORDS, count_files, write_release
from app.settings import Settings
from app.vocabulary import SETS, Scope
from tests import make
from tests.conftest import Clock, empty, with_key

FILES = [
    *("CITATION.cff", "SHA256SUMS"),
    *("changes.csv", "changes.ndjson", "codebook.md", "datapackage.json", "history.csv", "history.ndjson"),
    *("positions.csv", "positions.ndjson", "sources.csv", "sources.ndjson"),
]


def fill(client: TestClient, clock: Clock) -> None:
    """Record a little of everything that a release has to carry."""
    clock.set("2025-04-01")
    mark = {"type": "other", "text": 'a "quoted", word'}
    make.state(
        client,
        summary="Two lines,\nwith a comma and žluťoučký kůň.",
        quote="=1+1",
        conditions=[{"type": "ceasefire"}, mark],
        quantity={"min": 100, "max": 200, "unit": "soldiers"},
    )
    make.state(client, country="FR", kind="support", component="training", stated_on="2025-03")
    wrong = make.refuse(client, country="IT", stated_on="../2025-03-28", firmness="leaning")
    clock.pass_(days=2)
    right = make.correct(client, wrong, firmness="declared")
    make.retract(client, make.state(client, country="DK"))
    make.state(client, country="PL", firmness="withdrawn", stated_on="2025-04-02")
    other = {"url": "https://example.org/b", "title": "Another | title"}
    make.state(client, country="PL", kind="sea", stated_on="2025-04-03", source=other)
    denial = [{"seq": right, "relation": "denies"}]
    make.state(client, country="IT", voice="head_of_state", authority=None, relates_to=denial)


@pytest.fixture
def full(contributor: TestClient, clock: Clock) -> TestClient:
    """Somebody whose record holds a little of everything."""
    fill(contributor, clock)
    return contributor


def release(database: Database, folder: Path, day: date | None = None) -> dict[str, bytes]:
    """Write a release and return its files."""
    with database.reading() as session:
        write_release(session, folder, head_of(session), day)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def files(full: TestClient, database: Database, tmp_path: Path) -> dict[str, bytes]:
    """The files of a release of the full record, which is in `tmp_path / "release"`."""
    assert full
    return release(database, tmp_path / "release")


def rows(files: dict[str, bytes], table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(files[f"{table}.csv"].decode().splitlines(keepends=True)))


def test_a_release_has_these_files(files: dict[str, bytes]) -> None:
    assert list(files) == sorted(FILES)
    assert count_files() == len(FILES)


def test_the_same_record_gives_the_same_bytes_again(
    files: dict[str, bytes], database: Database, clock: Clock, tmp_path: Path
) -> None:
    clock.pass_(days=400)

    assert release(database, tmp_path / "again") == files


def test_both_databases_give_the_same_bytes(
    migrated: Path, migrated_postgresql: str, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(migrated, tmp_path / "tracker.db")
    monkeypatch.setattr("app.auth.secrets.token_hex", lambda size: "0" * 2 * size)
    found: list[dict[str, bytes]] = []
    for url in (f"sqlite:///{tmp_path / 'tracker.db'}", migrated_postgresql):
        application = create_app(Settings(database_url=url, _env_file=None))
        database: Database = application.state.database
        if not database.is_embedded:
            empty(database)
        fill(with_key(application, "contributor", Scope.CONTRIBUTE), clock)
        found.append(release(database, tmp_path / f"release-{len(found)}"))
        database.close()

    assert found[0] == found[1]


def test_settings_do_not_matter(files: dict[str, bytes], settings: Settings, tmp_path: Path) -> None:
    odd = settings.model_copy(update={"stale_after_days": 1, "public_url": "https://elsewhere"})
    database = Database(odd)
    again = release(database, tmp_path / "again")
    database.close()

    assert again == files


def test_the_tables_are_those_of_the_api(files: dict[str, bytes], anyone: TestClient) -> None:
    seq, day = len(rows(files, "changes")), "2025-04-03"
    for name in FILES:
        table, _, ending = name.partition(".")
        if table in TABLES:
            moment = {"seq": seq} | ({"as_of": day} if table in ("positions", "history") else {})
            assert files[name] == anyone.get(f"/v1/export/{table}.{ending}", params=moment).content


def test_headers_are_in_the_order_of_the_registry(files: dict[str, bytes]) -> None:
    for table, (_, columns) in TABLES.items():
        header = files[f"{table}.csv"].decode().splitlines()[0].split(",")
        assert header == [column.name for column in columns]


def test_positions_are_as_of_the_day_of_the_newest_entry(files: dict[str, bytes]) -> None:
    held = {(row["country"], row["component"]): row["kind"] for row in rows(files, "positions")}
    package = json.loads(files["datapackage.json"])

    assert package["as_of"] == "2025-04-03"
    assert package["created"] == "2025-04-03T12:00:00.000005Z"
    assert held == {("FR", "training"): "support", ("IT", "troops"): "refusal", ("PL", "sea"): "sea"}


def test_positions_can_be_as_of_another_day(full: TestClient, database: Database, tmp_path: Path) -> None:
    assert full
    files = release(database, tmp_path / "release", date(2025, 3, 27))

    assert [row["country"] for row in rows(files, "positions")] == ["IT", "PL"]
    assert json.loads(files["datapackage.json"])["as_of"] == "2025-03-27"
    assert b"positions as of 2025-03-27" in files["CITATION.cff"]


def test_every_file_has_its_checksum(files: dict[str, bytes]) -> None:
    lines = [line.split("  ") for line in files["SHA256SUMS"].decode().splitlines()]

    assert {name: digest for digest, name in lines} == {
        name: hashlib.sha256(text).hexdigest() for name, text in files.items() if name != "SHA256SUMS"
    }
    assert [name for _, name in lines] == sorted(name for _, name in lines)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum on this machine")
def test_the_usual_tool_checks_the_checksums(files: dict[str, bytes], tmp_path: Path) -> None:
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    told = subprocess.check_output(command, cwd=tmp_path / "release", text=True)

    assert told.count(": OK\n") == len(files) - 1


@pytest.mark.filterwarnings("default")
def test_the_data_package_is_valid(files: dict[str, bytes], tmp_path: Path) -> None:
    report = Package(str(tmp_path / "release/datapackage.json")).validate()

    assert report.flatten(["type", "message"]) == []
    assert [task.name for task in report.tasks] == list(TABLES)
    assert [task.stats["rows"] for task in report.tasks] == [len(rows(files, table)) for table in TABLES]


@pytest.mark.filterwarnings("default")
def test_the_data_package_notices_what_was_changed(files: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tmp_path / "release", folder)
    for name, old, new in (
        ("positions.csv", b",declared,", b",certain,"),
        ("sources.csv", b"\r\n2,", b"\r\n7,"),
    ):
        (folder / name).chmod(0o644)
        (folder / name).write_bytes(files[name].replace(old, new))
    found = {problem[0] for problem in Package(str(folder / "datapackage.json")).validate().flatten(["type"])}

    assert found >= {"constraint-error", "foreign-key", "hash-count"}


def test_the_data_package_follows_the_standard(files: dict[str, bytes]) -> None:
    package = json.loads(files["datapackage.json"])

    assert package["$schema"] == "https://datapackage.org/profiles/2.0/datapackage.json"
    assert {resource["type"] for resource in package["resources"]} == {"table"}
    assert "profile" not in package


def test_every_word_of_a_closed_set_is_named(files: dict[str, bytes]) -> None:
    names = {column.name for _, columns in TABLES.values() for column in columns}
    codebook = files["codebook.md"].decode()

    assert set(WORDS) | set(LISTS) <= names
    defined = [f"| `{word}` | {word.definition} |" for words in SETS.values() for word in words]
    assert [each for each in defined if each not in codebook] == []
    assert [name for name in names if f"| `{name}` |" not in codebook] == []
    assert set(re.findall(r"\(#(\w+)\)", codebook)) <= set(re.findall(r"(?m)^### (\w+)$", codebook))


def test_the_citation_can_be_read(files: dict[str, bytes]) -> None:
    citation: dict[str, Any] = yaml.safe_load(files["CITATION.cff"])
    last = rows(files, "changes")[-1]

    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == f"0.{last['seq']}.0"
    assert last["digest"] in citation["abstract"]
    assert str(citation["date-released"]) == "2025-04-03"
    assert citation["authors"][0]["name"]


def test_a_release_is_never_overwritten(files: dict[str, bytes], database: Database, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="never overwritten"):
        release(database, tmp_path / "release")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError):
        release(database, tmp_path / "file")

    assert {path.name: path.read_bytes() for path in (tmp_path / "release").iterdir()} == files


def test_an_empty_folder_is_as_good_as_none(full: TestClient, database: Database, tmp_path: Path) -> None:
    assert full
    (tmp_path / "there").mkdir()

    assert list(release(database, tmp_path / "there")) == sorted(FILES)
    assert list(release(database, tmp_path / "not/there/yet")) == sorted(FILES)


def test_an_empty_record_is_not_released(database: Database, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Nothing is recorded"):
        release(database, tmp_path / "release")

    assert not (tmp_path / "release").exists()


def test_a_release_that_fails_leaves_nothing(
    full: TestClient, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert full
    monkeypatch.setattr("app.release.citation", lambda *_: 1 / 0)
    (tmp_path / "releases").mkdir()
    with pytest.raises(ZeroDivisionError):
        release(database, tmp_path / "releases/one")

    assert list((tmp_path / "releases").iterdir()) == []


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"TRACKER_DATABASE_URL": settings.database_url})


def test_the_command_releases_an_earlier_state(full: TestClient, settings: Settings, tmp_path: Path) -> None:
    assert full
    outcome = run(settings, "release", str(tmp_path / "a"), "--seq", "2", "--as-of", "2025-03-31")
    instant = run(settings, "release", str(tmp_path / "b"), "--known-at", "2025-04-02T00:00:00Z")

    assert (outcome.exit_code, instant.exit_code) == (0, 0)
    assert "positions as of 2025-03-31, record up to entry 2" in outcome.stderr
    assert "positions as of 2025-04-01, record up to entry 3" in instant.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seq", "99"), "seq: The record has no such entry yet."),
        (("--seq", "0"), "Nothing is recorded there"),
        (("--as-of", "soon"), "'soon' is not a day"),
        (("--known-at", "soon"), "Give an instant"),
        (("--seq", "1", "--known-at", "2025-04-02T00:00:00Z"), "not both"),
    ],
)
def test_the_command_says_what_cannot_be_released(
    full: TestClient, settings: Settings, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    assert full
    outcome = run(settings, "release", str(tmp_path / "release"), *arguments)

    assert outcome.exit_code == 2
    assert words in outcome.stderr
    assert not (tmp_path / "release").exists()
