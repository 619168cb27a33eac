"""The coalition as it stood on a day, as known at a moment of our knowledge."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from operator import itemgetter
from typing import Any

from pydantic import Field as Described
from sqlmodel import Session

from app.changes import Head, stated_by
from app.countries import CountryFacts, country_names
from app.db import among
from app.lines import (
    Heard,
    LineKey,
    Lines,
    Relations,
    by_place,
    entries,
    last_entries,
    moved_lines,
    possible_entries,
    related_lines,
    relations_of,
    report_counts,
)
from app.positions import (
    Held,
    LineState,
    PositionView,
    Shown,
    line_state,
    position_view,
    possible_view,
)
from app.statements import Stated, Statement, StatementView, statement_view
from app.vocabulary import FORCE, Component, ConditionType, Firmness, Kind, Voice, ladder


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

    def lines(self) -> Lines:
        """Return the lines that can hold anything that is wanted."""
        return Lines(self.countries, self.components)

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
    """Lines of the record with what is live in them, as known at one seq.

    They may hold no more than it takes to answer for one day: see `known_on`.
    """

    def __init__(
        self,
        heard: Iterable[Heard],
        relations: Relations,
        seq: int,
        uncounted: dict[LineKey, int] | None = None,
    ) -> None:
        """`uncounted` tells how many reports a line has beside those in `heard`."""
        self.seq = seq
        self.lines: dict[LineKey, list[Heard]] = {}
        self._relations = relations
        self._uncounted = uncounted or {}
        self._later: dict[int, list[Heard]] = {}
        self._leaving: dict[int, list[Heard]] = {}
        self._repeated: dict[int, tuple[str, ...]] = {}
        self._related: set[LineKey] = set()
        for each in heard:
            if each.is_live(seq):
                self.lines.setdefault(each.key, []).append(each)
            else:
                self._later.setdefault(each.seq, []).append(each)
            if each.left_seq is not None:
                self._leaving.setdefault(each.left_seq, []).append(each)
            if each.is_related:
                self._related.add(each.key)
        for line in self.lines.values():
            line.sort(key=by_place)

    def advance(self, seq: int) -> None:
        """Move on to entry `seq`, the next one that moves any of these lines."""
        self.seq = seq
        self._repeated.clear()
        for each in self._leaving.get(seq, ()):
            self.lines[each.key].remove(each)
        for each in self._later.get(seq, ()):
            line = self.lines.setdefault(each.key, [])
            line.append(each)
            line.sort(key=by_place)

    def moved(self, seq: int) -> set[LineKey]:
        """Return the lines that entry `seq` enters or leaves: see `advance`."""
        return {each.key for each in (*self._leaving.get(seq, ()), *self._later.get(seq, ()))}

    def depending(self, seq: int) -> set[LineKey]:
        """Return the lines whose answer may change with entry `seq`: see `advance`."""
        moved = self.moved(seq)
        countries = {country for country, _ in moved}
        return moved | {key for key in self._related if key[0] in countries}

    def repeated(self, stated: Heard) -> tuple[str, ...]:
        """Return the meanings that a statement repeats; none where it counts by itself."""
        found = self._repeated.get(stated.seq)
        if found is None:
            found = self._repeated[stated.seq] = self._relations.repeated(stated, self.seq)
        return found

    def clarified(self, stated: Heard) -> frozenset[int]:
        """Return the chains that a statement clarifies."""
        return self._relations.clarified(stated.seq)

    def state(self, key: LineKey, day: date) -> LineState:
        """Return a line as it stands on `day`."""
        return line_state(self.lines.get(key, ()), self, day)

    def held(self, key: LineKey, day: date) -> Held | None:
        """Return what a line answers on `day`."""
        return self.state(key, day).held()

    def reports(self, key: LineKey, day: date) -> list[Heard]:
        """Return the line's live reports up to `day`, in order."""
        return [
            each
            for each in self.lines.get(key, ())
            if each.voice == Voice.REPORT and each.effective_on <= day
        ]

    def count_reports(self, key: LineKey, day: date) -> int:
        """Return how many reports stand beside the line's position on `day`."""
        return self._uncounted.get(key, 0) + len(self.reports(key, day))

    def possible(self, key: LineKey, day: date) -> list[Heard]:
        """Return what may hold already on `day` besides what certainly does (DESIGN.md 3.6)."""
        held = self.held(key, day)
        return [
            each
            for each in self.lines.get(key, ())
            if each.voice != Voice.REPORT
            and each.starts_on <= day < each.effective_on
            and not (each.is_related and self.repeated(each))
            and (held is None or held.first.meaning != each.meaning)
        ]


def known_record(session: Session, seq: int, countries: Collection[str] | None = None) -> Known:
    """Return the record as known at `seq`, all of it or that of some countries."""
    return known_lines(session, seq, Lines(countries))


def known_lines(session: Session, seq: int, lines: Lines) -> Known:
    """Return some lines of the record as known at `seq`, whole."""
    heard = entries(session, (seq, seq), lines)
    return Known(heard, relations_of(session, heard, seq), seq)


def known_between(session: Session, seqs: tuple[int, int], countries: Collection[str] | None) -> list[Known]:
    """Return, twice, the lines that entries between two seqs move, as known at the first of them.

    Each is fit to advance to the second. `countries` narrows them to some countries, None means all.
    """
    moved = moved_lines(session, *seqs, countries)
    # What moves may be repeated by what stands in another line of its country.
    keys = moved | related_lines(session, {country for country, _ in moved})
    lines = Lines(keys=keys) if len(keys) <= FEW_LINES else Lines({country for country, _ in keys})
    heard = entries(session, seqs, lines)
    relations = relations_of(session, heard, seqs[1])
    return [Known(heard, relations, seqs[0]) for _ in range(2)]


def known_on(session: Session, moment: Moment, wanted: "PositionFilter", *, possible: bool = False) -> Known:
    """Return as much of the wanted lines as tells what they hold on the day of `moment`.

    With `possible` they hold what may hold already, too.
    """
    seq, lines = moment.head.seq, wanted.lines()
    day = clamped(moment.as_of, moment.head)
    heard = last_entries(session, seq, day, lines)
    if possible:
        heard += possible_entries(session, seq, moment.as_of, lines)
    return Known(heard, relations_of(session, heard, seq), seq, report_counts(session, seq, day, lines))


def known_over(session: Session, seq: int, first: date, last: date, lines: Lines) -> Known:
    """Return the lines in which anything counts from a day after `first` up to `last`.

    They hold as much as tells what they answer on each day from `first` to `last`.
    """
    spoken = entries(session, (seq, seq), lines, after=first, until=last)
    reach: dict[LineKey, date] = {}
    for each in spoken:
        if each.voice != Voice.REPORT:
            reach[each.key] = min(each.starts_on, reach.get(each.key, date.max))
    if len(reach) <= FEW_LINES:
        lines = Lines(keys=reach.keys())
    before = last_entries(session, seq, first, lines, reach=reach)
    heard = [each for each in (*before, *spoken) if each.key in reach]
    return Known(heard, relations_of(session, heard, seq), seq, report_counts(session, seq, first, lines))


FEW_LINES = 100
"""Up to so many lines are named one by one; of more, all are read."""


def clamped(day: date, head: Head) -> date:
    """Return the last day up to `day` on which anything known at `head` can take effect.

    Nothing counts later than the day on which it was recorded (DESIGN.md 3.1).
    """
    return day if head.recorded_at is None else min(day, head.recorded_at.date())


@dataclass(slots=True)
class Viewer:
    """Turns what lines hold into what clients see, reading whole statements as they are needed."""

    session: Session
    names: dict[str, str]
    stale_after: timedelta
    _read: dict[int, Stated] = field(default_factory=dict)

    def load(self, seqs: Iterable[int]) -> None:
        """Read the statements of these entries at once: they are about to be shown."""
        wanted = set(seqs) - self._read.keys()
        if wanted:
            found = stated_by(self.session, max(wanted), None, among(Statement.seq, wanted))
            self._read |= {each.seq: each for each in found}

    def stated(self, seq: int) -> Stated:
        """Return a statement, whole."""
        self.load([seq])
        return self._read[seq]

    def position(self, known: Known, key: LineKey, day: date) -> PositionView | None:
        """Return the certain position of a line on `day`, or None."""
        return self.view(known, key, day, known.held(key, day))

    def view(self, known: Known, key: LineKey, day: date, held: Held | None) -> PositionView | None:
        """Return the view of what was found to be held in a line on `day`."""
        return self.seen(key, day, held, known.count_reports(key, day))

    def seen(self, key: LineKey, day: date, held: Held | None, reports: int) -> PositionView | None:
        """Return the view of what is held in a line on `day`, with so many reports beside it."""
        if held is None:
            return None
        first, *sides = map(self.stated, held.seqs)
        return position_view(held, first, sides, self._shown(key, day, reports))

    def possible(self, known: Known, key: LineKey, day: date) -> list[PositionView]:
        """Return what may hold already on `day`, in the order of the line."""
        shown = self._shown(key, day, known.count_reports(key, day))
        return [possible_view(self.stated(each.seq), shown) for each in known.possible(key, day)]

    def _shown(self, key: LineKey, day: date, reports: int) -> Shown:
        return Shown(
            country_name=self.names[key[0]],
            component=Component(key[1]),
            day=day,
            stale_after=self.stale_after,
            reports=reports,
        )


def viewer(session: Session, stale_after_days: int) -> Viewer:
    """Return a viewer that knows the countries' names."""
    return Viewer(session, country_names(session), timedelta(days=stale_after_days))


def positions_as_of(
    known: Known, viewer: Viewer, day: date, wanted: PositionFilter, *, possible: bool = False
) -> list[PositionView]:
    """Return the wanted positions in force on `day`, sorted by country and component.

    With `possible`, a line's certain position is followed by what may hold already.
    """
    held = {key: known.held(key, day) for key in sorted(known.lines) if wanted.wants_line(key)}
    viewer.load(seq for each in held.values() if each for seq in each.seqs)
    if possible:
        viewer.load(each.seq for key in held for each in known.possible(key, day))
    found: list[PositionView] = []
    for key, each in held.items():
        certain = viewer.view(known, key, day, each)
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


def report_views(known: Known, viewer: Viewer, key: LineKey, day: date) -> list[StatementView]:
    """Return the reports that stand beside a line's position on `day`, whole, in order."""
    reports = known.reports(key, day)
    viewer.load(each.seq for each in reports)
    return [statement_view(viewer.stated(each.seq)) for each in reports]


class CountryView(CountryFacts):
    """A country with what it holds."""

    tracked: bool = Described(description="Whether the record holds any live statement of it.")
    positions: dict[Component, PositionView | None] = Described(
        description="Position by component; troops, air and sea are always there, null = none recorded."
    )


def positions_of(held: Mapping[LineKey, PositionView], code: str) -> dict[Component, PositionView | None]:
    """Return a country's positions by component; the force's own are always there."""
    found = {component: held.get((code, component)) for component in Component}
    return {key: view for key, view in found.items() if view is not None or key in FORCE}


def by_line(positions: Iterable[PositionView]) -> dict[LineKey, PositionView]:
    """Return positions by the line that holds each."""
    return {(view.country, view.component): view for view in positions}
