import pytest
from starlette.testclient import TestClient

from app.db import Database
from app.seed import seed
from tests import make
from tests.conftest import Clock


@pytest.fixture
def seeded(curator: TestClient, database: Database, clock: Clock) -> TestClient:
    """The seed as it is loaded into a new record, in November 2026."""
    clock.set("2026-11-23")
    with database.writing() as session:
        seed(session)
    return curator


def test_the_article_supports_five_statements(seeded: TestClient) -> None:
    statements = [change["statement"] for change in seeded.get("/v1/changes").json()["items"]]

    assert [
        (
            each["country"],
            each["kind"],
            each["refuses"],
            each["firmness"],
            each["voice"],
            each["effective_on"],
        )
        for each in statements
    ] == [
        ("GB", "troops", None, "planned", "government", "2025-03-27"),
        ("FR", "troops", None, "planned", "government", "2025-03-27"),
        ("IT", "refusal", ["troops"], "leaning", "government", "2025-03-28"),
        ("GB", "air", None, "considering", "report", "2025-03-28"),
        ("GB", "sea", None, "considering", "report", "2025-03-28"),
    ]
    assert {each["source"]["publisher"] for each in statements} == {"The Week (UK)"}
    assert seeded.get("/v1/sources").json()["meta"]["total"] == 1


def test_the_article_supports_three_positions(seeded: TestClient) -> None:
    items = seeded.get("/v1/positions", params={"as_of": "2025-03-28"}).json()["items"]

    assert [
        (each["country"], each["component"], each["kind"], each["firmness"], each["since"]) for each in items
    ] == [
        ("FR", "troops", "troops", "planned", "2025-03-27"),
        ("GB", "troops", "troops", "planned", "2025-03-27"),
        ("IT", "troops", "refusal", "leaning", "2025-03-28"),
    ]
    assert [[condition["type"] for condition in each["conditions"]] for each in items] == [
        ["ceasefire"],
        ["ceasefire"],
        [],
    ]
    assert not any(each["contested"] for each in items)


def test_what_an_officer_says_of_jets_and_vessels_is_only_reported(seeded: TestClient) -> None:
    lines = [seeded.get(f"/v1/positions/GB/{component}").json() for component in ("air", "sea")]

    assert [line["position"] for line in lines] == [None, None]
    assert [[report["authority"] for report in line["reports"]] for line in lines] == [
        ["unnamed_official"]
    ] * 2


def test_nothing_is_recorded_of_countries_that_are_only_mentioned(seeded: TestClient) -> None:
    tracked = seeded.get("/v1/countries", params={"tracked": True}).json()["items"]

    assert [country["code"] for country in tracked] == ["FR", "GB", "IT"]


def test_the_article_supports_no_change_of_mind(seeded: TestClient) -> None:
    diff = seeded.get("/v1/diff", params={"from": "2025-03-28", "to": "2026-11-23", "mode": "events"}).json()

    assert diff["items"] == []


def test_nothing_is_claimed_before_it_is_certain(seeded: TestClient) -> None:
    assert seeded.get("/v1/positions", params={"as_of": "2025-03-26"}).json()["items"] == []


def test_loading_it_twice_adds_nothing(seeded: TestClient, database: Database) -> None:
    with database.writing() as session:
        added = seed(session)

    assert added == 0
    assert seeded.get("/v1/changes").json()["meta"]["total"] == 5


def test_loading_it_again_does_not_bring_back_what_was_mended(seeded: TestClient, database: Database) -> None:
    make.correct(seeded, 1, firmness="signalled")
    make.retract(seeded, 4)
    with database.writing() as session:
        added = seed(session)

    assert added == 0
    assert seeded.get("/v1/changes").json()["meta"]["total"] == 7
