"""Lines: where each statement stands among the others of its country, component and voice.

All that the rules of DESIGN.md section 3 ask of a statement is kept in its line, so that a position
is found by a few seeks in an index, however long the history. The rows are derived from the
statements and can be made again; `coalition verify` compares them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from operator import attrgetter
from types import MappingProxyType, SimpleNamespace
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
        return self.stance.startswith(Kind.REFUSAL)

    def in_line(self) -> dict[str, Any]:
        """Return the columns of `LineEntry`, but for the line's own."""
        return dict(zip(self._fields[2:], self[2:], strict=True))

    def is_live(self, seq: int) -> bool:
        """Tell whether it was recorded by `seq` and neither corrected nor retracted by then."""
        return self.seq <= seq and (self.left_seq is None or self.left_seq > seq)


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
        """Which of them narrow anything."""
        by_key = self.keys is not None
        by_country = by_key or self.countries is not None
        return Shape(by_country, bool(self.components), by_key, self.ids is not None)

    def values(self) -> dict[str, list[Any]]:
        """Return the parameters of their shape's condition."""
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

    def condition(self) -> sa.ColumnElement[bool]:
        """Return them as a condition on `Line`."""
        return self.shape.condition(self.values())


class Shape(NamedTuple):
    """By what lines are asked for: queries differ by that, and are else the same."""

    countries: bool
    components: bool
    keys: bool
    ids: bool

    def condition(self, values: Mapping[str, Sequence[Any]] = MappingProxyType({})) -> sa.ColumnElement[bool]:
        """Return the condition on `Line`; its parameters are those of `Lines.values`."""
        columns = {
            "countries": _line.country_code,
            "components": _line.component,
            "keys": _line.country_code + " " + sa.type_coerce(_line.component, sa.Text),
            "ids": _line.id,
        }
        kinds = {"ids": sa.Integer()}
        asked = (name for name, is_asked in zip(self._fields, self, strict=True) if is_asked)
        wanted = (
            among_named(columns[name], name, kinds.get(name, sa.Text()), values.get(name, ()))
            for name in asked
        )
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


def said_since(session: Session, key: LineKey, day: date, seqs: tuple[int, int]) -> list[Heard]:
    """Return what counts in a line from `day` on and was live at any seq between two, both included."""
    return [Heard._make(row) for row in _SAID_SINCE.rows(session, **_asked(key, day, seqs))]


def said_before(session: Session, key: LineKey, voice: Voice, day: date, seq: int, most: int) -> list[Heard]:
    """Return what a voice said last in a line before `day`, as known at `seq`: at most so many, in order."""
    asked = _asked(key, day, (seq, seq)) | {"most": most}
    if voice is Voice.REPORT:
        rows = _REPORTED_BEFORE.rows(session, **asked)
    else:
        rows = _SAID_BEFORE.rows(session, **asked, voice=voice)
    return [Heard._make(row) for row in reversed(rows)]


def _asked(key: LineKey, day: date, seqs: tuple[int, int]) -> dict[str, Any]:
    return {"country": key[0], "component": key[1], "day": day, "first": seqs[0], "last": seqs[1]}


_IN_ONE_LINE = _HEARD.where(
    _line.country_code == sa.bindparam("country"),
    sa.type_coerce(_line.component, sa.String) == sa.bindparam("component"),
    live_between(unsought(_entry), _FIRST, _LAST),
)
_DAY = sa.bindparam("day", type_=sa.Date)
REPORT: Any = sa.literal_column(f"'{Voice.REPORT}'")
"""The voice of reports, spelt out: else no database sees that the index of reports serves, or the other."""

_IS_REPORT: Any = _entry.voice == REPORT
_IS_ELSE: Any = _entry.voice != REPORT
_SPEAKS = sa.or_(*(_entry.voice == voice for voice in Voice if voice is not Voice.REPORT))
_SINCE = _IN_ONE_LINE.where(_entry.effective_on >= _DAY)
# One for each index.
_SAID_SINCE = Prepared(sa.union_all(_SINCE.where(_IS_REPORT), _SINCE.where(_IS_ELSE, _SPEAKS)))
_LAST_BEFORE = (
    _IN_ONE_LINE.where(_entry.effective_on < _DAY)
    .order_by(_entry.effective_on.desc(), _entry.is_withdrawal.desc(), _entry.chain.desc())
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_REPORTED_BEFORE = Prepared(_LAST_BEFORE.where(_IS_REPORT))
_SAID_BEFORE = Prepared(_LAST_BEFORE.where(_IS_ELSE, _entry.voice == sa.bindparam("voice")))


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
    asked = {Relation.REPEATS, Relation.CLARIFIES}
    starts_on = min(statement.stated_earliest_on or statement.effective_on, statement.effective_on)
    stance, meaning = f"{statement.kind} {statement.firmness}", meaning_of(statement)
    is_related = any(each.relation in asked for each in relations)
    return [
        Heard(
            country=statement.country_code,
            component=component,
            voice=statement.voice,
            seq=statement.seq,
            chain=chain,
            left_seq=None,
            effective_on=statement.effective_on,
            is_withdrawal=statement.firmness == Firmness.WITHDRAWN,
            starts_on=starts_on,
            stance=stance,
            meaning=meaning,
            is_related=is_related,
        )
        for component in components
    ]


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
