import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.dates import parse_edtf
from app.export import (
    CHANGES,
    COUNTRIES,
    COUNTS,
    COUNTS_ON,
    DIFF,
    POSITIONS,
    SOURCES,
    Column,
)
from tests import make
from tests.conftest import Clock

Item = dict[str, Any]
DAYS = "from=2025-01-01&to=2026-01-15"
LISTS: dict[str, Sequence[Column[Any]]] = {
    "/v1/positions?dates=possible": POSITIONS,
    "/v1/countries": COUNTRIES,
    "/v1/changes": CHANGES,
    f"/v1/diff?{DAYS}": DIFF,
    f"/v1/diff?{DAYS}&mode=events": DIFF,
    "/v1/diff?from=1&to=5&axis=recorded": DIFF,
    "/v1/sources": SOURCES,
    "/v1/summary": COUNTS,
    f"/v1/timeline?{DAYS}&interval=month": COUNTS_ON,
}
every_list = pytest.mark.parametrize("path", LISTS)
MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "ndjson": "application/x-ndjson",
}


@pytest.fixture
def reader(curator: TestClient, anyone: TestClient, clock: Clock) -> TestClient:
    """Somebody who reads a record with everything in it that a table can show."""
    make.state(
        curator,
        summary='It said "perhaps",\nthen left.',
        conditions=[{"type": "ceasefire"}, {"type": "other", "text": "a vote; in time"}],
        caveats=[{"type": "other", "text": "no, never at night"}],
        quantity={"min": 0, "max": 200, "unit": "soldiers", "verbatim": "up to 200"},
        speaker="=cmd()",
    )
    make.refuse(curator, country="FR", refuses=["sea", "air"], stated_on="2025-03", quote="Non\u2009!")
    make.state(curator, country="FR", kind="sea", stated_on="2025-03-20/2025-04-02", relates_to=[])
    make.state(
        curator,
        authority="media",
        stated_on="2026-01-10/2026-02",
        relates_to=[{"seq": 1, "relation": "denies"}],
    )
    clock.pass_(hours=1)
    make.correct(curator, 1, firmness="committed", source={"title": "Another title", "notes": "-"})
    make.retract(curator, make.state(curator, country="IT", kind="support", component="other"))
    make.state(curator, country="SE", stated_on="2025-05/2026-03", source={"title": "T", "publisher": "P"})
    return anyone


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def spelt(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def joined(values: Any) -> str:
    return ";".join(str(value) for value in values)


def cell(item: Item, name: str, countries: dict[str, Item]) -> str:
    """Return what the cell of a column says, taken from an item of the JSON answer."""
    value = item.get(name)
    if name in item and not isinstance(value, dict | list):
        return spelt(value)
    group, _, part = name.partition("_")
    match name:
        case "conditions" | "caveats":
            return joined(each["type"] for each in item[name])
        case "condition_texts" | "caveat_texts":
            return "; ".join(each["text"] for each in item[f"{name[:-6]}s"] if each["text"])
        case "relates_to":
            return joined(f"{each['relation']}:{each['seq']}" for each in item[name])
        case "side_seqs":
            return joined(each["seq"] for each in item["sides"])
        case "supports":
            return joined(each["seq"] for each in item[name])
        case "country_alpha3" | "country_name":
            return spelt(countries[item["country"]][part])
        case "stated_earliest_on":
            return spelt(parse_edtf(item["stated_on"]).earliest_on)
        case "stated_latest_on":
            return spelt(parse_edtf(item["stated_on"]).latest_on)
        case "recorded_by_id" | "recorded_by_name":
            return spelt(item["recorded_by"][name.removeprefix("recorded_by_")])
    if isinstance(value, dict | list):
        return joined(value)
    if group in ("source", "quantity", "before", "after"):
        return "" if item[group] is None else cell(item[group], part, countries)
    return "" if item["positions"].get(group) is None else spelt(item["positions"][group][part])


def rows_of(path: str, items: list[Item], columns: Sequence[Column[Any]], client: TestClient) -> list[Item]:
    """Return the rows that a table of `items` has to have."""
    countries = {each["code"]: each for each in client.get("/v1/countries?limit=1000").json()["items"]}
    if path.startswith("/v1/timeline"):
        items = [{"on": item["on"]} | count for item in items for count in item["counts"]]
    rows = []
    for item in items:
        if "statement" in item:
            item = item | (item["statement"] or {}) | {"seq": item["seq"]}  # noqa: PLW2901
        missing = item.get("statement", item) is None
        own = {"seq", "action", "reason", "replaces", "replaced_by", "live", "digest", "recorded_at"}
        rows.append(
            {
                each.name: ""
                if missing and each.name not in own and not each.name.startswith("recorded_by")
                else cell(item, each.name, countries)
                for each in columns
            }
        )
    return rows


@every_list
def test_a_table_says_what_the_list_says(reader: TestClient, path: str) -> None:
    columns = LISTS[path]
    items = reader.get(path).json()["items"]
    answer = reader.get(path, headers={"Accept": "text/csv"})

    assert len(items) >= 2
    assert answer.headers["Content-Type"] == MEDIA_TYPES["csv"]
    assert answer.text.splitlines()[0] == ",".join(column.name for column in columns)
    assert table(answer.text) == rows_of(path, items, columns, reader)


@every_list
def test_a_list_line_by_line_says_what_the_list_says(reader: TestClient, path: str) -> None:
    answer = reader.get(path, headers={"Accept": "application/x-ndjson"})

    assert answer.headers["Content-Type"] == MEDIA_TYPES["ndjson"]
    assert answer.text.endswith("}\n")
    assert [json.loads(line) for line in answer.text.splitlines()] == reader.get(path).json()["items"]


@pytest.mark.parametrize(
    ("path", "columns"),
    [
        ("/v1/positions", POSITIONS),
        ("/v1/countries?q=nowhere", COUNTRIES),
        ("/v1/changes", CHANGES),
        (f"/v1/diff?{DAYS}", DIFF),
        ("/v1/sources", SOURCES),
        ("/v1/summary", COUNTS),
        ("/v1/timeline", COUNTS_ON),
    ],
)
def test_a_table_without_rows_has_its_header(
    anyone: TestClient, path: str, columns: Sequence[Column[Any]]
) -> None:
    listed, in_csv, in_lines = (
        anyone.get(path, headers={"Accept": each}) for each in ("*/*", "text/csv", "application/x-ndjson")
    )

    assert listed.json()["items"] == []
    assert in_csv.text == ",".join(column.name for column in columns) + "\r\n"
    assert in_lines.text == ""


def test_cells_are_quoted_as_rfc_4180_says(reader: TestClient) -> None:
    text = reader.get("/v1/positions?country=PL&format=csv").text
    quoted = '"It said ""perhaps"",\nthen left."'

    assert quoted in text
    assert text.replace(quoted, "").count("\n") == text.count("\r\n") == 2


@pytest.mark.parametrize("text", ["=1+1", "+49", "-5 ships", "@all"])
def test_a_formula_is_marked_as_text_for_spreadsheets_and_only_for_them(
    contributor: TestClient, text: str
) -> None:
    make.state(contributor, summary=text, speaker=f"a {text}")
    plain = contributor.get("/v1/positions?format=csv").content
    excel = contributor.get("/v1/positions?format=csv&excel=1").content
    lines = contributor.get("/v1/positions?format=ndjson").json()

    assert not plain.startswith(b"\xef\xbb\xbf")
    assert excel.startswith(b"\xef\xbb\xbfcountry,")
    (one,), (other,) = table(plain.decode()), table(excel.decode("utf-8-sig"))
    assert other == one | {"summary": f"'{text}"}
    assert one["summary"] == lines["summary"] == text


@pytest.mark.parametrize("asked", ["excel=1", "excel=1&format=json", "excel=1&format=ndjson"])
def test_only_csv_is_made_for_spreadsheets(anyone: TestClient, asked: str) -> None:
    answer = anyone.get(f"/v1/positions?{asked}", headers={"Accept": "text/csv"})

    assert answer.status_code == 422
    assert [each["code"] for each in answer.json()["errors"]] == ["needs_csv"]


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("*/*", "json"),
        ("application/*", "json"),
        ("text/csv", "csv"),
        ("TEXT/CSV; header=present", "csv"),
        ("text/*", "csv"),
        ("application/x-ndjson", "ndjson"),
        ("application/jsonl", "ndjson"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "json"),
        ("application/json;q=0.5, text/csv;q=0.9", "csv"),
        ("text/csv;q=0.5, application/json", "json"),
        ("text/csv;q=0, application/x-ndjson;q=0.001", "ndjson"),
        ("image/png, text/csv ; q=0.1", "csv"),
    ],
)
def test_the_format_that_is_liked_best_is_given(anyone: TestClient, accept: str, name: str) -> None:
    answer = anyone.get("/v1/changes", headers={"Accept": accept})

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, MEDIA_TYPES[name])
    assert "Accept" in answer.headers["Vary"]


@pytest.mark.parametrize(
    "accept", ["image/png", "text/html", "text/csv;q=0", "application/json;q=0.0", "csv"]
)
def test_a_format_that_there_is_not_is_refused(anyone: TestClient, accept: str) -> None:
    answers = [anyone.get(path, headers={"Accept": accept}) for path in LISTS if "recorded" not in path]

    assert {each.status_code for each in answers} == {406}
    assert {each.json()["type"] for each in answers} == {"/problems/not-acceptable"}


def test_what_the_address_says_wins_over_accept(anyone: TestClient) -> None:
    answer = anyone.get("/v1/changes?format=ndjson", headers={"Accept": "image/png"})

    assert answer.headers["Content-Type"] == MEDIA_TYPES["ndjson"]


@pytest.mark.parametrize(
    "path", ["/v1/positions", "/v1/countries?tracked=true", "/v1/changes", "/v1/sources"]
)
@pytest.mark.parametrize("name", ["csv", "ndjson"])
def test_the_pages_of_a_table_lead_on_to_each_other(reader: TestClient, path: str, name: str) -> None:
    sign = "&" if "?" in path else "?"
    whole = reader.get(f"{path}{sign}format={name}&limit=1000").text
    pages: list[str] = []
    url = f"{path}{sign}format={name}&limit=2"
    while True:
        answer = reader.get(url)
        pages.append(answer.text)
        header = answer.links.get("next", {}).get("url")
        if header is None or (path == "/v1/changes" and answer.text.count("\n") <= (name == "csv")):
            break
        url = header
    head = len(whole.splitlines(keepends=True)[0]) if name == "csv" else 0

    assert len(pages) >= 2
    assert pages[0] + "".join(page[head:] for page in pages[1:]) == whole


@every_list
def test_each_representation_has_a_tag_of_its_own(reader: TestClient, path: str) -> None:
    sign = "&" if "?" in path else "?"
    asked = ["", *(f"{sign}format={each}" for each in MEDIA_TYPES), f"{sign}format=csv&excel=1"]
    tags = {each: reader.get(f"{path}{each}").headers["ETag"] for each in asked}
    by_header = {
        each: reader.get(path, headers={"Accept": media}).headers["ETag"]
        for each, media in MEDIA_TYPES.items()
    }
    again = {
        each: reader.get(f"{path}{each}", headers={"If-None-Match": tag}).status_code
        for each, tag in tags.items()
    }
    crossed = reader.get(path, headers={"Accept": "text/csv", "If-None-Match": by_header["json"]})

    assert len({tags[each] for each in asked[1:]}) == 4
    assert len(set(by_header.values())) == 3
    assert tags[""] == by_header["json"]
    assert set(again.values()) == {304}
    assert crossed.status_code == 200


@every_list
def test_the_head_of_a_table_is_that_of_its_answer(reader: TestClient, path: str) -> None:
    for accept in MEDIA_TYPES.values():
        whole = reader.get(path, headers={"Accept": accept})
        head = reader.head(path, headers={"Accept": accept})
        for answer in (whole, head):
            del answer.headers["X-Request-ID"]

        assert (head.status_code, head.content) == (200, b"")
        assert head.headers == whole.headers


def test_every_list_is_tried_here(anyone: TestClient) -> None:
    paths = anyone.get("/openapi.json").json()["paths"]
    tables = {
        path
        for path, operations in paths.items()
        if "text/csv" in operations.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
    }

    assert {path for path in tables if "export" not in path} == {path.partition("?")[0] for path in LISTS}
