import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import Session

from app.auth import create_key
from app.countries import every_country
from app.db import ROOT, Database
from app.importing import Names, Reading, read_file
from app.settings import Settings
from app.vocabulary import Scope
from tests import make
from tests.commands import Outcome, coalition
from tests.serving import answering

Body = dict[str, Any]

SHEET = """\
Nr;Land;Haltung;Am;Wer;Worte;Titel;Link;Anmerkung
1;UK;führt;27.3.2025;Keir Starmer;"It leads; the plans are made.";After the summit;https://example.org/a;
2;Türkiye;offen;3.4.2025;;It weighs monitoring.;After the summit;https://example.org/a;phoned twice
3;Turkey;OFFEN;2025-04;A. Example;It weighs a contribution.;A second piece;https://example.org/b;
4;Poland;lehnt ab;3.4.2025;Donald Tusk;No soldiers.;After the summit;https://example.org/a;
"""
MAPPING = """\
delimiter = ";"
date_format = "%d.%m.%Y"
ignore = ["Nr"]

[columns]
Land = "country"
Am = "stated_on"
Wer = "speaker"
Worte = "summary"
Titel = "source_title"
Link = "source_url"
Anmerkung = "notes"

[values.Haltung]
"führt" = {kind = "troops", firmness = "planned"}
"offen" = {kind = "support", component = "monitoring", firmness = "considering"}
"lehnt ab" = {kind = "refusal", refuses = "troops", firmness = "declared"}

[constants]
authority = "head_of_government"
"""
SMALL = "country,kind,firmness,stated_on,summary,authority,source_url,source_title\n"
ROW = "PL,troops,planned,2025-03-27,It plans.,ministry,https://example.org/a,A\n"


@pytest.fixture
def url(migrated: Path, tmp_path: Path) -> str:
    """Address of a database of its own, with nothing recorded."""
    path = tmp_path / "own.db"
    shutil.copy(migrated, path)
    return f"sqlite:///{path}"


@pytest.fixture
def remote(settings: Settings, database: Database) -> Iterator[tuple[str, str]]:
    """Address of a tracker that runs elsewhere, and a key for it."""
    with database.writing() as session:
        key = create_key(session, "sender", Scope.CONTRIBUTE)
    with answering(settings) as address:
        yield address, key


def sheet(folder: Path, text: str = SHEET, mapping: str = MAPPING) -> tuple[str, ...]:
    """Save a table and its mapping; return the words that import them."""
    (folder / "sheet.csv").write_text(text, encoding="utf-8")
    (folder / "mapping.toml").write_text(mapping, encoding="utf-8")
    return ("import", "sheet.csv", "--mapping", "mapping.toml")


def small(folder: Path, text: str, *options: str) -> tuple[str, ...]:
    """Save a table in our own columns; return the words that import it."""
    (folder / "small.csv").write_text(text, encoding="utf-8")
    return ("import", "small.csv", *options)


def recorded(url: str) -> list[Body]:
    """Return the statements in a database, in order."""
    database = Database(Settings(database_url=url, _env_file=None))
    with database.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM statement ORDER BY seq").mappings().all()
    database.close()
    return [dict(row) for row in rows]


def faults(outcome: Outcome) -> list[str]:
    """Return the lines that name what is wrong, each on one line."""
    assert outcome.code == 1, outcome
    assert "Nothing was recorded" in outcome.said
    return [line.rstrip() for line in outcome.err.splitlines()]


def test_a_table_of_their_own_goes_in_as_it_is(url: str, tmp_path: Path) -> None:
    outcome = coalition(*sheet(tmp_path), database_url=url, folder=tmp_path)

    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.said == ("Recorded 4 statements as entries 1 to 4. 3 positions of today differ.")
    assert [
        (
            row["country_code"],
            row["kind"],
            row["component"],
            row["firmness"],
            row["stated_on"],
            row["speaker"],
        )
        for row in recorded(url)
    ] == [
        ("GB", "troops", "troops", "planned", "2025-03-27", "Keir Starmer"),
        ("TR", "support", "monitoring", "considering", "2025-04-03", None),
        ("TR", "support", "monitoring", "considering", "2025-04", "A. Example"),
        ("PL", "refusal", None, "declared", "2025-04-03", "Donald Tusk"),
    ]
    assert {row["authority"] for row in recorded(url)} == {"head_of_government"}
    assert recorded(url)[0]["summary"] == "It leads; the plans are made."


def test_what_was_normalised_stands_in_the_notes_as_it_was_given(url: str, tmp_path: Path) -> None:
    coalition(*sheet(tmp_path), database_url=url, folder=tmp_path)

    assert [row["notes"] for row in recorded(url)] == [
        "As given: Land 'UK'; Haltung 'führt'; Am '27.3.2025'.",
        "phoned twice\nAs given: Land 'Türkiye'; Haltung 'offen'; Am '3.4.2025'.",
        "As given: Land 'Turkey'; Haltung 'OFFEN'.",
        "As given: Land 'Poland'; Haltung 'lehnt ab'; Am '3.4.2025'.",
    ]


def test_a_table_goes_in_over_http_as_it_does_locally_and_once(
    remote: tuple[str, str], settings: Settings, url: str, tmp_path: Path
) -> None:
    address, key = remote
    words = (*sheet(tmp_path), "--url", f"{address}/", "--key", key)
    coalition(*sheet(tmp_path), database_url=url, folder=tmp_path)
    tried = coalition(*words, "--dry-run", database_url="sqlite:///unused.db", folder=tmp_path)
    before = recorded(settings.database_url)
    sent = coalition(*words, database_url="sqlite:///unused.db", folder=tmp_path)
    again = coalition(*words, database_url="sqlite:///unused.db", folder=tmp_path)
    items = httpx.get(f"{address}/v1/changes").json()["items"]

    assert before == []
    assert tried.said == "4 rows are fit to be recorded; 3 positions of today would differ."
    assert sent.said == "Recorded 4 statements as entries 1 to 4. 3 positions of today differ."
    assert [each.code for each in (tried, sent, again)] == [0, 0, 0]
    assert again.said == sent.said
    assert {item["recorded_by"]["name"] for item in items} == {"sender"}
    assert [as_text(row) for row in recorded(settings.database_url)] == [
        as_text(row) for row in recorded(url)
    ]
    assert not (tmp_path / "unused.db").exists()


def as_text(row: Body) -> dict[str, str]:
    return {name: str(value) for name, value in row.items()}


def test_what_is_wrong_is_said_over_http_as_it_is_locally(
    remote: tuple[str, str], url: str, tmp_path: Path
) -> None:
    address, key = remote
    text = SHEET.replace("3.4.2025;Donald", "32.4.2025;Donald").replace("https://example.org/b", "ftp://b")
    words = sheet(tmp_path, text)
    here = coalition(*words, database_url=url, folder=tmp_path)
    there = coalition(*words, "--url", address, "--key", key, database_url=url, folder=tmp_path)

    assert there == here
    assert [line.split()[:2] for line in faults(there) if line[:1].isdigit()] == [
        ["4", "Link"],
        ["5", "Am"],
    ]


@pytest.mark.parametrize(
    ("change", "row", "column", "what"),
    [
        (("Poland", "Korea"), "5", "Land", "'Korea' may mean North Korea (KP), South Korea (KR)"),
        (("Poland", "Turkey?"), "5", "Land", "'Turkey?' is no country that we know"),
        (("Poland", "Ruritania"), "5", "Land", "'Ruritania' is no country that we know"),
        (("lehnt ab", "vielleicht"), "5", "Haltung", "'vielleicht' is not among the values mapped for"),
        (("3.4.2025;D", "4/3/2025;D"), "5", "Am", "'4/3/2025' is written neither as %d.%m.%Y nor"),
        (("3.4.2025;D", "3.4.25;D"), "5", "Am", "'3.4.25' is written neither as %d.%m.%Y nor"),
        (("No soldiers.", ""), "5", "Worte", "This is required."),
        (("No soldiers.;", ""), "5", "", "This row has 8 cells, the header 9."),
        (("\n4;", "\n\n4;Q;"), "6", "", "This row has 10 cells, the header 9."),
        (("Nr;", "Land;"), "1", "Land", "'Land' stands above two columns"),
        (("Anmerkung", "Wo"), "1", "Wo", "'Wo' is no column of ours"),
        (("Anmerkung", "country"), "1", "country", "'country' and 'Land' both mean country"),
        (("Nr;", "kind;"), "2", "kind", "kind is '1' by another column and 'troops' by this one"),
        (("Nr;", ";"), "5", "", "'4' stands in a column without a heading."),
    ],
)
def test_what_is_unclear_is_reported_and_never_guessed(
    url: str, tmp_path: Path, change: tuple[str, str], row: str, column: str, what: str
) -> None:
    assert change[0] in SHEET
    words = sheet(tmp_path, SHEET.replace(*change, 1))
    outcome = coalition(*words, database_url=url, folder=tmp_path)

    assert any(line.split()[:1] == [row] for line in faults(outcome))
    assert what in outcome.said
    assert column in outcome.said
    assert recorded(url) == []


def test_the_example_of_the_documentation_answers_as_it_says(url: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "importing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?ms)^```\w*\n(.*?)^```$", page)
    table, mapping, first, then, _, again, _ = blocks[1:]
    mended = table.replace("April 2025", "2025-04").replace("Korea;erwägt?", "South Korea;erwägt")
    words = sheet(tmp_path, table, mapping)
    unclear = coalition(*words, database_url=url, folder=tmp_path)
    sheet(tmp_path, mended, mapping)
    tried, done, repeated = (
        coalition(*words, *more, database_url=url, folder=tmp_path) for more in (["--dry-run"], [], [])
    )

    def shown(block: str) -> str:
        return " ".join(" ".join(line for line in block.splitlines() if line[:1] != "$").split())

    assert unclear.said == shown(first)
    assert f"{tried.said} {done.said}" == shown(then)
    assert repeated.said == shown(again)
    assert f'"notes": "{recorded(url)[2]["notes"]}"' in page


def test_a_table_in_our_columns_needs_no_mapping(url: str, tmp_path: Path) -> None:
    words = small(tmp_path, "\ufeff" + (SMALL + ROW).replace(",", "\t"))
    outcome = coalition(*words, database_url=url, folder=tmp_path)

    assert outcome.said == "Recorded 1 statements as entries 1 to 1. 1 positions of today differ."
    assert [row["notes"] for row in recorded(url)] == [None]


def test_headings_are_mapped_one_by_one(url: str, tmp_path: Path) -> None:
    text = SMALL.replace("country", "A=B").replace("stated_on", "Day") + ROW.replace("2025-03-27", "03/27/25")
    words = small(tmp_path, text, "--map", "A=B=country", "--map", "Day = stated_on")
    outcome = coalition(*words, "--date-format", "%m/%d/%y", database_url=url, folder=tmp_path)

    assert outcome.code == 0, outcome
    assert [row["stated_on"] for row in recorded(url)] == ["2025-03-27"]
    assert [row["notes"] for row in recorded(url)] == ["As given: Day '03/27/25'."]


@pytest.mark.parametrize("ending", ["json", "ndjson", "jsonl"])
def test_statements_in_our_own_words_go_in_as_to_the_api(url: str, tmp_path: Path, ending: str) -> None:
    bodies = [make.body(), make.refusal(country="FR", conditions=[{"type": "ceasefire"}])]
    lines = [json.dumps(body) for body in bodies]
    text = f"[{','.join(lines)}]" if ending == "json" else "\n".join(lines)
    (tmp_path / f"own.{ending}").write_text(text)
    outcome = coalition("import", f"own.{ending}", database_url=url, folder=tmp_path)
    mapped = coalition("import", f"own.{ending}", "--map", "a=country", database_url=url, folder=tmp_path)

    assert outcome.code == 0, outcome
    assert [row["country_code"] for row in recorded(url)] == ["PL", "FR"]
    assert (mapped.code, "a mapping is for CSV" in mapped.said) == (1, True)


def test_a_dry_run_of_an_import_writes_nothing(url: str, tmp_path: Path) -> None:
    outcome = coalition(*sheet(tmp_path), "--dry-run", database_url=url, folder=tmp_path)

    assert (outcome.code, outcome.said) == (
        0,
        "4 rows are fit to be recorded; 3 positions of today would differ.",
    )
    assert recorded(url) == []


def test_rows_that_are_in_the_record_already_are_named(url: str, tmp_path: Path) -> None:
    coalition(*small(tmp_path, SMALL + ROW), database_url=url, folder=tmp_path)
    words = small(tmp_path, SMALL + ROW.replace("PL", "FR") + ROW)
    outcome = coalition(*words, database_url=url, folder=tmp_path)

    assert outcome.code == 1
    assert "3 Entry 1 holds the same statement" in outcome.said
    assert len(recorded(url)) == 1


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.xlsx", b"PK", "the ending is none of .csv"),
        ("a.csv", "Länder".encode("latin-1"), "is not UTF-8: save it as CSV UTF-8"),
        ("a.csv", b'"never closed', "header cannot be read"),
        ("a.csv", b"", "a.csv has no rows."),
        ("a.csv", SMALL.encode() + b",,,,,,,\n", "a.csv has no rows."),
        ("a.json", b"{}", "Send a JSON array"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_a_sentence(
    url: str, tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    (tmp_path / name).write_bytes(content)
    outcome = coalition("import", name, database_url=url, folder=tmp_path)

    assert outcome.code == 1
    assert what in outcome.said


@pytest.mark.parametrize(
    ("mapping", "what"),
    [
        ("columns =", "is not TOML"),
        ("colums = {}", "mapping.toml has colums; known are columns, constants"),
        ("columns = 5", "columns Input should be a valid"),
        ("[values]\nLand = 5", "values/Land"),
        ("[columns]\nWo = 'country'", "The file has no heading 'Wo'."),
        ("[columns]\ncountry = 'land'", "'country' is no column of ours"),
        ("[constants]\nland = 'PL'", "'land' is no column of ours."),
        ("delimiter = ';;'", "The header cannot be read"),
        ("date_format = '%d.%m.'", "does not name day, month and year"),
        ("date_format = '%Q'", "does not name day, month and year"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused_in_a_sentence(
    url: str, tmp_path: Path, mapping: str, what: str
) -> None:
    small(tmp_path, SMALL + ROW)
    (tmp_path / "mapping.toml").write_text(mapping)
    words = ("import", "small.csv", "--mapping", "mapping.toml")
    outcome = coalition(*words, database_url=url, folder=tmp_path)

    assert outcome.code == 1
    assert what in outcome.said
    assert recorded(url) == []


@pytest.mark.parametrize(
    ("options", "code", "what"),
    [
        (("--map", "Land"), 2, "--map takes THEIRS=OURS"),
        (("--url", "http://127.0.0.1:1"), 2, "Give the API key with --key, or in COALITION_KEY."),
        (("--url", "http://127.0.0.1:1", "--key", "k"), 1, "127.0.0.1 did not answer as a tracker does"),
        (("--url", "127.0.0.1", "--key", "k"), 1, "did not answer as a tracker does"),
        (("--url", "http://127.0.0.1:x", "--key", "k"), 2, "--url or --key cannot be used"),
        (("--url", "http://127.0.0.1:1", "--key", "clé"), 2, "--url or --key cannot be used"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused_in_a_sentence(
    url: str, tmp_path: Path, options: tuple[str, ...], code: int, what: str
) -> None:
    outcome = coalition(*small(tmp_path, SMALL + ROW, *options), database_url=url, folder=tmp_path)

    assert outcome.code == code
    assert what in outcome.said
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)  # no other than the tracker is asked
def test_a_tracker_that_refuses_the_key_is_quoted(remote: tuple[str, str], url: str, tmp_path: Path) -> None:
    words = small(tmp_path, SMALL + ROW, "--url", remote[0])
    outcome = coalition(*words, database_url=url, folder=tmp_path, COALITION_KEY=f"{remote[1]}0")

    assert (outcome.code, outcome.said) == (1, "A valid API key is needed: There is no such key.")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("PL", "PL"),
        ("pl", "PL"),
        ("POL", "PL"),
        ("Poland", "PL"),
        (" poland ", "PL"),
        ("UK", "GB"),
        ("el", "GR"),
        ("Türkiye", "TR"),
        ("TURKIYE", "TR"),
        ("Turkey", "TR"),
        ("Czech Republic", "CZ"),
        ("Niger", "NE"),
        ("South Korea", "KR"),
        ("XKX", "XK"),
    ],
)
def test_a_country_is_found_by_its_codes_and_names(session: Session, given: str, code: str) -> None:
    assert names(session).code(given) == code


@pytest.mark.parametrize("given", ["Korea", "Congo", "Macedonia", "Land", "ZZ", "England", "Turkey?", "?"])
def test_a_country_is_never_guessed(session: Session, given: str) -> None:
    with pytest.raises(ValueError, match="code"):
        names(session).code(given)


def names(session: Session) -> Names:
    return Names((each.code, each.alpha3, each.name) for each in every_country(session).values())


@pytest.mark.parametrize("name", ["long.csv", "long.ndjson"])
def test_a_long_file_is_read_as_its_rows_are_taken(tmp_path: Path, name: str) -> None:
    path, lines = tmp_path / name, 50_000
    header = "country,summary\r\n" if name == "long.csv" else ""
    line = "PL,A statement.\r\n" if name == "long.csv" else '{"country":"PL"}\n'
    path.write_text(header + line * lines, encoding="utf-8", newline="")
    told: list[int] = []

    rows = read_file(path, Reading(), Names([("PL", "POL", "Poland")]), told.append)
    first = next(rows)

    assert (first.number, first.body["country"]) == (2 if header else 1, "PL")
    assert told[0] < path.stat().st_size / 10
    assert sum(1 for _ in rows) == lines - 1
    assert told[-1] == path.stat().st_size


@pytest.mark.parametrize("name", ["late.csv", "late.ndjson"])
def test_what_is_not_utf8_late_in_a_file_keeps_all_of_it_out(url: str, tmp_path: Path, name: str) -> None:
    bodies = [json.dumps(make.body(speaker=f"S {number}")) for number in range(100)]
    table = ["country,kind,firmness,stated_on,summary", *["PL,troops,planned,2025-03-27,It plans."] * 1000]
    text = "\n".join(table if name == "late.csv" else bodies)
    (tmp_path / name).write_bytes(text.encode() + b"\n\xff\xfe\n")
    outcome = coalition("import", name, database_url=url, folder=tmp_path)

    assert "is not UTF-8" in " ".join(faults(outcome))
    assert recorded(url) == []
