"""Which statements and which positions are wanted. Values of one field widen, fields narrow each other.

An empty field narrows nothing. The database chooses by what was said; a position is chosen after it was
found which one its line holds, never before (DESIGN.md 5).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import Session, col

from app.db import among, table_of
from app.lines import Line, Lines, Shape
from app.positions import PositionView
from app.report_counts import reports_on
from app.standings import PositionJSON, Stand, with_last, with_position
from app.statements import Statement
from app.vocabulary import Component, ConditionType, Firmness, Kind, Voice


@dataclass(frozen=True, slots=True)
class StatementFilter:
    """Which statements are wanted: in which lines, and by what they say."""

    countries: frozenset[str] | None = None
    components: tuple[Component, ...] = ()
    kinds: tuple[Kind, ...] = ()
    firmness: tuple[Firmness, ...] = ()
    rungs: tuple[Firmness, ...] = ()
    """Firmness once more: of a rung and those above it on its own ladder (`vocabulary.rungs_from`)."""
    voices: tuple[Voice, ...] = ()
    sources: tuple[int, ...] = ()
    conditions: tuple[ConditionType, ...] = ()
    conditional: bool | None = None
    text: str | None = None
    """Found in summary, quote or speaker, in any case."""

    def said(self) -> list[sa.ColumnElement[bool]]:
        """Return what is asked of a statement's words, as conditions on `Statement`."""
        found: list[sa.ColumnElement[bool]] = []
        for column, values in (
            (col(Statement.kind), self.kinds),
            (col(Statement.firmness), self.firmness),
            (col(Statement.firmness), self.rungs),
            (col(Statement.voice), self.voices),
            (col(Statement.source_id), self.sources),
        ):
            if values:
                found.append(sa.or_(*(column == value for value in values)))
        # Stored as canonical JSON, in which a quotation mark inside a text is escaped.
        stored = sa.type_coerce(col(Statement.conditions), sa.Text)
        if self.conditions:
            found.append(sa.or_(*(stored.contains(f'"type":"{each}"') for each in self.conditions)))
        if self.conditional is not None:
            found.append(stored != "[]" if self.conditional else stored == "[]")
        if self.text is not None:
            found.append(col(Statement.search_text).contains(self.text.casefold(), autoescape=True))
        return found


@dataclass(frozen=True, slots=True)
class PositionFilter(StatementFilter):
    """Which positions are wanted: by the statement that is shown, and by how they stand on a day."""

    contested: bool | None = None
    stale: bool | None = None
    changed_since: date | None = None
    """Only runs that began on this day or later."""

    @property
    def takes_all_of_lines(self) -> bool:
        """Whether every position of the lines that can hold anything wanted is wanted."""
        return self == PositionFilter(self.countries, self.components)

    def lines(self) -> Lines:
        """Return the lines that can hold anything that is wanted."""
        return Lines(self.countries, self.components)

    def in_any_line(self) -> "PositionFilter":
        """Return the filter without what narrows the lines."""
        return EVERY_POSITION if self.takes_all_of_lines else replace(self, countries=None, components=())

    def standing(self, stand: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
        """Return what is asked of how a position stands, as conditions on the columns of a stand."""
        found: list[sa.ColumnElement[bool]] = []
        if self.contested is not None:
            found.append(stand["sides"] != "" if self.contested else stand["sides"] == "")
        if self.stale is not None:
            found.append(is_stale(stand) if self.stale else ~is_stale(stand))
        if self.changed_since is not None:
            found.append(stand["since"] >= self.changed_since)
        return found

    def takes(self, stand: Stand) -> bool:
        """Tell whether a stand is as it is asked for, but for what was said, and for staleness."""
        is_since = self.changed_since is None or (stand.since or date.max) >= self.changed_since
        return is_since and self.contested in (None, bool(stand.sides))

    def passes(self, view: PositionView) -> bool:
        """Tell whether a position of a wanted line, as it is seen, is wanted."""
        return (
            (not self.kinds or view.kind in self.kinds)
            and (not self.firmness or view.firmness in self.firmness)
            and (not self.rungs or view.firmness in self.rungs)
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


EVERY_POSITION = PositionFilter()


def said_by(session: Session, seqs: Collection[int], wanted: StatementFilter) -> dict[int, bool]:
    """Return which of some entries' statements say what is wanted, by seq, and whether under conditions."""
    is_conditional = sa.type_coerce(_statement.c.conditions, sa.Text) != "[]"
    query = sa.select(_statement.c.seq, is_conditional)
    rows = session.execute(query.where(among(_statement.c.seq, seqs), *wanted.said()))
    return {seq: bool(conditional) for seq, conditional in rows}


_FRESH_FROM = sa.bindparam("fresh_from", type_=sa.Date)


def is_stale(columns: Any, fresh: Any = _FRESH_FROM) -> sa.ColumnElement[bool]:
    """Return whether a position is stale, as a condition: last affirmed before the parameter `fresh_from`.

    `columns` are those of `Standing`, or of `PositionJSON`; `fresh` may be another parameter.
    """
    found: sa.ColumnElement[bool] = columns["last_affirmed_on"] < fresh
    return found


class Held(NamedTuple):
    """Where positions are found, as parts of a query with the parameters `seq`, `day` and `fresh_from`."""

    source: Any
    """Lines, with the JSON of what they hold, and with their stands where these are asked about."""
    stand: Mapping[str, Any]
    """The columns of the stands; all are null where nothing was said, and some where nothing is held."""
    condition: sa.ColumnElement[bool]


def held_by_lines(
    dialect: str,
    shape: Shape,
    wanted: PositionFilter,
    *,
    with_stand: bool = False,
    with_statement: bool = False,
) -> Held:
    """Return where the positions of the lines of a shape are found, those that `wanted` asks for.

    Lines that hold nothing are left out, but for the stands of these where stands are asked for. The
    statement that is shown is there where it is asked for.
    """
    if not (with_stand or with_statement or wanted.in_any_line() is not EVERY_POSITION):
        source = with_position(dialect, _line, _line.c.id, _SEQ)
        return Held(source, {"reports": reports_on(_line.c.id, _SEQ)}, shape.condition())
    source, stand = with_last(dialect, _line, _line.c.id, _SEQ)
    source = sa.outerjoin(source, _position, _position.c.id == stand["position_id"])
    said, standing = wanted.said(), wanted.standing(stand)
    if said or with_statement:
        source = sa.outerjoin(source, _statement, _statement.c.seq == stand["shown_seq"])
    condition = shape.condition()
    if not with_stand:
        asked = sa.and_(stand["position_id"].is_not(None), *said, *standing)
        # In a function, or SQLite might begin with what is joined, and go through all of it.
        condition = sa.and_(condition, sa.func.coalesce(asked, sa.false()))
    return Held(source, stand, condition)


def asked_on(seq: int, day: date, until: date, stale_after: timedelta) -> dict[str, Any]:
    """Return the parameters of `Held` for what is known at `seq`, as of `day`.

    Nothing is looked for that takes effect after `until`, which is not later. A position last affirmed
    more than `stale_after` before `day` is stale.
    """
    return {"seq": seq, "day": until, "fresh_from": fresh_from(day, stale_after)}


def fresh_from(day: date, stale_after: timedelta) -> date:
    """Return the first day such that what was last affirmed on it is not stale on `day`."""
    return date.fromordinal(max(day.toordinal() - stale_after.days, date.min.toordinal()))


_SEQ = sa.bindparam("seq", type_=sa.BigInteger)
_line, _statement, _position = table_of(Line), table_of(Statement), table_of(PositionJSON)
