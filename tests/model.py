"""The record held in memory and read straight from DESIGN.md: what the service must answer.

Every question is worked out anew from the list of entries; nothing is kept between two questions.
The caller hands over only what the service accepts, with `voice`, `refuses` and `component`
resolved: apart from what would leave a question without an answer, nothing is refused here.
"""

import calendar
import copy
from dataclasses import dataclass
from datetime import date
from typing import Any

Statement = dict[str, Any]
Position = dict[str, Any]
DiffEntry = dict[str, Any]
Line = tuple[str, str]
"""A country and a component (DESIGN 3.2)."""

CONTENT = ("kind", "firmness", "conditions", "caveats", "location", "quantity")
COMPARED = (*CONTENT, "voice", "contested")


@dataclass(frozen=True)
class Entry:
    """One entry of the ledger (DESIGN 2, "change")."""

    seq: int
    action: str
    recorded_on: date
    replaces: int | None
    statement: Statement | None


@dataclass
class Run:
    """One voice's word with unbroken content (DESIGN 3.4)."""

    first: Entry
    affirming: list[Entry]


def bounds(stated_on: str) -> tuple[date | None, date]:
    """Return the earliest day (None if open) and the latest day of an EDTF date (DESIGN 3.1)."""
    start, slash, end = stated_on.partition("/")
    if not slash:
        return days_of(start)
    return None if start == ".." else days_of(start)[0], days_of(end)[1]


def days_of(edtf: str) -> tuple[date, date]:
    """Return the first and the last day of a year, a month or a day, whatever its qualifier."""
    year, *rest = (int(part) for part in edtf.rstrip("~?%").split("-"))
    if not rest:
        return date(year, 1, 1), date(year, 12, 31)
    if len(rest) == 1:
        month = rest[0]
        return date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1])
    month, day = rest
    return date(year, month, day), date(year, month, day)


def said(entry: Entry) -> Statement:
    """Return the entry's statement, which it must have."""
    if entry.statement is None:
        raise ValueError(f"entry {entry.seq} is a retraction and has no statement")
    return entry.statement


def is_refusal(entry: Entry) -> bool:
    """Tell a refusal from an offer: the two sorts of statement (DESIGN 3.2)."""
    return bool(said(entry)["kind"] == "refusal")


def is_withdrawal(entry: Entry) -> bool:
    """Tell whether the statement takes something back (DESIGN 2, "firmness")."""
    return bool(said(entry)["firmness"] == "withdrawn")


def lines_of(entry: Entry) -> list[Line]:
    """Return the lines that the statement enters: a refusal, each that it refuses (DESIGN 3.2)."""
    statement = said(entry)
    components = statement["refuses"] if is_refusal(entry) else [statement["component"]]
    return [(statement["country"], component) for component in components]


def related(entry: Entry, relation: str) -> list[int]:
    """Return the seqs that the statement names in one relation."""
    return [link["seq"] for link in said(entry)["relates_to"] or [] if link["relation"] == relation]


def as_set(limits: list[dict[str, Any]] | None) -> list[tuple[str, str | None]]:
    """Return conditions or caveats as a set, only `other` with its text (DESIGN 3.4)."""
    pairs = {(limit["type"], limit["text"] if limit["type"] == "other" else None) for limit in limits or []}
    return sorted(pairs, key=lambda pair: (pair[0], pair[1] or ""))


def amount(quantity: dict[str, Any] | None) -> tuple[Any, Any, Any] | None:
    """Return min, max and unit of a quantity, None where it has none of them (DESIGN 3.4)."""
    if quantity is None or all(quantity[name] is None for name in ("min", "max", "unit")):
        return None
    return quantity["min"], quantity["max"], quantity["unit"]


def content(entry: Entry) -> dict[str, Any]:
    """Return the statement's content (DESIGN 3.4)."""
    statement = said(entry)
    return {
        "kind": statement["kind"],
        "firmness": statement["firmness"],
        "conditions": as_set(statement["conditions"]),
        "caveats": as_set(statement["caveats"]),
        "location": statement["location"],
        "quantity": amount(statement["quantity"]),
    }


def compared(position: Position | None) -> dict[str, Any] | None:
    """Return what a diff compares of a position; nothing else makes an entry (DESIGN 5, Diff)."""
    return None if position is None else {name: position[name] for name in COMPARED}


def diff_entry(
    line: Line, before: Position | None, after: Position | None, cause: str, seqs: list[int]
) -> DiffEntry:
    """Return the entry that leads from one answer of a line to another (DESIGN 5, Diff).

    Its op is `affirmed` where the compared fields are equal.
    """
    fields = {}
    if before is None:
        op = "added"
    elif after is None:
        op = "removed"
    elif compared(before) == compared(after):
        op = "affirmed"
    else:
        op = "changed"
        fields = {name: (before[name], after[name]) for name in COMPARED if before[name] != after[name]}
    return {
        "op": op,
        "country": line[0],
        "component": line[1],
        "cause": cause,
        "before": before,
        "after": after,
        "fields": fields,
        "seqs": sorted(seqs),
    }


def net(
    line: Line, before: Position | None, after: Position | None, events: list[DiffEntry]
) -> list[DiffEntry]:
    """Collapse a line's events: the last step's cause, all steps' entries (DESIGN 5, Diff)."""
    if compared(before) == compared(after):
        return []
    steps = [event for event in events if event["op"] != "affirmed"]
    seqs = {seq for step in steps for seq in step["seqs"]}
    return [diff_entry(line, before, after, steps[-1]["cause"], list(seqs))]


def backwards(mode: str, entries: list[DiffEntry]) -> list[DiffEntry]:
    """Swap op, before, after and fields of a net diff; cause and seqs stay (DESIGN 5, Diff)."""
    if mode == "events":
        raise ValueError("events run forward only")
    swapped_op = {"added": "removed", "removed": "added", "changed": "changed"}
    return [
        entry
        | {
            "op": swapped_op[entry["op"]],
            "before": entry["after"],
            "after": entry["before"],
            "fields": {name: (new, old) for name, (old, new) in entry["fields"].items()},
        }
        for entry in entries
    ]


class Model:
    """The whole record. `seq` in a question is the entry up to which the record is known."""

    entries: list[Entry]

    def __init__(self) -> None:
        self.entries = []

    # The ledger (DESIGN 2 "change", DESIGN 3.7, DESIGN 4).

    def state(self, statement: Statement, recorded_on: date) -> Entry:
        """Add a statement."""
        return self._record("state", recorded_on, None, statement)

    def correct(self, seq: int, fields_that_change: Statement, recorded_on: date) -> Entry:
        """Replace a live entry's statement; the fields left out are kept (DESIGN 5)."""
        self._refuse_unless_live(seq)
        statement = said(self.entry(seq)) | fields_that_change
        return self._record("correct", recorded_on, seq, statement)

    def retract(self, seq: int, recorded_on: date) -> Entry:
        """Say that a live entry's statement was never so."""
        self._refuse_unless_live(seq)
        return self._record("retract", recorded_on, seq, None)

    def _refuse_unless_live(self, seq: int) -> None:
        if seq not in self.live_seqs(len(self.entries)):
            raise ValueError(f"entry {seq} is not live")

    def _record(
        self, action: str, recorded_on: date, replaces: int | None, statement: Statement | None
    ) -> Entry:
        seq = len(self.entries) + 1
        entry = Entry(seq, action, recorded_on, replaces, copy.deepcopy(statement))
        self.entries.append(entry)
        try:
            if statement is not None:
                self.repeated(entry, seq)
        except ValueError:  # Its repeats run in a circle: nothing is recorded.
            self.entries.pop()
            raise
        return entry

    def entry(self, seq: int) -> Entry:
        """Return the entry of this number."""
        return self.entries[seq - 1]

    def live(self, seq: int) -> list[Entry]:
        """Return the statements neither corrected nor retracted by then (DESIGN 3.2)."""
        recorded = [entry for entry in self.entries if entry.seq <= seq]
        replaced = [entry.replaces for entry in recorded]
        return [entry for entry in recorded if entry.action != "retract" and entry.seq not in replaced]

    def live_seqs(self, at_seq: int) -> list[int]:
        """Return the numbers of the live statements, in order."""
        return [entry.seq for entry in self.live(at_seq)]

    def chain(self, seq: int) -> int:
        """Return the first entry of the chain of corrections that an entry is in (DESIGN 3.2)."""
        replaces = self.entry(seq).replaces
        return seq if replaces is None else self.chain(replaces)

    # Dates (DESIGN 3.1).

    def effective_on(self, entry: Entry) -> date:
        """Return the day from which the statement counts (DESIGN 3.1).

        Its latest possible day, or the day on which it was recorded if that is earlier; a
        correction that leaves `stated_on` unchanged keeps the day of what it corrects.
        """
        stated_on = said(entry)["stated_on"]
        if entry.replaces is not None:
            corrected = self.entry(entry.replaces)
            if said(corrected)["stated_on"] == stated_on:
                return self.effective_on(corrected)
        return min(bounds(stated_on)[1], entry.recorded_on)

    # Lines and words (DESIGN 3.2).

    def lines(self) -> list[Line]:
        """Return every line that any entry ever entered, by country and component."""
        spoken = [entry for entry in self.entries if entry.statement is not None]
        return sorted({line for entry in spoken for line in lines_of(entry)})

    def order(self, entry: Entry) -> tuple[date, bool, int]:
        """Return a statement's place in its line, a withdrawal last on its day (DESIGN 3.2)."""
        return self.effective_on(entry), is_withdrawal(entry), self.chain(entry.seq)

    def in_line(self, line: Line, seq: int) -> list[Entry]:
        """Return the line's live statements, of every voice and day, in order."""
        return sorted([entry for entry in self.live(seq) if line in lines_of(entry)], key=self.order)

    def by_day(self, line: Line, day: date, seq: int) -> list[Entry]:
        """Return the line's live statements that count by the end of a day, in order."""
        return [entry for entry in self.in_line(line, seq) if self.effective_on(entry) <= day]

    def word(self, statements: list[Entry], voice: str, seq: int) -> Entry | None:
        """Return a voice's word, given its line's statements in order (DESIGN 3.2).

        The latest that is neither a withdrawal nor a repeat, unless a later withdrawal of the same
        sort took it back: then there is none, and nothing older revives.
        """
        counting = [
            entry for entry in statements if said(entry)["voice"] == voice and not self.repeated(entry, seq)
        ]
        words = [entry for entry in counting if not is_withdrawal(entry)]
        if not words:
            return None
        latest = words[-1]
        later = counting[counting.index(latest) + 1 :]
        taken_back = any(is_withdrawal(entry) and is_refusal(entry) == is_refusal(latest) for entry in later)
        return None if taken_back else latest

    # Marked repeats, affirmations and runs (DESIGN 3.4).

    def repeated(self, entry: Entry, seq: int, path: tuple[int, ...] = ()) -> list[Entry]:
        """Return the live statements that a marked repeat repeats, to the first (DESIGN 3.4).

        Empty: the statement is no repeat, or none of its targets is live, so it is ordinary.
        """
        if entry.seq in path:
            raise ValueError(f"the repeats of entry {entry.seq} run in a circle")
        found = []
        for named in related(entry, "repeats"):
            for target in self.live(seq):
                if self.chain(target.seq) == self.chain(named):
                    found += self.repeated(target, seq, (*path, entry.seq)) or [target]
        return found

    def run(self, line: Line, statements: list[Entry], voice: str, seq: int) -> Run | None:
        """Return the run of a voice's word, given its line's statements in order (DESIGN 3.4)."""
        component = line[1]
        run: Run | None = None
        for entry in statements:
            if said(entry)["voice"] != voice:
                continue
            in_force = None if run is None else content(run.first)
            targets = self.repeated(entry, seq)
            if targets:
                # A marked repeat affirms what its target says, and never becomes a word.
                repeats = in_force in [content(target) for target in targets]
                if run is not None and repeats and not is_withdrawal(entry):
                    run.affirming.append(entry)
            elif is_withdrawal(entry):
                # It takes back its own sort only.
                if run is not None and is_refusal(run.first) == is_refusal(entry):
                    run = None
            elif run is not None and content(entry) == in_force and component != "other":
                run.affirming.append(entry)
            else:
                run = Run(entry, [])
        return run

    # The position (DESIGN 3.3), contested or not (DESIGN 3.5).

    def voice_in_force(self, statements: list[Entry]) -> str:
        """Return whose word counts: the government's once it has said anything (DESIGN 3.3)."""
        spoken = [said(entry)["voice"] for entry in statements]
        return "government" if "government" in spoken else "head_of_state"

    def sides(self, line: Line, statements: list[Entry], word: Entry, seq: int) -> list[int]:
        """Return the statements that contest the word in force (DESIGN 3.5)."""
        voice = said(word)["voice"]
        other_voice = "head_of_state" if voice == "government" else "government"
        other_word = self.word(statements, other_voice, seq)
        found = [
            entry
            for entry in statements
            if said(entry)["voice"] == voice
            and entry.seq != word.seq
            and not self.repeated(entry, seq)
            and not is_withdrawal(entry)
            and not self.is_clarified(entry, word)
            and self.is_overlapping(entry, word)
            and self.is_contradicting(line, entry, word)
        ]
        if other_word is not None and is_refusal(other_word) != is_refusal(word):
            found.append(other_word)
        return sorted(entry.seq for entry in found)

    def is_clarified(self, one: Entry, other: Entry) -> bool:
        """Tell whether two statements are linked by `clarifies`, either way (DESIGN 3.5)."""
        named_by_one = [self.chain(seq) for seq in related(one, "clarifies")]
        named_by_other = [self.chain(seq) for seq in related(other, "clarifies")]
        return self.chain(other.seq) in named_by_one or self.chain(one.seq) in named_by_other

    def days(self, entry: Entry) -> tuple[date, date]:
        """Return a statement's first and last day, for the overlap (DESIGN 3.5)."""
        end = self.effective_on(entry)
        start = bounds(said(entry)["stated_on"])[0]
        return end if start is None or start > end else start, end

    def is_overlapping(self, one: Entry, other: Entry) -> bool:
        """Tell whether the days of two statements overlap, both ends included (DESIGN 3.5)."""
        one_start, one_end = self.days(one)
        other_start, other_end = self.days(other)
        return one_start <= other_end and other_start <= one_end

    def is_contradicting(self, line: Line, one: Entry, other: Entry) -> bool:
        """Tell whether two statements of a line differ in kind or firmness (DESIGN 3.5)."""
        one_content, other_content = content(one), content(other)
        return any(one_content[name] != other_content[name] for name in ("kind", "firmness"))

    def answer(self, line: Line, statements: list[Entry], seq: int) -> Position | None:
        """Return the position that follows from the line's statements by a day, in order."""
        voice = self.voice_in_force(statements)
        word = self.word(statements, voice, seq)
        run = self.run(line, statements, voice, seq)
        if (word is None) != (run is None):
            raise AssertionError(f"{line}: a word without a run, or a run without a word")
        if word is None or run is None:
            return None
        sides = self.sides(line, statements, word, seq)
        affirmed_on = [self.effective_on(entry) for entry in run.affirming]
        return self.shown(line, run.first, statements) | {
            "since": self.effective_on(run.first).isoformat(),
            "last_affirmed_on": max([self.effective_on(run.first), *affirmed_on]).isoformat(),
            "affirmations": len(run.affirming),
            "contested": bool(sides),
            "sides": sides,
            "certainty": "certain",
        }

    def shown(self, line: Line, entry: Entry, statements: list[Entry]) -> Position:
        """Return what a position takes over from its statement, and its line's reports."""
        return content(entry) | {
            "country": line[0],
            "component": line[1],
            "voice": said(entry)["voice"],
            "reports": len([other for other in statements if said(other)["voice"] == "report"]),
            "seq": entry.seq,
            "effective_on": self.effective_on(entry).isoformat(),
        }

    def position(self, line: Line, day: date, seq: int) -> Position | None:
        """Return a line's position on a day; None is `none_recorded` (DESIGN 3.3)."""
        return self.answer(line, self.by_day(line, day, seq), seq)

    def possible(self, line: Line, day: date, seq: int) -> list[Position]:
        """Return what a line's country may have said by a day, beside its position (DESIGN 3.6)."""
        certain = self.position(line, day, seq)
        in_force = None if certain is None else {name: certain[name] for name in CONTENT}
        possible = []
        for entry in self.in_line(line, seq):
            earliest = bounds(said(entry)["stated_on"])[0]
            if (
                said(entry)["voice"] in ("government", "head_of_state")
                and earliest is not None
                and earliest <= day < self.effective_on(entry)
                and not self.repeated(entry, seq)
                and content(entry) != in_force
            ):
                possible.append(entry)
        possible.sort(key=lambda entry: (self.effective_on(entry), self.chain(entry.seq)))
        return [
            self.shown(line, entry, self.by_day(line, day, seq))
            | {
                "since": None,
                "last_affirmed_on": None,
                "affirmations": 0,
                "contested": False,
                "sides": [],
                "certainty": "possible",
            }
            for entry in possible
        ]

    # The questions of the API (DESIGN 5).

    def positions(self, as_of: date, seq: int, possible: bool = False) -> list[Position]:
        """Return the positions on a day by country and component, a line's certain one first."""
        items = []
        for line in self.lines():
            certain = self.position(line, as_of, seq)
            if certain is not None:
                items.append(certain)
            if possible:
                items += self.possible(line, as_of, seq)
        return items

    def reports(self, country: str, component: str, as_of: date, seq: int) -> list[int]:
        """Return the live reports in a line that count by a day (DESIGN 5, A position)."""
        reports = [
            entry
            for entry in self.by_day((country, component), as_of, seq)
            if said(entry)["voice"] == "report"
        ]
        reports.sort(key=lambda entry: (self.effective_on(entry), self.chain(entry.seq)))
        return [entry.seq for entry in reports]

    def diff(
        self,
        axis: str,
        mode: str,
        from_: date | int,
        to: date | int,
        *,
        as_of: date | None = None,
        seq: int | None = None,
    ) -> list[DiffEntry]:
        """Return what differs between two days (`valid`) or two seqs (`recorded`).

        Net or events, by country, component and step; events only from <= to (DESIGN 5, Diff).
        """
        if axis == "valid" and isinstance(from_, date) and isinstance(to, date) and seq is not None:
            return self._diff_by_day(mode, from_, to, seq)
        if axis == "recorded" and isinstance(from_, int) and isinstance(to, int) and as_of:
            return self._diff_by_entry(mode, from_, to, as_of)
        raise ValueError("valid takes two days and a seq; recorded takes two seqs and as_of")

    def _diff_by_day(self, mode: str, from_: date, to: date, seq: int) -> list[DiffEntry]:
        if from_ > to:
            return backwards(mode, self._diff_by_day("net", to, from_, seq))
        entries = []
        for line in self.lines():
            events = self.events_by_day(line, from_, to, seq)
            before, after = self.position(line, from_, seq), self.position(line, to, seq)
            entries += events if mode == "events" else net(line, before, after, events)
        return entries

    def _diff_by_entry(self, mode: str, from_: int, to: int, as_of: date) -> list[DiffEntry]:
        if from_ > to:
            return backwards(mode, self._diff_by_entry("net", to, from_, as_of))
        entries = []
        for line in self.lines():
            events = self.events_by_entry(line, from_, to, as_of)
            before, after = self.position(line, as_of, from_), self.position(line, as_of, to)
            entries += events if mode == "events" else net(line, before, after, events)
        return entries

    def events_by_day(self, line: Line, from_: date, to: date, seq: int) -> list[DiffEntry]:
        """Return a line's steps and affirmations of the days after `from_`, up to `to`.

        An answer depends on its day only through the statements that count by then, so only the
        days from which a statement counts are looked at.
        """
        statements = self.in_line(line, seq)
        events = []
        for day in sorted({self.effective_on(entry) for entry in statements}):
            if not from_ < day <= to:
                continue
            earlier = [entry for entry in statements if self.effective_on(entry) < day]
            of_the_day = [entry for entry in statements if self.effective_on(entry) == day]
            before = self.answer(line, earlier, seq)
            after = self.answer(line, earlier + of_the_day, seq)
            is_step = compared(before) != compared(after)
            is_affirmed = (
                before is not None
                and after is not None
                and before["since"] == after["since"]
                and before["affirmations"] < after["affirmations"]
            )
            if is_step or is_affirmed:
                cause = "withdrawn" if after is None else "stated"
                seqs = self.changing(line, earlier, of_the_day, seq, is_step=is_step)
                events.append(diff_entry(line, before, after, cause, seqs) | {"on": str(day)})
        return events

    def changing(
        self, line: Line, earlier: list[Entry], of_the_day: list[Entry], seq: int, *, is_step: bool
    ) -> list[int]:
        """Return the statements of a day that, added one by one in order, change the answer.

        For a step the compared fields must change, otherwise the count of affirmations.
        """
        seqs = []
        counting = list(earlier)
        for entry in of_the_day:
            if said(entry)["voice"] == "report":
                continue
            before = self.answer(line, counting, seq)
            counting = [*counting, entry]
            after = self.answer(line, counting, seq)
            if is_step:
                is_changed = compared(before) != compared(after)
            else:
                is_changed = affirmations(before) != affirmations(after)
            if is_changed:
                seqs.append(entry.seq)
        return seqs

    def events_by_entry(self, line: Line, from_: int, to: int, as_of: date) -> list[DiffEntry]:
        """Return a line's steps and affirmations by the entries after `from_`, up to `to`."""
        events = []
        for entry in self.entries:
            if not from_ < entry.seq <= to:
                continue
            before = self.position(line, as_of, entry.seq - 1)
            after = self.position(line, as_of, entry.seq)
            is_step = compared(before) != compared(after)
            is_affirmed = entry.action == "state" and affirmations(before) < affirmations(after)
            if is_step or is_affirmed:
                if entry.action == "state":
                    cause = "withdrawn" if after is None else "stated"
                else:
                    cause = {"correct": "corrected", "retract": "retracted"}[entry.action]
                event = diff_entry(line, before, after, cause, [entry.seq])
                events.append(event | {"seq": entry.seq})
        return events


def affirmations(position: Position | None) -> int:
    """Return how often a position was affirmed, 0 where there is none."""
    return 0 if position is None else int(position["affirmations"])
