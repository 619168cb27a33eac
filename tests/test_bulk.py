import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

import app.bulk
from app.bulk import COLUMNS, CSV, JSON, MOST_ROWS, NDJSON, read_rows
from app.db import Database
from app.errors import Invalid
from app.main import create_app
from app.settings import Settings
from app.verify import verify
from app.vocabulary import Scope
from tests import make
from tests.conftest import Clock, with_key

Body = dict[str, Any]
FORMATS = {"json": JSON, "ndjson": NDJSON, "csv": CSV}
every_format = pytest.mark.parametrize("name", FORMATS)

ROWS: list[Body] = [
    make.body(
        conditions=[{"type": "ceasefire", "text": None}, {"type": "other", "text": "a vote: in parliament"}],
        caveats=[{"type": "non_combat", "text": None}],
        quantity={"min": 100, "max": 200, "unit": "soldiers", "verbatim": '"between 100, and 200"'},
        summary='It plans troops, "perhaps";\nthe rest is open.',
        credibility=2,
        location="ukraine",
        notes="Zażółć gęślą jaźń, §",
    ),
    make.refusal(country="FR", refuses=["sea", "air"], stated_on="2025-03", speaker="A. Example"),
    make.body(stated_on="2025-03-28", firmness="committed", relates_to=[{"seq": 1, "relation": "clarifies"}]),
    make.body(
        country="UK",
        kind="support",
        component="training",
        source={"url": "https://example.org/b", "title": "B"},
    ),
]


def as_csv(rows: list[Body], end: str = "\r\n", columns: tuple[str, ...] = COLUMNS) -> str:
    """Return rows as a spreadsheet would save them."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, lineterminator=end)
    writer.writeheader()
    for row in rows:
        cells = {name: value for name, value in row.items() if not isinstance(value, dict | list)}
        cells["refuses"] = ";".join(row.get("refuses") or ())
        for name in ("conditions", "caveats"):
            marks = row.get(name) or ()
            cells[name] = ";".join(f"{each['type']}:{each['text'] or ''}".rstrip(":") for each in marks)
        relations = row.get("relates_to") or ()
        cells["relates_to"] = ";".join(f"{each['relation']}:{each['seq']}" for each in relations)
        for group in ("source", "quantity"):
            cells |= {f"{group}_{name}": value for name, value in (row.get(group) or {}).items()}
        writer.writerow({name: value for name, value in cells.items() if name in columns})
    return out.getvalue()


def written(rows: list[Body], name: str) -> bytes:
    if name == "json":
        return json.dumps(rows).encode()
    if name == "ndjson":
        return "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    return as_csv(rows).encode()


def send(client: TestClient, content: bytes, name: str = "csv", **asked: str) -> Response:
    headers = {"Content-Type": FORMATS[name]}
    return client.post("/v1/positions/bulk", content=content, headers=headers, params=asked)


def errors(response: Response) -> list[tuple[int | None, str | None, str]]:
    """Return where each fault is, and its code."""
    assert response.status_code == 422, response.text
    assert all(each["message"] for each in response.json()["errors"])
    return [
        (each.get("row"), each.get("column", each.get("pointer")), each["code"])
        for each in response.json()["errors"]
    ]


def ledger(client: TestClient) -> list[Body]:
    items: list[Body] = client.get("/v1/changes?limit=1000").json()["items"]
    return items


def statements(client: TestClient) -> list[Body]:
    return [item["statement"] for item in ledger(client)]


@pytest.fixture
def one_by_one(migrated: Path, tmp_path: Path) -> Iterator[TestClient]:
    """Somebody who has stated each of `ROWS` by itself."""
    path = tmp_path / "singly.db"
    shutil.copy(migrated, path)
    tracker = create_app(Settings(database_url=f"sqlite:///{path}", _env_file=None))
    client = with_key(tracker, "singly", Scope.CONTRIBUTE)
    for row in ROWS:
        make.kept(client.post("/v1/positions", json=row))
    yield client
    tracker.state.database.close()


@every_format
def test_every_format_records_what_single_statements_would(
    contributor: TestClient, one_by_one: TestClient, name: str
) -> None:
    answer = send(contributor, written(ROWS, name), name)

    assert (answer.status_code, answer.headers["Location"]) == (201, "/v1/changes?after=0")
    assert {each: answer.json()[each] for each in ("first_seq", "last_seq", "count")} == {
        "first_seq": 1,
        "last_seq": 4,
        "count": 4,
    }
    assert statements(contributor) == statements(one_by_one)
    assert contributor.get("/v1/positions").json()["items"] == one_by_one.get("/v1/positions").json()["items"]


@every_format
def test_every_bad_row_is_named_with_all_its_faults_and_nothing_is_recorded(
    contributor: TestClient, name: str
) -> None:
    make.state(contributor, country="DE")
    rows = [
        make.body(),
        make.body(country="ZZ", firmness="declared", stated_on="2025-02-30"),
        make.body(
            country="ES", firmness="declared", stated_on="2999", conditions=[{"type": "other", "text": None}]
        ),
        make.body(country="DE"),
        make.body(),
        make.body(country="IT", quantity={"min": 5, "max": 1}, source={"title": "Nobody's"}),
    ]
    in_csv = name == "csv"
    first = 2 if in_csv else 1  # a header comes before the rows

    def place(pointer: str) -> str:
        parts = pointer.split("/")
        return (
            ("_".join(parts) if parts[0] in ("source", "quantity") else parts[0]) if in_csv else f"/{pointer}"
        )

    def fault(row: int, pointer: str, code: str) -> tuple[int, str | None, str]:
        where = place(pointer) if pointer else None if in_csv else ""
        return (row + first, where, code)

    answer = send(contributor, written(rows, name), name)

    assert sorted(errors(answer), key=repr) == sorted(
        [
            fault(1, "stated_on", "impossible_date"),
            fault(2, "firmness", "wrong_ladder"),
            fault(2, "conditions/0/text", "missing"),
            fault(2, "stated_on", "in_the_future"),
            fault(3, "", "duplicate"),
            fault(4, "", "duplicate"),
            fault(5, "quantity/max", "reversed_range"),
            fault(5, "source/publisher", "missing"),
        ],
        key=repr,
    )
    assert answer.json()["detail"] == "5 of 6 rows are not valid."
    assert len(ledger(contributor)) == 1
    assert contributor.get("/v1/sources").json()["meta"]["total"] == 1


@every_format
def test_a_row_that_another_one_says_already_names_that(contributor: TestClient, name: str) -> None:
    """The entry that the first would have been is never recorded; another might get its number."""
    make.state(contributor, country="DE")
    bad = make.body(country="ZZ")
    rows = [bad, make.body(), make.body(country="DE"), make.body()]
    answer = send(contributor, written(rows, name), name)
    said = {error["row"]: error["message"] for error in answer.json()["errors"]}
    first = 2 if name == "csv" else 1

    assert said[first + 2] == "Entry 1 holds the same statement from the same source."
    assert said[first + 3] == f"Row {first + 1} holds the same statement from the same source."


def test_a_batch_is_one_state_of_knowledge(contributor: TestClient, clock: Clock) -> None:
    make.state(contributor, country="DE")
    clock.pass_(hours=1)
    send(contributor, as_csv(ROWS[:2]).encode())
    clock.pass_(hours=1)
    instants = [item["recorded_at"] for item in ledger(contributor)]

    def seq_known_at(instant: str) -> int:
        seq: int = contributor.get("/v1/changes", params={"known_at": instant}).json()["meta"]["seq"]
        return seq

    assert instants == ["2026-01-15T12:00:00.000000Z", *["2026-01-15T13:00:00.000000Z"] * 2]
    assert seq_known_at("2026-01-15T12:59:59.999999Z") == 1
    assert seq_known_at(instants[1]) == 3


def test_a_batch_in_the_same_instant_as_another_is_a_later_state(
    contributor: TestClient, clock: Clock
) -> None:
    send(contributor, as_csv(ROWS[:2]).encode())
    send(contributor, as_csv([make.body(country="NO"), make.body(country="SE")]).encode())
    instants = [item["recorded_at"] for item in ledger(contributor)]

    assert clock.now.isoformat().startswith("2026-01-15T12:00:00")
    assert instants == [
        *["2026-01-15T12:00:00.000000Z"] * 2,
        *["2026-01-15T12:00:00.000001Z"] * 2,
    ]


def test_the_answer_tells_what_the_batch_changed_as_the_diff_does(contributor: TestClient) -> None:
    make.state(contributor, country="FR", kind="air")
    make.state(contributor)
    rows = [
        make.refusal(country="FR", refuses=["air"], stated_on="2025-04"),
        make.body(stated_on="2025-04-02", firmness="committed"),
        make.body(stated_on="2025-04-03", firmness="committed"),
        make.body(country="NO", kind="sea"),
    ]
    answer = send(contributor, written(rows, "json"), "json").json()
    asked = contributor.get("/v1/diff", params={"axis": "recorded", "from": 2, "to": 6}).json()

    assert [entry["op"] for entry in asked["items"]] == ["changed", "added", "changed"]
    assert answer["diff"] == asked["items"]


@every_format
def test_a_dry_run_of_a_batch_promises_what_it_then_does(contributor: TestClient, name: str) -> None:
    tried = send(contributor, written(ROWS, name), name, dry_run="true")
    before = ledger(contributor), contributor.get("/v1/sources").json()["items"]
    done = send(contributor, written(ROWS, name), name).json()
    promised = tried.json()

    assert tried.status_code == 200
    assert before == ([], [])
    assert (promised["first_seq"], promised["last_seq"], promised["count"]) == (None, None, 4)
    assert [(each["op"], each["fields"], each["seqs"]) for each in promised["diff"]] == [
        (each["op"], each["fields"], []) for each in done["diff"]
    ]
    assert [item["seq"] for item in ledger(contributor)] == [1, 2, 3, 4]


def test_as_many_rows_are_read_as_are_promised_and_no_more(contributor: TestClient) -> None:
    line = json.dumps(make.body()) + "\n"
    too_many = (line * (MOST_ROWS + 1)).encode()
    refused = send(contributor, too_many, "ndjson")

    assert MOST_ROWS == 10_000
    assert len(read_rows((line * MOST_ROWS).encode(), NDJSON)) == MOST_ROWS
    assert errors(refused) == [(None, "", "too_many")]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("json", b"[]", "empty"),
        ("json", b"{}", "malformed"),
        ("json", b'{"country": "PL"}\n{"country": "FR"}', "malformed"),
        ("ndjson", b" \n\n", "empty"),
        ("csv", b"", "empty"),
        ("csv", b"country,kind\r\n", "empty"),
        ("csv", b"country\xff", "malformed"),
    ],
)
def test_a_batch_without_rows_is_refused(
    contributor: TestClient, name: str, content: bytes, code: str
) -> None:
    assert errors(send(contributor, content, name)) == [(None, "", code)]


def test_a_line_of_ndjson_that_cannot_be_read_is_named(contributor: TestClient) -> None:
    good = json.dumps(make.body())
    answer = send(contributor, f"{good}\r\n\n{{\n[]\nnull\n".encode(), "ndjson")

    assert [(row, code) for row, _, code in errors(answer)] == [
        (3, "malformed"),
        (4, "object_type"),
        (5, "object_type"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_is_read_as_spreadsheets_save_it(contributor: TestClient, end: str, mark: str) -> None:
    text = mark + as_csv(ROWS[:1], end) + end + "," * (len(COLUMNS) - 1) + end

    assert send(contributor, text.encode()).status_code == 201
    (statement,) = statements(contributor)
    assert statement["summary"] == 'It plans troops, "perhaps";\nthe rest is open.'
    assert statement["quantity"]["verbatim"] == '"between 100, and 200"'


def test_a_cell_of_csv_may_have_several_lines(contributor: TestClient) -> None:
    rows = [make.body(quote="One.\r\nTwo.\nThree.")]
    sent = send(contributor, as_csv(rows).encode())

    assert sent.status_code == 201
    assert statements(contributor)[0]["quote"] == "One.\nTwo.\nThree."


def test_csv_of_other_cells_than_ours_is_refused_with_the_cure(contributor: TestClient) -> None:
    for between in (";", "\t"):
        answer = send(contributor, between.join(COLUMNS).encode() + b"\r\n")

        assert errors(answer) == [(1, None, "malformed")]
        assert answer.json()["errors"][0]["message"] == "Separate the cells by commas."


def test_a_relation_of_csv_that_names_no_entry_is_told_how(contributor: TestClient) -> None:
    row = as_csv([make.body(relates_to=[{"relation": "repeats", "seq": "?"}])])
    for given in ("repeats", "repeats:x", "repeats:"):
        answer = send(contributor, row.replace("repeats:?", given).encode())

        assert errors(answer) == [(2, "relates_to", "int_type")]
        assert "repeats:17" in answer.json()["errors"][0]["message"]


def test_csv_needs_only_the_columns_that_it_fills(contributor: TestClient) -> None:
    text = (
        "summary, country ,kind,firmness,stated_on,voice,source_id,quantity_min,refuses,"
        "conditions,relates_to\n"
        "One,PL,troops,planned,2025-03-27,government,1,5,,ceasefire;other: a vote ; ,\n"
        "Two,pol,troops,planned,2025-03-28,government,1,,,,repeats:2;clarifies:2\n"
        "Three,el,refusal,leaning,2025-03-28,government,1,,air; sea,,\n"
    )
    make.kept(contributor.post("/v1/positions", json=make.body(country="DE")))
    assert send(contributor, text.encode()).status_code == 201
    one, two, three = statements(contributor)[1:]

    assert one["conditions"] == [{"type": "ceasefire", "text": None}, {"type": "other", "text": "a vote"}]
    assert one["quantity"] == {"min": 5, "max": None, "unit": None, "verbatim": None}
    assert (one["quote"], one["refuses"], one["relates_to"]) == (None, None, [])
    assert two["relates_to"] == [{"seq": 2, "relation": "clarifies"}, {"seq": 2, "relation": "repeats"}]
    assert (three["country"], three["refuses"]) == ("GR", ["air", "sea"])


def test_a_cell_that_cannot_be_read_is_named_by_its_row_and_column(contributor: TestClient) -> None:
    head = "country,kind,firmness,stated_on,summary,authority,source_url,source_title,credibility,relates_to"
    rest = "2025-03-27,One,ministry,https://example.org/a,A"
    text = (
        f"{head}\n"
        f"PL,troops,planned,{rest},high,\n"
        f'FR,tanks,planned,2025-03-27,"Two\nlines",ministry,ftp://example.org,A,,repeats\n'
        f"DE,troops,planned,{rest},1.0,repeats:1;follows:2\n"
        f"IT,troops,planned,{rest}\n"
        f"ES,troops,planned,{rest},9,\n"
    )

    assert errors(send(contributor, text.encode())) == [
        (2, "credibility", "int_type"),
        (3, "kind", "enum"),
        (3, "relates_to", "int_type"),
        (3, "source_url", "bad_url"),
        (5, "relates_to", "enum"),
        (5, "credibility", "int_type"),
        (6, None, "ragged"),
        (7, "credibility", "less_than_equal"),
    ]


def test_a_quotation_that_is_never_closed_is_named_where_it_begins(contributor: TestClient) -> None:
    text = as_csv(ROWS[1:2], "\n") + 'PL,"never\nclosed'

    assert (3, None, "malformed") in errors(send(contributor, text.encode()))


def test_a_header_that_is_not_ours_is_refused_at_once(contributor: TestClient) -> None:
    text = "country,Stance,kind,kind,Source\nPL,x,troops,troops,y\n"

    assert errors(send(contributor, text.encode())) == [
        (1, "Stance", "unknown"),
        (1, "Source", "unknown"),
        (1, "kind", "twice"),
    ]


def test_a_batch_larger_than_is_set_is_not_read(contributor: TestClient, settings: Settings) -> None:
    answer = send(contributor, b" " * (settings.bulk_limit_bytes + 1), "ndjson")

    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")


def test_what_csv_says_is_what_its_columns_mean() -> None:
    body = read_rows(as_csv(ROWS[:1]).encode(), CSV)[0].body

    assert body["source"] == make.SOURCE
    assert body["quantity"] == ROWS[0]["quantity"]
    assert "quote" not in body
    with pytest.raises(Invalid):
        read_rows(b"country\n", CSV)


@pytest.mark.parametrize(("stretch", "derived"), [(1, 1), (3, 3), (1, 4), (3, 6), (2, 50)])
def test_a_batch_is_recorded_a_stretch_at_a_time_as_it_would_be_at_once(
    contributor: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch, stretch: int, derived: int
) -> None:
    days = [make.body(speaker=f"S {day}", stated_on=f"2025-03-{day:02}") for day in (9, 3, 27, 14, 1)]
    rows = [*ROWS, *days, make.body(source={"url": "https://example.org/b", "title": "B"})]
    at_once = send(contributor, written(rows, "json"), "json", dry_run="true").json()

    monkeypatch.setattr(app.bulk, "STRETCH", stretch)
    monkeypatch.setattr(app.bulk, "DERIVED_AT_ONCE", derived)
    answer = send(contributor, written(rows, "json"), "json").json()

    assert answer["count"] == at_once["count"] == len(rows)
    assert [each["after"]["since"] for each in answer["diff"]] == [
        each["after"]["since"] for each in at_once["diff"]
    ]
    assert [source["title"] for source in contributor.get("/v1/sources").json()["items"]] == [
        "After the summit",
        "B",
    ]
    with database.reading() as session:
        assert verify(session).finding is None


@pytest.mark.parametrize("stretch", [1, 2, 100])
def test_faults_are_the_same_however_long_a_stretch_is(
    contributor: TestClient, monkeypatch: pytest.MonkeyPatch, stretch: int
) -> None:
    monkeypatch.setattr(app.bulk, "STRETCH", stretch)
    monkeypatch.setattr(app.bulk, "MOST_BAD_ROWS", 2)
    rows = [*ROWS[:2], ROWS[0], {}, make.body(country="XX"), ROWS[1]]
    refused = send(contributor, written(rows, "ndjson"), "ndjson")

    assert refused.json()["detail"] == "4 of 6 rows are not valid."
    assert {place[0] for place in errors(refused)} == {3, 4}
    assert ledger(contributor) == []
    assert contributor.get("/v1/sources").json()["items"] == []
