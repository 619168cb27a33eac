"""What the lines that entries touch have to hear of them, and what follows: recorded with the entries.

No more is heard of a line than tells what differs, however long it is.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import sqlalchemy as sa
from sqlmodel import Session

from app.db import among_named, table_of
from app.lines import (
    ALL,
    SPEAKERS,
    Heard,
    Line,
    LineEntry,
    LineKey,
    Lines,
    by_place,
    entries,
    following_lines,
    relations_of,
    reported_around,
    said_around,
)
from app.prepared import Prepared, insert_rows
from app.replay import Derived, Replay, Span, derived
from app.report_counts import count_more
from app.spelling import keep_positions, next_position_id
from app.standings import Standing
from app.vocabulary import Voice

_REPORT = Voice.REPORT

RECENT = (6, 48, 384)
"""How many statements of a voice are looked at, before a day and from then on.

Before it, for one that begins a run whatever was said earlier; from then on, for a day on which the
line is as it was. More of them where fewer are not enough; where none are, the whole line is heard.
"""


class Lately(NamedTuple):
    """What lines have to hear of some entries, without what their past comes to anyway."""

    heard: list[Heard]
    cut: list[LineKey]
    """Lines of which more has to be heard if something differs up to the last day that is there."""


def heard_lately(
    session: Session,
    moved: Mapping[LineKey, Span],
    ids: Mapping[LineKey, int],
    seqs: tuple[int, int],
    most: int,
) -> Lately | None:
    """Return what lines have to hear of the entries above one seq and up to another.

    Of each line that is what each voice said last before its first day that is moved, and what it
    says from then on: of both at most so many statements, but all where several days are moved.
    None where that is not enough to tell what was held, or what may have been said by then.
    """
    found = Lately([], [])
    for key, (first, last) in moved.items():
        later = most if first == last else ALL
        line = key, ids[key]
        said = said_around(session, line, first, seqs, (most, later))
        before = [each for each in said if each.effective_on < first]
        since = [each for each in said if each.effective_on >= first]
        end = min((_end(since, voice, later) for voice in SPEAKERS), default=date.max)
        if any(each.starts_on <= last and each.effective_on >= end for each in since):
            return None
        since = [each for each in since if each.effective_on < end]
        for voice in SPEAKERS:
            spoken = sorted((each for each in before if each.voice == voice), key=by_place)
            enough = _enough(spoken, [each for each in since if each.voice == voice])
            if enough is None and len(spoken) == most:
                return None
            found.heard.extend(spoken if enough is None else enough)
        found.heard.extend(since)
        if not before:
            # From the first report on, a line that says nothing yet knows that nothing is held.
            found.heard.extend(reported_around(session, line, first, seqs))
        if end < date.max:
            found.cut.append(key)
    return found


def _end(since: Iterable[Heard], voice: Voice, most: int) -> date:
    """Return the first day of which it is not sure that all is there that a voice says on it."""
    days = sorted(each.effective_on for each in since if each.voice == voice)
    return days[most - 1] if len(days) >= most else date.max


def _enough(said: Sequence[Heard], follows: Iterable[Heard]) -> Sequence[Heard] | None:
    """Return what of that which a voice said last tells its state, whatever it said before; None: nothing.

    Something has to begin a run for certain, and nothing from there on may be so vague that it
    contests what is older than `said`.
    """
    begins = next((number for number in reversed(range(len(said))) if _begins_run(said, number)), None)
    if begins is None:
        return None
    starts_on = min(each.starts_on for each in (*said[begins:], *follows))
    if starts_on <= said[0].effective_on:
        return None
    return [each for number, each in enumerate(said) if number >= begins or each.effective_on >= starts_on]


def _begins_run(said: Sequence[Heard], number: int) -> bool:
    """Tell whether a statement begins a run whatever was said before `said`.

    It counts by itself, and so does one before it of another meaning, with none of its own in between.
    """
    stated = said[number]
    if stated.is_withdrawal or stated.is_related:
        return False
    for earlier in reversed(said[:number]):
        if earlier.meaning == stated.meaning:
            return False
        if not (earlier.is_withdrawal or earlier.is_related):
            return True
    return False


@dataclass(slots=True)
class Touched:
    """What some entries touch."""

    lines: dict[LineKey, Span] = field(default_factory=dict)
    """The lines that they enter or leave, each with the first and the last day on which they do."""
    ids: dict[LineKey, int] = field(default_factory=dict)
    """The ids of those."""
    chains: set[int] = field(default_factory=set)
    """The chains that go on there."""
    reports: dict[int, Counter[date]] = field(default_factory=dict)
    """By line id, and by the day from which they count: how many more reports there are."""

    def note(self, line: tuple[LineKey, int], voice: str, day: date, more: int) -> None:
        """Note a line, given with its id, that a statement enters (`more` is 1) or leaves (-1)."""
        key, line_id = line
        first, last = self.lines.get(key, (day, day))
        self.lines[key] = min(day, first), max(day, last)
        self.ids[key] = line_id
        if voice == _REPORT:
            self.reports.setdefault(line_id, Counter())[day] += more

    def note_left(self, session: Session, after: int, until: int) -> None:
        """Note the lines that were left by the entries above `after` and up to `until`."""
        for country, component, line_id, voice, chain, day in _LEFT.rows(session, after=after, until=until):
            self.note(((country, component), line_id), voice, day, -1)
            self.chains.add(chain)


_line, _entry, _standing = table_of(Line), table_of(LineEntry), table_of(Standing)
_LEFT = Prepared(
    sa.select(
        *(_line.c.country_code, sa.type_coerce(_line.c.component, sa.String), _line.c.id),
        *(sa.type_coerce(_entry.c.voice, sa.String), _entry.c.chain, _entry.c.effective_on),
    )
    .select_from(sa.join(_entry, _line, _line.c.id == _entry.c.line_id))
    .where(_entry.c.left_seq > sa.bindparam("after"), _entry.c.left_seq <= sa.bindparam("until"))
)
_CLOSE = Prepared(
    sa.update(_standing)
    .where(
        _standing.c.line_id == sa.bindparam("line"),
        _standing.c.holds_from == sa.bindparam("day"),
        _standing.c.left_seq.is_(None),
    )
    .values(left_seq=sa.bindparam("closed_by"))
)


def record_standings(session: Session, touched: Touched, after: int, until: int) -> dict[LineKey, date]:
    """Record what follows from the entries above `after` and up to `until`, under the write lock.

    Return the lines that answer something else on any day, each with the last day from which on it
    does. Those of one country are heard at a time: all of them may be too many to be in memory.
    """
    count_more(session, touched.reports)
    following = following_lines(session, touched.chains, until) if touched.chains else set()
    ids = touched.ids
    if following:
        ids = ids_of(session, {country for country, _ in following}) | ids
    moved: dict[LineKey, date] = {}
    first_id = position_id = next_position_id(session)
    for _, of_country in groupby(sorted(touched.lines.keys() | following), key=itemgetter(0)):
        keys = list(of_country)
        lines = {} if following else {key: touched.lines[key] for key in keys}
        rows = _follows(session, keys, lines, ids, (after, until))
        position_id = insert(session, rows, position_id)
        moved |= rows.moved
    if position_id > first_id:
        keep_positions(session, (after, until), first_id)
    return moved


def _follows(
    session: Session,
    keys: Collection[LineKey],
    moved: Mapping[LineKey, Span],
    ids: Mapping[LineKey, int],
    seqs: tuple[int, int],
) -> Derived:
    """Return what follows in some lines: where it is known which days are moved, by as little as tells."""
    after, until = seqs
    for most in RECENT if moved else ():
        lately = heard_lately(session, moved, ids, seqs, most)
        if lately is None:
            continue
        found = Replay(lately.heard, relations_of(session, lately.heard, until), after)
        rows = derived(found, ids)
        if not found.differs_to_the_end(lately.cut):
            return rows
    heard = entries(session, seqs, Lines(keys=keys))
    return derived(Replay(heard, relations_of(session, heard, until), after), ids)


def ids_of(session: Session, countries: Collection[str]) -> dict[LineKey, int]:
    """Return the ids of the lines of some countries."""
    rows = _IDS.rows(session, countries=sorted(countries))
    return {(country, component): line_id for country, component, line_id in rows}


_IDS = Prepared(
    sa.select(_line.c.country_code, sa.type_coerce(_line.c.component, sa.String), _line.c.id).where(
        among_named(_line.c.country_code, "countries", sa.Text())
    )
)


def insert(session: Session, rows: Derived, position_id: int) -> int:
    """Put what follows into the database; return the first id that is left for positions.

    From `position_id` on they have one each. Their JSON is kept later, for all that was put there.
    """
    if rows.closed:
        _CLOSE.change(session, *rows.closed)
    for row in rows.opened:
        is_held = row["shown_seq"] is not None
        row["position_id"] = position_id if is_held else None
        position_id += is_held
    if rows.opened:
        insert_rows(session, _standing, rows.opened)
    return position_id
