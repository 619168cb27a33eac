"""How many reports stand beside the positions of a line, without counting all of them each time.

How many of those that are live now count by a day is kept for each day from which any does. That
follows from `LineEntry`; `coalition verify` compares it.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, Session, SQLModel

from app.db import among_named, table_of
from app.lines import REPORT, LineEntry, live_between, unsought
from app.prepared import Prepared, insert_rows


class ReportCount(SQLModel, table=True):
    """How many reports of a line that are live now count by the end of a day.

    There is a row for each day from which any report ever counted.
    """

    __tablename__ = "report_count"

    line_id: int = Field(primary_key=True, foreign_key="line.id")
    day: date = Field(primary_key=True)
    reports: int

    __table_args__ = ({"sqlite_with_rowid": False},)


_count, _entry = table_of(ReportCount), table_of(LineEntry)
_CHANGE = sa.table("change", sa.column("seq"))
_DAY = sa.bindparam("day", type_=sa.Date)


def reports_on(line_id: Any, seq: Any, day: Any = _DAY) -> Any:
    """Return the query of how many reports stand beside a line's position on a day, as known at a seq.

    The day is the parameter `day` unless another is given. What was known before the newest entry is
    counted one by one.
    """
    report = _entry.alias("report")
    is_beside = sa.and_(report.c.line_id == line_id, report.c.voice == REPORT, report.c.effective_on <= day)
    among_all = sa.select(sa.func.count()).where(is_beside, live_between(unsought(report.c), seq, seq))
    kept = (
        sa.select(_count.c.reports)
        .where(
            *(_count.c.line_id == line_id, _count.c.day <= day),
            seq >= sa.select(sa.func.max(_CHANGE.c.seq)).scalar_subquery(),
        )
        .order_by(_count.c.day.desc())
        .limit(1)
        .correlate_except(_count, _CHANGE)
    )
    return sa.func.coalesce(
        kept.scalar_subquery(), among_all.correlate_except(report).scalar_subquery(), type_=sa.Integer()
    )


def count_more(session: Session, more: Mapping[int, Mapping[date, int]]) -> None:
    """Record that there are so many more reports, or fewer, by line and by the day from which they count.

    The caller holds the write lock.
    """
    if not more:
        return
    opened, changed = list[dict[str, Any]](), list[dict[str, Any]]()
    known: dict[int, dict[date, int]] = {line_id: {} for line_id in more}
    since = min(day for days in more.values() for day in days)
    for line_id, day, reports in _KEPT.rows(session, lines=sorted(more), since=since):
        known[line_id][day] = reports
    for line_id, counts in known.items():
        reports = added = 0
        for day in sorted(counts.keys() | more[line_id].keys()):
            added += more[line_id].get(day, 0)
            reports = counts.get(day, reports)
            if day not in counts:
                opened.append({"line_id": line_id, "day": day, "reports": reports + added})
            elif added:
                changed.append({"line": line_id, "from_day": day, "now": reports + added})
    if opened:
        insert_rows(session, _count, opened)
    if changed:
        _CORRECT.change(session, *changed)


def all_counted(session: Session) -> Iterator[dict[str, Any]]:
    """Yield the rows that follow from the lines as they are now, in order."""
    for line_id, days in groupby(_BY_DAY.rows(session), key=itemgetter(0)):
        reports = 0
        for _, day, live in days:
            reports += live
            yield {"line_id": line_id, "day": day, "reports": reports}


_SINCE = sa.bindparam("since", type_=sa.Date)
_earlier = _count.alias("earlier")
_LAST_BEFORE = sa.select(sa.func.max(_earlier.c.day)).where(
    _earlier.c.line_id == _count.c.line_id, _earlier.c.day < _SINCE
)
_KEPT = Prepared(
    sa.select(_count.c.line_id, _count.c.day, _count.c.reports).where(
        among_named(_count.c.line_id, "lines", sa.Integer()),
        _count.c.day >= sa.func.coalesce(_LAST_BEFORE.correlate(_count).scalar_subquery(), _SINCE),
    )
)
_CORRECT = Prepared(
    sa.update(_count)
    .where(_count.c.line_id == sa.bindparam("line"), _count.c.day == sa.bindparam("from_day"))
    .values(reports=sa.bindparam("now"))
)
_BY_DAY = Prepared(
    sa.select(
        *(_entry.c.line_id, _entry.c.effective_on),
        sa.func.sum(sa.case((_entry.c.left_seq.is_(None), 1), else_=0)),
    )
    .where(_entry.c.voice == REPORT)
    .group_by(_entry.c.line_id, _entry.c.effective_on)
    .order_by(_entry.c.line_id, _entry.c.effective_on)
)
