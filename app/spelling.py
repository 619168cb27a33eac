"""How a position is spelt as JSON: by us from what was read, and sooner by the database itself."""

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
    def build(dialect: str) -> Any:
        named = sa.join(_line, _country, _country.c.code == _line.c.country_code)
        source, columns = with_last(dialect, named, _line.c.id, _SEQ)
        stand = dict(zip(Stand._fields, columns, strict=True))
        source = sa.outerjoin(source, _json, _json.c.seq == stand["shown_seq"])
        text = sa.case((stand["shown_seq"].is_not(None), _position(dialect, stand)))
        wanted = (*KEY, text, *columns) if with_stand else (*KEY, text)
        return sa.select(*wanted).select_from(source).where(shape.condition())

    return Prepared(build)


def _position(dialect: str, stand: Mapping[str, Any]) -> Any:
    fresh_from = sa.bindparam("fresh_from", type_=sa.Date)
    is_contested = stand["sides"] != sa.literal_column("''")
    begins = sa.func.substr(
        _json.c.content, sa.literal_column("1"), sa.literal_column(str(len(UNCONDITIONAL)))
    )
    return _spelt(
        dialect,
        _CERTAIN,
        _line.c.country_code,
        _country.c.name,
        KEY[1],
        _json.c.words,
        _flag(begins != _text(UNCONDITIONAL)),
        _json.c.content,
        _day(dialect, stand["since"]),
        _json.c.dates,
        _day(dialect, stand["last_affirmed_on"]),
        stand["affirmations"],
        _flag(stand["last_affirmed_on"] < fresh_from),
        _flag(is_contested),
        sa.case((is_contested, _sides(dialect, stand["sides"])), else_=_text("")),
        stand["reports"],
        stand["shown_seq"],
        _json.c.source,
    )


def _sides(dialect: str, seqs: Any) -> Any:
    """Return the query of the other sides of what is contested, in the order of their seqs as given."""
    said = _json.alias("said")
    pieces = [said.c[name] for name in Pieces._fields]
    if dialect == "postgresql":
        seqs = sa.func.unnest(sa.func.string_to_array(seqs, _text(",")))
        side: Any = seqs.table_valued("value", with_ordinality="key", name="side").render_derived()
        seq: Any = sa.cast(side.c.value, sa.BigInteger)
    else:
        side = sa.func.json_each(_text("[").concat(seqs).concat(_text("]"))).table_valued("key", "value")
        seq = side.c.value
    statement = _spelt(dialect, STATEMENT, said.c.seq, _line.c.country_code, *pieces)
    found = sa.join(side, said, said.c.seq == seq)
    if dialect == "postgresql":
        joined = sa.func.string_agg(statement, aggregate_order_by(_text(","), side.c.key))
        return sa.select(joined).select_from(found).correlate_except(side, said).scalar_subquery()
    in_order = sa.select(statement.label("statement")).select_from(found).order_by(side.c.key)
    listed = in_order.correlate_except(side, said).subquery("listed")
    return sa.select(sa.func.group_concat(listed.c.statement, _text(","))).scalar_subquery()


def _spelt(dialect: str, template: str, *values: Any) -> Any:
    spell = sa.func.format if dialect == "postgresql" else sa.func.printf
    return spell(_text(template), *values, type_=sa.Text())


def _text(text: str) -> Any:
    """Return a text of ours as part of a query, not as a parameter."""
    return sa.literal_column(f"'{text}'", sa.Text())


def _flag(condition: Any) -> Any:
    return sa.case((condition, _text(FLAGS[True])), else_=_text(FLAGS[False]))


def _day(dialect: str, column: Any) -> Any:
    return sa.func.to_char(column, _text("YYYY-MM-DD")) if dialect == "postgresql" else column
