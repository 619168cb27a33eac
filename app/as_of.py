"""The coalition as it stood on a day, as known at a moment of our knowledge."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from operator import itemgetter
from typing import Any

from pydantic import Field as Described
from sqlmodel import Session

from app.changes import Head, statements_by_seq
from app.countries import CountryFacts, every_country
from app.filters import PositionFilter, asked_on
from app.items import Item
from app.lines import LineKey, Lines, by_place, possible_entries, relations_of
from app.pieces import Pieces
from app.positions import PositionView
from app.spelling import (
    FLAGS,
    NULL,
    POSITION,
    Cut,
    count_on,
    joined_on,
    kept,
    page_on,
    shown_on,
    stands_shown_on,
)
from app.standings import Stand, stands_on
from app.statements import StatementView
from app.vocabulary import FORCE, Component, Firmness, Voice


@dataclass(frozen=True, slots=True)
class Moment:
    """What an answer is as of, and known at."""

    as_of: date
    head: Head


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


def clamped(day: date, head: Head) -> date:
    """Return the last day up to `day` on which anything known at `head` can take effect.

    Nothing counts later than the day on which it was recorded (DESIGN.md 3.1).
    """
    return day if head.recorded_at is None else min(day, head.recorded_at.date())


@dataclass(slots=True)
class Viewer:
    """Turns what lines answer into what clients see, reading statements as they are needed."""

    session: Session
    countries: Mapping[str, CountryFacts]
    stale_after: timedelta
    _read: dict[int, str] = field(default_factory=dict)
    _kept: dict[int, Cut] = field(default_factory=dict)

    def load(self, seqs: Iterable[int]) -> None:
        """Read the statements of these entries at once: they are about to be shown."""
        wanted = {seq for seq in seqs if seq not in self._read}
        if wanted:
            self._read |= statements_by_seq(self.session, wanted)

    def load_shown(self, stands: Iterable[Stand]) -> None:
        """Read at once what lines hold that is about to be shown."""
        wanted = {id for stand in stands if (id := stand.position_id) is not None and id not in self._kept}
        if wanted:
            self._kept |= kept(self.session, wanted)

    def held(self, moment: Moment, wanted: PositionFilter) -> dict[LineKey, Item[PositionView]]:
        """Return the wanted positions in force, by the line that holds each, in the order of these."""
        shown = shown_on(self.session, self.asked(moment), wanted.lines(), wanted)
        return {key: Item(PositionView, json) for key, json in shown.items()}

    def asked(self, moment: Moment) -> dict[str, Any]:
        """Return what `spelling` is asked with for a moment."""
        until = clamped(moment.as_of, moment.head)
        return asked_on(moment.head.seq, moment.as_of, until, self.stale_after)

    def stands_shown_on(self, seq: int, day: date, lines: Lines) -> dict[LineKey, tuple[Stand, bytes]]:
        """Return what each of `lines` answers with what it holds, as `spelling.stands_shown_on` does."""
        return stands_shown_on(self.session, asked_on(seq, day, day, self.stale_after), lines)

    def statement(self, seq: int) -> Item[StatementView]:
        """Return a statement, whole."""
        return Item(StatementView, self._known(seq))

    def _known(self, seq: int) -> str:
        if seq not in self._read:
            self.load([seq])
        return self._read[seq]

    def statements(self, seqs: Sequence[int]) -> list[Item[StatementView]]:
        """Return statements, whole, in this order."""
        self.load(seqs)
        return [self.statement(seq) for seq in seqs]

    def position(self, day: date, stand: Stand | None) -> Item[PositionView] | None:
        """Return what a line holds on `day` as it is seen, or None where it holds nothing."""
        if stand is None or stand.position_id is None:
            return None
        return Item(PositionView, self.spelt(day, stand, stand.reports))

    def spelt(self, day: date, stand: Stand, reports: int) -> bytes:
        """Return what a line holds on `day`, with so many reports beside it, as JSON: null for nothing."""
        if stand.position_id is None:
            return NULL
        if stand.position_id not in self._kept:
            self.load_shown([stand])
        opening, middle, ending = self._kept[stand.position_id]
        return b"".join((opening, _FLAGS[self.is_stale(stand, day)], middle, b"%d" % reports, ending))

    def is_stale(self, stand: Stand, day: date) -> bool:
        """Tell whether what a line holds was last affirmed too long before `day`."""
        return stand.last_affirmed_on is not None and day - stand.last_affirmed_on > self.stale_after

    def possible(self, key: LineKey, seq: int, reports: int) -> Item[PositionView]:
        """Return what may hold already, though it is not certain yet (DESIGN.md 3.6)."""
        pieces = Pieces.of(self._known(seq))
        told = POSITION % (
            *(key[0], self.countries[key[0]].name, key[1]),
            *(pieces.words, FLAGS[pieces.is_conditional], pieces.content),
            *("null", pieces.dates, "null", 0, "false", "possible"),
            *("false", "", reports, seq, pieces.source),
        )
        return Item(PositionView, told)


_FLAGS = {flag: json.encode() for flag, json in FLAGS.items()}


def viewer(session: Session, stale_after_days: int) -> Viewer:
    """Return a viewer that knows the countries' names."""
    return Viewer(session, every_country(session), timedelta(days=stale_after_days))


def positions_as_of(
    viewer: Viewer, moment: Moment, wanted: PositionFilter, *, possible: bool = False
) -> list[Item[PositionView]]:
    """Return the wanted positions in force on a day, sorted by country and component.

    With `possible`, a line's certain position is followed by what may hold already.
    """
    found = list(viewer.held(moment, wanted).items())
    if possible:
        found += _possible(viewer, moment, wanted)
        found.sort(key=itemgetter(0))
    return [item for _, item in found]


def _possible(
    viewer: Viewer, moment: Moment, wanted: PositionFilter
) -> Iterator[tuple[LineKey, Item[PositionView]]]:
    """Yield what may hold already and is wanted, with the line that it stands in, in the order of these."""
    lines, until = wanted.lines(), clamped(moment.as_of, moment.head)
    stands = stands_on(viewer.session, moment.head.seq, until, lines)
    may_hold = possible_in(viewer.session, moment, lines, stands)
    viewer.load(seq for seqs in may_hold.values() for seq in seqs)
    for key, seqs in may_hold.items():
        reports = stands[key].reports if key in stands else 0
        for seq in seqs:
            item = viewer.possible(key, seq, reports)
            if wanted.takes_all_of_lines or wanted.passes(item.view):
                yield key, item


def positions_joined(viewer: Viewer, moment: Moment, wanted: PositionFilter, most: int) -> tuple[int, bytes]:
    """Return the first `most` of what `positions_as_of` returns, as JSON, joined, and how many those are."""
    return joined_on(viewer.session, viewer.asked(moment), wanted, most=most)


def page_as_of(
    viewer: Viewer, moment: Moment, wanted: PositionFilter, start: LineKey, most: int
) -> tuple[int, list[Item[PositionView]]]:
    """Return how many positions `positions_as_of` returns, and at most `most` of them, from a line on."""
    asked = viewer.asked(moment)
    page = page_on(viewer.session, asked, wanted, start=start, most=most)
    return count_on(viewer.session, asked, wanted), [Item(PositionView, json) for json in page]


def possible_in(
    session: Session, moment: Moment, lines: Lines, stands: Mapping[LineKey, Stand]
) -> dict[LineKey, list[int]]:
    """Return, by line, the entries that may hold already besides what certainly does (DESIGN.md 3.6)."""
    seq = moment.head.seq
    heard = sorted(possible_entries(session, seq, moment.as_of, lines), key=by_place)
    relations = relations_of(session, heard, seq)
    found: dict[LineKey, list[int]] = {}
    for each in heard:
        stand = stands.get(each.key)
        is_same = stand is not None and stand.meaning == each.meaning
        if each.voice != Voice.REPORT and not is_same and not relations.repeated(each, seq):
            found.setdefault(each.key, []).append(each.seq)
    return found


def sorted_by(items: Sequence[Item[PositionView]], sort: Sequence[Sort]) -> list[Item[PositionView]]:
    """Return positions sorted by the fields of `sort`, the most important first, `-` reversing.

    Firmness is in the order of the ladders, offers before refusals; what has no day comes last
    either way. Ties stay as they were.
    """
    found = list(items)
    for each in reversed(sort):
        name, is_reversed = each.removeprefix("-"), each.startswith("-")
        known = [(value, item) for item in found if (value := _sort_value(item.view, name)) is not None]
        unknown = [item for item in found if _sort_value(item.view, name) is None]
        known.sort(key=itemgetter(0), reverse=is_reversed)
        found = [item for _, item in known] + unknown
    return found


def _sort_value(view: PositionView, name: str) -> Any:
    return list(Firmness).index(view.firmness) if name == "firmness" else getattr(view, name)


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


def by_line(positions: Iterable[Item[PositionView]]) -> dict[LineKey, PositionView]:
    """Return positions by the line that holds each."""
    return {(item.view.country, item.view.component): item.view for item in positions}
