import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.db import Database
from tests import make
from tests.commands import Outcome, coalition
from tests.conftest import Clock, client

KEY = re.compile(r"cct_[0-9a-f]{12}_[0-9a-f]{48}")


class Keeper:
    """Somebody at the command line of the tracker that the clients use."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.url, self.folder = database.url.render_as_string(hide_password=False), folder

    def run(self, *words: str) -> Outcome:
        return coalition("keys", *words, database_url=self.url, folder=self.folder)

    def make(self, name: str = "Somebody", scope: str = "contribute", *options: str) -> str:
        outcome = self.run("create", name, "--scope", scope, *options)
        assert outcome.code == 0, outcome
        return outcome.out.splitlines()[-1]


@pytest.fixture
def keeper(database: Database, tmp_path: Path) -> Keeper:
    return Keeper(database, tmp_path)


def test_a_key_is_printed_alone_and_may_write(keeper: Keeper, tracker: FastAPI) -> None:
    outcome = keeper.run("create", "A. Researcher", "--scope", "contribute")
    key = outcome.out.rstrip("\n")
    somebody = client(tracker, key)
    seq = make.state(somebody)

    assert (outcome.code, outcome.err) == (0, "")
    assert KEY.fullmatch(key)
    assert somebody.get(f"/v1/changes/{seq}").json()["recorded_by"] == {
        "id": key.split("_")[1],
        "name": "A. Researcher",
    }


def test_only_a_hash_of_a_key_is_kept(keeper: Keeper, database: Database) -> None:
    secret = keeper.make().split("_")[2]
    with database.engine.connect() as connection:
        kept = str(connection.execute(sa.text("SELECT * FROM api_key")).mappings().all())

    assert secret not in kept
    assert secret not in keeper.run("list").out


def test_no_two_keys_are_alike(keeper: Keeper) -> None:
    first, second = keeper.make(), keeper.make()

    assert first.split("_")[1] != second.split("_")[1]
    assert first.split("_")[2] != second.split("_")[2]


def test_a_scope_reaches_as_far_as_it_says(keeper: Keeper, tracker: FastAPI) -> None:
    first, second, curator = (
        client(tracker, keeper.make(scope=scope)) for scope in ("contribute", "contribute", "curate")
    )
    entry = make.state(first)
    url = f"/v1/changes/{entry}/retraction"

    assert second.post(url, json={"reason": "A hoax."}).status_code == 403
    assert curator.post(url, json={"reason": "A hoax."}).status_code == 201


def test_a_key_is_good_up_to_the_day_that_was_named(keeper: Keeper, tracker: FastAPI, clock: Clock) -> None:
    somebody = client(tracker, keeper.make("Guest", "contribute", "--expires", "2026-01-16"))
    clock.pass_(days=1)
    on_the_day = somebody.post("/v1/positions", json=make.body())
    clock.pass_(days=1)
    after_it = somebody.post("/v1/positions", json=make.body(country="FR"))

    assert (on_the_day.status_code, after_it.status_code) == (201, 401)
    assert "expires 2026-01-16" in keeper.run("list").out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("Somebody",), "--scope"),
        (("Somebody", "--scope", "admin"), "'admin'"),
        (("Somebody", "--scope", "curate", "--expires", "16.1.2026"), "16.1.2026"),
        (("Somebody", "--scope", "curate", "--expires", "2026-01-14"), "2026-01-14 is past"),
        ((" ", "--scope", "curate"), "A name has 1 to 100 printable characters."),
        (("n" * 101, "--scope", "curate"), "A name has 1 to 100 printable characters."),
        (("two\nlines", "--scope", "curate"), "A name has 1 to 100 printable characters."),
    ],
)
@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)  # the database is not asked
@pytest.mark.usefixtures("clock")
def test_a_key_that_cannot_be_meant_is_not_made(keeper: Keeper, words: tuple[str, ...], what: str) -> None:
    outcome = keeper.run("create", *words)

    assert (outcome.code, outcome.out) == (2, "")
    assert what in outcome.said
    assert "There are no keys" in keeper.run("list").said


def test_the_list_tells_how_each_key_is(keeper: Keeper, tracker: FastAPI, clock: Clock) -> None:
    used = keeper.make("Used", "curate")
    clock.pass_(hours=1)
    unused = keeper.make("Unused").split("_")[1]
    clock.pass_(hours=1)
    make.state(client(tracker, used))
    clock.pass_(hours=1)
    revoked = keeper.run("revoke", unused)

    assert (revoked.code, revoked.said) == (0, f"Revoked {unused} (Unused).")
    assert keeper.run("list").out.splitlines() == [
        f"{used.split('_')[1]}  curate      Used  "
        "(made 2026-01-15 12:00, last used 2026-01-15 14:00, expires never, revoked never)",
        f"{unused}  contribute  Unused  "
        "(made 2026-01-15 13:00, last used never, expires never, revoked 2026-01-15 15:00)",
    ]


def test_a_revoked_key_ends_with_the_next_request_and_what_it_recorded_stays(
    keeper: Keeper, tracker: FastAPI, anyone: TestClient
) -> None:
    key = keeper.make()
    somebody = client(tracker, key)
    make.state(somebody)
    keeper.run("revoke", key.split("_")[1])
    refused = somebody.post("/v1/positions", json=make.body(country="FR"))

    assert (refused.status_code, refused.json()["detail"]) == (401, "This key has been revoked.")
    assert [item["recorded_by"]["id"] for item in anyone.get("/v1/changes").json()["items"]] == [
        key.split("_")[1]
    ]


def test_revoking_again_changes_nothing(keeper: Keeper, clock: Clock) -> None:
    key = keeper.make().split("_")[1]
    keeper.run("revoke", key)
    before = keeper.run("list").out
    clock.pass_(hours=1)

    assert keeper.run("revoke", key).code == 0
    assert keeper.run("list").out == before


def test_a_key_that_there_is_not_cannot_be_revoked(keeper: Keeper) -> None:
    outcome = keeper.run("revoke", "0123456789ab")

    assert outcome.code == 1
    assert outcome.said == "There is no key 0123456789ab; `coalition keys list` shows them."
