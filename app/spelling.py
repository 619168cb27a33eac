"""How a position is spelt as JSON: by us from what was read, and sooner by the database itself.

The parts of which the database spells it serve others too.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlmodel import Session

from app.countries import Country
from app.db import among_named, table_of
from app.filters import EVERY_POSITION, PositionFilter, held_by_lines, is_stale
from app.lines import EVERY, Line, LineKey, Lines, Shape
from app.pieces import UNCONDITIONAL, ChangeJSON, pieces_in, whole_statement
from app.prepared import Prepared
from app.standings import KEY, PositionJSON, Stand, Standing, of_stand

POSITION = (
    '{"country":"%s","country_name":"%s","component":"%s",%s,"conditional":%s,%s,"since":%s,%s,'
    '"last_affirmed_on":%s,"affirmations":%s,"stale":%s,"certainty":"%s","contested":%s,"sides":[%s],'
    '"reports":%s,"seq":%s,%s}'
)
"""A position as JSON, of `PositionView`; the country's name has nothing that JSON would escape."""

FLAGS = {False: "false", True: "true"}
NULL = b"null"


def shown_on(
    session: Session, asked: Mapping[str, Any], lines: Lines = EVERY, wanted: PositionFilter = EVERY_POSITION
) -> dict[LineKey, str]:
    """Return what each of `lines` holds, as JSON, by country and component; nothing for one that holds none.

    `asked` is what `filters.asked_on` returns. What `wanted` narrows besides the lines is left out.
    """
    rows = _shown(lines.shape, wanted.in_any_line()).rows(session, **asked, **lines.values())
    return {(country, component): json for country, component, json in sorted(rows)}


def joined_on(
    session: Session, asked: Mapping[str, Any], wanted: PositionFilter, *, most: int
) -> tuple[int, bytes]:
    """Return the first `most` of what `shown_on` returns, joined by commas, and how many those are."""
    lines = wanted.lines()
    query = _joined(lines.shape, wanted.in_any_line())
    count, joined = query.rows(session, **asked, **lines.values(), most=most)[0]
    return count, utf8(joined or b"")


def page_on(
    session: Session, asked: Mapping[str, Any], wanted: PositionFilter, *, start: LineKey, most: int
) -> list[str]:
    """Return at most `most` of what `shown_on` returns, in order, from a line on, it included."""
    lines = wanted.lines()
    query = _going_on(lines.shape, wanted.in_any_line())
    rows = query.rows(session, **asked, **lines.values(), **going_on_from(start), most=most)
    return [json for _, _, json in rows]


def count_on(session: Session, asked: Mapping[str, Any], wanted: PositionFilter) -> int:
    """Return how many positions `shown_on` returns."""
    lines = wanted.lines()
    query = _count(lines.shape, wanted.in_any_line())
    count: int = query.rows(session, **asked, **lines.values())[0][0]
    return count


def stands_shown_on(
    session: Session, asked: Mapping[str, Any], lines: Lines = EVERY
) -> dict[LineKey, tuple[Stand, bytes]]:
    """Return what each of `lines` answers, with what it holds, as JSON (null for nothing); in no order."""
    query = _shown(lines.shape, EVERY_POSITION, with_stand=True)
    rows = query.rows(session, **asked, **lines.values())
    return {
        (row[0], row[1]): (Stand._make(row[3:]), utf8(row[2] or NULL)) for row in rows if row[3] is not None
    }


_line, _country, _position = table_of(Line), table_of(Country), table_of(PositionJSON)
_standing, _json = table_of(Standing), table_of(ChangeJSON)


# What is asked of positions is part of the query: few filters are asked again and again.
@lru_cache(500)
def _shown(shape: Shape, wanted: PositionFilter, *, with_stand: bool = False) -> Prepared:
    return Prepared(lambda dialect: _query(dialect, shape, wanted, with_stand=with_stand))


def _query(dialect: str, shape: Shape, wanted: PositionFilter, *, with_stand: bool = False) -> sa.Select[Any]:
    """Return the query of the lines of a shape, each with its position as JSON, and with its stand."""
    source, stand, condition = held_by_lines(dialect, shape, wanted, with_stand=with_stand)
    json = whole(_position.c, is_stale(_position.c), stand["reports"])
    told = of_stand(stand) if with_stand else ()
    return sa.select(*KEY, json.label("position"), *told).select_from(source).where(condition)


def whole(kept: Any, is_stale: Any, reports: Any) -> Any:
    """Return the JSON of a position, by the columns of `PositionJSON`, as part of a query."""
    return concatenated(kept.opening, flag(is_stale), kept.middle, sa.cast(reports, sa.Text), kept.ending)


@lru_cache(500)
def _joined(shape: Shape, wanted: PositionFilter) -> Prepared:
    def build(dialect: str) -> Any:
        shown = _in_order(dialect, _query(dialect, shape, wanted), KEY).subquery("shown")
        if dialect == "postgresql":
            order = (shown.c[name].collate("C") for name in ("country_code", "component"))
            joined: Any = sa.func.string_agg(shown.c.position, aggregate_order_by(literal(","), *order))
        else:
            joined = as_utf8(dialect, sa.func.group_concat(shown.c.position, literal(",")))
        return sa.select(sa.func.count(), joined).select_from(shown)

    return Prepared(build)


@lru_cache(500)
def _going_on(shape: Shape, wanted: PositionFilter) -> Prepared:
    return Prepared(lambda dialect: going_on(dialect, _query(dialect, shape, wanted), KEY))


@lru_cache(500)
def _count(shape: Shape, wanted: PositionFilter) -> Prepared:
    def build(dialect: str) -> Any:
        source, _, condition = held_by_lines(dialect, shape, wanted)
        return sa.select(sa.func.count()).select_from(source).where(condition)

    return Prepared(build)


def going_on(dialect: str, query: sa.Select[Any], key: Sequence[Any]) -> sa.Select[Any]:
    """Return the query of the next of what a query finds in lines, by their key, from a line on."""
    start = sa.tuple_(*(sa.bindparam(name, type_=sa.Text) for name in _START))
    return _in_order(dialect, query.where(sa.tuple_(*_order(dialect, key)) >= start), key)


def going_on_from(start: LineKey) -> dict[str, str]:
    """Return the parameters of `going_on` for a line, the first one that is wanted."""
    return dict(zip(_START, start, strict=True))


_START = ("country", "component")


def _in_order(dialect: str, query: sa.Select[Any], key: Sequence[Any]) -> sa.Select[Any]:
    return query.order_by(*_order(dialect, key)).limit(sa.bindparam("most", type_=sa.Integer))


def _order(dialect: str, key: Sequence[Any]) -> list[Any]:
    return [each.collate("C") for each in key] if dialect == "postgresql" else list(key)


Cut = tuple[bytes, bytes, bytes]
"""The JSON of a position in the three parts that `PositionJSON` keeps of it, as they leave."""


def kept(session: Session, ids: Collection[int]) -> dict[int, Cut]:
    """Return what is kept of positions, by their ids."""
    rows = _KEPT_WITH_IDS.rows(session, ids=sorted(ids))
    return {row[0]: (utf8(row[1]), utf8(row[2]), utf8(row[3])) for row in rows}


def keep_positions(session: Session, seqs: tuple[int, int], first: int) -> None:
    """Keep the JSON of what is held by the standings that follow from the entries above a seq, up to another.

    Their positions have ids from `first` on, and are not kept yet; the caller holds the write lock.
    """
    _KEEP.change(session, {"after": seqs[0], "until": seqs[1], "first": first})


def keep_positions_of(session: Session, country: str) -> None:
    """Keep the JSON of all that the lines of a country hold; nothing of it is kept yet."""
    _KEEP_OF_COUNTRY.change(session, {"country": country})


def next_position_id(session: Session) -> int:
    """Return the first id that no position has."""
    newest = _NEWEST_ID.rows(session)[0][0]
    return (newest or 0) + 1


def misspelt(session: Session) -> int | None:
    """Return the first entry from which on a position is not kept as it is spelt, if there is one."""
    found: int | None = _MISSPELT.rows(session)[0][0]
    return found


def _pieces(dialect: str) -> list[Any]:
    """Return what is kept of the position of a standing, as parts of a query: `PositionJSON`."""
    stand, is_contested = _standing.c, _standing.c.sides != literal("")
    said = pieces_in(_json.c)
    begins = sa.func.substr(said.content, sa.literal_column("1"), sa.literal_column(str(len(UNCONDITIONAL))))
    opening = (
        *(_line.c.country_code, _country.c.name, KEY[1]),
        *(said.words, flag(begins != literal(UNCONDITIONAL)), said.content),
        *(_day(dialect, stand.since), said.dates, _day(dialect, stand.last_affirmed_on)),
        stand.affirmations,
    )
    sides = sa.case((is_contested, _sides(dialect, stand.sides)), else_=literal(""))
    values = (opening, (flag(is_contested), sides), (stand.shown_seq, said.source))
    return [spelt(dialect, template, *each) for template, each in zip(_KEPT, values, strict=True)]


def _held_by_standings() -> Any:
    lines = sa.join(_standing, _line, _line.c.id == _standing.c.line_id)
    named = sa.join(lines, _country, _country.c.code == _line.c.country_code)
    return sa.join(named, _json, _json.c.seq == _standing.c.shown_seq)


def _kept(dialect: str, *those: Any) -> Any:
    found = (
        sa.select(_standing.c.position_id, _standing.c.last_affirmed_on, *_pieces(dialect))
        .select_from(_held_by_standings())
        .where(*those)
        # In the order of the table: else its pages would be filled by half, and written again and again.
        .order_by(_standing.c.position_id)
    )
    return sa.insert(_position).from_select(list(_position.c), found)


def _misspelt(dialect: str) -> Any:
    kept = _position.c.last_affirmed_on, _position.c.opening, _position.c.middle, _position.c.ending
    right = _standing.c.last_affirmed_on, *_pieces(dialect)
    differs = (one.is_distinct_from(other) for one, other in zip(kept, right, strict=True))
    held = sa.outerjoin(_held_by_standings(), _position, _position.c.id == _standing.c.position_id)
    wrong = sa.select(_standing.c.seq).select_from(held).where(sa.or_(*differs))
    is_held, is_kept = _standing.c.shown_seq.is_not(None), _standing.c.position_id.is_not(None)
    unkept = sa.select(_standing.c.seq).where(is_held != is_kept)
    holders = sa.select(_standing.c.position_id).where(is_kept)
    orphaned: Any = sa.select(sa.literal_column("1")).where(_position.c.id.not_in(holders)).limit(1)
    found = sa.union_all(wrong, unkept).subquery("found")
    first = sa.select(sa.func.min(found.c[0])).scalar_subquery()
    return sa.select(sa.func.coalesce(first, orphaned.scalar_subquery()))


_CERTAIN = POSITION % (
    *(*["%s"] * 6, '"%s"', "%s", '"%s"', "%s", "<stale>", "certain", "%s", "%s", "<reports>", "%s", "%s"),
)
_KEPT = re.split("<stale>|<reports>", _CERTAIN)
"""Templates of the three columns of `PositionJSON`."""
_KEPT_WITH_IDS = Prepared(
    lambda dialect: sa.select(
        _position.c.id,
        *(as_utf8(dialect, _position.c[name]) for name in ("opening", "middle", "ending")),
    ).where(among_named(_position.c.id, "ids", sa.BigInteger()))
)
_AFTER, _UNTIL, _FIRST = (sa.bindparam(name, type_=sa.BigInteger) for name in ("after", "until", "first"))
# With one end PostgreSQL would plan for a third of all standings.
_NEW = _standing.c.seq > _AFTER, _standing.c.seq <= _UNTIL, _standing.c.position_id >= _FIRST
_KEEP = Prepared(lambda dialect: _kept(dialect, *_NEW))
_KEEP_OF_COUNTRY = Prepared(
    lambda dialect: _kept(dialect, _line.c.country_code == sa.bindparam("country", type_=sa.Text))
)
_MISSPELT = Prepared(_misspelt)
_NEWEST_ID = Prepared(sa.select(sa.func.max(_position.c.id)))


def _sides(dialect: str, seqs: Any) -> Any:
    """Return the query of the other sides of what is contested, in the order of their seqs as given."""
    said = _json.alias("said")
    if dialect == "postgresql":
        seqs = sa.func.unnest(sa.func.string_to_array(seqs, literal(",")))
        side: Any = seqs.table_valued("value", with_ordinality="key", name="side").render_derived()
        seq: Any = sa.cast(side.c.value, sa.BigInteger)
    else:
        side = sa.func.json_each(literal("[").concat(seqs).concat(literal("]"))).table_valued("key", "value")
        seq = side.c.value
    statement = whole_statement(said.c.ending)
    found = sa.join(side, said, said.c.seq == seq)
    if dialect == "postgresql":
        joined = sa.func.string_agg(statement, aggregate_order_by(literal(","), side.c.key))
        return sa.select(joined).select_from(found).correlate_except(side, said).scalar_subquery()
    in_order = sa.select(statement.label("statement")).select_from(found).order_by(side.c.key)
    listed = in_order.correlate_except(side, said).subquery("listed")
    return sa.select(sa.func.group_concat(listed.c.statement, literal(","))).scalar_subquery()


def _day(dialect: str, column: Any) -> Any:
    return sa.func.to_char(column, literal("YYYY-MM-DD")) if dialect == "postgresql" else column


def spelt(dialect: str, template: str, *values: Any) -> Any:
    """Return a template of ours with values in it, `%s` for each, as part of a query."""
    spell = sa.func.format if dialect == "postgresql" else sa.func.printf
    return spell(literal(template), *values, type_=sa.Text())


def concatenated(*pieces: Any) -> Any:
    """Return texts one after the other, as part of a query."""
    return reduce(lambda one, other: one.concat(other), pieces)


def as_utf8(dialect: str, text: Any) -> Any:
    """Return a text as bytes where these are sooner read: the driver would decode it for us to encode it."""
    # The driver has bytes already: SQLAlchemy would look at them row by row.
    return text if dialect == "postgresql" else sa.type_coerce(sa.cast(text, sa.LargeBinary), sa.Text)


def utf8(text: str | bytes) -> bytes:
    """Return what `as_utf8` gives, as bytes."""
    return text.encode() if isinstance(text, str) else text


def literal(text: str) -> Any:
    """Return a text of ours as part of a query, not as a parameter."""
    return sa.literal_column(f"'{text}'", sa.Text())


def flag(condition: Any) -> Any:
    """Return a condition as JSON, as part of a query."""
    return sa.case((condition, literal(FLAGS[True])), else_=literal(FLAGS[False]))
