"""Random records, kept on both databases and in the reference model side by side: all three answer alike.

`TRACKER_TEST_EXAMPLES` asks for that many new random records instead of the usual few, which are the
same in every run; `--hypothesis-seed` then chooses which.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from httpx2 import Response
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from sqlmodel import select

from app.auth import ApiKey, create_key
from app.db import Database
from app.main import create_app
from app.settings import Settings
from app.vocabulary import Scope
from tests.conftest import RECORD, Clock, client, empty, looked_up, wait_until_sure
from tests.model import (
    DiffEntry,
    Entry,
    Line,
    Model,
    Position,
    Statement,
    amount,
    as_set,
    bounds,
    is_refusal,
    lines_of,
    related,
    said,
)

Body = dict[str, Any]

EXAMPLES = int(os.environ.get("TRACKER_TEST_EXAMPLES", "0"))
UNHURRIED = settings(
    deadline=None,
    derandomize=not EXAMPLES,
    suppress_health_check=list(HealthCheck),
)

FORCE = ("troops", "air", "sea")
SUPPORT = (
    "logistics",
    "training",
    "bases",
    "intelligence",
    "monitoring",
    "equipment",
    "funding",
    "command",
    "other",
)
OFFERS = ("considering", "signalled", "planned", "committed", "authorised", "deployed")
REFUSALS = ("leaning", "declared", "binding")
GOVERNMENT = (
    "head_of_government",
    "foreign_minister",
    "defence_minister",
    "other_minister",
    "ministry",
    "diplomat",
)
REPORTS = ("parliament", "armed_forces", "unnamed_official", "opposition", "media", "third_party")
COUNTRIES = ("PL",) * 7 + ("LT",) * 2 + ("FR",)
EXECUTIVE_PRESIDENTS = ("FR",)
DAYS = [date(2025, 3, day) for day in (1, 5, 10, 11, 15, 20, 27, 28, 31)] + [
    date(2025, 4, day) for day in (1, 2, 10, 15, 20, 30)
]
LONG_AFTER = date(2025, 11, 30)
"""By then everything is stale that was not affirmed after the middle of the span."""


def source(name: str) -> Body:
    """Return a source; the name 0 may be in the record already."""
    return {
        "url": f"https://example.org/{name}",
        "title": f"Title {name}",
        "publisher": "Example Gazette",
        "published_on": None,
    }


def mostly(usual: Any, *others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw `usual` in about two cases of three, else from `others`."""
    return st.integers(0, 5).flatmap(lambda n: st.just(usual) if n < 4 else st.one_of(*others))


days = st.sampled_from(DAYS)
qualifiers = mostly("", st.sampled_from("~?%"))
months = st.sampled_from(("2025-03", "2025-04"))
intervals = st.tuples(days, days).map(lambda pair: f"{min(pair)}/{max(pair)}")
edtf_dates = st.one_of(
    days.map(str),
    days.map(str),
    st.builds("{}{}".format, days, qualifiers),
    st.builds("{}{}".format, months, qualifiers),
    intervals,
    st.builds("../{}{}".format, st.one_of(days.map(str), months), qualifiers),
    st.builds("{}/2025-04{}".format, days, qualifiers),
    st.builds("2025-03{}/{}".format, qualifiers, days),
    st.builds("{}{}".format, st.sampled_from(("2024", "2025", "2025-03/2025")), qualifiers),
)

conditions = st.lists(
    st.sampled_from(
        (
            {"type": "ceasefire", "text": None},
            {"type": "ceasefire", "text": "A lasting one."},
            {"type": "us_backstop", "text": None},
            {"type": "other", "text": "If asked."},
            {"type": "other", "text": "if asked."},
        )
    ),
    max_size=3,
)
caveats = st.lists(
    st.sampled_from(({"type": "non_combat", "text": None}, {"type": "other", "text": "In the west."})),
    min_size=1,
    max_size=2,
)
quantities = st.sampled_from(
    (
        {"min": 100, "max": None, "unit": "soldiers", "verbatim": "at least a hundred"},
        {"min": 100, "max": 200, "unit": "soldiers", "verbatim": None},
        {"min": None, "max": None, "unit": None, "verbatim": "some"},
        {"min": None, "max": None, "unit": None, "verbatim": None},
    )
)
# Few lines, so that statements meet.
kinds = st.sampled_from(("troops",) * 6 + ("refusal",) * 5 + ("support",) * 2 + ("air", "sea"))
supports = st.sampled_from(("other",) * 12 + ("logistics",) * 4 + SUPPORT)
scopes = mostly(
    ["troops"],
    st.none(),
    st.sampled_from((["sea", "troops"], ["troops", "air", "sea"], ["troops", "logistics"], ["other"])),
    st.lists(st.sampled_from(FORCE + SUPPORT), min_size=1, max_size=3),
)
authorities = st.sampled_from(("head_of_government",) * 8 + ("head_of_state",) * 10 + GOVERNMENT + REPORTS)
sources = st.integers(0, 9).map(lambda number: source(str(number)))
marks = st.lists(
    st.tuples(
        st.sampled_from(("repeats", "repeats", "repeats", "clarifies", "clarifies", "denies")),
        st.integers(0, 12),
    ),
    min_size=1,
    max_size=2,
)


def rungs(kind: str) -> tuple[str, ...]:
    """Return the firmnesses that statements of a kind may have."""
    return (*(REFUSALS if kind == "refusal" else OFFERS), "withdrawn")


@st.composite
def bodies(draw: st.DrawFn, countries: tuple[str, ...] = COUNTRIES) -> Body:
    """Draw a body for POST /v1/positions; its `relates_to` still says how, and how far back."""
    kind = draw(kinds)
    ladder = rungs(kind)
    # The voice may also be given beside an authority, or instead of one.
    voiced = draw(mostly((True, False), st.sampled_from(((True, True), (False, True), (True, False)))))
    return {
        "country": draw(st.sampled_from(countries)),
        "kind": kind,
        "refuses": draw(scopes) if kind == "refusal" else None,
        "component": draw(supports) if kind == "support" else None,
        # Three rungs of a ladder are enough: equal contents must be likely.
        "firmness": draw(st.sampled_from((*ladder[1:3], *ladder[1:3], *ladder, "withdrawn"))),
        "stated_on": draw(edtf_dates),
        "summary": draw(st.sampled_from(("So they said.", "So it was said."))),
        "speaker": draw(mostly(None, st.just("A. Speaker"))),
        "authority": draw(authorities) if voiced[0] else None,
        "voice": draw(st.sampled_from(("government", "head_of_state", "report"))) if voiced[1] else None,
        "conditions": draw(mostly([], conditions)),
        "caveats": draw(mostly([], caveats)),
        "location": draw(mostly(None, st.sampled_from(("ukraine", "home")))),
        "quantity": draw(mostly(None, quantities)),
        "relates_to": draw(mostly([], marks)),
        "source": draw(sources),
    }


@st.composite
def parts(draw: st.DrawFn, countries: tuple[str, ...] = COUNTRIES) -> Body:
    """Draw some fields of a body; with another kind mostly come the fields that it needs."""
    whole = draw(bodies(countries))
    names = draw(st.sets(st.sampled_from(sorted(whole)), min_size=1, max_size=4))
    if "kind" in names and draw(st.integers(0, 3)):
        names |= {"firmness", "component"} | ({"refuses"} if whole["kind"] != "refusal" else set())
        if whole["kind"] == "refusal" and draw(st.booleans()):
            names.add("refuses")
    return {name: whole[name] for name in whole if name in names}


def corrected(old: Body, given: Body) -> Body:
    """Return the body that a correction asks for (DESIGN 5): what is left out is kept."""
    whole = old | given
    if whole["kind"] != old["kind"]:
        whole |= {name: given.get(name) for name in ("component", "refuses")}
    # With no authority to derive it from, a voice that was given stays.
    if "authority" in given or ("country" in given and old["authority"] is not None):
        whole["voice"] = given.get("voice")
    return whole


def voice_of(body: Body) -> str | None:
    """Return for whom the speaker of a body speaks (DESIGN 2, "voice"); None if it does not say."""
    authority = body["authority"]
    if body["voice"] is not None or authority is None:
        return str(body["voice"]) if body["voice"] else None
    if authority == "head_of_state":
        return "government" if body["country"] in EXECUTIVE_PRESIDENTS else "head_of_state"
    return "government" if authority in GOVERNMENT else "report"


def resolved(body: Body) -> Statement:
    """Return the statement that a valid body makes: its voice and its components filled in."""
    is_offer_of_force = body["kind"] in FORCE
    refuses = None
    if body["kind"] == "refusal":
        refuses = [name for name in FORCE + SUPPORT if name in (body["refuses"] or FORCE)]
    return body | {
        "voice": voice_of(body),
        "refuses": refuses,
        "component": body["kind"] if is_offer_of_force else body["component"],
    }


def faults_in(body: Body) -> set[str]:
    """Return the codes for what is wrong with a body by itself."""
    kind, component = body["kind"], body["component"]
    found = set()
    if kind == "refusal" and component is not None:
        found.add("not_for_refusal")
    if kind != "refusal" and body["refuses"] is not None:
        found.add("only_for_refusal")
    if kind == "support" and component not in SUPPORT:
        found.add("missing" if component is None else "enum")
    if kind in FORCE and component not in (None, kind):
        found.add("contradicts_kind")
    if body["firmness"] not in rungs(kind):
        found.add("wrong_ladder")
    if voice_of(body) is None:
        found.add("missing")
    return found


def seen(view: dict[str, Any] | None) -> Position | None:
    """Return a position of the service as the model would give it."""
    if view is None:
        return None
    assert view["conditional"] == bool(view["conditions"])
    same = (
        "country component kind firmness voice location since last_affirmed_on affirmations contested "
        "certainty reports seq effective_on"
    )
    return {name: view[name] for name in same.split()} | {
        "conditions": as_set(view["conditions"]),
        "caveats": as_set(view["caveats"]),
        "quantity": amount(view["quantity"]),
        "sides": sorted(side["seq"] for side in view["sides"]),
    }


def seen_entry(entry: dict[str, Any]) -> DiffEntry:
    """Return an entry of a diff of the service as the model would give it."""
    readers: dict[str, Callable[[Any], Any]] = {
        "conditions": as_set,
        "caveats": as_set,
        "quantity": amount,
    }
    fields = {
        name: tuple(readers.get(name, lambda value: value)(value) for value in pair)
        for name, pair in entry["fields"].items()
    }
    step = {name: entry[name] for name in ("on", "seq") if entry[name] is not None}
    same = {name: entry[name] for name in ("op", "country", "component", "cause", "seqs")}
    return same | step | {"before": seen(entry["before"]), "after": seen(entry["after"]), "fields": fields}


class Services:
    """Applications that are asked the same: of each database two, as two processes of one server.

    One of the two takes what is written and, from whoever writes, questions that are answered anew.
    Others ask both, which keep their answers.
    """

    def __init__(self, template: Path, folder: Path, *others: str) -> None:
        self.template, self.file = template, folder / "tracker.db"
        urls = (f"sqlite:///{self.file}", *others)
        self.apps = [create_app(Settings(database_url=url, _env_file=None)) for url in urls for _ in range(2)]
        self.databases: list[Database] = [app.state.database for app in self.apps]
        self.writers: list[TestClient] = []
        self.readers: list[TestClient] = []
        self.records = 0

    def __enter__(self) -> "Services":
        """Make the clients; those that write have one key, which is valid everywhere."""
        shutil.copy(self.template, self.file)
        with self.databases[0].writing() as session:
            key = create_key(session, "contributor", Scope.CONTRIBUTE)
            self.key = session.exec(select(ApiKey)).one().model_dump()
        self.readers = [client(app) for app in self.apps]
        self.writers = [client(app, key) for app in self.apps[::2]]
        for each in self.readers + self.writers:
            each.headers["X-Request-ID"] = "the-same"
        for reader in self.readers:
            reader.__enter__()
        for app in self.apps:
            wait_until_sure(app)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the clients, and with them the databases."""
        for each in self.readers:
            each.__exit__()

    def empty(self) -> None:
        """Take everything out of every record but the key."""
        for database in self.databases[::2]:
            if not database.is_embedded:
                empty(database)
        for database in self.databases[:2]:
            database.close()
        for name in ("", "-wal", "-shm"):
            self.file.with_name(self.file.name + name).unlink(missing_ok=True)
        shutil.copy(self.template, self.file)
        for database in self.databases[::2]:
            with database.writing() as session:
                session.add(ApiKey(**self.key))
        # No record but in a test begins anew: under another name no answer of the last one is found.
        self.records += 1
        for each in self.readers + self.writers:
            each.base_url = f"http://record-{self.records}.example"

    def sizes(self) -> list[int]:
        """Return how many rows each table holds, in every database."""
        found = []
        for database in self.databases[::2]:
            with database.reading() as session:
                for table in RECORD.split(", "):
                    found.append(session.scalar(sa.text(f"SELECT count(*) FROM {table}")))
        return found

    def get(self, url: str) -> bytes:
        """Return what all answer, to the byte, whether anew or as before."""
        answer = the_same([each.get(url) for each in self.writers + self.readers])
        assert answer.status_code == 200, answer.text
        return answer.content

    def post(self, url: str, body: Body) -> Response:
        """Return the answer that all give."""
        return the_same([each.post(url, json=body) for each in self.writers])


def the_same(answers: list[Response]) -> Response:
    """Return the one answer; fail if they differ in status, in a header or in any byte of the body."""
    for each in answers[1:]:
        assert each.status_code == answers[0].status_code
        assert each.content == answers[0].content
        assert each.headers == answers[0].headers
    return answers[0]


Act = tuple[Any, ...]
"""The name of a method of the machine, and its arguments."""


def act(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Act]:
    """Draw the arguments of an act."""
    return st.tuples(st.just(name), *arguments)


state = act("state", bodies())
say_again = act(
    "say_again",
    st.integers(0, 5),
    parts(),
    st.sampled_from((None, "repeats", "clarifies")),
    st.fixed_dictionaries({"stated_on": edtf_dates, "source": sources}),
)
correct = act("correct", st.integers(0, 7), parts())
retract = act("retract", st.integers(0, 7))
let_time_pass = act("let_time_pass", st.sampled_from((-30, -1, 1, 5, 12, 24, 24, 72, 240)))
acts = st.one_of(state, state, state, say_again, say_again, correct, correct, retract, let_time_pass)

asked_days = st.one_of(days, days, st.sampled_from((date(2025, 2, 28), LONG_AFTER)))
seqs_back = st.one_of(st.just(0), st.integers(0, 25))
modes = st.sampled_from(("net", "events"))
asked_countries = st.sampled_from((None, None, "PL", "LT", "FR"))
asked_ends = st.one_of(
    st.sampled_from(((date(2025, 2, 28), date(2025, 4, 30)), (date(2025, 3, 10), LONG_AFTER))),
    st.tuples(asked_days, asked_days),
)
questions = st.one_of(
    act("ask_one_position", st.integers(0, 9), asked_days, seqs_back),
    act("ask_what_differs_between_days", asked_ends, seqs_back, modes, asked_countries),
    act(
        "ask_what_differs_in_our_knowledge",
        st.tuples(seqs_back, seqs_back),
        asked_days,
        modes,
        asked_countries,
    ),
    act(
        "ask_positions",
        asked_days,
        seqs_back,
        st.sampled_from(("certain", "possible")),
        asked_countries,
        st.sampled_from((None, None, "troops", "other")),
        st.sampled_from((None, None, 1, 2)),
    ),
    act("ask_as_known_at_an_instant", st.integers(0, 30), asked_days, st.integers(0, 1)),
    act("ask_for_the_ledger", seqs_back),
    act("ask_again", st.integers(0, 4)),
)


class LocalModel(Model):
    """The model, in which only statements of the same country and voice can be repeated at all times.

    A correction can give a statement that others repeat to another country or voice: from then on
    it is none that they repeat.
    """

    def repeated(self, entry: Entry, seq: int, path: tuple[int, ...] = ()) -> list[Entry]:
        found = []
        for named in related(entry, "repeats"):
            for target in self.live(seq):
                if self.chain(target.seq) == self.chain(named) and is_of_same(entry, target):
                    found += self.repeated(target, seq, (*path, entry.seq)) or [target]
        return found


def is_of_same(entry: Entry, other: Entry) -> bool:
    """Tell whether two statements are of one country and voice."""
    return all(said(entry)[name] == said(other)[name] for name in ("country", "voice"))


class RecordMachine(RuleBasedStateMachine):
    """One record, kept three times, and questions about it."""

    def __init__(self, services: Services, clock: Clock) -> None:
        super().__init__()
        self.services, self.clock = services, clock
        self.model = LocalModel()
        self.bodies: dict[int, Body] = {}
        """What each entry that holds a statement was made of, its `refuses` spelled out."""
        self.instants: list[datetime] = []
        self.remembered: dict[str, bytes] = {}
        services.empty()

    @property
    def head(self) -> int:
        """The number of the last entry."""
        return len(self.model.entries)

    @property
    def recorded_at(self) -> datetime:
        """The instant of an entry recorded now (DESIGN 4): always later than the last one."""
        return max([self.clock.now, *(last + timedelta(microseconds=1) for last in self.instants[-1:])])

    @initialize(
        day=st.sampled_from(("2026-01-15", "2025-05-02", "2025-04-20", "2025-04-05", "2025-03-20")),
        drawn=st.lists(bodies(), min_size=3, max_size=7),
    )
    def begin(self, day: str, drawn: list[Body]) -> None:
        self.clock.set(day)
        for each in drawn:
            self.state(each)

    # One rule for both: else many an example would have the one without the other.
    @rule(acts=st.lists(acts, min_size=2, max_size=6), questions=st.lists(questions, min_size=1, max_size=5))
    def go_on(self, acts: list[Act], questions: list[Act]) -> None:
        for name, *arguments in (*acts, *questions):
            getattr(self, name)(*arguments)

    # What is recorded.

    def let_time_pass(self, hours: int) -> None:
        """Move the clock, also backwards."""
        self.clock.pass_(hours=hours)

    def state(self, drawn: Body) -> None:
        """State something new."""
        self.post_statement(self.related(self.dated(drawn)))

    def say_again(self, pick: int, drawn: Body, relation: str | None, own: Body) -> None:
        """State once more, on another day, what is in the record already, or something close to it."""
        said_before = [seq for seq in self.bodies if seq in self.model.live_seqs(self.head)]
        if not said_before:
            return
        seq = self.recent(said_before, pick)
        links = [] if relation is None else [{"seq": seq, "relation": relation}]
        differing = {
            name: value for name, value in drawn.items() if name in ("speaker", "location", "caveats")
        }
        if drawn.get("firmness") in rungs(self.bodies[seq]["kind"]):
            differing["firmness"] = drawn["firmness"]
        self.post_statement(self.dated(self.bodies[seq] | differing | own | {"relates_to": links}))

    def correct(self, pick: int, drawn: Body) -> None:
        """Correct an entry."""
        if not self.head:
            return
        seq = self.target(pick)
        url, given = f"/v1/changes/{seq}/correction", drawn
        if seq not in self.model.live_seqs(self.head):
            self.refuse({"not-live"}, url, {"reason": "A slip.", "statement": {"summary": "So."}})
            return
        if "relates_to" in drawn:
            given = drawn | {"relates_to": self.related(corrected(self.bodies[seq], drawn))["relates_to"]}
        whole = corrected(self.bodies[seq], given)
        reasons = self.reasons(whole, seq)
        sent = {"reason": "A slip.", "statement": given}
        if reasons:
            self.refuse(reasons, url, sent)
        else:
            today = self.recorded_at.date()
            self.keep(url, sent, whole, lambda: self.model.correct(seq, resolved(whole), today))

    def retract(self, pick: int) -> None:
        """Retract an entry."""
        if not self.head:
            return
        seq = self.target(pick)
        url, sent = f"/v1/changes/{seq}/retraction", {"reason": "Never said."}
        if seq not in self.model.live_seqs(self.head):
            self.refuse({"not-live"}, url, sent)
        else:
            today = self.recorded_at.date()
            self.keep(url, sent, None, lambda: self.model.retract(seq, today))

    def recent(self, seqs: list[int], pick: int) -> int:
        """Return one of some entries, counted from the last."""
        return seqs[-1 - pick % len(seqs)]

    def target(self, pick: int) -> int:
        """Return the entry to correct or to retract: mostly one that is live."""
        live = self.model.live_seqs(self.head)
        return self.recent(live, pick) if live and pick else self.recent(list(range(1, self.head + 1)), pick)

    def dated(self, drawn: Body) -> Body:
        """Return a body that is mostly of today where it would lie in the future."""
        today = self.recorded_at.date()
        earliest = bounds(drawn["stated_on"])[0]
        is_meant = earliest is None or earliest <= today or drawn["speaker"] is not None
        return drawn if is_meant else drawn | {"stated_on": str(today)}

    def related(self, drawn: Body) -> Body:
        """Return a body whose relations name entries: mostly its own country's and voice's."""
        voice = voice_of(drawn)
        own = [
            seq
            for seq, body in self.bodies.items()
            if (body["country"], voice_of(body)) == (drawn["country"], voice)
        ]
        links = [
            {"seq": self.recent(own, back) if own and back < 9 else self.head + 10 - back, "relation": how}
            for how, back in drawn["relates_to"]
        ]
        return drawn | {"relates_to": [link for link in links if 0 < link["seq"] <= self.head + 1]}

    def post_statement(self, body: Body) -> None:
        """State a position on both and, if nothing speaks against it, in the model."""
        if not body["source"]["url"].endswith("/0"):
            # The same words from the same source would be refused too often.
            body = body | {"source": source(f"of-{self.head}")}
        reasons = self.reasons(body, None)
        if reasons:
            self.refuse(reasons, "/v1/positions", body)
        else:
            today = self.recorded_at.date()
            self.keep("/v1/positions", body, body, lambda: self.model.state(resolved(body), today))

    def refuse(self, reasons: set[str], url: str, sent: Body) -> None:
        """Send what must be refused for these reasons, and leave nothing behind."""
        sizes = self.services.sizes()
        answer = self.services.post(url, sent)
        problem = answer.json()
        name = problem["type"].removeprefix("/problems/")
        codes = {fault["code"] for fault in problem["errors"]} if name == "invalid" else {name}
        assert codes == reasons
        assert answer.status_code == (422 if name == "invalid" else 409)
        assert self.services.sizes() == sizes

    def keep(self, url: str, sent: Body, body: Body | None, record: Callable[[], Entry]) -> None:
        """Send what must be kept, and keep it in the model too."""
        recorded_at = self.recorded_at
        answer = self.services.post(url, sent)
        assert answer.status_code == 201, answer.text
        entry = record()
        self.instants.append(recorded_at)
        if body is not None:
            self.bodies[entry.seq] = body | {"refuses": resolved(body)["refuses"]}
        kept, today = answer.json(), recorded_at.date()
        self.check_change(kept["change"], self.head)
        touched = {line for each in self.moved(entry) for line in lines_of(each)}
        positions = self.model.positions(today, self.head)
        assert [seen(view) for view in kept["positions"]] == [
            held for held in positions if (held["country"], held["component"]) in touched
        ]
        diff = self.model.diff("recorded", "net", entry.seq - 1, entry.seq, as_of=today)
        assert [seen_entry(each) for each in kept["diff"]] == diff

    def moved(self, entry: Entry) -> list[Entry]:
        """Return the entry and the one that it replaces, as far as they hold statements."""
        replaced = [] if entry.replaces is None else [self.model.entry(entry.replaces)]
        return [each for each in (entry, *replaced) if each.statement is not None]

    # What must be refused.

    def reasons(self, body: Body, left: int | None) -> set[str]:
        """Return the codes of what speaks against a body, which corrects entry `left` if any."""
        found = faults_in(body)
        today = self.recorded_at.date()
        earliest = bounds(body["stated_on"])[0]
        keeps_day = left is not None and self.bodies[left]["stated_on"] == body["stated_on"]
        if not keeps_day and earliest is not None and earliest > today + timedelta(days=1):
            found.add("in_the_future")
        for link in body["relates_to"]:
            found |= self.faults_in_link(link, body, left)
        has_default_scope = body["kind"] == "refusal" and body["refuses"] is None
        if not found and has_default_scope and self.is_ending_an_offer(resolved(body), left):
            return {"ends_an_offer"}
        return found or self.duplicate_of(body, left)

    def faults_in_link(self, link: dict[str, Any], body: Body, left: int | None) -> set[str]:
        """Return the code for what is wrong with a relation, if anything is."""
        if link["seq"] not in self.bodies:
            return {"unknown_entry"}
        if link["relation"] != "repeats":
            return set()
        chain = self.model.chain(link["seq"])
        family = [seq for seq in self.bodies if self.model.chain(seq) == chain]
        target = self.model.entry(family[-1])
        if (said(target)["country"], said(target)["voice"]) != (body["country"], voice_of(body)):
            return {"not_repeatable"}
        if left is not None and self.leads_to(chain, self.model.chain(left)):
            return {"circular"}
        return set()

    def leads_to(self, chain: int, goal: int) -> bool:
        """Tell whether live marked repeats lead from one statement to another."""
        return chain == goal or any(
            self.leads_to(self.model.chain(link["seq"]), goal)
            for entry in self.model.live(self.head)
            if self.model.chain(entry.seq) == chain
            for link in said(entry)["relates_to"]
            if link["relation"] == "repeats"
        )

    def duplicate_of(self, body: Body, left: int | None) -> set[str]:
        """Return the code if the same statement from the same source is live (DESIGN 5, HTTP)."""
        names = ("country", "kind", "component", "refuses", "speaker", "stated_on", "source", "firmness")
        statement = resolved(body)
        is_known = any(
            all(said(entry)[name] == statement[name] for name in names)
            for entry in self.model.live(self.head)
        )
        return {"duplicate"} if is_known and left is None else set()

    def is_ending_an_offer(self, statement: Statement, left: int | None) -> bool:
        """Tell whether a refusal would end a standing offer on its day: the position or its voice's word."""
        before, after = LocalModel(), LocalModel()
        before.entries, after.entries = list(self.model.entries), list(self.model.entries)
        today = self.recorded_at.date()
        if left is None:
            refusal = after.state(statement, today)
        else:
            before.retract(left, today)
            refusal = after.correct(left, statement, today)
        day = after.effective_on(refusal)
        return any(
            offers(before, line, statement["voice"], day) - offers(after, line, statement["voice"], day)
            for line in lines_of(refusal)
        )

    # What is asked.

    def ask(self, path: str, **parameters: Any) -> Any:
        """Return what both answer; a question that names its day and its seq is remembered."""
        named = {name.rstrip("_"): value for name, value in parameters.items() if value is not None}
        url = f"{path}?" + "&".join(f"{name}={value}" for name, value in named.items())
        body = self.services.get(url)
        is_settled = bool({"seq", "to"} & set(named))
        if is_settled:
            assert self.remembered.setdefault(url, body) == body
        return json.loads(body)

    def ask_again(self, pick: int) -> None:
        """Ask some of the earlier questions once more."""
        for url in list(self.remembered)[pick::5]:
            assert self.services.get(url) == self.remembered[url]

    def ask_positions(
        self,
        as_of: date,
        back: int,
        dates: str,
        country: str | None,
        component: str | None,
        limit: int | None,
    ) -> None:
        """Ask for the positions of a day, and for the pages that follow."""
        seq = max(0, self.head - back)
        question = {"as_of": as_of, "seq": seq, "dates": dates, "country": country, "component": component}
        answer = self.ask("/v1/positions", **question, limit=limit)
        items, total = answer["items"], answer["meta"]["total"]
        while answer["next"] is not None:
            answer = json.loads(self.services.get(answer["next"]))
            items += answer["items"]
        expected = [
            held
            for held in self.model.positions(as_of, seq, possible=dates == "possible")
            if country in (None, held["country"]) and component in (None, held["component"])
        ]
        assert_alike([seen(view) for view in items], expected)
        assert total == len(items)
        for view in items:
            self.check_shown(view, as_of)

    def ask_one_position(self, pick: int, as_of: date, back: int) -> None:
        """Ask for one line of the record, with its history and its reports."""
        seq, lines = max(0, self.head - back), self.model.lines() or [("PL", "troops")]
        country, component = line = lines[pick % len(lines)]
        answer = self.ask(f"/v1/positions/{country}/{component}", as_of=as_of, seq=seq)
        assert seen(answer["position"]) == self.model.position(line, as_of, seq)
        assert_alike([seen(view) for view in answer["possible"]], self.model.possible(line, as_of, seq))
        history = self.model.events_by_day(line, date.min, as_of, seq)
        assert [seen_entry(entry) for entry in answer["history"]] == history
        reports = [self.model.entry(each) for each in self.model.reports(country, component, as_of, seq)]
        assert [report["seq"] for report in answer["reports"]] == [
            entry.seq for entry in sorted(reports, key=self.model.order)
        ]

    def ask_what_differs_between_days(
        self, ends: tuple[date, date], back: int, mode: str, country: str | None
    ) -> None:
        """Ask for the diff along valid time."""
        first, last = sorted(ends) if mode == "events" else ends
        seq = max(0, self.head - back)
        asked = {"from_": first, "to": last, "mode": mode, "seq": seq, "country": country}
        expected = self.model.diff("valid", mode, first, last, seq=seq)
        self.check_diff(self.ask("/v1/diff", **asked), expected, country)

    def ask_what_differs_in_our_knowledge(
        self, backs: tuple[int, int], as_of: date, mode: str, country: str | None
    ) -> None:
        """Ask for the diff along recorded time, between seqs and then between their instants."""
        ends = [max(0, self.head - back) for back in backs]
        first, last = sorted(ends) if mode == "events" else ends
        asked = {"axis": "recorded", "mode": mode, "as_of": as_of, "country": country}
        expected = self.model.diff("recorded", mode, first, last, as_of=as_of)
        answer = self.ask("/v1/diff", from_=first, to=last, **asked)
        self.check_diff(answer, expected, country)
        if min(ends) > 0:
            instants = {"from_": self.instant_text(first), "to": self.instant_text(last)}
            assert self.ask("/v1/diff", **instants, **asked) == answer

    def ask_as_known_at_an_instant(self, pick: int, as_of: date, just_before: int) -> None:
        """Ask with an instant instead of a seq: an entry's own, or a microsecond before it."""
        if not self.head:
            return
        entry = 1 + pick % self.head
        instant = self.instants[entry - 1] - timedelta(microseconds=just_before)
        answer = self.ask("/v1/positions", as_of=as_of, known_at=rfc3339(instant))
        seq = entry - just_before
        assert answer["meta"]["seq"] == seq
        assert answer["items"] == self.ask("/v1/positions", as_of=as_of, seq=seq)["items"]

    def ask_for_the_ledger(self, back: int) -> None:
        """Ask for every entry."""
        seq = max(0, self.head - back)
        changes = self.ask("/v1/changes", seq=seq)["items"]
        assert [change["seq"] for change in changes] == list(range(1, seq + 1))
        for change in changes:
            self.check_change(change, seq)

    # How an answer is checked.

    def check_change(self, change: dict[str, Any], seq: int) -> None:
        """Compare an entry of the ledger, as known at `seq`."""
        entry = self.model.entry(change["seq"])
        replaced_by = [each.seq for each in self.model.entries[:seq] if each.replaces == entry.seq]
        assert (change["action"], change["replaces"]) == (entry.action, entry.replaces)
        assert change["replaced_by"] == (replaced_by[0] if replaced_by else None)
        assert change["live"] == (not replaced_by)
        assert change["recorded_at"] == self.instant_text(entry.seq)
        assert (change["statement"] is None) == (entry.statement is None)
        if entry.statement is not None:
            self.check_statement(change["statement"], entry)

    def instant_text(self, seq: int) -> str:
        """Return when an entry was recorded."""
        return rfc3339(self.instants[seq - 1])

    def check_statement(self, view: dict[str, Any], entry: Entry) -> None:
        """Compare a whole statement."""
        statement = said(entry)
        same = "country kind refuses firmness stated_on summary speaker authority voice location"
        assert {name: view[name] for name in same.split()} == {name: statement[name] for name in same.split()}
        assert view["component"] == statement["component"]
        assert view["effective_on"] == str(self.model.effective_on(entry))
        earliest, latest = bounds(statement["stated_on"])
        assert view["stated_earliest_on"] == (earliest and str(earliest))
        assert view["stated_latest_on"] == str(latest)
        assert (view["conditions"], view["caveats"]) == (statement["conditions"], statement["caveats"])
        assert amount(view["quantity"]) == amount(statement["quantity"])
        assert view["source"]["url"] == statement["source"]["url"]
        links = sorted({(link["seq"], link["relation"]) for link in statement["relates_to"]})
        assert sorted((link["seq"], link["relation"]) for link in view["relates_to"]) == links

    def check_shown(self, view: dict[str, Any], as_of: date) -> None:
        """Compare what a position takes over from the statement that it shows."""
        statement = said(self.model.entry(view["seq"]))
        for name in ("summary", "speaker", "stated_on"):
            assert view[name] == statement[name]
        assert view["source"]["url"] == statement["source"]["url"]
        affirmed_on = view["last_affirmed_on"]
        is_old = affirmed_on is not None and as_of - date.fromisoformat(affirmed_on) > timedelta(days=180)
        assert view["stale"] == is_old
        for side in view["sides"]:
            self.check_statement(side, self.model.entry(side["seq"]))

    def check_diff(self, answer: dict[str, Any], expected: list[DiffEntry], country: str | None) -> None:
        """Compare the entries of a diff, one after the other."""
        wanted = [entry for entry in expected if country in (None, entry["country"])]
        assert answer["meta"]["total"] == len(wanted)
        assert [seen_entry(entry) for entry in answer["items"]] == wanted


def rfc3339(instant: datetime) -> str:
    """Return how an instant is written."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def offers(model: Model, line: Line, voice: str, day: date) -> set[str]:
    """Return which of a line's offers stand on a day: its position, its voice's word, or both."""
    statements = model.by_day(line, day, len(model.entries))
    position = model.answer(line, statements, len(model.entries))
    speaker = "head_of_state" if voice == "head_of_state" else "government"
    word = model.word(statements, speaker, len(model.entries))
    found = set()
    if position is not None and position["kind"] != "refusal":
        found.add("position")
    if word is not None and not is_refusal(word):
        found.add("word")
    return found


def assert_alike(views: list[Position | None], expected: list[Position]) -> None:
    """Compare positions; the order among those of a line that are only possible is free."""

    def place(held: Position | None) -> tuple[Any, ...]:
        assert held is not None
        return held["country"], held["component"], held["certainty"], held["effective_on"], held["seq"]

    def line(held: Position | None) -> tuple[Any, ...]:
        return place(held)[:3]

    assert list(map(line, views)) == list(map(line, expected))
    assert sorted(views, key=place) == sorted(expected, key=place)


@pytest.fixture
def services(migrated: Path, migrated_postgresql: str, tmp_path: Path) -> Iterator[Services]:
    with Services(migrated, tmp_path, migrated_postgresql) as found:
        yield found


def test_both_databases_and_the_model_answer_alike(services: Services, clock: Clock) -> None:
    class Machine(RecordMachine):
        def __init__(self) -> None:
            super().__init__(services, clock)

    wanted = settings(UNHURRIED, max_examples=EXAMPLES or 10, stateful_step_count=5)
    before = looked_up("hit")
    run_state_machine_as_test(Machine, settings=wanted)

    assert looked_up("hit") > before
