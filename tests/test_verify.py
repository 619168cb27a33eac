from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import Session, SQLModel
from starlette.testclient import TestClient

from app.appending import Values
from app.changes import Change
from app.db import Database
from app.deriving import DERIVED, derive_everything
from app.digests import NO_DIGEST, SOURCE_FIELDS, entry_json, next_digest
from app.lines import LineEntry
from app.pieces import EntryPieces
from app.settings import Settings
from app.sources import Source
from app.standings import PositionJSON, Standing
from app.statements import Statement, StatementRelation
from app.verify import Finding, Verified, verify
from tests import make
from tests.commands import coalition
from tests.conftest import Clock

OTHER = {"url": "https://example.org/b", "title": "B", "publisher": "Gazette", "published_on": "2025-04"}
NUMBERED = ("change", "statement", "statement_relation", "line_entry", "change_json", "standing")
LAST = 8


@pytest.fixture
def record(curator: TestClient, database: Database, clock: Clock) -> Database:
    """A sound record with everything in it that a record can hold."""
    make.state(curator, conditions=[{"type": "ceasefire"}], quantity={"min": 5, "unit": "soldiers"})
    clock.pass_(hours=1)
    make.refuse(curator, country="FR", refuses=["sea", "air"], source=OTHER, notes="Überall.")
    clock.pass_(hours=1)
    make.correct(curator, 1, firmness="committed")
    make.state(curator, source=OTHER, relates_to=[{"seq": 1, "relation": "repeats"}], firmness="committed")
    clock.set("2026-01-16")
    make.correct(curator, 3, stated_on="../2026-03-01")
    make.retract(curator, 2)
    make.state(
        curator, firmness="withdrawn", stated_on="2025-04", relates_to=[{"seq": 4, "relation": "denies"}]
    )
    make.state(curator, kind="support", component="training", authority="media")
    return database


@contextmanager
def forging(database: Database) -> Iterator[sa.Connection]:
    """Give a connection to whose statements nothing objects; all that they did is undone."""
    with database.engine.connect() as connection:
        if database.is_embedded:
            triggers = connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
            for name in triggers.scalars().all():
                connection.execute(sa.text(f"DROP TRIGGER {name}"))
            connection.execute(sa.text("PRAGMA defer_foreign_keys = ON"))
        else:
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        yield connection
        connection.rollback()


def verified(database: Database, *forgeries: str, head: str | None = None, **values: Any) -> Verified:
    """Return what is found after forgeries."""
    with forging(database) as connection:
        for forgery in forgeries:
            connection.execute(sa.text(forgery), values if ":" in forgery else {})
        return verify(Session(connection), head=head)


def found(database: Database, *forgeries: str, **values: Any) -> tuple[int, str]:
    finding = verified(database, *forgeries, **values).finding
    return (0, "nothing") if finding is None else (finding.seq, finding.what)


def renumbered(numbers: dict[int, int]) -> Iterable[str]:
    """Yield what gives entries other numbers, by way of negative ones, which nobody has."""
    for table in NUMBERED:
        for old, new in numbers.items():
            yield f"UPDATE {table} SET seq = -{new} WHERE seq = {old}"
        yield f"UPDATE {table} SET seq = -seq WHERE seq < 0"


def copied(table: type[SQLModel], where: str, **changed: str) -> str:
    """Return what inserts a copy of a row that differs in some columns."""
    names = list(table.model_fields)
    chosen = ", ".join(changed.get(name, name) for name in names)
    name = table.__tablename__
    return f"INSERT INTO {name} ({', '.join(names)}) SELECT {chosen} FROM {name} WHERE {where}"


def other(value: Any) -> Any:
    """Return a value of the same type that is another one."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case date():
            return value.replace(year=value.year - 1)
        case None:
            return 7
    return f"{value[:-1]}{'x' if value[-1:] != 'x' else 'y'}"


def edited(record: Database, table: type[SQLModel], names: Iterable[str], where: str) -> dict[str, int]:
    """Return at which entry an edit of each column is found."""
    at: dict[str, int] = {}
    for name in names:
        query = f"SELECT {name} FROM {table.__tablename__} WHERE {where}"
        with record.engine.connect() as connection:
            stored = connection.execute(sa.text(query)).scalar_one()
        forgery = f"UPDATE {table.__tablename__} SET {name} = :other WHERE {where}"
        column = sa.inspect(table).local_table.c[name].type
        changed = other(stored)
        if stored is None and isinstance(column, sa.String | sa.types.TypeDecorator):
            changed = "other"
        at[name] = found(record, forgery, other=changed)[0]
    return at


def test_a_sound_record_verifies(record: Database, curator: TestClient) -> None:
    meta = curator.get("/v1/changes").json()["meta"]
    told: list[int] = []
    with record.reading() as session:
        sound = verify(session, head=meta["digest"], progress=told.append)

    assert sound == Verified(LAST, meta["digest"], None)
    assert sum(told) == meta["total"] == LAST


def test_the_empty_record_verifies(database: Database) -> None:
    assert verified(database) == Verified(0, NO_DIGEST, None)
    assert verified(database, head=NO_DIGEST).finding is None


def test_every_digest_ever_shown_is_in_the_record(record: Database, curator: TestClient) -> None:
    digests = [item["digest"] for item in curator.get("/v1/changes").json()["items"]]

    assert [verified(record, head=digest).finding for digest in [NO_DIGEST, *digests]] == [None] * (LAST + 1)


def test_an_edit_of_any_part_of_an_entry_is_found_there(record: Database) -> None:
    names = [name for name in Change.model_fields if name not in ("seq", "replaces")]

    assert edited(record, Change, names, "seq = 3") == dict.fromkeys(names, 3)
    assert found(record, "UPDATE change SET replaces = NULL WHERE seq = 3")[0] == 3
    assert found(record, "UPDATE change SET replaces = 4 WHERE seq = 3")[0] == 3


def test_an_edit_of_any_field_of_a_statement_is_found_there(record: Database) -> None:
    names = [name for name in Statement.model_fields if name != "seq"]

    assert edited(record, Statement, names, "seq = 1") == dict.fromkeys(names, 1)
    assert edited(record, Statement, names, "seq = 2") == dict.fromkeys(names, 2)


def test_an_edit_of_a_source_is_found_at_the_first_entry_that_rests_on_it(record: Database) -> None:
    names = [*SOURCE_FIELDS[1:], "canonical_url"]

    assert edited(record, Source, names, "id = 2") == dict.fromkeys(names, 2)
    assert found(record, "UPDATE source SET known_from_seq = 3 WHERE id = 2")[0] == 2


def test_an_edit_of_a_relation_is_found_there(record: Database) -> None:
    at = edited(record, StatementRelation, ("target_seq", "target_chain"), "seq = 4")

    assert at == {"target_seq": 4, "target_chain": 4}
    assert found(record, "UPDATE statement_relation SET relation = 'denies' WHERE seq = 4")[0] == 4


def test_an_edit_of_a_place_in_a_line_is_found_there(record: Database) -> None:
    names = ("effective_on", "is_withdrawal", "chain")

    assert edited(record, LineEntry, names, "seq = 7") == dict.fromkeys(names, 7)
    assert found(record, "UPDATE line_entry SET line_id = line_id + 1 WHERE seq = 7")[0] == 7
    assert found(record, "UPDATE line_entry SET voice = 'report' WHERE seq = 2")[0] == 2


def test_an_edit_of_what_is_kept_ready_to_be_answered_is_found_there(record: Database) -> None:
    for name in EntryPieces._fields:
        forged = f"{name} + 1" if name.endswith("_at") else f"{name} || ' '"
        forgery = f"UPDATE change_json SET {name} = {forged} WHERE seq = 4"
        assert found(record, forgery) == (4, "its JSON is not what it says")
    for forged in (
        "affirmations = affirmations + 1",
        "sides = '1'",
        "step = NULL",
        "step_seqs = '1'",
        "shown_seq = 1",
        "since = '2020-01-01'",
        "last_affirmed_on = '2020-01-01'",
        "content = 'nothing'",
        "holds_from = '2020-01-01'",
        "left_seq = 5",
    ):
        at, said = found(record, f"UPDATE standing SET {forged} WHERE seq = 3")
        assert (at, said) == (3, "what its lines answer from then on does not follow"), forged
    assert found(record, "DELETE FROM standing WHERE seq = 3")[0] == 3
    assert found(record, copied(Standing, "seq = 3", line_id="2"))[0] == 3


def test_an_edit_of_what_is_kept_of_a_position_is_found_where_it_was_first_held(record: Database) -> None:
    said = "the JSON of what its lines hold is not what they say"
    kept = "WHERE id = (SELECT min(position_id) FROM standing WHERE seq = 3)"
    for name in ("opening", "middle", "ending"):
        assert found(record, f"UPDATE position_json SET {name} = {name} || ' ' {kept}") == (3, said)
    assert found(record, f"UPDATE position_json SET last_affirmed_on = '2020-01-01' {kept}") == (3, said)
    assert found(record, f"DELETE FROM position_json {kept}") == (3, said)
    assert found(record, "UPDATE standing SET position_id = NULL WHERE seq = 3") == (3, said)
    assert found(record, "UPDATE standing SET position_id = 1 WHERE seq = 3") == (3, said)
    assert found(record, copied(PositionJSON, "id = 1", id="70")) == (1, said)


@pytest.mark.parametrize("marks", ['[{"type":"other"}]', '[{"text":null}]', "[7]", "[", "{}", "7"])
def test_nonsense_is_found_though_its_digest_matches(record: Database, marks: str) -> None:
    """Whoever forges an entry can also tell its digest, be it the last."""
    with forging(record) as connection:
        session = Session(connection)
        before, change = (session.get_one(Change, seq) for seq in (LAST - 1, LAST))
        statement = session.get_one(Statement, LAST)
        source = session.get_one(Source, statement.source_id)
        forged = Values(**statement.model_dump() | {"conditions": marks})
        change.digest = next_digest(before.digest, entry_json(change, forged, (), source))
        session.flush()
        forgery = sa.text("UPDATE statement SET conditions = :marks WHERE seq = :last")
        session.execute(forgery, {"marks": marks, "last": LAST})
        finding = verify(session).finding

    assert finding is not None
    assert finding.seq == LAST


def test_what_follows_from_the_ledger_can_be_made_again(record: Database) -> None:
    def rows(session: Session) -> list[list[tuple[Any, ...]]]:
        tables = (SQLModel.metadata.tables[str(each.__tablename__)] for each in DERIVED)
        # In what order positions come to their ids means nothing.
        ids = {f"{PositionJSON.__tablename__}.id", f"{Standing.__tablename__}.position_id"}
        told = ([each for each in table.columns if str(each) not in ids] for table in tables)
        return [sorted(map(tuple, session.execute(sa.select(*columns))), key=str) for columns in told]

    with record.writing() as session:
        before = rows(session)
        derive_everything(session)

        assert all(before)
        assert rows(session) == before


def test_what_was_deleted_is_found_at_the_first_entry_that_misses_it(record: Database) -> None:
    wanted = {
        "DELETE FROM {table} WHERE seq = 4": (5, "entry 4 is missing"),
        "DELETE FROM {table} WHERE seq = 1": (2, "entry 1 is missing"),
        "DELETE FROM change WHERE seq = 8": (8, "a row without its entry"),
        "DELETE FROM statement WHERE seq = 7": (7, "its digest does not match"),
        "DELETE FROM statement_relation WHERE seq = 7": (7, "its digest does not match"),
        "DELETE FROM source WHERE id = 2": (2, "its digest does not match"),
        "DELETE FROM line_entry WHERE seq = 2 AND line_id = 3": (2, "its places in the lines"),
        "DELETE FROM line WHERE id = 3": (2, "its places in the lines"),
    }
    at = {}
    for forgery, (_, what) in wanted.items():
        seq, said = found(record, *dict.fromkeys(forgery.format(table=each) for each in reversed(NUMBERED)))
        at[forgery] = (seq, said[: len(what)])

    assert at == wanted


def test_two_entries_that_changed_places_are_found(record: Database) -> None:
    assert found(record, *renumbered({4: 8, 8: 4}))[0] == 4


def test_an_entry_slipped_in_is_found_where_it_stands(record: Database) -> None:
    later = {seq: seq + 1 for seq in range(4, LAST + 1)}
    copies = (
        copied(Change, "seq = 9", seq="4", chain="4"),
        copied(Statement, "seq = 9", seq="4", summary="'Slipped in.'"),
    )

    assert found(record, *renumbered(later), *copies)[0] == 4


def test_an_entry_added_at_the_end_is_found(record: Database) -> None:
    change = copied(Change, "seq = 8", seq="9", chain="9")
    statement = copied(Statement, "seq = 8", seq="9")

    assert found(record, change)[0] == 9
    assert found(record, change, statement)[0] == 9
    assert found(record, copied(LineEntry, "seq = 8", seq="9")) == (
        9,
        "a row without its entry: something was inserted",
    )


def test_a_place_in_a_line_that_no_statement_enters_is_found(record: Database) -> None:
    assert found(record, copied(LineEntry, "seq = 8", line_id="1"))[0] == 8
    assert found(record, copied(LineEntry, "seq = 8", seq="6"))[0] == 6


def test_an_end_that_was_cut_off_is_found_by_a_digest_kept_elsewhere(
    record: Database, curator: TestClient
) -> None:
    *_, before, kept = (item["digest"] for item in curator.get("/v1/changes").json()["items"])
    cut = ["DELETE FROM report_count WHERE line_id IN (SELECT line_id FROM line_entry WHERE seq = 8)"]
    cut += (f"DELETE FROM {table} WHERE seq = 8" for table in reversed(NUMBERED))
    cut.append("UPDATE standing SET left_seq = NULL WHERE left_seq = 8")

    assert verified(record, *cut) == Verified(LAST - 1, before, None)
    assert verified(record, *cut, head=before).finding is None
    assert verified(record, *cut, head=kept).finding == Finding(
        LAST - 1, "no entry has the digest that you kept: the end was cut off or history was rewritten"
    )


def test_only_the_first_of_several_faults_is_named(record: Database) -> None:
    forgeries = [f"UPDATE statement SET summary = 'forged' WHERE seq = {seq}" for seq in (8, 2, 4)]

    assert verified(record, *forgeries).seq == 1
    assert found(record, *forgeries)[0] == 2


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)  # PostgreSQL refuses most of these
def test_a_value_forged_into_nonsense_does_not_stop_the_walk(record: Database) -> None:
    changes = [
        "firmness = 'bogus'",
        "stated_latest_on = 'never'",
        "effective_on = '20250327'",
        "conditions = '[{'",
        "conditions = ' []'",
        "summary = X'FF00'",
        "credibility = 'high'",
    ]
    at = {change: found(record, f"UPDATE statement SET {change} WHERE seq = 4")[0] for change in changes}

    assert at == dict.fromkeys(changes, 4)


@pytest.mark.usefixtures("record")
def test_the_command_says_that_a_record_is_sound(
    settings: Settings, curator: TestClient, tmp_path: Path
) -> None:
    digest = curator.get("/v1/changes").json()["meta"]["digest"]
    outcome = coalition("verify", "--head", digest, database_url=settings.database_url, folder=tmp_path)

    assert (outcome.code, outcome.out, outcome.said) == (0, f"{digest}\n", f"Sound: {LAST} entries.")


def test_the_command_names_the_first_entry_that_is_not_sound(
    record: Database, settings: Settings, tmp_path: Path
) -> None:
    with forging(record) as connection:
        connection.execute(sa.text("UPDATE statement SET summary = '[/forged]' WHERE seq = 4"))
        connection.commit()
    outcome = coalition("verify", database_url=settings.database_url, folder=tmp_path)

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.said == (
        "Not sound: entry 4: its digest does not match what is stored: "
        "something was edited, deleted or inserted."
    )


@pytest.mark.usefixtures("record")
def test_the_command_refuses_a_digest_that_the_record_does_not_have(
    settings: Settings, tmp_path: Path
) -> None:
    heads = {"f" * 64: 1, "f" * 63: 2, "latest": 2}
    outcomes = [
        coalition("verify", "--head", head, database_url=settings.database_url, folder=tmp_path)
        for head in heads
    ]

    assert [each.code for each in outcomes] == list(heads.values())
    assert [each.out for each in outcomes] == ["", "", ""]
    assert ["digest" in each.said for each in outcomes] == [True] * 3
