import base64
import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI, Request
from httpx2 import Response
from sqlmodel import SQLModel
from starlette.routing import BaseRoute
from starlette.testclient import TestClient

import app.auth
import app.bodies
from app.auth import PREFIX, ApiKey, create_key, every_key, revoke_key
from app.db import Database
from app.settings import Settings
from app.vocabulary import Scope
from tests import make
from tests.conftest import BACKENDS, RECORD, Clock, address, client, on_empty_record, with_key

Header = tuple[bytes, bytes]

JSON: Header = (b"Content-Type", b"application/json")
BODIES: dict[str, Any] = {
    "/v1/positions": make.body(country="FR"),
    "/v1/positions/bulk": [make.body(country="FR")],
    "/v1/sources": {"url": "https://example.org/new", "title": "New"},
    "/v1/changes/{seq}/correction": {"reason": "A slip.", "statement": {"firmness": "committed"}},
    "/v1/changes/{seq}/retraction": {"reason": "Never said."},
}


@dataclass(frozen=True)
class World:
    tracker: FastAPI
    database: Database
    anyone: TestClient
    key: str
    other: str
    revoked: str
    expired: str
    record: dict[str, int]

    def rows(self) -> dict[str, int]:
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in RECORD.split(", "))
        used = "(SELECT count(last_used_at) FROM api_key)"
        with self.database.engine.connect() as connection:
            row = connection.execute(sa.text(f"SELECT {counts}, {used}")).one()
        return dict(zip([*RECORD.split(", "), "used"], row, strict=True))

    def sends(self, credentials: str, *more: Header) -> list[Header]:
        return [*more, *CREDENTIALS[credentials](self)]


def bearer(value: str | bytes) -> Header:
    return (b"Authorization", b"Bearer " + (value.encode() if isinstance(value, str) else value))


def bare(value: str) -> Header:
    return (b"Authorization", value.encode())


def public(key: str) -> str:
    return key.split("_")[1]


def secret(key: str) -> str:
    return key.split("_")[2]


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def basic(name: str, password: str) -> Header:
    return bare("Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())


CREDENTIALS: dict[str, Callable[[World], list[Header]]] = {
    "none": lambda _: [],
    "an empty header": lambda _: [bare("")],
    "a blank": lambda _: [bare(" ")],
    "a scheme and nothing else": lambda _: [bare("Bearer")],
    "a scheme and a blank": lambda _: [bare("Bearer ")],
    "a key without a scheme": lambda w: [bare(w.key)],
    "a scheme that runs into the key": lambda w: [bare(f"Bearer{w.key}")],
    "a colon after the scheme": lambda w: [bare(f"Bearer: {w.key}")],
    "the scheme twice": lambda w: [bearer(f"Bearer {w.key}")],
    "the key as a user name": lambda w: [basic(w.key, "")],
    "the key as a password": lambda w: [basic(public(w.key), w.key)],
    "a key under another scheme": lambda w: [bare(f"Basic {w.key}")],
    "a key under a scheme of our own": lambda w: [bare(f"ApiKey {w.key}")],
    "a digest": lambda w: [bare(f'Digest username="{public(w.key)}", response="{hashed(w.key)}"')],
    "a key in capitals": lambda w: [bearer(w.key.upper())],
    "a prefix in capitals": lambda w: [bearer(w.key.replace(PREFIX, PREFIX.upper()))],
    "a secret in capitals": lambda w: [bearer(f"{PREFIX}_{public(w.key)}_{secret(w.key).upper()}")],
    "a key without its first character": lambda w: [bearer(w.key[1:])],
    "a key without its last character": lambda w: [bearer(w.key[:-1])],
    "a key with a character more": lambda w: [bearer(w.key + "0")],
    "a key with its last character changed": lambda w: [
        bearer(w.key[:-1] + ("1" if w.key[-1] == "0" else "0"))
    ],
    "a key without its prefix": lambda w: [bearer(f"{public(w.key)}_{secret(w.key)}")],
    "the public part of a key": lambda w: [bearer(public(w.key))],
    "a key with an empty secret": lambda w: [bearer(f"{PREFIX}_{public(w.key)}_")],
    "a key with an empty public part": lambda w: [bearer(f"{PREFIX}__{secret(w.key)}")],
    "a key with a secret of noughts": lambda w: [bearer(f"{PREFIX}_{public(w.key)}_{'0' * 48}")],
    "a key with the secret of another": lambda w: [bearer(f"{PREFIX}_{public(w.key)}_{secret(w.other)}")],
    "a key that nobody made": lambda _: [bearer(f"{PREFIX}_{'0' * 12}_{'0' * 48}")],
    "a hash for a key": lambda w: [bearer(hashed(w.key))],
    "a hash for a secret": lambda w: [bearer(f"{PREFIX}_{public(w.key)}_{hashed(w.key)}")],
    "a pattern for a key": lambda _: [bearer(f"{PREFIX}_%_%")],
    "a quotation mark in a key": lambda w: [bearer(f"{PREFIX}_' OR '1'='1_{secret(w.key)}")],
    "a key in quotation marks": lambda w: [bearer(f'"{w.key}"')],
    "a key with a comma after it": lambda w: [bearer(f"{w.key},")],
    "a key with a word after it": lambda w: [bearer(f"{w.key} please")],
    "a key with NUL in it": lambda w: [bearer(f"{PREFIX}_{public(w.key)}\x00_{secret(w.key)}")],
    "a key with NUL after it": lambda w: [bearer(f"{w.key}\x00")],
    "a key with a letter beyond ASCII": lambda w: [bearer(f"{w.key[:-1]}é")],
    "a key with a letter of Latin-1": lambda w: [bearer(w.key[:-1].encode() + b"\xe9")],
    "a key in fullwidth digits": lambda w: [bearer("".join(chr(ord(each) + 0xFEE0) for each in w.key))],
    "bytes that are no text": lambda _: [bearer(b"\xff\xfe_\x80_\xc3")],
    "a hundred thousand characters": lambda w: [bearer(f"{PREFIX}_{public(w.key)}_{'0' * 100_000}")],
    "a hundred thousand underscores": lambda _: [bearer("_" * 100_000)],
    "two keys": lambda w: [bearer(w.key), bearer(w.other)],
    "a key and another scheme": lambda w: [bearer(w.key), basic("reader", "password")],
    "two keys in one header": lambda w: [bearer(f"{w.key}, Bearer {w.other}")],
    "a key in another header": lambda w: [(b"X-API-Key", w.key.encode())],
    "a key for a proxy": lambda w: [(b"Proxy-Authorization", f"Bearer {w.key}".encode())],
    "a key in a cookie": lambda w: [(b"Cookie", f"Authorization=Bearer {w.key}; key={w.key}".encode())],
    "a revoked key": lambda w: [bearer(w.revoked)],
    "an expired key": lambda w: [bearer(w.expired)],
}


@pytest.fixture(scope="module", params=BACKENDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    # One record for all of them: nobody here may leave a trace in it.
    url = address(request, request.param, tmp_path_factory.mktemp("authorisation") / "tracker.db")
    tracker = on_empty_record(Settings(database_url=url, _env_file=None))
    database: Database = tracker.state.database
    make.state(with_key(tracker, "curator", Scope.CURATE))
    with database.writing() as session:
        keys = [create_key(session, name, Scope.CURATE) for name in ("one", "other", "revoked")]
        revoke_key(session, public(keys[2]))
        expired = create_key(session, "expired", Scope.CURATE, date(2026, 1, 1))
    with client(tracker) as anyone:
        found = World(tracker, database, anyone, keys[0], keys[1], keys[2], expired, {})
        found.record.update(found.rows())
        yield found
    database.close()


def routes_of(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Yield each method and path that is served, whether or not the document tells of it."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from routes_of(included.routes)
        for method in getattr(route, "methods", None) or ():
            yield method, str(getattr(route, "path", ""))


def writes(tracker: FastAPI) -> list[tuple[str, str]]:
    """Return each method and path of the document that is not just reading."""
    return [
        (method.upper(), path)
        for path, operations in tracker.openapi()["paths"].items()
        for method in operations
        if method not in ("get", "head")
    ]


def check(world: World, answer: Response) -> None:
    body = answer.json()

    assert (answer.status_code, body["type"]) == (401, "/problems/unauthenticated"), body
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "errors" not in body
    assert [key for key in (world.key, world.other) if secret(key) in answer.text + str(answer.headers)] == []
    assert world.rows() == world.record


def test_no_route_that_writes_is_kept_from_the_document(world: World) -> None:
    served = {
        (method, path) for method, path in routes_of(world.tracker.routes) if method not in ("GET", "HEAD")
    }

    assert served == set(writes(world.tracker))
    assert {path for _, path in served} == set(BODIES)


def test_every_route_that_writes_says_that_it_needs_a_key_and_no_other_does(world: World) -> None:
    document = world.tracker.openapi()
    guarded = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if operation.get("security") == [{"key": []}]
    }

    assert guarded == set(writes(world.tracker))
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


@pytest.mark.parametrize("credentials", CREDENTIALS)
def test_nothing_is_written_without_a_key_that_is_good(world: World, credentials: str) -> None:
    for method, path in writes(world.tracker):
        content = json.dumps(BODIES.get(path, {})).encode()
        headers = world.sends(credentials, JSON)
        answer = world.anyone.request(method, path.format(seq=1), content=content, headers=headers)

        check(world, answer)


def endless() -> Iterator[bytes]:
    raise AssertionError("The body was read before the key.")
    yield b""


BROKEN: dict[str, tuple[str, Any, list[Header]]] = {
    "a body that breaks off": ("", b'{"country":', [JSON]),
    "a body of another type": ("", b"country=PL", [(b"Content-Type", b"application/x-www-form-urlencoded")]),
    "a body of no type": ("", b"{}", []),
    "a compressed body": ("", b"\x1f\x8b", [JSON, (b"Content-Encoding", b"gzip")]),
    "no body": ("", None, [JSON]),
    "a body that is too large": ("", b"{}", [JSON, (b"Content-Length", b"99999999999")]),
    "a body that would fail when read": ("", endless(), [JSON]),
    "a body that is not valid": ("", b'{"country": "ZZ", "colour": 1}', [JSON]),
    "a parameter that is not known": ("?dryrun=1", b"{}", [JSON]),
    "a parameter given twice": ("?dry_run=1&dry_run=0", b"{}", [JSON]),
    "a dry run": ("?dry_run=true", b"{}", [JSON]),
    "an idempotency key that cannot be kept": ("", b"{}", [JSON, (b"Idempotency-Key", b"")]),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("credentials", ["none", "a revoked key"])
def test_the_key_is_looked_at_before_anything_else(world: World, credentials: str, broken: str) -> None:
    query, content, headers = BROKEN[broken]
    for method, path in writes(world.tracker):
        for entry in ("1", "99", "nonsense") if "{seq}" in path else ("",):
            answer = world.anyone.request(
                method,
                path.format(seq=entry) + query,
                content=content,
                headers=world.sends(credentials, *headers),
            )

            check(world, answer)


@pytest.mark.parametrize(
    "credentials", ["an empty header", "a revoked key", "bytes that are no text", "two keys"]
)
def test_reading_is_open_to_all_whatever_key_they_send(world: World, credentials: str) -> None:
    paths = ("/v1/positions", "/v1/changes/1", "/v1/sources", "/v1/countries/PL", "/v1/export/changes.csv")
    answers = [world.anyone.get(path, headers=world.sends(credentials)) for path in paths]

    assert [answer.status_code for answer in answers] == [200] * len(paths)


def test_the_scheme_is_read_in_either_case(contributor: TestClient) -> None:
    key = contributor.headers["Authorization"].removeprefix("Bearer ")
    answers = [
        contributor.post("/v1/positions", json=make.body(country=country), headers={"Authorization": given})
        for country, given in (("PL", f"bearer {key}"), ("DE", f"BEARER {key}"), ("FR", f"Bearer  {key}"))
    ]

    assert [answer.status_code for answer in answers] == [201, 201, 201]


def test_who_contributes_mends_what_is_theirs_and_nobody_elses(
    contributor: TestClient, curator: TestClient, tracker: FastAPI
) -> None:
    colleague = with_key(tracker, "colleague", Scope.CONTRIBUTE)
    own, theirs = make.state(contributor), make.state(colleague, country="FR")
    curated = make.state(curator, country="DE")
    attempts = [
        contributor.post(f"/v1/changes/{entry}/{way}", params={"dry_run": dry_run}, json=body)
        for entry in (theirs, curated)
        for way, body in (
            ("correction", {"reason": "A slip.", "statement": {"firmness": "committed"}}),
            ("retraction", {"reason": "Never said."}),
        )
        for dry_run in ("true", "false")
    ]

    assert [answer.status_code for answer in attempts] == [403] * 8
    assert {answer.json()["type"] for answer in attempts} == {"/problems/forbidden"}
    assert contributor.get("/v1/changes").json()["meta"]["seq"] == 3
    corrected = make.correct(contributor, own, firmness="committed")
    assert make.retract(contributor, corrected) == 5


def test_a_correction_belongs_to_who_made_it(contributor: TestClient, curator: TestClient) -> None:
    corrected = make.correct(curator, make.state(contributor), firmness="committed")
    answer = contributor.post(f"/v1/changes/{corrected}/retraction", json={"reason": "It was right."})

    assert answer.status_code == 403
    assert make.retract(curator, corrected) == 3


def test_who_curates_mends_what_anybody_recorded(contributor: TestClient, curator: TestClient) -> None:
    first, second = make.state(contributor), make.state(contributor, country="FR")

    assert make.correct(curator, first, firmness="committed") == 3
    assert make.retract(curator, second) == 4


def test_a_revoked_key_is_refused_from_the_next_request_on(
    contributor: TestClient, database: Database
) -> None:
    make.state(contributor)
    with database.writing() as session:
        revoke_key(session, public(contributor.headers["Authorization"]))
    answer = contributor.post("/v1/positions", json=make.body(country="FR"))

    assert (answer.status_code, answer.json()["detail"]) == (401, "This key has been revoked.")
    assert contributor.get("/v1/changes").json()["meta"]["seq"] == 1


def test_a_retry_is_given_no_answer_under_a_key_that_was_revoked(
    contributor: TestClient, database: Database
) -> None:
    headers = {"Idempotency-Key": "once"}
    first = contributor.post("/v1/positions", json=make.body(), headers=headers)
    with database.writing() as session:
        revoke_key(session, public(contributor.headers["Authorization"]))
    again = contributor.post("/v1/positions", json=make.body(), headers=headers)

    assert (first.status_code, again.status_code) == (201, 401)


def test_a_key_that_is_revoked_while_its_request_waits_is_refused(
    contributor: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = threading.Event()
    answers: list[Response] = []

    def authenticate(request: Request) -> object:
        writer = app.auth.authenticate(request)
        passed.set()
        return writer

    def post() -> None:
        answers.append(contributor.post("/v1/positions", json=make.body()))

    monkeypatch.setattr(app.bodies, "authenticate", authenticate)
    waiting = threading.Thread(target=post)
    with database.writing() as session:
        waiting.start()
        assert passed.wait(5)
        revoke_key(session, public(contributor.headers["Authorization"]))
    waiting.join(10)

    assert [answer.status_code for answer in answers] == [401]
    assert contributor.get("/v1/changes").json()["meta"]["seq"] == 0


def test_a_key_is_good_through_its_last_day_and_not_a_second_longer(
    database: Database, tracker: FastAPI, clock: Clock
) -> None:
    with database.writing() as session:
        key = create_key(session, "until", Scope.CONTRIBUTE, date(2026, 1, 15))
    holder = client(tracker, key)
    clock.now = datetime(2026, 1, 15, 23, 59, 59, 999_999, tzinfo=UTC)
    on_time = holder.post("/v1/positions", json=make.body())
    clock.pass_(microseconds=1)
    late = holder.post("/v1/positions", json=make.body(country="FR"))

    assert (on_time.status_code, late.status_code) == (201, 401)
    assert late.json()["detail"] == "This key has expired."


def last_use(database: Database, key: TestClient) -> datetime | None:
    with database.reading() as session:
        found = session.get_one(ApiKey, public(key.headers["Authorization"]))
        return found.last_used_at


def test_the_last_use_of_a_key_is_kept_to_five_minutes(
    contributor: TestClient, database: Database, clock: Clock
) -> None:
    uses = [last_use(database, contributor)]
    for country, minutes in (("PL", 0), ("FR", 4), ("DE", 2)):
        clock.pass_(minutes=minutes)
        make.state(contributor, country=country)
        uses.append(last_use(database, contributor))

    first = datetime(2026, 1, 15, 12, tzinfo=UTC)
    assert uses == [None, first, first, datetime(2026, 1, 15, 12, 6, tzinfo=UTC)]


def test_neither_reading_nor_a_refused_write_is_a_use_of_a_key(
    contributor: TestClient, database: Database
) -> None:
    contributor.get("/v1/positions")
    contributor.post("/v1/positions", json={})
    contributor.post("/v1/positions", params={"dry_run": "true"}, json=make.body())

    assert last_use(database, contributor) is None


def test_a_key_is_kept_as_nothing_but_its_hash(contributor: TestClient, database: Database) -> None:
    key = contributor.headers["Authorization"].removeprefix("Bearer ")
    contributor.post("/v1/positions", json=make.body(), headers={"Idempotency-Key": "once"})
    with database.engine.connect() as connection:
        tables = {
            table.name: str(connection.execute(sa.select(table)).all())
            for table in SQLModel.metadata.sorted_tables
        }

    assert [name for name, rows in tables.items() if secret(key) in rows] == []
    assert [name for name, rows in tables.items() if hashed(key) in rows] == ["api_key"]
    assert {name for name, rows in tables.items() if public(key) in rows} >= {"api_key", "change", "source"}


def test_two_keys_of_one_name_are_two_keys(database: Database) -> None:
    with database.writing() as session:
        keys = [create_key(session, "twin", Scope.CONTRIBUTE) for _ in range(2)]
        hashes = [key.key_hash for key in every_key(session)]

    assert len({public(key) for key in keys} | {secret(key) for key in keys}) == 4
    assert sorted(hashes) == sorted(hashed(key) for key in keys)
    assert {len(secret(key)) for key in keys} == {48}


def test_no_log_and_no_answer_tells_a_key(
    caplog: pytest.LogCaptureFixture, contributor: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Something broke.")

    caplog.set_level(logging.DEBUG)
    authorization = contributor.headers["Authorization"]
    key = authorization.removeprefix("Bearer ")
    answers = [
        contributor.post("/v1/positions", json=make.body()),
        contributor.post("/v1/positions", json={}),
        contributor.post("/v1/positions", content=b"{", headers=[JSON]),
        contributor.post("/v1/changes/1/retraction", json={"reason": "Never said."}),
        contributor.post("/v1/changes/1/retraction", json={"reason": "Never said."}),
        contributor.post("/v1/positions", json=make.body(), headers={"Authorization": authorization + "0"}),
        contributor.put("/v1/positions", json=make.body()),
        contributor.get("/v1/changes"),
        contributor.get("/nothing"),
    ]
    monkeypatch.setattr("app.routes.positions.state", fail)
    answers.append(contributor.post("/v1/positions", json=make.body(country="FR")))

    assert [answer.status_code for answer in answers] == [201, 422, 422, 201, 409, 401, 405, 200, 404, 500]
    assert [answer for answer in answers if secret(key) in answer.text + str(answer.headers)] == []
    assert [record for record in caplog.records if secret(key) in caplog.handler.format(record)] == []
    assert secret(key) not in caplog.text
