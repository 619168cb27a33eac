"""Positions: what a country holds on one component, by the rules of DESIGN.md section 3.

The rules are here and pure: statements in, position out, no database and no clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

from pydantic import BaseModel
from pydantic import Field as Described

from app.sources import SourceBrief
from app.statements import (
    Caveat,
    Condition,
    Content,
    Quantity,
    Stated,
    StatementView,
    statement_view,
)
from app.vocabulary import Component, Firmness, Kind, Location, Relation, Voice

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


@dataclass(frozen=True, slots=True)
class Held:
    """What a line answers on a day: the run in force, and who says otherwise."""

    first: Stated
    """The statement with which the run began: the one that is shown."""
    word: Stated
    """The latest statement of the run that is no repeat."""
    last_affirmed_on: date
    affirmations: int
    sides: tuple[Stated, ...]

    @property
    def since(self) -> date:
        """Day on which the run began."""
        return self.first.effective_on

    def compared(self) -> dict[str, object]:
        """Return the values of `COMPARED`, in a form in which equal means the same."""
        content = self.first.content
        values = (
            content.kind,
            content.firmness,
            content.conditions,
            content.caveats,
            content.location,
            content.quantity,
            self.first.voice,
            bool(self.sides),
        )
        return dict(zip(COMPARED, values, strict=True))


@dataclass(slots=True)
class _Speaker:
    """One voice of a line, as far as it has spoken."""

    has_spoken: bool = False
    first: Stated | None = None
    word: Stated | None = None
    last_affirmed_on: date = date.min
    affirmations: int = 0
    said: list[Stated] = field(default_factory=list)
    """Its statements so far that are neither repeats nor withdrawals, in order."""

    def hear(self, stated: Stated, repeated: tuple[Content, ...], component: Component) -> None:
        self.has_spoken = True
        if repeated:
            # Words that take something back affirm nothing, whatever they are marked as.
            if self.first is not None and self.first.content in repeated and not stated.is_withdrawal:
                self._affirm(stated)
        elif stated.is_withdrawal:
            if self.word is not None and self.word.is_refusal == stated.is_refusal:
                self.first = self.word = None
        else:
            self.said.append(stated)
            same = self.first is not None and self.first.content == stated.content
            # In `other` equal words may mean different things: only a marked repeat affirms there.
            if same and component is not Component.OTHER:
                self._affirm(stated)
            else:
                self.first, self.affirmations = stated, 0
                self.last_affirmed_on = stated.effective_on
            self.word = stated

    def _affirm(self, stated: Stated) -> None:
        self.affirmations += 1
        self.last_affirmed_on = stated.effective_on

    def contradictions(self, word: Stated) -> list[Stated]:
        """Return its own statements that contest its word (DESIGN.md 3.5)."""
        found = []
        for other in reversed(self.said):
            if other.effective_on < word.starts_on:
                break
            differs = (other.content.kind, other.content.firmness) != (
                word.content.kind,
                word.content.firmness,
            )
            if differs and not (clarifies(word, other) or clarifies(other, word)):
                found.append(other)
        return found


@dataclass(slots=True)
class LineState:
    """A line as far as its statements have been heard; hear them in the order of `Stated.place`."""

    component: Component
    _government: _Speaker = field(default_factory=_Speaker)
    _head_of_state: _Speaker = field(default_factory=_Speaker)

    def hear(self, stated: Stated, repeated: tuple[Content, ...]) -> None:
        """Take in the next statement; `repeated` are the contents that it repeats (DESIGN.md 3.4).

        `repeated` is empty for a statement that is no marked repeat, or whose targets are gone.
        Reports are not heard: they never set a position.
        """
        if stated.voice is Voice.GOVERNMENT:
            self._government.hear(stated, repeated, self.component)
        elif stated.voice is Voice.HEAD_OF_STATE:
            self._head_of_state.hear(stated, repeated, self.component)

    def held(self) -> Held | None:
        """Return the position after what was heard, or None where nobody holds any (DESIGN.md 3.3)."""
        lead, other = self._government, self._head_of_state
        if not lead.has_spoken:
            lead, other = other, lead
        if lead.first is None or lead.word is None:
            return None
        sides = lead.contradictions(lead.word)
        if other.word is not None and other.word.is_refusal != lead.word.is_refusal:
            sides.append(other.word)
        return Held(
            first=lead.first,
            word=lead.word,
            last_affirmed_on=lead.last_affirmed_on,
            affirmations=lead.affirmations,
            sides=tuple(sorted(sides, key=lambda side: side.place)),
        )

    def offers(self, voice: Voice) -> set[str]:
        """Return which of the line's offers stand: its position, the word of `voice`, or both."""
        speaker = self._head_of_state if voice is Voice.HEAD_OF_STATE else self._government
        held = self.held()
        standing = {"position": held and held.word, "word": speaker.word}
        return {name for name, word in standing.items() if word and not word.is_refusal}


def clarifies(stated: Stated, other: Stated) -> bool:
    """Tell whether `stated` is marked as clarifying `other`, corrections of it included."""
    return any(
        relation.relation is Relation.CLARIFIES and relation.target_chain == other.chain
        for relation in stated.relations
    )


def line_state(
    component: Component, line: Iterable[Stated], repeats: dict[int, tuple[Content, ...]], day: date
) -> LineState:
    """Return a line as it stands on `day`, statements effective on it included.

    `line` is in the order of `Stated.place`; `repeats` gives the contents that marked repeats
    with live targets repeat, by seq.
    """
    state = LineState(component)
    for stated in line:
        if stated.effective_on > day:
            break
        state.hear(stated, repeats.get(stated.seq, ()))
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


@dataclass(frozen=True, slots=True)
class Shown:
    """What a view of a position needs beside the position itself."""

    country_name: str
    component: Component
    day: date
    stale_after: timedelta
    reports: int


def position_view(held: Held, shown: Shown) -> PositionView:
    """Return a certain position as clients see it."""
    return _view(
        held.first,
        shown,
        since=held.since,
        last_affirmed_on=held.last_affirmed_on,
        affirmations=held.affirmations,
        stale=shown.day - held.last_affirmed_on > shown.stale_after,
        certainty="certain",
        sides=[statement_view(side) for side in held.sides],
    )


def possible_view(stated: Stated, shown: Shown) -> PositionView:
    """Return what may hold already, though it is not certain yet (DESIGN.md 3.6)."""
    return _view(
        stated,
        shown,
        since=None,
        last_affirmed_on=None,
        affirmations=0,
        stale=False,
        certainty="possible",
        sides=[],
    )


def _view(
    stated: Stated,
    shown: Shown,
    *,
    since: date | None,
    last_affirmed_on: date | None,
    affirmations: int,
    stale: bool,
    certainty: Literal["certain", "possible"],
    sides: list[StatementView],
) -> PositionView:
    whole = statement_view(stated)
    return PositionView(
        country=whole.country,
        country_name=shown.country_name,
        component=shown.component,
        kind=whole.kind,
        firmness=whole.firmness,
        voice=whole.voice,
        conditional=bool(whole.conditions),
        conditions=whole.conditions,
        caveats=whole.caveats,
        location=whole.location,
        quantity=whole.quantity,
        summary=whole.summary,
        speaker=whole.speaker,
        quote=whole.quote,
        since=since,
        stated_on=whole.stated_on,
        effective_on=whole.effective_on,
        last_affirmed_on=last_affirmed_on,
        affirmations=affirmations,
        stale=stale,
        certainty=certainty,
        contested=bool(sides),
        sides=sides,
        reports=shown.reports,
        seq=whole.seq,
        source=whole.source,
    )
