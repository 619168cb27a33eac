"""How entries enter the ledger: numbered, chained, placed in their lines, and inserted table by table.

Whoever appends holds the write lock, so `seq` has no gaps and commits in its own order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, SQLModel

from app.changes import Change, ChangeView, Head
from app.db import table_of, utc_now
from app.digests import entry_json, next_digest
from app.hearing import Touched, record_standings
from app.items import Item
from app.lines import Line, LineEntry, LineKey, heard_in, line_ids, newest_line_id
from app.pieces import ChangeJSON, EntryPieces, entry_pieces, pieces_from
from app.prepared import Prepared, insert_rows
from app.sources import Source
from app.statements import Statement, StatementRelation
from app.vocabulary import Component

ORDER: tuple[type[SQLModel], ...] = (
    *(Source, Change, ChangeJSON, Statement, StatementRelation),
    *(Line, LineEntry),
)
"""The tables that entries fill, each after those that it refers to."""


_entry = table_of(LineEntry)
_LEAVE = Prepared(
    sa.update(_entry).where(_entry.c.seq == sa.bindparam("replaced")).values(left_seq=sa.bindparam("left"))
)


class Values(SimpleNamespace):
    """The columns of a row that is about to be inserted, each under its own name.

    A table's own class knows them too, but takes longer to make than the row to insert.
    """


@dataclass(frozen=True, slots=True)
class Draft:
    """A statement that is about to enter the ledger, with its source and its relations."""

    statement: Values
    """The columns of `Statement`."""
    source: Source | Values
    relations: tuple[Values, ...]
    """The columns of `StatementRelation`."""
    components: tuple[Component, ...]


def next_instant(head: Head) -> datetime:
    """Return the instant of an entry recorded now: later than the head's, whatever the clock does."""
    now = utc_now()
    if head.recorded_at is None:
        return now
    return max(now, head.recorded_at + timedelta(microseconds=1))


class Appending:
    """Entries on their way into the ledger: `insert` puts all of them in, a statement for each table."""

    def __init__(self, session: Session, head: Head) -> None:
        self.head = head
        """The head that the record has once everything is inserted."""
        self.touched: set[LineKey] = set()
        """The lines that the entries enter or leave, of those of which what follows was derived last."""
        self.moved: dict[LineKey, date] = {}
        """The lines that answer something else for these, each with the last day from which on it does."""
        self._session = session
        self._derived = head.seq
        self._rows: dict[type[SQLModel], list[Mapping[str, Any]]] = {table: [] for table in ORDER}
        self._touched = Touched()
        self._left: list[dict[str, int]] = []
        self._was_left = False
        self._lines: dict[str, dict[str, int]] = {}
        self._newest_line: int | None = None
        self._newest: EntryPieces | None = None
        """What is kept of the entry that was added last."""

    def add_source(self, source: Values) -> None:
        """Add a source that is not known yet, by the columns of `Source`."""
        self._rows[Source].append(vars(source))

    def append(self, change: Values, draft: Draft | None) -> Head:
        """Add an entry, and the statement that it brings, after the head; return the new head.

        `change` has the columns of `Change`, of which this sets `seq`, `chain` and `digest`.
        """
        change.seq = self.head.seq + 1
        change.chain = change.chain or change.seq
        statement = source = country = pieces = None
        relations: tuple[Values, ...] = ()
        if draft is not None:
            statement, source, relations = draft.statement, draft.source, draft.relations
            statement.seq = change.seq
            for relation in relations:
                relation.seq = change.seq
        change.digest = next_digest(self.head.digest, entry_json(change, statement, relations, source))
        self._rows[Change].append(vars(change))
        if change.replaces is not None:
            self._left.append({"replaced": change.replaces, "left": change.seq})
        if draft is not None and statement is not None:
            self._rows[Statement].append(vars(statement))
            self._rows[StatementRelation] += map(vars, relations)
            country, pieces = statement.country_code, pieces_from(statement, draft.source, relations)
            self._enter_lines(statement, draft.components, change.chain, relations)
        self._newest = entry_pieces(change, country, pieces)
        self._rows[ChangeJSON].append({"seq": change.seq, **self._newest._asdict()})
        self.head = Head(change.seq, change.recorded_at, change.digest)
        return self.head

    def entry(self) -> Item[ChangeView]:
        """Return the entry that was added last."""
        assert self._newest is not None
        return Item(ChangeView, self._newest.newest())

    def insert(self) -> None:
        """Insert what was added since the last time."""
        for table, rows in self._rows.items():
            if rows:
                # The order of the tables is ours, and nothing is read back.
                insert_rows(self._session, table_of(table), rows)
                self._rows[table] = []
        if self._left:
            _LEAVE.change(self._session, *self._left)
            self._left, self._was_left = [], True

    def derive(self) -> None:
        """Insert what was added, and what follows from it since the last time."""
        self.insert()
        if self.head.seq > self._derived:
            touched, after = self._touched, self._derived
            self._touched, self._derived = Touched(), self.head.seq
            if self._was_left:
                touched.note_left(self._session, after, self._derived)
                self._was_left = False
            self.moved = record_standings(self._session, touched, after, self._derived)
            self.touched = set(touched.lines)

    def _enter_lines(
        self, statement: Values, components: Sequence[Component], chain: int, relations: Sequence[Values]
    ) -> None:
        """Give a statement its places in its lines; a line that is new is made."""
        for heard in heard_in(statement, components, chain, relations):
            ids = self._known_lines(heard.country)
            if heard.component not in ids:
                ids[heard.component] = self._next_line()
                line = {"country_code": heard.country, "component": heard.component}
                self._rows[Line].append(line | {"id": ids[heard.component]})
            line_id = ids[heard.component]
            self._rows[LineEntry].append(heard.in_line(line_id))
            self._touched.note((heard.key, line_id), heard.voice, heard.effective_on, 1)

    def _known_lines(self, country: str) -> dict[str, int]:
        if country not in self._lines:
            self._lines[country] = line_ids(self._session, country)
        return self._lines[country]

    def _next_line(self) -> int:
        if self._newest_line is None:
            self._newest_line = newest_line_id(self._session)
        self._newest_line += 1
        return self._newest_line
