import csv
import io
import json
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from app.dates import parse_edtf
from app.db import Database
from app.export import (
    CHANGES,
    COUNTRIES,
    COUNTS,
    COUNTS_ON,
    DIFF,
    POSITIONS,
    SOURCES,
    TABLES,
    Column,
)
from tests import make
from tests.conftest import Clock
from tests.make import Asked

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
# What is about HTTP alone does not depend on the database.
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
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


def header_of(columns: Sequence[Column[Any]]) -> str:
    return ",".join(column.name for column in columns)


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


def test_a_table_says_what_the_list_says(reader: TestClient) -> None:
    for path, columns in LISTS.items():
        items = reader.get(path).json()["items"]
        answer = reader.get(path, headers={"Accept": "text/csv"})

        assert len(items) >= 2, path
        assert answer.headers["Content-Type"] == MEDIA_TYPES["csv"]
        assert answer.text.splitlines()[0] == header_of(columns)
        assert table(answer.text) == rows_of(path, items, columns, reader)


def test_a_list_line_by_line_says_what_the_list_says(reader: TestClient) -> None:
    for path in LISTS:
        answer = reader.get(path, headers={"Accept": "application/x-ndjson"})

        assert answer.headers["Content-Type"] == MEDIA_TYPES["ndjson"]
        assert answer.text.endswith("}\n")
        assert [json.loads(line) for line in answer.text.splitlines()] == reader.get(path).json()["items"]


def test_a_table_exported_whole_is_the_list(reader: TestClient) -> None:
    for name, extension in product(("positions", "changes", "sources"), ("csv", "ndjson")):
        listed = reader.get(f"/v1/{name}?format={extension}&limit=1000")
        exported = reader.get(f"/v1/export/{name}.{extension}")

        assert exported.text == listed.text
        assert exported.headers["Content-Type"] == listed.headers["Content-Type"]


def test_a_table_without_rows_has_its_header(anyone: TestClient) -> None:
    asked = {
        path: columns for path, columns in LISTS.items() if "axis" not in path and "countries" not in path
    }
    asked |= {"/v1/countries?q=nowhere": COUNTRIES, "/v1/diff?from=0&to=0&axis=recorded": DIFF}
    for path, columns in asked.items():
        listed, in_csv, in_lines = (
            anyone.get(path, headers={"Accept": each}) for each in MEDIA_TYPES.values()
        )

        assert [item for item in listed.json()["items"] if item.get("counts") != []] == []
        assert in_csv.text == f"{header_of(columns)}\r\n"
        assert in_lines.text.count("\n") == len(listed.json()["items"])


def test_cells_are_quoted_as_rfc_4180_says(reader: TestClient) -> None:
    text = reader.get("/v1/positions?country=PL&format=csv").text
    quoted = '"It said ""perhaps"",\nthen left."'

    assert quoted in text
    assert text.replace(quoted, "").count("\n") == text.count("\r\n") == 2


def test_a_formula_is_marked_as_text_for_spreadsheets_and_only_for_them(contributor: TestClient) -> None:
    texts = ["=1+1", "+49", "-5 ships", "@all", "plain = 1"]
    for number, text in enumerate(texts, 1):
        make.state(contributor, summary=text, speaker=f"Speaker {number}", stated_on=f"2025-03-0{number}")
    plain, excel = (contributor.get(f"/v1/changes?format=csv{more}").content for more in ("", "&excel=1"))
    bare, marked = table(plain.decode()), table(excel.decode("utf-8-sig"))

    assert plain.startswith(b"seq,")
    assert excel.startswith(b"\xef\xbb\xbfseq,")
    assert [row["summary"] for row in bare] == texts
    assert [row["summary"] for row in marked] == ["'=1+1", "'+49", "'-5 ships", "'@all", "plain = 1"]
    assert [row | {"summary": ""} for row in marked] == [row | {"summary": ""} for row in bare]


@on_sqlite
def test_only_csv_is_made_for_spreadsheets(anyone: TestClient) -> None:
    asked = ["excel=1", "excel=1&format=json", "excel=1&format=ndjson"]
    answers = [anyone.get(f"/v1/positions?{each}", headers={"Accept": "text/csv"}) for each in asked]

    assert [each.status_code for each in answers] == [422] * 3
    assert {each.json()["errors"][0]["code"] for each in answers} == {"needs_csv"}


@on_sqlite
def test_the_format_that_is_liked_best_is_given(anyone: TestClient) -> None:
    liked = {
        "*/*": "json",
        "application/*": "json",
        "text/csv": "csv",
        "TEXT/CSV; header=present": "csv",
        "text/*": "csv",
        "application/x-ndjson": "ndjson",
        "application/jsonl": "ndjson",
        "text/html,application/xhtml+xml,*/*;q=0.8": "json",
        "application/json;q=0.5, text/csv;q=0.9": "csv",
        "text/csv;q=0.5, application/json": "json",
        "text/csv;q=0, application/x-ndjson;q=0.001": "ndjson",
        "image/png, text/csv ; q=0.1": "csv",
    }
    answers = {each: anyone.get("/v1/changes", headers={"Accept": each}) for each in liked}

    assert {each: answer.headers["Content-Type"] for each, answer in answers.items()} == {
        each: MEDIA_TYPES[name] for each, name in liked.items()
    }
    assert ["Accept" in answer.headers["Vary"] for answer in answers.values()] == [True] * len(liked)


@on_sqlite
def test_a_format_that_there_is_not_is_refused(anyone: TestClient) -> None:
    unknown = ["image/png", "text/html", "text/csv;q=0", "application/json;q=0.0", "csv"]
    paths = [path for path in LISTS if "recorded" not in path]
    answers = [anyone.get(path, headers={"Accept": each}) for path in paths for each in unknown]

    assert {(each.status_code, each.json()["type"]) for each in answers} == {
        (406, "/problems/not-acceptable")
    }


@on_sqlite
def test_what_the_address_says_wins_over_accept(anyone: TestClient) -> None:
    answer = anyone.get("/v1/changes?format=ndjson", headers={"Accept": "image/png"})

    assert answer.headers["Content-Type"] == MEDIA_TYPES["ndjson"]


@on_sqlite
def test_the_pages_of_a_table_lead_on_to_each_other(reader: TestClient) -> None:
    paths = ["positions?dates=certain&", "countries?tracked=true&", "changes?", "sources?"]
    for path, name in product(paths, ("csv", "ndjson")):
        whole = reader.get(f"/v1/{path}format={name}").text
        head = len(whole.splitlines(keepends=True)[0]) if name == "csv" else 0
        pages: list[str] = []
        url: str | None = f"/v1/{path}format={name}&limit=2"
        while url is not None:
            answer = reader.get(url)
            pages.append(answer.text[head:])
            url = answer.links["next"]["url"] if "next" in answer.links and pages[-1] else None

        assert len(pages) >= 2
        assert "".join(pages) == whole[head:]


@on_sqlite
def test_each_representation_has_a_tag_of_its_own(reader: TestClient) -> None:
    for path in LISTS:
        sign = "&" if "?" in path else "?"
        asked = ["", *(f"{sign}format={each}" for each in MEDIA_TYPES), f"{sign}format=csv&excel=1"]
        tags = {each: reader.get(f"{path}{each}").headers["ETag"] for each in asked}
        by_header = [
            reader.get(path, headers={"Accept": each}).headers["ETag"] for each in MEDIA_TYPES.values()
        ]
        again = [reader.get(path + each, headers={"If-None-Match": tag}) for each, tag in tags.items()]
        crossed = reader.get(path, headers={"Accept": "text/csv", "If-None-Match": by_header[0]})

        assert len({tags[each] for each in asked[1:]}) == 4
        assert len(set(by_header)) == 3
        assert tags[""] == by_header[0]
        assert {(each.status_code, each.content) for each in again} == {(304, b"")}
        assert crossed.status_code == 200


@on_sqlite
def test_the_head_of_a_table_is_that_of_its_answer(reader: TestClient) -> None:
    for path, accept in product(LISTS, MEDIA_TYPES.values()):
        whole = reader.get(path, headers={"Accept": accept})
        head = reader.head(path, headers={"Accept": accept})
        for answer in (whole, head):
            del answer.headers["X-Request-ID"]

        assert (head.status_code, head.content) == (200, b"")
        assert head.headers == whole.headers


@on_sqlite
@pytest.mark.parametrize("name", ["history.csv", "changes.csv", "changes.ndjson", "sources.ndjson"])
def test_a_whole_table_is_not_mapped_into_memory(reader: TestClient, database: Database, name: str) -> None:
    begun: list[object] = []
    note = begun.append  # each time that it is taken from the list it is another one
    event.listen(database.unmapped, "begin", note)
    rows = len(reader.get(f"/v1/export/{name}").text.splitlines())
    event.remove(database.unmapped, "begin", note)

    assert rows > 2
    assert begun


WHOLE = [f"/v1/export/{name}.{ending}" for name in TABLES for ending in ("csv", "ndjson")]


@on_sqlite
@pytest.mark.parametrize("path", WHOLE)
def test_the_head_of_a_whole_table_is_that_of_its_answer_and_reads_no_row(
    reader: TestClient, path: str, asked: Asked
) -> None:
    whole = reader.get(path)
    read = len(asked)
    head = reader.head(path)
    for answer in (whole, head):
        del answer.headers["X-Request-ID"]

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == whole.headers
    assert len(asked) - read < read


@pytest.mark.parametrize(
    "asked", ["country=FR", "action=correct&action=retract", "q=perhaps", "component=sea"]
)
def test_the_ledger_is_exported_by_the_filters_of_its_list(reader: TestClient, asked: str) -> None:
    exported = reader.get(f"/v1/export/changes.ndjson?{asked}").text.splitlines()
    listed = reader.get(f"/v1/changes?{asked}").json()["items"]

    assert [json.loads(line)["seq"] for line in exported] == [item["seq"] for item in listed] != []


@pytest.mark.parametrize(
    "path", ["/v1/export/changes.ndjson", "/v1/export/sources.ndjson", "/v1/export/changes.csv?excel=1"]
)
def test_a_table_is_exported_stretch_by_stretch(
    reader: TestClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    whole = reader.get(path).text
    monkeypatch.setattr("app.routes.export.STRETCH", 1)

    assert whole.count("\n") > 2
    assert reader.get(path).text == whole


def test_a_package_of_a_moment_names_the_tables_of_that_moment(reader: TestClient) -> None:
    def paths(asked: str) -> dict[str, str]:
        package = reader.get(f"/v1/export/datapackage.json{asked}").json()
        return {resource["name"]: resource["path"] for resource in package["resources"]}

    assert paths("") == {name: f"{name}.csv" for name in TABLES}
    pinned = paths("?seq=2&as_of=2025-03-28")
    assert pinned == {
        "positions": "positions.csv?seq=2&as_of=2025-03-28",
        "history": "history.csv?seq=2&as_of=2025-03-28",
        "changes": "changes.csv?seq=2",
        "sources": "sources.csv?seq=2",
    }
    assert {reader.get(f"/v1/export/{path}").status_code for path in pinned.values()} == {200}


@on_sqlite
def test_every_list_is_tried_here(anyone: TestClient) -> None:
    paths = anyone.get("/openapi.json").json()["paths"]
    tables = {
        path
        for path, operations in paths.items()
        if "text/csv" in operations.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
    }

    assert {path for path in tables if "export" not in path} == {path.partition("?")[0] for path in LISTS}
