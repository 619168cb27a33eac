from typing import Any

from starlette.testclient import TestClient

from tests import make

CODES = {
    "GB": "GB",
    "UK": "GB",
    "gb": "GB",
    "uk": "GB",
    "gbr": "GB",
    "GBR": "GB",
    "EL": "GR",
    "GRC": "GR",
    "XK": "XK",
    "xkx": "XK",
}


def listed(client: TestClient, **asked: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get("/v1/countries", params={"limit": 1000} | asked).json()["items"]
    return items


def codes(client: TestClient, **asked: Any) -> list[str]:
    return [country["code"] for country in listed(client, **asked)]


def page(client: TestClient, code: str, **asked: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/countries/{code}", params=asked).json()
    return found


def test_every_country_of_the_standard_is_there_and_kosovo(anyone: TestClient) -> None:
    found = codes(anyone)

    assert len(found) == len(set(found)) == 250
    assert found == sorted(found)
    assert "XK" in found


def test_every_code_in_common_use_is_understood(anyone: TestClient) -> None:
    assert {code: page(anyone, code)["code"] for code in CODES} == CODES


def test_an_unknown_code_is_not_found(anyone: TestClient) -> None:
    unknown = ["ZZ", "ZZZ", "Poland", "P", "P1", "%00", "\N{FULLWIDTH LATIN CAPITAL LETTER P}L"]

    assert {anyone.get(f"/v1/countries/{code}").status_code for code in unknown} == {404}


def test_the_groups_have_their_members_of_today(anyone: TestClient) -> None:
    nato, eu = set(codes(anyone, group="nato")), set(codes(anyone, group="eu"))

    assert (len(nato), len(eu)) == (32, 27)
    assert nato - eu == {"AL", "CA", "GB", "IS", "ME", "MK", "NO", "TR", "US"}
    assert set(codes(anyone, group=["nato", "eu"])) == nato | eu


def test_a_membership_has_its_day_and_its_source(anyone: TestClient) -> None:
    finland = {each["group"]: each for each in page(anyone, "FI")["memberships"]}

    assert {group: each["joined_on"] for group, each in finland.items()} == {
        "eu": "1995-01-01",
        "nato": "2023-04-04",
    }
    assert all(each["source"] for each in finland.values())


def test_a_country_is_tracked_while_it_has_a_live_statement(contributor: TestClient) -> None:
    make.state(contributor, country="FR")
    gone = make.state(contributor, country="PL")
    make.retract(contributor, gone)

    assert codes(contributor, tracked=True) == ["FR"]
    assert codes(contributor, tracked=True, seq=gone) == ["FR", "PL"]
    assert len(codes(contributor, tracked=False)) == 249


def test_a_country_is_found_by_part_of_its_name_or_by_its_code(anyone: TestClient) -> None:
    found = {asked: codes(anyone, q=asked) for asked in ("KINGDOM", "åland", "pol", "pl", "el", "nowhere")}

    assert "GR" in found.pop("el")
    assert found == {"KINGDOM": ["GB"], "åland": ["AX"], "pol": ["PF", "PL"], "pl": ["PL"], "nowhere": []}
    assert codes(anyone, q="UK") == ["GB", "UA"]


def test_troops_air_and_sea_are_always_there_and_support_where_it_is_held(contributor: TestClient) -> None:
    make.state(contributor, country="FR", kind="support", component="training")
    make.state(contributor, country="FR", kind="sea")
    by_code = {country["code"]: country for country in listed(contributor, group="nato")}
    france, poland = by_code["FR"], by_code["PL"]

    assert poland["positions"] == {"troops": None, "air": None, "sea": None}
    assert list(france["positions"]) == ["troops", "air", "sea", "training"]
    assert (france["positions"]["troops"], france["positions"]["air"]) == (None, None)


def test_the_list_is_as_of_a_day(contributor: TestClient) -> None:
    make.state(contributor, stated_on="2025-03-27")
    before, after = (listed(contributor, q="POL", as_of=day)[-1] for day in ("2025-03-26", "2025-03-27"))

    assert before["positions"]["troops"] is None
    assert after["positions"]["troops"]["firmness"] == "planned"
    assert before["tracked"]


def test_a_country_has_its_conditions_its_last_statement_and_its_counts(contributor: TestClient) -> None:
    ceasefire = {"type": "ceasefire", "text": None}
    make.state(contributor, conditions=[ceasefire, {"type": "not_alone", "text": None}])
    make.state(contributor, kind="sea", conditions=[ceasefire], stated_on="2025-03-29")
    make.state(contributor, authority="media", source=make.SOURCE | {"url": "https://example.org/b"})
    make.state(contributor, kind="air", stated_on="2025-05-01")
    make.state(contributor, country="FR")
    poland = page(contributor, "PL", as_of="2025-04-01")

    assert [each["type"] for each in poland["conditions"]] == ["ceasefire", "not_alone"]
    assert poland["last_statement"]["seq"] == 2
    assert poland["counts"] == {"positions": 2, "statements": 3, "reports": 1, "sources": 2}
    assert poland["tracked"]


def test_a_refusal_counts_as_one_statement_in_all_its_lines(contributor: TestClient) -> None:
    make.refuse(contributor, refuses=["troops", "air", "sea"])
    poland = page(contributor, "PL")

    assert (poland["counts"]["positions"], poland["counts"]["statements"]) == (3, 1)


def test_a_country_of_which_nothing_is_recorded_has_a_page(anyone: TestClient) -> None:
    poland = page(anyone, "PL")

    assert (poland["name"], poland["alpha3"], poland["tracked"]) == ("Poland", "POL", False)
    assert (poland["last_statement"], poland["conditions"]) == (None, [])


def test_pages_give_every_country_once(anyone: TestClient) -> None:
    answer = anyone.get("/v1/countries", params={"limit": 100}).json()
    found = [answer["items"]]
    while answer["next"]:
        answer = anyone.get(answer["next"]).json()
        found.append(answer["items"])

    assert [len(each) for each in found] == [100, 100, 50]
    assert [country["code"] for each in found for country in each] == codes(anyone)
