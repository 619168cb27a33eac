"""Positions: what a country holds on one component, by the rules of DESIGN.md section 3.

The rules are here and pure: statements in, position out, no database and no clock.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Literal, NamedTuple, Protocol

from pydantic import BaseModel
from pydantic import Field as Described

from app.lines import Heard, by_place
from app.sources import SourceBrief
from app.statements import Caveat, Condition, Quantity, StatementView, types_of
from app.vocabulary import Component, Firmness, Kind, Location, Voice

COMPARED = (
    "kind",
    "firmness",
    "conditions",
    "caveats",
    "location",
    "quantity",
    "voice",
    "contested",
)
"""The fields in which a diff compares positions (DESIGN.md 5, Diff)."""


# To look a word up in its vocabulary takes longer than to compare it.
_GOVERNMENT, _HEAD_OF_STATE, _OTHER = Voice.GOVERNMENT, Voice.HEAD_OF_STATE, Component.OTHER


class Held(NamedTuple):
    """What a line answers on a day: the run in force, and who says otherwise."""

    first: Heard
    """The statement with which the run began: the one that is shown."""
    word: Heard
    """The latest statement of the run that is no repeat."""
    last_affirmed_on: date
    affirmations: int
    sides: tuple[Heard, ...]

    @property
    def since(self) -> date:
        """Day on which the run began."""
        return self.first.effective_on

    def differs(self, other: "Held | None") -> bool:
        """Tell whether another answer differs in any field of `COMPARED`."""
        if other is None or bool(self.sides) != bool(other.sides):
            return True
        ours, theirs = self.first, other.first
        # Often it is the same statement.
        return ours is not theirs and (ours.meaning, ours.voice) != (theirs.meaning, theirs.voice)


class Marks(Protocol):
    """What is known of a statement's relations to others."""

    def repeated(self, stated: Heard) -> tuple[str, ...]:
        """Return the meanings that it repeats; none where it counts by itself."""

    def clarified(self, stated: Heard) -> frozenset[int]:
        """Return the chains that it clarifies."""


class _Speaker(NamedTuple):
    """One voice of a line, as far as it has spoken."""

    has_spoken: bool = False
    first: Heard | None = None
    word: Heard | None = None
    last_affirmed_on: date = date.min
    affirmations: int = 0
    sides: tuple[Heard, ...] = ()
    """Its own earlier statements that contest its word."""

    def hear(self, stated: Heard, line: Sequence[Heard], number: int, marks: Marks) -> "_Speaker":
        repeated = marks.repeated(stated) if stated.is_related else ()
        if repeated:
            # Words that take something back affirm nothing, whatever they are marked as.
            if self.first is not None and self.first.meaning in repeated and not stated.is_withdrawal:
                _, first, word, _, affirmations, sides = self
                return _Speaker(True, first, word, stated.effective_on, affirmations + 1, sides)
        elif stated.is_withdrawal:
            if self.word is not None and self.word.is_refusal == stated.is_refusal:
                return _Speaker(True, None, None, self.last_affirmed_on, self.affirmations, ())
        else:
            same = self.first is not None and self.first.meaning == stated.meaning
            # In `other` equal words may mean different things: only a marked repeat affirms there.
            affirms = same and stated.component != _OTHER
            sides = _contradictions(stated, line, number, marks)
            if affirms:
                return _Speaker(True, self.first, stated, stated.effective_on, self.affirmations + 1, sides)
            return _Speaker(True, stated, stated, stated.effective_on, 0, sides)
        return self if self.has_spoken else _SPOKEN


_SPOKEN = _Speaker(has_spoken=True)
"""A voice that has spoken, though nothing is held of it."""


def _contradictions(word: Heard, line: Sequence[Heard], number: int, marks: Marks) -> tuple[Heard, ...]:
    """Return what the same voice said before, and what contests its word (DESIGN.md 3.5)."""
    found = []
    while number and (other := line[(number := number - 1)]).effective_on >= word.starts_on:
        if (
            other.voice == word.voice
            and other.stance != word.stance
            and not other.is_withdrawal
            and not (other.is_related and marks.repeated(other))
            and not (_clarifies(word, other, marks) or _clarifies(other, word, marks))
        ):
            found.append(other)
    return tuple(found)


def _clarifies(stated: Heard, other: Heard, marks: Marks) -> bool:
    return stated.is_related and other.chain in marks.clarified(stated)


class LineState(NamedTuple):
    """A line as far as its statements have been heard, in the order of `Heard.place`.

    Two are equal where whatever is said next is answered alike, unless it contests something older.
    """

    government: _Speaker = _Speaker()
    head_of_state: _Speaker = _Speaker()

    def hear(self, line: Sequence[Heard], number: int, marks: Marks) -> "LineState":
        """Return the state after entry `number` of `line`; a report never sets a position."""
        stated = line[number]
        government, head_of_state = self
        if stated.voice == _GOVERNMENT:
            return LineState(government.hear(stated, line, number, marks), head_of_state)
        if stated.voice == _HEAD_OF_STATE:
            return LineState(government, head_of_state.hear(stated, line, number, marks))
        return self

    def held(self) -> Held | None:
        """Return the position after what was heard, or None where nobody holds any (DESIGN.md 3.3)."""
        lead, other = self
        if not lead.has_spoken:
            lead, other = other, lead
        _, first, word, last_affirmed_on, affirmations, sides = lead
        if first is None or word is None:
            return None
        if other.word is not None and other.word.is_refusal != word.is_refusal:
            sides = (*sides, other.word)
        if len(sides) > 1:
            sides = tuple(sorted(sides, key=by_place))
        return Held(first, word, last_affirmed_on, affirmations, sides)

    def offers(self, voice: str) -> set[str]:
        """Return which of the line's offers stand: its position, the word of `voice`, or both."""
        speaker = self.head_of_state if voice == Voice.HEAD_OF_STATE else self.government
        held = self.held()
        standing = {"position": held and held.word, "word": speaker.word}
        return {name for name, word in standing.items() if word and not word.is_refusal}


def line_state(line: Sequence[Heard], marks: Marks) -> LineState:
    """Return a line as it stands when all of `line`, in the order of `Heard.place`, is heard."""
    state = LineState()
    for number in range(len(line)):
        state = state.hear(line, number, marks)
    return state


class PositionView(BaseModel):
    """A position: what a country holds on one component on a day, as known at a moment."""

    country: str = Described(description="ISO 3166-1 alpha-2.", examples=["PL"])
    country_name: str = Described(examples=["Poland"])
    component: Component
    kind: Kind = Described(description="The component, `support` for a type of it, or `refusal`.")
    firmness: Firmness
    voice: Voice
    conditional: bool = Described(description="Whether there are conditions.")
    conditions: list[Condition]
    caveats: list[Caveat]
    location: Location | None
    quantity: Quantity | None
    summary: str
    speaker: str | None
    quote: str | None
    since: date | None = Described(description="Day on which the run began; null when only possible.")
    stated_on: str = Described(description="EDTF, as the source supports it.", examples=["2025-03"])
    effective_on: date = Described(description="Day from which the statement counts.")
    last_affirmed_on: date | None
    affirmations: int = Described(description="Later statements of the same content.")
    stale: bool = Described(description="Last affirmed longer ago than the tracker's setting.")
    certainty: Literal["certain", "possible"]
    contested: bool
    sides: list[StatementView] = Described(description="The other statements of a contested position.")
    reports: int = Described(description="Reports beside the position, up to the day.")
    seq: int | None = Described(description="Entry that is shown; null only under `dry_run`.")
    source: SourceBrief


def compared(told: Mapping[str, Any]) -> dict[str, object]:
    """Return the values of `COMPARED` of a position as JSON says it, so that equal means the same."""
    quantity = told["quantity"] or {}
    parts = tuple(quantity.get(part) for part in ("min", "max", "unit"))
    return {name: told[name] for name in COMPARED} | {
        "conditions": types_of(told["conditions"]),
        "caveats": types_of(told["caveats"]),
        "quantity": None if parts == (None, None, None) else parts,
    }
