"""How a position is spelt as JSON: by us from what was read, and sooner by the database itself.

The parts of which the database spells it serve others too.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlmodel import Session

from app.countries import Country
from app.db import table_of
from app.lines import EVERY, Line, LineKey, Lines, Shape
from app.prepared import Prepared
from app.standings import KEY, Stand, with_last
from app.statements import STATEMENT, UNCONDITIONAL, Pieces, StatementJSON

POSITION = (
    '{"country":"%s","country_name":"%s","component":"%s",%s,"conditional":%s,%s,"since":%s,%s,'
    '"last_affirmed_on":%s,"affirmations":%s,"stale":%s,"certainty":"%s","contested":%s,"sides":[%s],'
    '"reports":%s,"seq":%s,%s}'
)
"""A position as JSON, of `PositionView`; the country's name has nothing that JSON would escape."""

FLAGS = {False: "false", True: "true"}

_CERTAIN = POSITION % (*["%s"] * 6, '"%s"', "%s", '"%s"', "%s", "%s", "certain", *["%s"] * 5)


def shown_on(
    session: Session, seq: int, day: date, until: date, stale_after: timedelta, lines: Lines = EVERY
) -> dict[LineKey, str]:
    """Return what each of `lines` holds, as JSON, by country and component; nothing for one that holds none.

    That is as known at `seq` and as of `day`; nothing is looked for that takes effect after `until`,
    which is not later. A position last affirmed more than `stale_after` before `day` is stale.
    """
    rows = _shown(lines.shape).rows(session, **_asked(seq, day, until, stale_after), **lines.values())
    return {(country, component): json for country, component, json in sorted(rows) if json is not None}


def joined_on(
    session: Session, seq: int, day: date, until: date, stale_after: timedelta, lines: Lines = EVERY
) -> tuple[int, bytes]:
    """Return how many of `lines` hold anything, and all that `shown_on` returns of them, joined by commas."""
    asked = _asked(seq, day, until, stale_after)
    count, joined = _joined(lines.shape).rows(session, **asked, **lines.values())[0]
    return count, joined.encode() if isinstance(joined, str) else joined or b""


def stands_shown_on(
    session: Session, seq: int, day: date, stale_after: timedelta, lines: Lines = EVERY
) -> dict[LineKey, tuple[Stand, str | None]]:
    """Return what each of `lines` answers, with what it holds, as JSON, or None; in no particular order."""
    query = _shown(lines.shape, with_stand=True)
    rows = query.rows(session, **_asked(seq, day, day, stale_after), **lines.values())
    found = ((row[0], row[1], row[2], Stand._make(row[3:])) for row in rows if row[3] is not None)
    return {(country, component): (stand, json) for country, component, json, stand in found}


def _asked(seq: int, day: date, until: date, stale_after: timedelta) -> dict[str, Any]:
    fresh_from = date.fromordinal(max(day.toordinal() - stale_after.days, date.min.toordinal()))
    return {"seq": seq, "day": until, "fresh_from": fresh_from}


_line, _country, _json = table_of(Line), table_of(Country), table_of(StatementJSON)
_SEQ = sa.bindparam("seq", type_=sa.BigInteger)


@cache
def _shown(shape: Shape, *, with_stand: bool = False) -> Prepared:
    return Prepared(lambda dialect: _query(dialect, shape, *(Stand._fields if with_stand else ())))


def _query(dialect: str, shape: Shape, *fields: str) -> sa.Select[Any]:
    """Return the query of the lines of a shape, each with its position as JSON, and fields of its stand."""
    named = sa.join(_line, _country, _country.c.code == _line.c.country_code)
    source, columns = with_last(dialect, named, _line.c.id, _SEQ)
    stand = dict(zip(Stand._fields, columns, strict=True))
    source = sa.outerjoin(source, _json, _json.c.seq == stand["shown_seq"])
    position = sa.case((stand["shown_seq"].is_not(None), _position(dialect, stand))).label("position")
    wanted = (stand[name] for name in fields)
    return sa.select(*KEY, position, *wanted).select_from(source).where(shape.condition())


@cache
def _joined(shape: Shape) -> Prepared:
    def build(dialect: str) -> Any:
        query = _query(dialect, shape, "shown_seq")
        if dialect == "postgresql":
            shown = query.subquery("shown")
            order = (shown.c[name].collate("C") for name in ("country_code", "component"))
            joined: Any = sa.func.string_agg(shown.c.position, aggregate_order_by(literal(","), *order))
        else:
            shown = query.order_by(*KEY).subquery("shown")
            # As bytes, or the driver would read them as text only for us to make bytes of it again.
            joined = sa.cast(sa.func.group_concat(shown.c.position, literal(",")), sa.LargeBinary)
        # Not the positions themselves: for their number PostgreSQL would spell them once more.
        return sa.select(sa.func.count(shown.c.shown_seq), joined)

    return Prepared(build)


def _position(dialect: str, stand: Mapping[str, Any]) -> Any:
    fresh_from = sa.bindparam("fresh_from", type_=sa.Date)
    is_contested = stand["sides"] != sa.literal_column("''")
    begins = sa.func.substr(
        _json.c.content, sa.literal_column("1"), sa.literal_column(str(len(UNCONDITIONAL)))
    )
    return spelt(
        dialect,
        _CERTAIN,
        _line.c.country_code,
        _country.c.name,
        KEY[1],
        _json.c.words,
        flag(begins != literal(UNCONDITIONAL)),
        _json.c.content,
        _day(dialect, stand["since"]),
        _json.c.dates,
        _day(dialect, stand["last_affirmed_on"]),
        stand["affirmations"],
        flag(stand["last_affirmed_on"] < fresh_from),
        flag(is_contested),
        sa.case((is_contested, _sides(dialect, stand["sides"])), else_=literal("")),
        stand["reports"],
        stand["shown_seq"],
        _json.c.source,
    )


def _sides(dialect: str, seqs: Any) -> Any:
    """Return the query of the other sides of what is contested, in the order of their seqs as given."""
    said = _json.alias("said")
    pieces = [said.c[name] for name in Pieces._fields]
    if dialect == "postgresql":
        seqs = sa.func.unnest(sa.func.string_to_array(seqs, literal(",")))
        side: Any = seqs.table_valued("value", with_ordinality="key", name="side").render_derived()
        seq: Any = sa.cast(side.c.value, sa.BigInteger)
    else:
        side = sa.func.json_each(literal("[").concat(seqs).concat(literal("]"))).table_valued("key", "value")
        seq = side.c.value
    statement = spelt(dialect, STATEMENT, said.c.seq, _line.c.country_code, *pieces)
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


def literal(text: str) -> Any:
    """Return a text of ours as part of a query, not as a parameter."""
    return sa.literal_column(f"'{text}'", sa.Text())


def flag(condition: Any) -> Any:
    """Return a condition as JSON, as part of a query."""
    return sa.case((condition, literal(FLAGS[True])), else_=literal(FLAGS[False]))


def quoted(dialect: str, column: Any) -> Any:
    """Return a text as JSON, `null` where there is none, as part of a query."""
    if dialect == "postgresql":
        return sa.func.coalesce(sa.cast(sa.func.to_json(column), sa.Text), literal("null"))
    return sa.func.json_quote(column)


def numbered(column: Any) -> Any:
    """Return a whole number as JSON, `null` where there is none, as part of a query."""
    return sa.func.coalesce(sa.cast(column, sa.Text), literal("null"))


def timed(dialect: str, column: Any) -> Any:
    """Return an instant as `fields.instant_text` does, but for the Z, as part of a query."""
    if dialect == "postgresql":
        in_utc = sa.func.timezone(literal("UTC"), column)
        return sa.func.to_char(in_utc, literal('YYYY-MM-DD"T"HH24:MI:SS.US'))
    return sa.func.replace(sa.type_coerce(column, sa.String), literal(" "), literal("T"))
