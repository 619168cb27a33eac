"""Lines: where each statement stands among the others of its country, component and voice.

All that the rules of DESIGN.md section 3 ask of a statement is kept in its line, so that a position
is found by a few seeks in an index, however long the history. The rows are derived from the
statements and can be made again; `coalition verify` compares them.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import Field, Session, SQLModel

from app.db import TextEnum, among_named, table_of, weigh_plans
from app.prepared import Prepared
from app.statements import StatementRelation, meaning_of
from app.vocabulary import Component, Firmness, Kind, Relation, Voice

LineKey = tuple[str, str]
"""A line of the record: country and component."""


class Line(SQLModel, table=True):
    """A line of the record that exists: anything was ever said of a country on a component."""

    id: int = Field(primary_key=True)
    country_code: str = Field(sa_type=sa.String(2), foreign_key="country.code")
    component: Component = Field(sa_type=TextEnum(Component))

    __table_args__ = (sa.UniqueConstraint("country_code", "component"),)


class LineEntry(SQLModel, table=True):
    """A statement's place in a line that it enters, with what the rules ask of it there."""

    __tablename__ = "line_entry"

    line_id: int = Field(primary_key=True, foreign_key="line.id")
    seq: int = Field(sa_type=sa.BigInteger, primary_key=True, foreign_key="statement.seq")
    voice: Voice = Field(sa_type=TextEnum(Voice))
    chain: int = Field(sa_type=sa.BigInteger, index=True)
    left_seq: int | None = Field(sa_type=sa.BigInteger, index=True)
    """Entry that replaced it: it is live at S if `seq` <= S and S < `left_seq`, or that is null."""
    effective_on: date
    is_withdrawal: bool
    starts_on: date
    """First of its days: `stated_earliest_on`, or `effective_on` where that is open or earlier."""
    stance: str = Field(sa_type=sa.String(80))
    """Kind and firmness: what contests a position where they differ."""
    meaning: str = Field(sa_type=sa.String(32))
    """Digest of its content: what affirms where it is the same."""
    is_related: bool
    """Whether it repeats or clarifies another statement."""

    __table_args__ = (
        sa.Index(None, "seq"),
        sa.Index(
            "line_entry_reports_idx",
            # With the voice, though it is always the same: SQLite would look for it in the row.
            *("line_id", "effective_on", "seq", "left_seq", "voice"),
            sqlite_where=sa.text("voice = 'report'"),
            postgresql_where=sa.text("voice = 'report'"),
        ),
        sa.Index(
            "line_entry_said_idx",
            *("line_id", "voice", "effective_on"),
            sqlite_where=sa.text("voice <> 'report'"),
            postgresql_where=sa.text("voice <> 'report'"),
        ),
        sa.Index(
            "line_entry_imprecise_idx",
            "effective_on",
            "starts_on",
            sqlite_where=sa.text("starts_on < effective_on"),
            postgresql_where=sa.text("starts_on < effective_on"),
        ),
    )


_lines, _entries = table_of(Line), table_of(LineEntry)
_line, _entry, _relation = _lines.c, _entries.c, table_of(StatementRelation).c


# To look a word up in its vocabulary takes longer than to compare it.
_REFUSAL, _WITHDRAWN, _REPEATS, _CLARIFIES = (
    *(Kind.REFUSAL, Firmness.WITHDRAWN),
    *(Relation.REPEATS, Relation.CLARIFIES),
)


class Heard(NamedTuple):
    """A statement as one line hears it."""

    country: str
    component: str
    voice: str
    seq: int
    chain: int
    left_seq: int | None
    effective_on: date
    is_withdrawal: bool
    starts_on: date
    stance: str
    meaning: str
    is_related: bool

    @property
    def key(self) -> LineKey:
        """The line that it stands in."""
        return (self.country, self.component)

    @property
    def place(self) -> tuple[date, bool, int]:
        """Where it stands in its line (DESIGN.md 3.2): on one day a withdrawal comes last."""
        return (self.effective_on, self.is_withdrawal, self.chain)

    @property
    def is_refusal(self) -> bool:
        """Whether it refuses, or takes a refusal back."""
        return self.stance.startswith(_REFUSAL)

    def in_line(self, line_id: int) -> dict[str, Any]:
        """Return the columns of `LineEntry` for its place in its line, given by its id."""
        return dict(zip(_IN_LINE_FIELDS, (line_id, *self[2:]), strict=True))

    def is_live(self, seq: int) -> bool:
        """Tell whether it was recorded by `seq` and neither corrected nor retracted by then."""
        return self.seq <= seq and (self.left_seq is None or self.left_seq > seq)


_IN_LINE_FIELDS = ("line_id", *Heard._fields[2:])
by_place = attrgetter("place")
"""What the entries of a line are sorted by."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Which lines are asked for; what is left empty narrows nothing."""

    countries: Collection[str] | None = None
    components: Collection[str] = ()
    keys: Collection[LineKey] | None = None
    ids: Collection[int] | None = None

    @property
    def shape(self) -> "Shape":
        """Which of them narrow anything, and whether to one value."""
        asked = self._asked()
        return Shape(*(min(len(asked[name]) or MANY, MANY) if name in asked else 0 for name in Shape._fields))

    def values(self) -> dict[str, Any]:
        """Return the parameters of their shape's condition."""
        return {name: each[0] if len(each) == 1 else each for name, each in self._asked().items()}

    def _asked(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        if self.keys is not None:
            found["keys"] = [f"{country} {component}" for country, component in self.keys]
            found["countries"] = sorted({country for country, _ in self.keys})
        if self.countries is not None:
            found["countries"] = sorted(self.countries)
        if self.components:
            found["components"] = list(self.components)
        if self.ids is not None:
            found["ids"] = list(self.ids)
        return found


MANY = 2
"""How many values of a kind lines are asked for by, where it is not one: they go as a list."""


class Shape(NamedTuple):
    """By how many values of each kind lines are asked for, 0, 1 or `MANY`: queries are else the same."""

    countries: int
    components: int
    keys: int
    ids: int

    def condition(self) -> sa.ColumnElement[bool]:
        """Return the condition on `Line`; its parameters are those of `Lines.values`."""
        columns = {
            "countries": _line.country_code,
            "components": sa.type_coerce(_line.component, sa.Text),
            "keys": _line.country_code + " " + sa.type_coerce(_line.component, sa.Text),
            "ids": _line.id,
        }
        kinds: dict[str, sa.types.TypeEngine[Any]] = {"ids": sa.Integer()}
        wanted: list[sa.ColumnElement[bool]] = []
        for name, count in zip(self._fields, self, strict=True):
            kind = kinds.get(name, sa.Text())
            if count == 1:
                # A list would be taken apart first, which takes as long as finding some lines.
                wanted.append(columns[name] == sa.bindparam(name, type_=kind))
            elif count:
                wanted.append(among_named(columns[name], name, kind))
        return sa.and_(sa.true(), *wanted)


EVERY = Lines()


@dataclass(frozen=True, slots=True)
class Relations:
    """What the rules ask of the relations between statements."""

    marked: dict[int, tuple[tuple[str, int], ...]]
    """By seq: each relation's word and the first entry of its target's chain."""
    versions: dict[int, tuple[Heard, ...]]
    """By first entry of a chain: every version of a statement that is repeated."""

    def reached(self, stated: Heard) -> set[int]:
        """Return the chains on which it depends what a statement repeats, whatever is live."""
        found: set[int] = set()
        pending = [stated.seq]
        while pending:
            for relation, chain in self.marked.get(pending.pop(), ()):
                if relation == Relation.REPEATS and chain not in found:
                    found.add(chain)
                    pending += (version.seq for version in self.versions.get(chain, ()))
        return found

    def with_live(self, chain: int, live: Sequence[Heard]) -> "Relations":
        """Return the same with nothing live in a chain but `live`."""
        return Relations(self.marked, self.versions | {chain: tuple(live)})

    def clarified(self, seq: int) -> frozenset[int]:
        """Return the chains that a statement clarifies."""
        marked = self.marked.get(seq, ())
        return frozenset(chain for relation, chain in marked if relation == Relation.CLARIFIES)

    def repeated(self, stated: Heard, seq: int) -> tuple[str, ...]:
        """Return the meanings that a statement repeats, as known at `seq`; none if it counts by itself.

        A repeat of a repeat leads on to what that repeats. What a correction gave to another
        country or voice is no longer repeated: so a country's answers follow from its own
        statements, whichever else were read.
        """
        return tuple(each.meaning for each in self._originals(stated, seq))

    def _originals(self, stated: Heard, seq: int) -> list[Heard]:
        found: list[Heard] = []
        for relation, chain in self.marked.get(stated.seq, ()):
            live = (each for each in self.versions.get(chain, ()) if each.is_live(seq))
            target = next(live, None) if relation == Relation.REPEATS else None
            if target and (target.country, target.voice) == (stated.country, stated.voice):
                found += self._originals(target, seq) or [target]
        return found


_LINE: tuple[Any, ...] = tuple(
    sa.type_coerce(each, sa.String) for each in (_line.country_code, _line.component, _entry.voice)
)
_IN_LINE: tuple[Any, ...] = tuple(_entry[name] for name in Heard._fields[len(_LINE) :])
_JOINED = sa.join(_entries, _lines, _line.id == _entry.line_id)
_HEARD = sa.select(*_LINE, *_IN_LINE).select_from(_JOINED)
_FIRST, _LAST = (sa.bindparam(name, type_=sa.BigInteger) for name in ("first", "last"))


def live_between(columns: Any, first: Any, last: Any) -> sa.ColumnElement[bool]:
    """Return the condition that a row is live at any seq from `first` to `last`, both included.

    `columns` are those of a table with `seq` and `left_seq`.
    """
    return sa.and_(columns.seq <= last, sa.or_(columns.left_seq.is_(None), columns.left_seq > first))


def unsought(columns: Any) -> Any:
    """Return columns for `live_between` by which no index is sought: another one leads to fewer rows."""
    return SimpleNamespace(seq=columns.seq + 0, left_seq=columns.left_seq)


def entries(
    session: Session,
    seqs: tuple[int, int],
    lines: Lines = EVERY,
    *,
    until: date | None = None,
) -> list[Heard]:
    """Return what stands in `lines` and was live at any seq from the first of `seqs` to the last.

    `until` narrows it to statements effective by that day. In no particular order.
    """
    days = {} if until is None else {"until": until}
    first, last = seqs
    query = _heard_between(lines.shape, *days)
    return [Heard._make(row) for row in query.rows(session, first=first, last=last, **days, **lines.values())]


@cache
def _heard_between(shape: Shape, *ends: str) -> Prepared:
    query = _HEARD.where(live_between(_entry, _FIRST, _LAST), shape.condition())
    if "until" in ends:
        query = query.where(_entry.effective_on <= sa.bindparam("until", type_=sa.Date))
    return Prepared(query)


def said_around(
    session: Session, line: tuple[LineKey, int], day: date, seqs: tuple[int, int], most: tuple[int, int]
) -> list[Heard]:
    """Return what is said in a line, given with its id, around a day, as known from one seq to another.

    Of each voice but reports that are at most so many statements before the day, the last ones as
    known at the first seq, and so many from the day on; besides, whatever later may have been said
    by that day. In no particular order.
    """
    key, line_id = line
    asked = {"line": line_id, "day": day, "first": seqs[0], "last": seqs[1]}
    rows = _SAID_AROUND.rows(session, **asked, before=most[0], since=most[1])
    return [Heard(*key, *row) for row in {row[1]: row for row in rows}.values()]


def reported_around(
    session: Session, line: tuple[LineKey, int], day: date, seqs: tuple[int, int]
) -> list[Heard]:
    """Return the last report in a line before a day, as known at the first seq, and all from the day on."""
    key, line_id = line
    asked = {"line": line_id, "day": day, "first": seqs[0], "last": seqs[1]}
    return [Heard(*key, *row) for row in _REPORTED_AROUND.rows(session, **asked, before=1, since=ALL)]


def _spoken(voice: Voice) -> sa.ColumnElement[bool]:
    """Return the condition that a voice speaks, spelt out: else no database sees which index serves."""
    is_else = [] if voice is Voice.REPORT else [_entry.voice != REPORT]
    return sa.and_(_entry.voice == sa.literal_column(f"'{voice}'"), *is_else)


REPORT: Any = sa.literal_column(f"'{Voice.REPORT}'")
"""The voice of reports, spelt out like that."""

_DAY = sa.bindparam("day", type_=sa.Date)
SPEAKERS = tuple(voice for voice in Voice if voice is not Voice.REPORT)
"""The voices that can set a position."""

_PLACE = (sa.type_coerce(_entry.voice, sa.String).label("voice"), *_IN_LINE)


def _before(voice: Voice) -> Any:
    said = sa.select(*_PLACE).where(
        *(_entry.line_id == sa.bindparam("line"), _spoken(voice), _entry.effective_on < _DAY),
        live_between(unsought(_entry), _FIRST, _FIRST),
    )
    last = (_entry.effective_on.desc(), _entry.is_withdrawal.desc(), _entry.chain.desc())
    most = sa.bindparam("before", type_=sa.Integer)
    return sa.select(said.order_by(*last).limit(most).subquery())


def _since(voice: Voice) -> Any:
    said = sa.select(*_PLACE).where(
        *(_entry.line_id == sa.bindparam("line"), _spoken(voice), _entry.effective_on >= _DAY),
        live_between(unsought(_entry), _FIRST, _LAST),
    )
    most = sa.bindparam("since", type_=sa.Integer)
    return sa.select(said.order_by(_entry.effective_on).limit(most).subquery())


def _reaching(voice: Voice) -> Any:
    return sa.select(*_PLACE).where(
        *(_entry.line_id == sa.bindparam("line"), _spoken(voice), _entry.effective_on > _DAY),
        *(_entry.starts_on <= _DAY, live_between(unsought(_entry), _FIRST, _LAST)),
    )


ALL = 2**31 - 1
"""For how many are wanted where that is all."""

_SAID_AROUND = Prepared(
    sa.union_all(*map(_before, SPEAKERS), *map(_since, SPEAKERS), *map(_reaching, SPEAKERS))
)
_REPORTED_AROUND = Prepared(sa.union_all(_before(Voice.REPORT), _since(Voice.REPORT)))


def possible_entries(session: Session, seq: int, day: date, lines: Lines = EVERY) -> list[Heard]:
    """Return what was live at `seq` and may have been said by `day`, but counts only later."""
    weigh_plans(session)  # there are few, but only on a given day
    rows = _possible(lines.shape).rows(session, first=seq, last=seq, day=day, **lines.values())
    return [Heard._make(row) for row in rows]


@cache
def _possible(shape: Shape) -> Prepared:
    day = sa.bindparam("day", type_=sa.Date)
    effective_on, starts_on = _entry.effective_on, _entry.starts_on
    later = (starts_on < effective_on, starts_on <= day, effective_on > day)
    return Prepared(_HEARD.where(*later, live_between(_entry, _FIRST, _LAST), shape.condition()))


def tracked_countries(session: Session, seq: int) -> set[str]:
    """Return the countries of which any statement was live at `seq`."""
    live = (
        sa.select(sa.literal(1))
        .where(_entry.line_id == _line.id, live_between(_entry, seq, seq))
        .correlate(_lines)
    )
    return set(session.scalars(sa.select(_line.country_code).where(sa.exists(live)).distinct()))


def following_lines(session: Session, chains: Collection[int], seq: int) -> set[LineKey]:
    """Return the lines in which anything repeats a statement of `chains`, be it by way of another repeat."""
    found: set[LineKey] = set()
    pending, met = set(chains), set(chains)
    while pending:
        rows = _REPEATING.rows(session, chains=sorted(pending), seq=seq)
        found |= {(country, component) for country, component, _ in rows}
        pending = {chain for *_, chain in rows} - met
        met |= pending
    return found


_REPEATING = Prepared(
    sa.select(*_LINE[:2], _entry.chain)
    .select_from(sa.join(_JOINED, table_of(StatementRelation), _relation.seq == _entry.seq))
    .where(
        _relation.relation == Relation.REPEATS,
        _relation.seq <= sa.bindparam("seq"),
        among_named(_relation.target_chain, "chains", sa.BigInteger()),
    )
)


def relations_of(session: Session, heard: Iterable[Heard], seq: int, new: Iterable[Any] = ()) -> Relations:
    """Return the relations of `heard`, and of all that they repeat, as recorded by `seq`.

    `new` are relations of a statement that is about to be recorded.
    """
    relations = Relations({}, {})
    pending = {each.seq for each in heard if each.is_related}
    rows = [(each.seq, each.relation, each.target_chain) for each in new]
    while pending or rows:
        rows += _MARKED.rows(session, seqs=sorted(pending)) if pending else ()
        chains: set[int] = set()
        for number, relation, chain in rows:
            relations.marked[number] = (*relations.marked.get(number, ()), (relation, chain))
            if relation == Relation.REPEATS:
                chains.add(chain)
        missing = chains - relations.versions.keys()
        relations.versions.update(dict.fromkeys(missing, ()))
        found = _VERSIONS.rows(session, chains=sorted(missing), seq=seq) if missing else ()
        versions = [Heard._make(row) for row in found]
        for version in versions:
            if all(version.seq != each.seq for each in relations.versions[version.chain]):
                relations.versions[version.chain] += (version,)
        pending = {each.seq for each in versions if each.is_related} - relations.marked.keys()
        rows = []
    return relations


_MARKED = Prepared(
    sa.select(_relation.seq, sa.type_coerce(_relation.relation, sa.String), _relation.target_chain)
    .where(among_named(_relation.seq, "seqs", sa.BigInteger()))
    .order_by(_relation.seq, _relation.target_seq, _relation.relation)
)
_VERSIONS = Prepared(
    _HEARD.where(
        among_named(_entry.chain, "chains", sa.BigInteger()), _entry.seq <= sa.bindparam("seq")
    ).order_by(_entry.seq, _entry.line_id)
)


def heard_in(
    statement: Any, components: Sequence[Component], chain: int, relations: Iterable[Any]
) -> list[Heard]:
    """Return a statement as each line that it enters hears it.

    Takes what has the columns of `Statement`, and of `StatementRelation`.
    """
    effective_on, earliest_on = statement.effective_on, statement.stated_earliest_on
    place: tuple[Any, ...] = (
        *(statement.voice, statement.seq, chain, None, effective_on, statement.firmness == _WITHDRAWN),
        earliest_on if earliest_on is not None and earliest_on < effective_on else effective_on,
        f"{statement.kind} {statement.firmness}",
        meaning_of(statement),
        any(each.relation in (_REPEATS, _CLARIFIES) for each in relations),
    )
    country = statement.country_code
    return [Heard(country, component, *place) for component in components]


_IDS = Prepared(
    sa.select(sa.type_coerce(_line.component, sa.String), _line.id).where(
        _line.country_code == sa.bindparam("country_code")
    )
)
_NEWEST = Prepared(sa.select(sa.func.max(_line.id)))


def line_ids(session: Session, country: str) -> dict[str, int]:
    """Return the ids of a country's lines, by component."""
    return dict(_IDS.rows(session, country_code=country))


def newest_line_id(session: Session) -> int:
    """Return the id of the line that was made last; 0 if there is none."""
    newest: int = _NEWEST.rows(session)[0][0] or 0
    return newest
