"""How standings follow from entries: each is heard in its lines, and the days that it changes are told anew.

Entry by entry, from nothing or from a record that is there. What cannot differ is not heard again.
"""

import itertools
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from operator import attrgetter
from typing import Any, NamedTuple

from app.lines import (
    Heard,
    LineKey,
    Relations,
    by_place,
)
from app.positions import Held, LineState, line_state
from app.standings import AFFIRMED, CHANGED, NOTHING, Stand
from app.vocabulary import Voice


def _joined(found: Iterable[int]) -> str:
    return ",".join(map(str, found))


Span = tuple[date, date]
"""Two days, both included."""


class Marks:
    """What is known of statements' relations to others at one seq."""

    def __init__(self, relations: Relations, seq: int) -> None:
        self._relations = relations
        self._seq = seq

    def repeated(self, stated: Heard) -> tuple[str, ...]:
        """Return the meanings that a statement repeats; none where it counts by itself."""
        return self._relations.repeated(stated, self._seq)

    def clarified(self, stated: Heard) -> frozenset[int]:
        """Return the chains that a statement clarifies."""
        return self._relations.clarified(stated.seq)


class _Day(NamedTuple):
    """A day of a line: what it comes to when all of that day is heard."""

    on: date
    state: LineState
    held: Held | None
    stand: Stand
    """What holds on it: where nothing new is seen, that of an earlier day."""
    changing: tuple[int, ...]
    """Entries of it that change what is seen."""
    affirming: tuple[int, ...]
    """Entries of it that say the same again."""


NO_ENTRIES: tuple[int, ...] = ()
_on: Callable[[_Day], date] = attrgetter("on")
_REPORT = Voice.REPORT


class _Log:
    """What is live in a line, and its days, as far as they had to be heard.

    Of its reports only the first day matters: from then on the line knows that nothing is held.
    """

    def __init__(self) -> None:
        self.days: list[_Day] = []
        self._live: list[Heard] = []
        self._places: list[tuple[date, bool, int]] = []
        self._reported: list[date] = []
        self._vague: list[Heard] = []
        self._later: Iterator[_Day] = iter(())
        self.differs_to_the_end = False
        """Whether something was another up to the last of the days."""

    def enter(self, stated: Heard) -> bool:
        """Take in a statement that is live now; tell whether the line answers anything else for it."""
        if stated.voice == _REPORT:
            is_first = stated.effective_on < self._first()
            insort(self._reported, stated.effective_on)
            return is_first
        place = stated.place
        number = bisect_left(self._places, place)
        self._places.insert(number, place)
        self._live.insert(number, stated)
        if stated.starts_on < stated.effective_on:
            self._vague.append(stated)
        return True

    def leave(self, stated: Heard) -> bool:
        """Let go of a statement; tell whether the line answers anything else without it."""
        if stated.voice == _REPORT:
            del self._reported[bisect_left(self._reported, stated.effective_on)]
            return stated.effective_on < self._first()
        number = bisect_left(self._places, stated.place)
        del self._places[number], self._live[number]
        self._vague = [each for each in self._vague if each.place != stated.place]
        return True

    def _first(self) -> date:
        """Return the first day on which anything is said."""
        reported = self._reported[0] if self._reported else date.max
        return min(reported, self._live[0].effective_on) if self._live else reported

    def begin(self, live: Iterable[Heard], first: date, marks: Marks) -> None:
        """Begin with what is live; only what comes from the day `first` on will be heard anew."""
        for each in sorted(live, key=by_place):
            if each.voice == _REPORT:
                self._reported.append(each.effective_on)
            else:
                self._live.append(each)
                self._places.append(each.place)
        self._vague = [each for each in self._live if each.starts_on < each.effective_on]
        start, before = bisect_left(self._places, (first, False, 0)), None
        if start:
            on, state = self._live[start - 1].effective_on, line_state(self._live[:start], marks)
            held = state.held()
            before = _Day(on, state, held, _stand(on, held, None, ""), (), ())
        elif self._first() < first:
            before = _nothing_from(self._first())
        if before is not None:
            self.days.append(before)
        self._later = _days(self._live.copy(), start, before, marks, self._first())

    def _place_of(self, day: date) -> int:
        """Return the place of the first day on or after `day`; it is heard if it was not yet."""
        while not self.days or self.days[-1].on < day:
            found = next(self._later, None)
            if found is None:
                return len(self.days)
            self.days.append(found)
        return bisect_left(self.days, day, key=_on)

    def restate(
        self, span: tuple[date, date], marks: Marks, only: Heard | None
    ) -> tuple[list[Stand], list[Stand]]:
        """Hear the line anew where something is another between two days, both included.

        That is no more than that `only` has entered, where it is given. Return what holds no more,
        and what does instead.
        """
        first, last = span
        # What is said later may contest what was said in between.
        for each in self._vague:
            if each.starts_on <= span[1] and each.effective_on > last:
                last = each.effective_on
        kept = self._place_of(first)
        before = self.days[kept - 1] if kept else None
        start, begun = bisect_left(self._places, (first, False, 0)), None
        if only is not None and kept < len(self.days) and self.days[kept].on == first:
            place = bisect_left(self._places, only.place)
            if place + 1 == len(self._live) or self._places[place + 1][0] > first:
                # It is the last of a day that was heard but for it.
                start, begun = place, self.days[kept]
        new: list[_Day] = []
        for day in _days(self._live, start, before, marks, self._first(), begun):
            new.append(day)
            if day.on < last:
                continue
            end = self._place_of(day.on)
            if end < len(self.days) and (old := self.days[end]).on == day.on and old.state == day.state:
                end += 1
                break
        else:
            self.days += self._later
            end = len(self.days)
            self.differs_to_the_end = True
        held, holds = _began(self.days[kept:end]), _began(new)
        self.days[kept:end] = new
        closed = [stand for on, stand in held.items() if holds.get(on) != stand]
        opened = [stand for on, stand in holds.items() if held.get(on) != stand]
        return closed, opened


def _began(days: Iterable[_Day]) -> dict[date, Stand]:
    """Return what began to hold on some days."""
    return {on: stand for on, _, _, stand, _, _ in days if stand[0] == on}


def _nothing_from(day: date) -> _Day:
    """Return the day from which on it is known that nothing is held."""
    return _Day(day, LineState(), None, _stand(day, None, None, ""), (), ())


def _days(
    line: list[Heard], start: int, before: _Day | None, marks: Marks, first: date, begun: _Day | None = None
) -> Iterator[_Day]:
    """Yield the days of a line from its entry number `start` on, `before` being the day ahead of that.

    `first` is the day from which on anything is known, be it by a report; `begun` the first day to
    be told, as far as it came to before that entry.
    """
    number, count = start, len(line)
    if before is None and (not line or first < line[0].effective_on) and first < date.max:
        before = _nothing_from(first)
        yield before
    state, held, stand = (LineState(), None, NOTHING) if before is None else before[1:4]
    while number < count:
        stated = line[number]
        on, was = stated.effective_on, held
        changing, affirming = NO_ENTRIES, NO_ENTRIES
        if begun is not None:
            _, state, held, _, changing, affirming = begun
            begun = None
        while stated.effective_on == on:
            state = state.hear(line, number, marks)
            earlier, held = held, state.held()
            if _differs(earlier, held):
                changing += (stated.seq,)
            # It may do both: what contests the run before and after need not be the same.
            if earlier and held and held.affirmations > earlier.affirmations:
                affirming += (stated.seq,)
            number += 1
            if number == count:
                break
            stated = line[number]
        # Also where nothing is seen on a line's first day: from it on there are words.
        if held is not was or stand is NOTHING:
            step, seqs = None, ""
            if _differs(was, held):
                step, seqs = CHANGED, _joined(changing)
            elif was and held and held.affirmations > was.affirmations and was.since == held.since:
                step, seqs = AFFIRMED, _joined(affirming)
            found = _stand(on, held, step, seqs)
            if found.answer != stand.answer or stand is NOTHING:
                stand = found
        yield _Day(on, state, held, stand, changing, affirming)


def _differs(before: Held | None, after: Held | None) -> bool:
    return after is not None if before is None else before.differs(after)


def _stand(on: date, held: Held | None, step: str | None, seqs: str) -> Stand:
    if held is None:
        return Stand(on, None, None, None, 0, "", None, step, seqs)
    first = held.first
    return Stand(
        on,
        first.seq,
        held.since,
        held.last_affirmed_on,
        held.affirmations,
        _joined(side.seq for side in held.sides) if held.sides else "",
        f"{first.stance} {first.voice} {first.meaning}",
        step,
        seqs,
    )


class Moved(NamedTuple):
    """What an entry changes in a line: stands that hold no more, and those that do instead."""

    key: LineKey
    closed: list[Stand]
    opened: list[Stand]


class Replay:
    """Lines of the record, entry by entry: what each changes in what they answer."""

    def __init__(self, heard: Iterable[Heard], relations: Relations, seq: int) -> None:
        """Begin with what is known at `seq`; `heard` is all that was live then or later, of whole lines."""
        self._relations = relations
        self._logs: dict[LineKey, _Log] = {}
        self._entering: dict[int, list[Heard]] = {}
        self._leaving: dict[int, list[Heard]] = {}
        self._following: dict[int, list[Heard]] = {}
        live: dict[LineKey, list[Heard]] = {}
        following: dict[int, list[Heard]] = {}
        for each in heard:
            in_line = live.setdefault(each.key, [])
            if each.is_live(seq):
                in_line.append(each)
            else:
                self._entering.setdefault(each.seq, []).append(each)
            if each.left_seq is not None and each.left_seq > seq:
                self._leaving.setdefault(each.left_seq, []).append(each)
            if each.is_related and each.voice != _REPORT:
                for chain in relations.reached(each):
                    following.setdefault(chain, []).append(each)
        for chain, followers in following.items():
            moments = {
                moment
                for version in relations.versions.get(chain, ())
                for moment in (version.seq, version.left_seq)
                if moment is not None and moment > seq
            }
            for moment in moments:
                self._following.setdefault(moment, []).extend(followers)
        first: dict[LineKey, date] = {}
        for moving in (self._entering, self._leaving, self._following):
            for each in itertools.chain.from_iterable(moving.values()):
                first[each.key] = min(each.effective_on, first.get(each.key, date.max))
        for key, in_line in live.items():
            self._logs[key] = _Log()
            self._logs[key].begin(in_line, first.get(key, date.max), Marks(relations, seq))

    def differs_to_the_end(self, lines: Iterable[LineKey]) -> bool:
        """Tell whether something was another up to the last day that is there of any of these lines."""
        return any(self._logs[key].differs_to_the_end for key in lines)

    @property
    def seqs(self) -> list[int]:
        """The entries that may change anything, in order."""
        return sorted(self._entering.keys() | self._leaving.keys() | self._following.keys())

    def advance(self, seq: int) -> list[Moved]:
        """Move on to entry `seq`, the next of `seqs`."""
        days: dict[LineKey, list[date]] = {}
        for each in self._leaving.get(seq, ()):
            if self._logs[each.key].leave(each):
                days.setdefault(each.key, []).append(each.effective_on)
        for each in self._following.get(seq, ()):
            if each.is_live(seq):
                days.setdefault(each.key, []).append(each.effective_on)
        only: dict[LineKey, Heard] = {}
        for each in self._entering.get(seq, ()):
            if self._logs[each.key].enter(each):
                if each.key not in days:
                    only[each.key] = each
                days.setdefault(each.key, []).append(each.effective_on)
        marks = Marks(self._relations, seq)
        moved: list[Moved] = []
        for key, found in sorted(days.items()):
            closed, opened = self._logs[key].restate((min(found), max(found)), marks, only.get(key))
            if closed or opened:
                moved.append(Moved(key, closed, opened))
        return moved


class Derived(NamedTuple):
    """Rows that follow from entries: those that hold no more, and new ones."""

    closed: list[dict[str, Any]]
    opened: list[dict[str, Any]]
    moved: dict[LineKey, date]
    """The lines that are moved, each with the last day from which on one of these rows holds."""


def derived(found: Replay, ids: Mapping[LineKey, int]) -> Derived:
    """Play a replay to its end, and return what follows for `Standing`; `ids` are those of its lines."""
    closed: list[dict[str, Any]] = []
    opened: list[dict[str, Any]] = []
    moved: dict[LineKey, date] = {}
    live: dict[tuple[int, date], dict[str, Any]] = {}
    for seq in found.seqs:
        for key, gone, new in found.advance(seq):
            line_id, last = ids[key], moved.get(key, date.min)
            moved[key] = max(last, *(stand.holds_from for stand in (*gone, *new)))
            for stand in gone:
                row = live.pop((line_id, stand.holds_from), None)
                if row is None:
                    closed.append({"line": line_id, "day": stand.holds_from, "closed_by": seq})
                else:
                    row["left_seq"] = seq
            for stand in new:
                row = {"line_id": line_id, "seq": seq, "left_seq": None, **stand.stored()}
                live[line_id, stand.holds_from] = row
                opened.append(row)
    return Derived(closed, opened, moved)
