"""The coalition as it stood on a day, as known at a moment of our knowledge."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from operator import itemgetter
from typing import Any

from pydantic import Field as Described
from sqlmodel import Session

from app.changes import Head, stated_by
from app.countries import CountryFacts, country_names
from app.positions import (
    Held,
    LineState,
    PositionView,
    Shown,
    line_state,
    position_view,
    possible_view,
)
from app.statements import Content, Stated, StatementView, statement_view
from app.vocabulary import FORCE, Component, ConditionType, Firmness, Kind, Relation, Voice, ladder

LineKey = tuple[str, Component]
"""A line of the record: country and component."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What an answer is as of, and known at."""

    as_of: date
    head: Head


@dataclass(frozen=True, slots=True)
class PositionFilter:
    """Which positions are wanted; values of one field widen, fields narrow each other.

    An empty field narrows nothing. `min_firmness` asks for its own rung and those above it on its
    own ladder, so an offer never passes for a refusal.
    """

    countries: frozenset[str] | None = None
    components: tuple[Component, ...] = ()
    kinds: tuple[Kind, ...] = ()
    firmness: tuple[Firmness, ...] = ()
    min_firmness: Firmness | None = None
    conditions: tuple[ConditionType, ...] = ()
    conditional: bool | None = None
    contested: bool | None = None
    stale: bool | None = None
    voices: tuple[Voice, ...] = ()
    sources: tuple[int, ...] = ()
    changed_since: date | None = None
    """Only runs that began on this day or later."""
    text: str | None = None
    """Found in summary, quote or speaker, in any case."""

    def wants_line(self, key: LineKey) -> bool:
        """Tell whether a line can hold anything that is wanted."""
        country, component = key
        in_country = self.countries is None or country in self.countries
        return in_country and (not self.components or component in self.components)

    def passes(self, view: PositionView | None) -> bool:
        """Tell whether a position is wanted; no position never is."""
        if view is None or not self.wants_line((view.country, view.component)):
            return False
        return (
            (not self.kinds or view.kind in self.kinds)
            and (not self.firmness or view.firmness in self.firmness)
            and (self.min_firmness is None or view.firmness in rungs_from(self.min_firmness))
            and (not self.voices or view.voice in self.voices)
            and (not self.conditions or any(each.type in self.conditions for each in view.conditions))
            and self.conditional in (None, view.conditional)
            and self.contested in (None, view.contested)
            and self.stale in (None, view.stale)
            and (not self.sources or view.source.id in self.sources)
            and (self.changed_since is None or (view.since or view.effective_on) >= self.changed_since)
            and (self.text is None or self._is_said(view, self.text.casefold()))
        )

    @staticmethod
    def _is_said(view: PositionView, text: str) -> bool:
        said = (view.summary, view.quote, view.speaker)
        return any(text in each.casefold() for each in said if each is not None)


def rungs_from(least: Firmness) -> tuple[Firmness, ...]:
    """Return `least` and the rungs above it on its own ladder; `withdrawn` stands alone."""
    rungs = ladder(least)
    return rungs[rungs.index(least) :] if rungs else (least,)


class Sort(StrEnum):
    """What positions can be sorted by."""

    COUNTRY = "country"
    COUNTRY_REVERSED = "-country"
    COMPONENT = "component"
    COMPONENT_REVERSED = "-component"
    FIRMNESS = "firmness"
    FIRMNESS_REVERSED = "-firmness"
    SINCE = "since"
    SINCE_REVERSED = "-since"
    LAST_AFFIRMED_ON = "last_affirmed_on"
    LAST_AFFIRMED_ON_REVERSED = "-last_affirmed_on"


class Known:
    """The live statements of the record, by line, as known at one seq."""

    def __init__(self, statements: Iterable[Stated], seq: int) -> None:
        self.lines: dict[LineKey, list[Stated]] = {}
        self.repeats: dict[int, tuple[Content, ...]] = {}
        self._live: dict[int, Stated] = {}
        self._marked: dict[int, Stated] = {}
        for stated in statements:
            if stated.is_live(seq):
                self._place(stated)
        for line in self.lines.values():
            line.sort(key=lambda stated: stated.place)
        self._resolve_repeats()

    def advance(self, entered: Stated | None, left: Stated | None) -> None:
        """Move on by one entry of the ledger: `entered` was stated, `left` was replaced by it."""
        if left is not None:
            for key in keys_of(left):
                self.lines[key].remove(left)
            del self._live[left.chain]
            self._marked.pop(left.chain, None)
        if entered is not None:
            self._place(entered)
            for key in keys_of(entered):
                self.lines[key].sort(key=lambda stated: stated.place)
        self._resolve_repeats()

    def depending(self, *moved: Stated | None) -> set[LineKey]:
        """Return the lines whose answer may change when `moved` enter or leave the record."""
        touched = [*self._marked.values(), *(stated for stated in moved if stated is not None)]
        return {key for stated in touched for key in keys_of(stated)}

    def _place(self, stated: Stated) -> None:
        self._live[stated.chain] = stated
        for key in keys_of(stated):
            self.lines.setdefault(key, []).append(stated)
        if any(relation.relation is Relation.REPEATS for relation in stated.relations):
            self._marked[stated.chain] = stated

    def _resolve_repeats(self) -> None:
        originals = {each.seq: self._originals(each) for each in self._marked.values()}
        self.repeats = {
            seq: tuple(original.content for original in found) for seq, found in originals.items() if found
        }

    def _originals(self, stated: Stated) -> list[Stated]:
        """Return the live statements that a marked repeat leads back to; none if it counts by itself.

        What a correction gave to another country or voice is no longer repeated: so a country's
        answers follow from its own statements, whichever else were read.
        """
        found: list[Stated] = []
        for relation in stated.relations:
            target = self._live.get(relation.target_chain)
            if relation.relation is Relation.REPEATS and target is not None and _is_of_same(stated, target):
                found += self._originals(target) or [target]
        return found

    def state(self, key: LineKey, day: date) -> LineState:
        """Return a line as it stands on `day`."""
        return line_state(key[1], self.lines.get(key, ()), self.repeats, day)

    def held(self, key: LineKey, day: date) -> Held | None:
        """Return what a line answers on `day`."""
        return self.state(key, day).held()

    def reports(self, key: LineKey, day: date) -> list[Stated]:
        """Return the line's live reports up to `day`, in order."""
        return [
            stated
            for stated in self.lines.get(key, ())
            if stated.voice is Voice.REPORT and stated.effective_on <= day
        ]

    def possible(self, key: LineKey, day: date) -> Iterator[Stated]:
        """Yield what may hold already on `day` besides what certainly does (DESIGN.md 3.6)."""
        held = self.held(key, day)
        for stated in self.lines.get(key, ()):
            may_hold = (
                stated.voice is not Voice.REPORT
                and stated.seq not in self.repeats
                and stated.row.stated_earliest_on is not None
                and stated.row.stated_earliest_on <= day < stated.effective_on
            )
            if may_hold and (held is None or held.first.content != stated.content):
                yield stated


def _is_of_same(stated: Stated, other: Stated) -> bool:
    return (stated.row.country_code, stated.voice) == (other.row.country_code, other.voice)


def keys_of(stated: Stated) -> list[LineKey]:
    """Return the lines that a statement enters."""
    return [(stated.row.country_code, component) for component in stated.components]


@dataclass(frozen=True, slots=True)
class Viewer:
    """Turns what lines hold into what clients see."""

    names: dict[str, str]
    stale_after: timedelta

    def position(self, known: Known, key: LineKey, day: date) -> PositionView | None:
        """Return the certain position of a line on `day`, or None."""
        return self.view(known, key, day, known.held(key, day))

    def view(self, known: Known, key: LineKey, day: date, held: Held | None) -> PositionView | None:
        """Return the view of what was found to be held in a line on `day`."""
        return None if held is None else position_view(held, self._shown(known, key, day))

    def possible(self, known: Known, key: LineKey, day: date) -> list[PositionView]:
        """Return what may hold already on `day`, in the order of the line."""
        shown = self._shown(known, key, day)
        return [possible_view(stated, shown) for stated in known.possible(key, day)]

    def _shown(self, known: Known, key: LineKey, day: date) -> Shown:
        return Shown(
            country_name=self.names[key[0]],
            component=key[1],
            day=day,
            stale_after=self.stale_after,
            reports=len(known.reports(key, day)),
        )


def viewer(session: Session, stale_after_days: int) -> Viewer:
    """Return a viewer that knows the countries' names."""
    return Viewer(country_names(session), timedelta(days=stale_after_days))


def known_record(session: Session, seq: int, countries: Collection[str] | None = None) -> Known:
    """Return the record as known at `seq`, all of it or that of some countries."""
    return Known(stated_by(session, seq, countries), seq)


def positions_as_of(
    known: Known, viewer: Viewer, day: date, wanted: PositionFilter, *, possible: bool = False
) -> list[PositionView]:
    """Return the wanted positions in force on `day`, sorted by country and component.

    With `possible`, a line's certain position is followed by what may hold already.
    """
    found: list[PositionView] = []
    for key in sorted(known.lines):
        if not wanted.wants_line(key):
            continue
        certain = viewer.position(known, key, day)
        views = [] if certain is None else [certain]
        if possible:
            views += viewer.possible(known, key, day)
        found += (view for view in views if wanted.passes(view))
    return found


def sorted_by(views: Sequence[PositionView], sort: Sequence[Sort]) -> list[PositionView]:
    """Return positions sorted by the fields of `sort`, the most important first, `-` reversing.

    Firmness is in the order of the ladders, offers before refusals; what has no day comes last
    either way. Ties stay as they were.
    """
    found = list(views)
    for each in reversed(sort):
        name, is_reversed = each.removeprefix("-"), each.startswith("-")
        known = [(value, view) for view in found if (value := _sort_value(view, name)) is not None]
        unknown = [view for view in found if _sort_value(view, name) is None]
        known.sort(key=itemgetter(0), reverse=is_reversed)
        found = [view for _, view in known] + unknown
    return found


def _sort_value(view: PositionView, name: str) -> Any:
    return list(Firmness).index(view.firmness) if name == "firmness" else getattr(view, name)


def report_views(known: Known, key: LineKey, day: date) -> list[StatementView]:
    """Return the reports that stand beside a line's position on `day`, whole, in order."""
    return [statement_view(stated) for stated in known.reports(key, day)]


class CountryView(CountryFacts):
    """A country with what it holds."""

    tracked: bool = Described(description="Whether the record holds any live statement of it.")
    positions: dict[Component, PositionView | None] = Described(
        description="Position by component; troops, air and sea are always there, null = none recorded."
    )


def positions_of(known: Known, viewer: Viewer, code: str, day: date) -> dict[Component, PositionView | None]:
    """Return a country's positions by component; the force's own are always there."""
    found = {}
    for component in Component:
        position = viewer.position(known, (code, component), day)
        if position is not None or component in FORCE:
            found[component] = position
    return found
