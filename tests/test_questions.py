import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from rich.console import Console
from rich.text import Text
from sqlalchemy.engine import make_url
from typer.testing import CliRunner, Result

from app import calling
from app.cli import app
from app.client import Tracker
from app.in_process import ADDRESS, InProcess
from app.reports import change_line, diff_table, plain, positions_table
from app.routes.filters import LedgerQuery
from app.settings import Settings
from tests import make, serving

Run = Callable[..., Result]
DIFF = ("diff", "--from", "2025-03-26", "--to", "2025-03-28")
COMMANDS = ("positions", "diff", "follow", "export", "release")


def invoke(database_url: str, *arguments: str) -> Result:
    environment = {"TRACKER_DATABASE_URL": database_url, "COLUMNS": "160"}
    return CliRunner().invoke(app, arguments, env=environment)


@pytest.fixture
def run(settings: Settings, contributor: TestClient) -> Run:
    """Run a command on a database in which two positions are stated, the second one corrected."""
    make.state(contributor, conditions=[{"type": "ceasefire"}], summary="Poland plans troops.")
    wrong = make.refuse(contributor, country="IT", stated_on="2025-03-28", firmness="leaning")
    make.correct(contributor, wrong, firmness="declared", summary="Italy will not.")
    return lambda *arguments: invoke(settings.database_url, *arguments)


def test_positions_are_json_in_a_pipe(run: Run) -> None:
    answer = json.loads(run("positions", "--as-of", "2025-03-28").stdout)

    assert [(each["country"], each["kind"]) for each in answer["items"]] == [
        ("IT", "refusal"),
        ("PL", "troops"),
    ]
    assert (answer["meta"]["as_of"], answer["meta"]["seq"]) == ("2025-03-28", 3)


def test_positions_are_narrowed_as_the_api_narrows_them(run: Run) -> None:
    def countries(*arguments: str) -> list[str]:
        listed = run("positions", "--as-of", "2025-03-28", "--format", "ndjson", *arguments)
        return [json.loads(line)["country"] for line in listed.stdout.splitlines()]

    assert countries() == ["IT", "PL"]
    assert countries("--country", "POL", "--country", "FR") == ["PL"]
    assert countries("--kind", "refusal") == countries("--min-firmness", "declared") == ["IT"]
    assert countries("--condition", "ceasefire") == countries("--text", "plans") == ["PL"]
    assert countries("--seq", "1") == ["PL"]
    assert countries("--contested") == countries("--component", "sea") == countries("--seq", "0") == []


def test_differences_are_narrowed_as_the_api_narrows_them(run: Run) -> None:
    def countries(*arguments: str) -> list[str]:
        return [each["country"] for each in json.loads(run(*DIFF, *arguments).stdout)["items"]]

    assert countries() == ["IT", "PL"]
    assert countries("--condition", "ceasefire") == countries("--text", "plans") == ["PL"]
    assert countries("--firmness", "declared") == ["IT"]


def test_what_is_followed_is_narrowed_by_the_names_of_the_api(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def follow(_: Tracker, after: int | None, **filters: object) -> Iterator[object]:
        asked.update(filters, after=after)
        return iter(())

    monkeypatch.setattr(Tracker, "follow", follow)
    narrowed = ("--condition", "ceasefire", "--text", "plans", "--firmness", "planned")

    assert run("follow", "--after", "0", *narrowed).exit_code == 0
    given = {name: value for name, value in asked.items() if value is not None}
    assert given == {"after": 0, "condition": ["ceasefire"], "q": "plans", "firmness": ["planned"]}
    assert given.keys() - {"after"} <= LedgerQuery.model_fields.keys()


def test_positions_can_be_had_as_csv(run: Run) -> None:
    listed = run("positions", "--as-of", "2025-03-28", "--format", "csv").stdout_bytes

    assert listed.startswith(b"country,country_alpha3,")
    assert listed.count(b"\r\n") == 3


def test_positions_can_be_read(run: Run) -> None:
    listed = run("positions", "--as-of", "2025-03-28", "--format", "table").stdout

    assert "Poland" in listed
    assert "planned if ceasefire" in listed
    assert "refusal, declared" in listed
    assert "Poland plans troops." in listed
    assert "2 positions as of 2025-03-28, known at seq 3" in listed


def test_a_diff_tells_by_its_exit_code_whether_anything_differs(run: Run) -> None:
    differs = run(*DIFF, "--exit-code")
    same = run(*DIFF, "--exit-code", "--country", "FR")

    assert (differs.exit_code, json.loads(differs.stdout)["meta"]["total"]) == (1, 2)
    assert (same.exit_code, json.loads(same.stdout)["items"]) == (0, [])
    assert run(*DIFF).exit_code == 0


def test_a_diff_runs_along_recorded_time(run: Run) -> None:
    listed = run("diff", "--axis", "recorded", "--from", "2", "--to", "3", "--as-of", "2025-03-28")
    items = json.loads(listed.stdout)["items"]

    assert [(each["op"], each["cause"], each["fields"]["firmness"]) for each in items] == [
        ("changed", "corrected", ["leaning", "declared"])
    ]


def test_a_diff_can_be_had_as_csv_and_ndjson(run: Run) -> None:
    table = run(*DIFF, "--format", "csv").stdout
    lines = run(*DIFF, "--format", "ndjson", "--mode", "events").stdout.splitlines()

    assert table.startswith("op,country,")
    assert [json.loads(line)["on"] for line in lines] == ["2025-03-28", "2025-03-27"]


def test_a_diff_can_be_read(run: Run) -> None:
    net = run(*DIFF, "--format", "table").stdout
    events = run(*DIFF, "--format", "table", "--mode", "events").stdout

    assert "+ added  Italy" in net
    assert "2 differences between 2025-03-26 and 2025-03-28" in net
    assert "when" not in net
    assert "2025-03-27" in events.splitlines()[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("diff", "--from", "soon", "--to", "2025-03-28", "--exit-code"), "from: 'soon' is not a day"),
        (("positions", "--country", "XX"), "country: No such country"),
        (("positions", "--as-of", "2025-03-28", "--seq", "99"), "seq: The record has no such entry yet."),
        (("positions", "--known-at", "x"), "known_at: Give an instant"),
        (("positions", "--url", "not an address"), "No answer from"),
        (("positions", "--url", "http://[::1"), "Invalid port"),
        (("export", "sources", "x.csv", "--as-of", "2025-03-28"), "as_of: There is no such parameter"),
        (("export", "sources", "x.xlsx"), ".csv or .ndjson"),
        (("export", "sources", "no/such/x.csv"), "There is no directory no/such."),
        (("diff", "--from", "2025-03-28"), "Missing option '--to'"),
    ],
)
def test_what_cannot_be_answered_is_said_and_ends_with_two(
    run: Run, arguments: tuple[str, ...], words: str
) -> None:
    outcome = run(*arguments)

    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    assert words in outcome.stderr


def test_a_database_that_is_not_there_ends_with_two() -> None:
    outcome = invoke("postgresql://nobody@127.0.0.1:9/nowhere", *DIFF, "--exit-code")

    assert outcome.exit_code == 2
    assert "The database cannot be used" in outcome.stderr


def test_a_schema_of_another_release_ends_with_two(migrated_postgresql: str) -> None:
    other = make_url(migrated_postgresql).set(database="template1")
    outcome = invoke(other.render_as_string(hide_password=False), *DIFF)

    assert outcome.exit_code == 2
    assert "coalition migrate" in outcome.stderr


@pytest.mark.parametrize("ending", ["csv", "ndjson"])
@pytest.mark.parametrize("table", ["positions", "history", "changes", "sources"])
def test_an_export_is_the_file_that_the_api_gives(
    run: Run, tmp_path: Path, anyone: TestClient, table: str, ending: str
) -> None:
    moment = {"seq": "3"} | ({"as_of": "2025-03-31"} if table in ("positions", "history") else {})
    options = [word for name, value in moment.items() for word in (f"--{name.replace('_', '-')}", value)]
    file = tmp_path / f"{table}.{ending}"
    file.write_text("what was there before")
    outcome = run("export", table, str(file), *options)

    assert outcome.exit_code == 0, outcome.stderr
    assert file.read_bytes() == anyone.get(f"/v1/export/{table}.{ending}", params=moment).content
    assert list(tmp_path.glob(".*-*")) == []


def test_an_export_that_fails_leaves_the_file_as_it_was(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "history.csv"
    file.write_text("what was there before")
    outcome = run("export", "history", str(file), "--as-of", "never")

    assert outcome.exit_code == 2
    assert file.read_text() == "what was there before"
    assert list(tmp_path.glob(".*-*")) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(command: str) -> None:
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "160"}).stdout

    assert f"$ coalition {command} " in text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_in_help_name_options_that_are_there(command: str) -> None:
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "160"}).stdout
    described, _, options = text.partition("Options")
    examples = [line.split() for line in described.splitlines() if f"$ coalition {command} " in line]

    assert examples != []
    assert {word for words in examples for word in words if word.startswith("--")} <= set(options.split())


def test_here_and_there_answer_the_same(
    migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "pause", lambda _: None)
    shutil.copy(migrated, tmp_path / "tracker.db")
    database_url = f"sqlite:///{tmp_path / 'tracker.db'}"
    assert invoke(database_url, "seed").exit_code == 0
    with serving.answering(Settings(database_url=database_url, _env_file=None)) as url:
        for arguments in (DIFF, ("positions", "--format", "csv"), ("positions", "--format", "table")):
            here, there = invoke(database_url, *arguments), invoke("sqlite://", *arguments, "--url", url)
            assert here.stdout == there.stdout
            assert here.exit_code == there.exit_code == 0
        assert "Italy" in there.stdout


def test_a_pipe_gets_json_and_a_terminal_a_table(migrated: Path, tmp_path: Path) -> None:
    shutil.copy(migrated, tmp_path / "tracker.db")
    environment = serving.environment(f"sqlite:///{tmp_path / 'tracker.db'}") | {"TERM": "xterm"}
    command = [sys.executable, "-m", "app"]
    subprocess.run([*command, "seed"], env=environment, cwd=tmp_path, check=True, capture_output=True)
    piped = subprocess.run(
        [*command, *DIFF, "--exit-code"], env=environment, cwd=tmp_path, capture_output=True, check=False
    )
    ours, theirs = pty.openpty()
    shown = subprocess.run([*command, *DIFF], env=environment, cwd=tmp_path, stdout=theirs, check=False)
    os.close(theirs)
    terminal = os.read(ours, 100_000).decode()
    os.close(ours)

    assert (piped.returncode, piped.stderr) == (1, b"")
    assert json.loads(piped.stdout)["meta"]["counts"]["added"] == 3
    assert shown.returncode == 0
    assert "\x1b[32m+ added" in terminal
    assert "3 differences" in terminal


def printed(renderable: object, width: int = 160) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


@pytest.fixture
def asked(tracker: FastAPI, run: Run) -> Iterator[Tracker]:
    """A client of the application whose database the commands use."""
    assert callable(run)
    with Tracker(ADDRESS, transport=InProcess(tracker)) as client:
        yield client


def test_a_narrow_terminal_gets_what_fits(asked: Tracker) -> None:
    answers = asked.positions(as_of="2025-03-28")
    narrow = printed(positions_table(answers, answers.meta, 80), 80)

    assert max(map(len, narrow.splitlines())) <= 80
    assert "Poland   troops     planned if ceasefire  2025-03-27" in narrow
    assert "Poland plans troops." not in narrow


def test_nothing_is_told_by_colour_alone(asked: Tracker) -> None:
    answers = asked.diff("2025-03-28", "2025-03-26")
    table = printed(diff_table(answers, answers.meta, ("a", "b")))

    assert "- removed" in table
    assert "refusal, declared" in table
    assert "none" in table


def test_an_entry_is_one_line(asked: Tracker) -> None:
    lines = [change_line(change).plain for change in asked.changes()]

    assert [line.splitlines() for line in lines] == [[line] for line in lines]
    assert "state  PL  troops: planned  A statement" not in lines[0]
    assert "state  PL  troops: planned  Poland plans troops.  Example Gazette" in lines[0]
    assert "correct  IT  refusal of troops: declared  (entry 2: A slip.)  Italy will not." in lines[2]


def test_what_others_wrote_steers_no_terminal() -> None:
    assert plain("a\x1b]0;title\x07b\nc\u202ed") == Text("a ]0;title b c d")


def test_entries_are_followed_a_line_each(migrated: Path, tmp_path: Path) -> None:
    shutil.copy(migrated, tmp_path / "tracker.db")
    environment = serving.environment(f"sqlite:///{tmp_path / 'tracker.db'}")
    command = [sys.executable, "-m", "app"]
    subprocess.run([*command, "seed"], env=environment, cwd=tmp_path, check=True, capture_output=True)
    following = subprocess.Popen(
        [*command, "follow", "--after", "3"], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert following.stdout is not None
    lines = [json.loads(following.stdout.readline()) for _ in range(2)]
    following.send_signal(2)
    following.communicate(timeout=20)

    assert [(line["seq"], line["action"]) for line in lines] == [(4, "state"), (5, "state")]
    assert following.returncode == 0
