from starlette.testclient import TestClient

from tests import make


def test_a_later_statement_replaces_an_earlier_one(contributor: TestClient) -> None:
    make.state(contributor, firmness="signalled", stated_on="2025-03-10")
    later = make.state(contributor, firmness="committed", stated_on="2025-04-01")

    items = contributor.get("/v1/positions", params={"as_of": "2025-05-01"}).json()["items"]

    assert [item["seq"] for item in items] == [later]


def test_nothing_is_held_before_the_first_statement(contributor: TestClient) -> None:
    make.state(contributor, stated_on="2025-03-10")

    answer = contributor.get("/v1/positions", params={"as_of": "2025-03-09"}).json()

    assert answer["items"] == []
    assert answer["meta"]["total"] == 0
