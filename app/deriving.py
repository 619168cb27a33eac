"""All that follows from the ledger, made again from nothing but the ledger."""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, SQLModel, col

from app.changes import Change, head_of, stated_by
from app.db import table_of
from app.hearing import ids_of, insert
from app.lines import Line, LineEntry, Lines, entries, heard_in, relations_of
from app.pieces import ChangeJSON, Pieces, entry_pieces, pieces_from
from app.prepared import insert_rows
from app.replay import Derived, Replay, derived
from app.report_counts import ReportCount, all_counted
from app.spelling import keep_positions_of
from app.standings import PositionJSON, Standing
from app.statements import Statement, components_of

DERIVED: tuple[type[SQLModel], ...] = (
    *(Standing, PositionJSON, ReportCount),
    *(LineEntry, Line, ChangeJSON),
)
"""The tables that hold nothing but what follows, each ahead of those that it refers to."""

_seq = table_of(Change).c.seq
_CHANGES = sa.select(table_of(Change)).order_by(_seq)

STRETCH = 5_000
"""How many entries are read at a time."""


def derive_everything(session: Session, progress: Callable[[int], object] = lambda _: None) -> None:
    """Empty the derived tables and fill them again; the caller holds the write lock.

    `progress` is told how many more statements have their places.
    """
    for table in DERIVED:
        session.execute(sa.delete(table_of(table)))
    head = head_of(session).seq
    ids: dict[tuple[str, str], int] = {}
    for after in range(0, head, STRETCH):
        rows: dict[type[SQLModel], list[dict[str, Any]]] = {ChangeJSON: [], Line: [], LineEntry: []}
        until = min(after + STRETCH, head)
        said: dict[int, tuple[str, Pieces]] = {}
        for stated in stated_by(session, head, None, col(Statement.seq).between(after + 1, until)):
            pieces = pieces_from(stated.row, stated.source, stated.relations)
            said[stated.seq] = stated.row.country_code, pieces
            for heard in heard_in(stated.row, components_of(stated.row), stated.chain, stated.relations):
                if heard.key not in ids:
                    ids[heard.key] = len(ids) + 1
                    country, component = heard.key
                    rows[Line].append({"id": ids[heard.key], "country_code": country, "component": component})
                entry = heard.in_line(ids[heard.key]) | {"left_seq": stated.replaced_by}
                rows[LineEntry].append(entry)
        for change in session.execute(_CHANGES.where(_seq.between(after + 1, until))):
            kept = entry_pieces(change, *said.get(change.seq, (None, None)))
            rows[ChangeJSON].append({"seq": change.seq, **kept._asdict()})
        for table, found in rows.items():
            if found:
                insert_rows(session, table_of(table), found)
        progress(len(said))
    derive_standings(session, head)
    derive_report_counts(session)


def derive_standings(session: Session, until: int) -> None:
    """Fill the table of standings, which is empty, with what follows from the entries up to `until`."""
    position_id = 1
    for country in countries_heard(session):
        position_id = insert(session, standings_of(session, country, until), position_id)
    derive_positions(session)


def derive_positions(session: Session) -> None:
    """Fill the table of positions as JSON anew with what the standings hold, as countries are named now."""
    session.execute(sa.delete(table_of(PositionJSON)))
    for country in countries_heard(session):
        keep_positions_of(session, country)


def countries_heard(session: Session) -> Sequence[str]:
    """Return the countries that have any lines."""
    return session.scalars(
        sa.select(col(Line.country_code)).distinct().order_by(col(Line.country_code))
    ).all()


def derive_report_counts(session: Session) -> None:
    """Fill the table of report counts, which is empty, with what follows from the lines."""
    rows = list(all_counted(session))
    if rows:
        insert_rows(session, table_of(ReportCount), rows)


def standings_of(session: Session, country: str, until: int) -> Derived:
    """Return all that follows from the entries up to `until` for the lines of a country."""
    heard = entries(session, (0, until), Lines({country}))
    found = Replay(heard, relations_of(session, heard, until), 0)
    return derived(found, ids_of(session, {country}))
