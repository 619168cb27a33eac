import re

import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.testclient import TestClient

from app.limiting import Limits
from app.settings import Settings
from tests import make

NOT_A_KEY = {"Authorization": "Bearer cct_nobody_at_all"}


def limit(tracker: FastAPI, *, writes: str = "off", failures: str = "off") -> None:
    tracker.state.limits = Limits(Settings(write_limit=writes, failed_auth_limit=failures, _env_file=None))


def test_a_key_that_writes_too_often_is_told_when_to_go_on(
    tracker: FastAPI, contributor: TestClient, curator: TestClient
) -> None:
    limit(tracker, writes="2/minute")
    answers = [
        contributor.post("/v1/positions", json=make.body(country=code)) for code in ("PL", "DE", "FR", "IT")
    ]
    refused = answers[-1]

    assert [each.status_code for each in answers] == [201, 201, 429, 429]
    assert refused.json()["type"] == "/problems/rate-limited"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert curator.get("/v1/changes").json()["meta"]["seq"] == 2
    assert curator.post("/v1/positions", json=make.body(country="FR")).status_code == 201


def test_every_answer_to_a_write_tells_what_is_left(tracker: FastAPI, contributor: TestClient) -> None:
    limit(tracker, writes="3/minute")
    answers = [contributor.post("/v1/positions", json=body) for body in (make.body(), {}, make.body())]

    assert [each.status_code for each in answers] == [201, 422, 409]
    assert {each.headers["RateLimit-Policy"] for each in answers} == {'"writes";q=3;w=60'}
    assert [re.sub("t=[0-9]+", "t", each.headers["RateLimit"]) for each in answers] == [
        f'"writes";r={left};t' for left in (2, 1, 0)
    ]


def test_who_fails_too_often_is_told_so_and_a_good_key_from_there_is_not(
    tracker: FastAPI, anyone: TestClient, contributor: TestClient
) -> None:
    limit(tracker, failures="2/minute")
    answers = [anyone.post("/v1/positions", headers=NOT_A_KEY, json=make.body()) for _ in range(3)]

    assert [each.status_code for each in answers] == [401, 401, 429]
    assert answers[2].json()["type"] == "/problems/rate-limited"
    assert int(answers[2].headers["Retry-After"]) >= 1
    assert contributor.post("/v1/positions", json=make.body()).status_code == 201


def test_reading_is_not_limited(tracker: FastAPI, anyone: TestClient) -> None:
    limit(tracker, writes="1/hour", failures="1/hour")
    answers = [anyone.get("/v1/positions", headers=NOT_A_KEY) for _ in range(4)]

    assert {each.status_code for each in answers} == {200}
    assert {each.headers.get("RateLimit") for each in answers} == {None}


@pytest.mark.parametrize("rate", ["", "often", "-1/minute", "5/fortnight"])
def test_a_limit_that_cannot_be_read_is_refused(rate: str) -> None:
    with pytest.raises(ValidationError, match="60/minute"):
        Settings(write_limit=rate, _env_file=None)
