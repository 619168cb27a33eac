import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from typer.main import get_command

from app.cli import app
from app.db import Database
from tests.commands import coalition
from tests.serving import environment, free_port, wait_until_ready

KEY = re.compile(r"API key \(shown once, may contribute\): (cct_[0-9a-f]{12}_[0-9a-f]{48})\n")


@dataclass
class Served:
    """A run of `coalition serve`: what it answered, and what it said until it was stopped."""

    positions: int
    said: str = ""
    code: int | None = None

    @property
    def keys(self) -> list[str]:
        return KEY.findall(self.said)


def serve(database_url: str, folder: Path, *options: str) -> Served:
    """Serve until the first answer, then stop as an operator does."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve", "--port", str(port), *options],
        cwd=folder,
        env=environment(database_url),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}")
        answer = httpx.get(f"http://127.0.0.1:{port}/v1/positions").json()
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=15)[1]
    finally:
        process.kill()
        process.wait()
    return Served(answer["meta"]["total"], said, process.returncode)


@contextmanager
def blank_postgresql(server: str) -> Iterator[str]:
    """Give the address of a PostgreSQL database without a schema."""
    name = f"blank_{secrets.token_hex(4)}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
        yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
        connection.execute(sa.text(f"DROP DATABASE {name}"))
    engine.dispose()


def commands() -> dict[str, Any]:
    """Return every command and group by the words that call it."""
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [("", get_command(app))]
    for words, command in waiting:
        found[words] = command
        waiting += [
            (f"{words} {name}".strip(), each) for name, each in getattr(command, "commands", {}).items()
        ]
    return found


def test_serving_makes_what_is_needed_and_says_the_key_once(tmp_path: Path) -> None:
    url = "sqlite:///var/new.db"
    first = serve(url, tmp_path)
    second = serve(url, tmp_path, "--no-seed")

    assert (first.code, second.code) == (0, 0)
    assert len(first.keys) == 1
    assert "Seeded 5 statements from seed_data/." in first.said
    assert re.search(r"Positions  http://127.0.0.1:\d+/v1/positions", first.said)
    assert (second.keys, "Seeded" in second.said) == ([], False)
    assert first.positions == second.positions > 0
    assert first.keys[0] not in second.said
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["new.db"]


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_serving_postgresql_makes_neither_keys_nor_statements(database: Database, tmp_path: Path) -> None:
    run = serve(database.url.render_as_string(hide_password=False), tmp_path)
    with database.engine.connect() as connection:
        keys = connection.execute(sa.text("SELECT count(*) FROM api_key")).scalar_one()

    assert (run.code, run.positions, run.keys, keys) == (0, 0, [], 0)
    assert "Seeded" not in run.said


def test_serving_where_somebody_else_does_ends_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = subprocess.run(
            [sys.executable, "-m", "app", "serve", "--port", str(taken.getsockname()[1])],
            cwd=tmp_path,
            env=environment("sqlite:///new.db"),
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert run.returncode > 0
    assert "Address already in use" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_postgresql_that_is_behind_is_not_used(postgresql_url: str, tmp_path: Path) -> None:
    with blank_postgresql(postgresql_url) as url:
        words = (["serve"], ["keys", "list"], ["seed"], ["verify"])
        before = [coalition(*each, database_url=url, folder=tmp_path) for each in words]
        migrated = coalition("migrate", database_url=url, folder=tmp_path)
        again = coalition("migrate", database_url=url, folder=tmp_path)
        after = coalition("keys", "list", database_url=url, folder=tmp_path)

    assert {(each.code, each.out, each.said) for each in before} == {
        (1, "", "The schema is not that of this release. Run: coalition migrate")
    }
    assert (migrated.code, again.code, after.code) == (0, 0, 0)
    assert migrated.said.endswith(" is current.")


def test_the_seed_is_loaded_once(tmp_path: Path) -> None:
    runs = [coalition("seed", database_url="sqlite:///new.db", folder=tmp_path) for _ in range(2)]

    assert [(each.code, each.out) for each in runs] == [(0, ""), (0, "")]
    assert [each.said for each in runs] == [
        "5 statements added.",
        "Nothing to add: the seed is in the record.",
    ]


def test_no_command_leaves_a_database_open(tmp_path: Path) -> None:
    for words in (
        ["migrate"],
        ["seed"],
        ["keys", "create", "A", "--scope", "curate"],
        ["keys", "list"],
        ["verify"],
    ):
        coalition(*words, database_url="sqlite:///new.db", folder=tmp_path)

        assert [path.name for path in tmp_path.iterdir()] == ["new.db"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "postgresql://u:secret@127.0.0.1:1/x",
            "The database postgresql+psycopg://u:***@127.0.0.1:1/x cannot",
        ),
        ("sqlite:///a-file", "The database sqlite:///a-file cannot be used: file is not a database"),
        ("sqlite:////proc/none.db", "The database sqlite:////proc/none.db cannot be used: unable to open"),
        ("sqlite:///a-file/new.db", "a-file: "),
    ],
)
def test_a_database_that_cannot_be_used_is_said_in_a_sentence(tmp_path: Path, url: str, said: str) -> None:
    (tmp_path / "a-file").write_text("This is no database. " * 100)
    words = (["serve"], ["migrate"], ["seed"], ["keys", "list"], ["verify"])
    outcomes = [coalition(*each, database_url=url, folder=tmp_path) for each in words]

    assert [(each.code, each.out) for each in outcomes] == [(1, "")] * len(words)
    assert [each.said[: len(said)] for each in outcomes] == [said] * len(words)
    assert [each.said for each in outcomes if "secret" in each.said or "Traceback" in each.said] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRACKER_STALE_AFTER_DAYS", "soon"),
        ("TRACKER_STALE_AFTER_DAYS", "0"),
        ("TRACKER_WRITE_WAIT_SECONDS", "-1"),
        ("TRACKER_DATABASE_URL", "nonsense"),
        ("TRACKER_DATABASE_URL", "mysql://127.0.0.1/x"),
        ("TRACKER_PUBLIC_URL", "tracker.example"),
        ("TRACKER_PUBLIC_URL", "https://tracker.example/?a=b"),
        ("TRACKER_TRUSTED_PROXIES", "proxy.example"),
        ("TRACKER_TRUSTED_PROXIES", "10.0.0.5, 10.0.0.1/8"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_named(tmp_path: Path, name: str, value: str) -> None:
    words = (["serve"], ["migrate"], ["seed"], ["keys", "list"], ["verify"])
    variables = {"database_url": "sqlite:///new.db", name: value}
    outcomes = [coalition(*each, folder=tmp_path, **variables) for each in words]

    assert [(each.code, each.out) for each in outcomes] == [(2, "")] * len(words)
    assert [each.said.partition(": ")[0] for each in outcomes] == [name] * len(words)
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_in_use_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("serve", "--port", str(port))
        outcome = coalition(*words, database_url="sqlite:///new.db", folder=tmp_path)
    checked = coalition("verify", database_url="sqlite:///new.db", folder=tmp_path)

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.said == f"127.0.0.1:{port}: Address already in use; give another --host or --port."
    assert checked.said == "Sound: 0 entries."


def test_every_command_and_every_word_of_it_is_explained() -> None:
    found = commands()
    unexplained = [
        f"{words} {parameter.name}"
        for words, command in found.items()
        for parameter in command.params
        if not getattr(parameter, "help", None)
    ]

    assert {
        "serve",
        "migrate",
        "seed",
        "import",
        "verify",
        "keys create",
        "keys list",
        "keys revoke",
    } <= found.keys()
    assert [words for words, command in found.items() if not command.help] == []
    assert unexplained == []


def test_help_is_given_for_every_command(tmp_path: Path) -> None:
    asked = {
        words: coalition(*words.split(), "--help", database_url="sqlite:///new.db", folder=tmp_path)
        for words in commands()
    }

    assert {words: each.code for words, each in asked.items()} == dict.fromkeys(asked, 0)
    assert [words for words, each in asked.items() if f"coalition {words}".strip() not in each.out] == []
    assert list(tmp_path.iterdir()) == []
