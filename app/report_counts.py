"""How many reports stand beside the positions of a line, without counting all of them each time.

How many of those that are live now counted before a month's end is kept; on a day, only those of its
month are counted besides. They follow from `LineEntry`; `coalition verify` compares them.
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, Session, SQLModel

from app.db import among_named, table_of
from app.lines import REPORT, LineEntry, live_between, unsought
from app.prepared import Prepared, insert_rows


class ReportCount(SQLModel, table=True):
    """How many reports of a line that are live now counted before a day.

    There is a row for each month from which any report ever counted: of the first day after it.
    """

    __tablename__ = "report_count"

    line_id: int = Field(primary_key=True, foreign_key="line.id")
    before: date = Field(primary_key=True)
    reports: int

    __table_args__ = ({"sqlite_with_rowid": False},)


_count, _entry = table_of(ReportCount), table_of(LineEntry)
_CHANGE = sa.table("change", sa.column("seq"))
_DAY = sa.bindparam("day", type_=sa.Date)


def reports_on(line_id: Any, seq: Any) -> Any:
    """Return the query of how many reports stand beside a line's position on a day, as known at a seq.

    The day is the parameter `day`. What was known before the newest entry is counted one by one.
    """
    report = _entry.alias("report")
    is_beside = sa.and_(report.c.line_id == line_id, report.c.voice == REPORT, report.c.effective_on <= _DAY)
    among_all = sa.select(sa.func.count()).where(is_beside, live_between(unsought(report.c), seq, seq))
    since = sa.select(sa.func.count()).where(
        is_beside, report.c.effective_on >= _count.c.before, report.c.left_seq.is_(None)
    )
    kept = (
        sa.select(_count.c.reports + since.correlate_except(report).scalar_subquery())
        .where(
            *(_count.c.line_id == line_id, _count.c.before <= _DAY),
            seq >= sa.select(sa.func.max(_CHANGE.c.seq)).scalar_subquery(),
        )
        .order_by(_count.c.before.desc())
        .limit(1)
        .correlate_except(_count, _CHANGE)
    )
    return sa.func.coalesce(
        kept.scalar_subquery(), among_all.correlate_except(report).scalar_subquery(), type_=sa.Integer()
    )


def month_end(day: date) -> date:
    """Return the first day after the month of a day: of the row up to which a report of it counts."""
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


def count_more(session: Session, more: Mapping[int, Mapping[date, int]]) -> None:
    """Record that there are so many more reports, or fewer, by line and by the end of their month.

    The caller holds the write lock.
    """
    opened, changed = list[dict[str, Any]](), list[dict[str, Any]]()
    known: dict[int, dict[date, int]] = {line_id: {} for line_id in more}
    for line_id, before, reports in _KEPT.rows(session, lines=sorted(more)) if more else ():
        known[line_id][before] = reports
    for line_id, counts in known.items():
        reports = added = 0
        for before in sorted(counts.keys() | more[line_id].keys()):
            added += more[line_id].get(before, 0)
            reports = counts.get(before, reports)
            row = {"line_id": line_id, "before": before, "reports": reports + added}
            if before not in counts:
                opened.append(row)
            elif added:
                changed.append({"line": line_id, "day": before, "now": reports + added})
    if opened:
        insert_rows(session, _count, opened)
    if changed:
        _CORRECT.change(session, *changed)


def all_counted(session: Session) -> Iterator[dict[str, Any]]:
    """Yield the rows that follow from the lines as they are now, in order."""
    for line_id, days in groupby(_BY_DAY.rows(session), key=itemgetter(0)):
        reports = 0
        for before, of_month in groupby(days, key=lambda row: month_end(row[1])):
            reports += sum(live for *_, live in of_month)
            yield {"line_id": line_id, "before": before, "reports": reports}


_KEPT = Prepared(
    sa.select(_count.c.line_id, _count.c.before, _count.c.reports).where(
        among_named(_count.c.line_id, "lines", sa.Integer())
    )
)
_CORRECT = Prepared(
    sa.update(_count)
    .where(_count.c.line_id == sa.bindparam("line"), _count.c.before == sa.bindparam("day"))
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
