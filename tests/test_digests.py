import json
from datetime import UTC, date, datetime

from starlette.testclient import TestClient

from app.appending import Values
from app.db import Database, canonical_json
from app.digests import SOURCE_FIELDS, STATEMENT_FIELDS, entry_json
from app.verify import verify
from app.vocabulary import Kind
from tests.bench.history import make_history

SOURCE = Values(**dict.fromkeys(SOURCE_FIELDS, None) | {"id": 7, "title": 'A "title" \\ in\nUTF-8: ä €'})
LISTED = [{"type": "other", "text": "Nach der Wahl: „vielleicht“."}]
STATEMENT = Values(
    **dict.fromkeys(STATEMENT_FIELDS, None)
    | {
        "kind": Kind.REFUSAL,
        "refuses": ["troops", "air"],
        "conditions": LISTED,
        "caveats": [],
        "effective_on": date(2025, 3, 27),
        "quantity_min": 2**62,
        "summary": "\u2028\x7f\U0001f600",
    }
)
CHANGE = Values(
    seq=5,
    action="correct",
    recorded_at=datetime(2025, 3, 28, 12, tzinfo=UTC),
    recorded_by_id="k",
    recorded_by_name="K",
    reason='Why: "so".',
    replaces=3,
    chain=1,
)
RELATIONS = [Values(target_seq=2, relation="repeats"), Values(target_seq=1, relation="clarifies")]


def test_a_digest_covers_canonical_json() -> None:
    covered = entry_json(CHANGE, STATEMENT, RELATIONS, SOURCE)

    assert canonical_json(json.loads(covered)) == covered


def test_a_digest_covers_every_value_as_it_is() -> None:
    found = json.loads(entry_json(CHANGE, STATEMENT, RELATIONS, SOURCE))
    statement = found.pop("statement")

    assert found == {
        "seq": 5,
        "action": "correct",
        "recorded_at": "2025-03-28T12:00:00.000000Z",
        "recorded_by": {"id": "k", "name": "K"},
        "reason": 'Why: "so".',
        "replaces": 3,
        "chain": 1,
    }
    assert statement.pop("source") == vars(SOURCE)
    assert statement.pop("relates_to") == [[1, "clarifies"], [2, "repeats"]]
    assert statement == vars(STATEMENT) | {"effective_on": "2025-03-27"}


def test_a_stored_list_is_covered_as_the_list_that_it_is() -> None:
    stored = {"conditions": canonical_json(LISTED), "caveats": "[]", "refuses": '["troops","air"]'}
    read = Values(**vars(STATEMENT) | stored)

    assert entry_json(CHANGE, read, RELATIONS, SOURCE) == entry_json(CHANGE, STATEMENT, RELATIONS, SOURCE)


def test_a_retraction_has_no_statement() -> None:
    assert json.loads(entry_json(CHANGE, None, (), None))["statement"] is None


def test_a_long_history_is_sound_and_the_same_each_time(database: Database, anyone: TestClient) -> None:
    head = make_history(database, 400)
    with database.reading() as session:
        found = verify(session)

    assert (found.finding, found.seq, found.digest) == (None, 400, head.digest)
    assert head.digest.startswith("5b65e4c2e7a8b461")
    actions = {item["action"] for item in anyone.get("/v1/changes?limit=1000").json()["items"]}
    assert actions == {"state", "correct", "retract"}
