"""The ledger: every statement, correction and retraction, numbered, chained by digest, never changed.

Database triggers refuse UPDATE and DELETE of its rows; `appending` adds them.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from pydantic import Field as Described
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlmodel import Field, Session, SQLModel, col, select

from app.db import TextEnum, UTCDateTime, among, among_named, table_of, utc_now, weigh_plans
from app.digests import NO_DIGEST
from app.errors import NotFound, refused
from app.fields import MAX_SEQ, Instant
from app.filters import StatementFilter
from app.items import Item
from app.lines import Line, LineEntry
from app.pieces import LIVE, ChangeJSON, whole_statement
from app.prepared import Prepared
from app.sources import Source, SourceBrief
from app.spelling import as_utf8, concatenated, flag, literal, utf8
from app.statements import Stated, Statement, StatementRelation, StatementView
from app.vocabulary import Action, Firmness, Kind, Reliability, Scope


class Change(SQLModel, table=True):
    """An entry of the ledger."""

    seq: int = Field(sa_type=sa.BigInteger, primary_key=True)
    action: Action = Field(sa_type=TextEnum(Action))
    recorded_at: datetime = Field(sa_type=UTCDateTime, index=True)
    recorded_by_id: str = Field(sa_type=sa.String(40))
    recorded_by_name: str = Field(sa_type=sa.String(100))
    reason: str | None = Field(sa_type=sa.Text)
    replaces: int | None = Field(sa_type=sa.BigInteger, foreign_key="change.seq", unique=True)
    chain: int = Field(sa_type=sa.BigInteger, index=True)
    """Seq of the first entry of its chain of corrections: its own, when it is a statement."""
    digest: str = Field(sa_type=sa.String(64))


class Recorder(BaseModel):
    """Who recorded an entry: the public id and the name of the API key."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: the public id and name of an API key, and its scope."""

    id: str
    name: str
    scope: Scope
    last_used_at: datetime | None = None
    """When the key was last used, as far as that is kept."""


class ChangeView(BaseModel):
    """An entry of the ledger, as known at the seq that was asked for."""

    seq: int | None = Described(description="Number in the ledger; null only under `dry_run`.")
    action: Action
    recorded_at: Instant
    recorded_by: Recorder
    reason: str | None
    replaces: int | None = Described(description="Entry that it corrects or retracts.")
    replaced_by: int | None = Described(description="Entry that corrected or retracted it.")
    live: bool = Described(description="Neither corrected nor retracted.")
    digest: str | None = Described(description="Digest of the chain here; null under `dry_run`.")
    statement: StatementView | None = Described(description="Null for a retraction.")


@dataclass(frozen=True, slots=True)
class Head:
    """A state of the record: its last entry's number, instant and digest."""

    seq: int
    recorded_at: datetime | None
    digest: str


EMPTY = Head(0, None, NO_DIGEST)
"""The record before its first entry."""


def head_of(session: Session) -> Head:
    """Return the newest state of the record."""
    return _head(_NEWEST.rows(session))


def head_at(session: Session, seq: int, *, parameter: str = "seq") -> Head:
    """Return the state of the record at entry `seq`; 0 is the empty record.

    Raises the 422 of DESIGN.md 5 when the record is not that long.
    """
    if seq == 0:
        return EMPTY
    head = _head(_AT.rows(session, seq=seq)) if seq <= MAX_SEQ else EMPTY
    if head is EMPTY:
        raise refused("beyond_head", "The record has no such entry yet.", parameter=parameter)
    return head


def head_known_at(session: Session, instant: datetime, *, parameter: str = "known_at") -> Head:
    """Return the state of the record at an instant, entries recorded at it included.

    Raises the 422 of DESIGN.md 5 for an instant that is later than both the clock and the newest
    entry: what will be known then is not known yet.
    """
    newest = head_of(session)
    if instant > utc_now() and (newest.recorded_at is None or instant > newest.recorded_at):
        raise refused("in_the_future", "What is known then is not known yet.", parameter=parameter)
    return _head(_KNOWN_AT.rows(session, instant=instant))


def first_recorded_at(session: Session) -> datetime | None:
    """Return the instant of the first entry, or None while the record is empty."""
    return session.exec(select(Change.recorded_at).where(Change.seq == 1)).first()


def _head(rows: Sequence[Any]) -> Head:
    return Head(*rows[0]) if rows else EMPTY


# Built once, of columns and not of classes: nearly every reading asks it.
_change, _statement, _source = table_of(Change).c, table_of(Statement).c, table_of(Source).c
_relation = table_of(StatementRelation).c
_heads = sa.select(_change.seq, _change.recorded_at, _change.digest).order_by(_change.seq.desc()).limit(1)
_NEWEST = Prepared(_heads)
_AT = Prepared(_heads.where(_change.seq == sa.bindparam("seq")))
_KNOWN_AT = Prepared(_heads.where(_change.recorded_at <= sa.bindparam("instant")))
_later = table_of(Change).alias("later")
_STATED = (
    sa.select(
        *_statement,
        _change.chain,
        _later.c.seq.label("replaced_by"),
        _source.title.label("source_title"),
        _source.publisher.label("source_publisher"),
        _source.url.label("source_url"),
        _source.published_on.label("source_published_on"),
    )
    .join(table_of(Change), _change.seq == _statement.seq)
    .join(table_of(Source), _source.id == _statement.source_id)
    .outerjoin(_later, _later.c.replaces == _statement.seq)
    .order_by(_statement.seq)
)
_RELATED = sa.select(*_relation).order_by(_relation.seq, _relation.target_seq, _relation.relation)


def stated_by(
    session: Session,
    seq: int,
    countries: Collection[str] | None = None,
    *where: sa.ColumnElement[bool],
) -> list[Stated]:
    """Return the statements recorded by `seq`, live or not, in the order of the ledger.

    `countries` narrows them to some countries, None means all; `where` narrows further.
    `replaced_by` is as of today's record: `Stated.is_live` compares it with a seq.
    """
    query = _STATED.where(_statement.seq <= seq, *where)
    related = _RELATED.where(_relation.seq <= seq)
    if countries is not None:
        in_countries = _statement.country_code.in_(countries)
        query = query.where(in_countries)
        related = related.where(_relation.seq.in_(sa.select(_statement.seq).where(in_countries)))
    if where:
        chosen = sa.select(_statement.seq).join(table_of(Change), _change.seq == _statement.seq)
        related = related.where(_relation.seq.in_(chosen.where(*where)))
    relations: dict[int, list[Any]] = {}
    for relation in session.execute(related):
        relations.setdefault(relation.seq, []).append(relation)
    sources: dict[int, SourceBrief] = {}
    found: list[Stated] = []
    for row in session.execute(query):
        source = sources.get(row.source_id)
        if source is None:
            source = sources[row.source_id] = SourceBrief(
                id=row.source_id,
                title=row.source_title,
                publisher=row.source_publisher,
                url=row.source_url,
                published_on=row.source_published_on,
            )
        relates = tuple(relations.get(row.seq, ()))
        found.append(Stated(row.seq, row.chain, row.replaced_by, row, source, relates))
    return found


_json = table_of(ChangeJSON).c
_STATEMENTS = Prepared(
    sa.select(_json.seq, whole_statement(_json.ending)).where(among_named(_json.seq, "seqs", sa.BigInteger()))
)


def statements_by_seq(session: Session, seqs: Collection[int]) -> dict[int, str]:
    """Return the JSON of the statements of some entries, by their seq."""
    return dict(_STATEMENTS.rows(session, seqs=sorted(seqs)))


@dataclass(frozen=True, slots=True)
class LedgerFilter(StatementFilter):
    """Which entries are wanted: by their statement, or by the statement that they replace."""

    actions: tuple[Action, ...] = ()

    def condition(self) -> sa.ColumnElement[bool]:
        """Return the filter as a condition on `Change`."""
        conditions = self.said()
        if self.countries is not None:
            conditions.append(col(Statement.country_code).in_(sorted(self.countries)))
        if self.components:
            in_lines = (
                sa.select(col(LineEntry.seq))
                .join(Line, col(Line.id) == col(LineEntry.line_id))
                .where(col(Line.component).in_(self.components), col(LineEntry.seq) == col(Statement.seq))
            )
            conditions.append(sa.exists(in_lines.correlate(Statement)))
        matched: list[sa.ColumnElement[bool]] = []
        if self.countries is not None or self.sources:
            # An index leads to few statements, and each to its entries.
            own = sa.select(_statement.seq).where(*conditions)
            replacing = sa.select(_later.c.seq).join(table_of(Statement), _statement.seq == _later.c.replaces)
            matched.append(col(Change.seq).in_(own.union_all(replacing.where(*conditions))))
        elif conditions:
            own_or_replaced = col(Statement.seq).in_((col(Change.seq), col(Change.replaces)))
            statement = sa.select(col(Statement.seq)).where(own_or_replaced, *conditions)
            matched.append(sa.exists(statement.correlate(Change)))
        if self.actions:
            matched.append(col(Change.action).in_(self.actions))
        return sa.and_(sa.true(), *matched)


def changes_after(
    session: Session, after: int, seq: int, limit: int, wanted: LedgerFilter
) -> list[tuple[int, Item[ChangeView]]]:
    """Return at most `limit` wanted entries numbered above `after` and up to `seq`, in order, by seq."""
    if wanted == LedgerFilter():
        return _items(_FEED.rows(session, after=after, seq=seq, limit=limit))
    return _items(_chosen(session, after, seq, limit, wanted, order=_change.seq))


def changes_joined(session: Session, after: int, seq: int, limit: int) -> tuple[int, bytes]:
    """Return how many entries `changes_after` returns where all are wanted, and their JSON, joined."""
    count, joined = _PAGE.rows(session, after=after, seq=seq, limit=limit)[0]
    return count, utf8(joined or b"")


def newest_changes(session: Session, seq: int, limit: int, wanted: LedgerFilter) -> list[ChangeView]:
    """Return the newest `limit` wanted entries up to `seq`, the newest first."""
    rows = _chosen(session, 0, seq, limit, wanted, order=_change.seq.desc())
    return [item.view for _, item in _items(rows)]


def stretch_of_changes(session: Session, after: int, until: int, seq: int) -> bytes:
    """Return the entries numbered above `after` and up to `until`, as known at `seq`, as lines of NDJSON."""
    return utf8(_STRETCH.rows(session, after=after, until=until, seq=seq)[0][0])


def count_changes(session: Session, seq: int, wanted: LedgerFilter) -> int:
    """Return how many wanted entries there are up to `seq`."""
    if wanted == LedgerFilter():
        return seq  # without gaps
    query = select(sa.func.count()).select_from(Change)
    return session.exec(query.where(col(Change.seq) <= seq, wanted.condition())).one()


def replacing_between(session: Session, after: int, until: int) -> dict[int, Action]:
    """Return what each entry above `after` and up to `until` does that replaces another, by its seq."""
    return {seq: Action(action) for seq, action in _REPLACING.rows(session, after=after, seq=until)}


def get_change(session: Session, entry: int, seq: int) -> ChangeView:
    """Return one entry as known at `seq`; raise `NotFound` if there is none by then."""
    rows = _FEED.rows(session, after=entry - 1, seq=seq, limit=1) if entry <= seq else ()
    row = next(iter(rows), None)
    if row is None:
        raise NotFound("The record has no such entry; /v1/changes lists them all.")
    return Item(ChangeView, row[1]).view


_SEQ, _AFTER = (sa.bindparam(name, type_=sa.BigInteger) for name in ("seq", "after"))


@cache
def _entries() -> sa.Select[Any]:
    """Return the query of entries numbered above `after`: each number, and the JSON as known at `seq`."""
    is_later = _later.c.replaces == _json.seq, _later.c.seq <= _SEQ, _later.c.replaces > _AFTER
    replaced_by = sa.func.coalesce(sa.cast(_later.c.seq, sa.Text), literal("null"))
    is_live = flag(_later.c.seq.is_(None))
    json = concatenated(_json.opening, replaced_by, literal(LIVE), is_live, _json.ending)
    found = sa.outerjoin(table_of(ChangeJSON), _later, sa.and_(*is_later))
    return sa.select(_json.seq, json.label("json")).select_from(found).where(_json.seq > _AFTER)


def _feed() -> sa.Select[Any]:
    query = _entries().where(_json.seq <= _SEQ)
    return query.order_by(_json.seq).limit(sa.bindparam("limit", type_=sa.Integer))


def _page(dialect: str) -> sa.Select[Any]:
    found = _feed().subquery("entry")
    return sa.select(sa.func.count(), _joined(dialect, found, ","))


def _stretch(dialect: str) -> sa.Select[Any]:
    until = sa.bindparam("until", type_=sa.BigInteger)
    found = _entries().where(_json.seq <= until).order_by(_json.seq).subquery("entry")
    return sa.select(_joined(dialect, found, "\n", end="\n"))


def _joined(dialect: str, found: Any, between: str, *, end: str = "") -> Any:
    """Return the entries of a query in one text, as part of a query: `as_utf8`."""
    if dialect == "postgresql":
        order = aggregate_order_by(literal(between), found.c.seq)
        return sa.func.string_agg(found.c.json, order).concat(literal(end))
    return as_utf8(dialect, sa.func.group_concat(found.c.json, literal(between)).concat(literal(end)))


_REPLACING = Prepared(
    sa.select(_change.seq, sa.type_coerce(_change.action, sa.String)).where(
        _change.seq > _AFTER, _change.seq <= _SEQ, _change.replaces.is_not(None)
    )
)
_FEED, _PAGE, _STRETCH = Prepared(_feed()), Prepared(_page), Prepared(_stretch)


def _chosen(
    session: Session, after: int, seq: int, limit: int, wanted: LedgerFilter, *, order: Any
) -> Iterable[Any]:
    weigh_plans(session)  # where most are wanted, it is sooner to walk through all than to look each up
    query = _entries().join(table_of(Change), _change.seq == _json.seq)
    query = query.where(_change.seq <= _SEQ, wanted.condition())
    return session.execute(query.order_by(order).limit(limit), {"after": after, "seq": seq})


def _items(rows: Iterable[Any]) -> list[tuple[int, Item[ChangeView]]]:
    return [(number, Item(ChangeView, json)) for number, json in rows]


class Supported(BaseModel):
    """A live entry that a source supports."""

    seq: int
    country: str
    kind: Kind
    firmness: Firmness
    stated_on: str


class SourceView(BaseModel):
    """A source, whole, with what it supports."""

    id: int | None = Described(description="Null only under `dry_run`.")
    url: str | None = Described(description="As given.")
    title: str
    publisher: str | None
    published_on: str | None = Described(description="EDTF, as given.")
    reliability: Reliability = Described(description="Admiralty letter; F = cannot be judged.")
    notes: str | None
    recorded_at: Instant
    recorded_by: Recorder
    supports: list[Supported] = Described(description="Live entries that rest on it, in order.")


def source_views(session: Session, sources: Iterable[Source], seq: int) -> list[SourceView]:
    """Return sources as clients see them, with what each supports as known at `seq`."""
    shown = list(sources)
    supported = _supported_by(session, [source.id for source in shown], seq)
    return [
        SourceView(
            id=source.id,
            url=source.url,
            title=source.title,
            publisher=source.publisher,
            published_on=source.published_on,
            reliability=source.reliability,
            notes=source.notes,
            recorded_at=source.recorded_at,
            recorded_by=Recorder(id=source.recorded_by_id, name=source.recorded_by_name),
            supports=supported.get(source.id, []),
        )
        for source in shown
    ]


def _supported_by(session: Session, sources: Collection[int], seq: int) -> dict[int, list[Supported]]:
    """Return the live entries that rest on each of `sources`, as known at `seq`."""
    query = (
        sa.select(
            *(_statement.source_id, _statement.seq, _statement.country_code),
            *(_statement.kind, _statement.firmness, _statement.stated_on),
        )
        .outerjoin(_later, sa.and_(_later.c.replaces == _statement.seq, _later.c.seq <= seq))
        .where(_later.c.seq.is_(None), _statement.seq <= seq, among(_statement.source_id, sources))
        .order_by(_statement.seq)
    )
    found: dict[int, list[Supported]] = {}
    for source_id, number, country, kind, firmness, stated_on in session.execute(query):
        supported = Supported(seq=number, country=country, kind=kind, firmness=firmness, stated_on=stated_on)
        found.setdefault(source_id, []).append(supported)
    return found
