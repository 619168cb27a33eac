"""No reading walks through the whole ledger: each finds its rows by an index, whatever is filtered."""

import json
import math
import re
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

import app.bulk
import app.routes.export
from app.db import Database
from tests import make
from tests.make import Asked
from tests.test_queries import COUNTRIES, record

GROWING = (
    *("change", "statement", "statement_relation", "change_json"),
    *("line_entry", "report_count", "standing", "position_json"),
)
"""Tables with a row for each entry, or more."""

URLS = (
    "/v1/positions?as_of=2025-06-01",
    "/v1/positions?as_of=2025-06-01&seq=3&dates=possible",
    "/v1/positions?as_of=2025-06-01&country=BE&component=troops&q=a&source=1&min_firmness=planned",
    "/v1/positions?as_of=2025-06-01&kind=troops&contested=false&stale=false&changed_since=2025-01-01&limit=1",
    "/v1/positions?as_of=2025-06-01&source=1&contested=true",
    "/v1/positions/BE/troops?as_of=2025-06-01",
    "/v1/countries?as_of=2025-06-01",
    "/v1/countries/BE?as_of=2025-06-01",
    "/v1/changes?after=3&limit=2",
    "/v1/changes/3",
    "/v1/diff?from=2025-03-01&to=2025-06-01",
    "/v1/diff?from=2025-03-01&to=2025-06-01&component=air&limit=1",
    "/v1/diff?from=5&to=9&axis=recorded&as_of=2025-06-01",
    "/v1/sources/1",
    "/v1/summary?as_of=2025-06-01",
    "/v1/summary?as_of=2025-06-01&source=1&contested=false&q=a",
    "/v1/timeline?to=2025-06-01&source=1&contested=false&q=a&country=BE",
)


def walked(database: Database, statement: str, parameters: Any) -> set[str]:
    """Return the growing tables that a query would read from end to end."""
    with database.engine.connect() as connection:
        if database.is_embedded:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            # In the order of an index, and up to a limit: that is no walk.
            stops = "LIMIT" in statement
            plan = [row[3] for row in rows if not (stops and "USING" in row[3])]
            tables = {found[1] for line in plan if (found := re.match(r"SCAN (\w+)", line))}
        else:
            # So little is recorded that walking would be cheapest: with this it is the last resort.
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
            plan = list(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())
            # It is the second that is used: the plan for whatever may be asked with.
            explain = f"EXPLAIN (GENERIC_PLAN) {in_general(statement)}"
            plan += connection.exec_driver_sql(explain).scalars()
            tables = {found[1] for line in plan if (found := re.search(r"Seq Scan on (\w+)", line))}
    aliases = dict(re.findall(r"(?:FROM|JOIN) (\w+) AS (\w+)", statement))
    tables |= {name for name, alias in aliases.items() if alias in tables}
    return tables & set(GROWING)


def in_general(statement: str) -> str:
    """Return a query of PostgreSQL's driver with its parameters as the server numbers them."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    return re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", statement)


def test_every_row_is_found_by_an_index(contributor: TestClient, database: Database, asked: Asked) -> None:
    record(contributor, COUNTRIES, month=3)
    make.correct(contributor, 1, summary="Once more.")
    for url in URLS:
        asked.clear()
        assert contributor.get(url).status_code == 200
        queries = [each for each in asked if each[0].startswith("SELECT")]
        assert queries
        for statement, parameters in queries:
            assert walked(database, statement, parameters) == set(), (url, statement)


def test_a_walk_is_seen(database: Database) -> None:
    assert walked(database, "SELECT * FROM statement WHERE summary = 'a'", ()) == {"statement"}
    assert walked(database, "SELECT * FROM statement AS s WHERE s.summary = 'a'", ()) == {"statement"}
    assert walked(database, "SELECT * FROM statement WHERE seq = 1", ()) == set()


def test_an_export_reads_each_entry_once(
    contributor: TestClient, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.routes.export, "STRETCH", 4)
    record(contributor, COUNTRIES, month=3)
    asked.clear()
    lines = contributor.get("/v1/export/changes.ndjson").text.splitlines()
    stretches = [each for each in asked if "entry.json" in each[0]]

    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert len(stretches) == math.ceil(len(lines) / 4) > 1
    # With a second end it would be read up to that one, and only then left out.
    ends = [re.findall(r"change_json\.seq <= ", statement) for statement, _ in stretches]
    assert {len(each) for each in ends} == {1}


def test_a_page_bounds_all_that_it_joins(contributor: TestClient, asked: Asked) -> None:
    """PostgreSQL would else join by going through all statements, once there are many."""
    record(contributor, COUNTRIES, month=3)
    asked.clear()
    contributor.get("/v1/changes?after=3&limit=2")
    pages = [statement for statement, _ in asked if "LIMIT" in statement and "change_json" in statement]

    bounds = [re.findall(r"(\w+\.\w+) > [%?:]", page.partition("FROM change_json")[2]) for page in pages]
    assert bounds == [["later.replaces", "change_json.seq"]]


def test_a_write_bounds_the_standings_that_it_keeps(contributor: TestClient, asked: Asked) -> None:
    """PostgreSQL would else read all that is kept of entries for each."""
    make.state(contributor)
    keeping = [statement for statement, _ in asked if statement.startswith("INSERT INTO position_json")]

    bounds = [re.findall(r"standing\.seq (>|<=) ", statement) for statement in keeping]
    assert bounds == [[">", "<="]]


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_what_is_asked_again_is_prepared_already(contributor: TestClient, database: Database) -> None:
    """A rollback would have the driver forget it."""
    make.state(contributor)
    for _ in range(10):
        contributor.get("/v1/positions?as_of=2025-06-01")
        contributor.get("/v1/changes/1")
    with database.reading() as session:
        names = sa.text("SELECT statement FROM pg_prepared_statements")
        prepared = list(session.execute(names).scalars())

    tables = ("line", *GROWING)
    assert {"line", "change_json"} <= {
        name for name in tables for each in prepared if f"JOIN {name}" in each or f"FROM {name}" in each
    }


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_postgresql_is_told_how_much_a_bulk_has_brought(
    contributor: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.bulk, "STRETCH", 2)
    rows = [make.body(speaker=f"S {number}") for number in range(8)]
    assert contributor.post("/v1/positions/bulk", json=rows).status_code == 201

    with database.engine.connect() as connection:
        size = "SELECT reltuples FROM pg_class WHERE oid = 'statement'::regclass"
        assert connection.exec_driver_sql(size).scalar_one() == 8
