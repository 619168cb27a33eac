"""How entries enter the ledger: numbered, chained, placed in their lines, and inserted table by table.

Whoever appends holds the write lock, so `seq` has no gaps and commits in its own order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, SQLModel, col, select

from app.changes import Change, Head, entry_document, next_digest
from app.db import utc_now
from app.sources import Source
from app.statements import Line, LineEntry, Statement, StatementRelation
from app.vocabulary import Component, Firmness, Voice

ORDER: tuple[type[SQLModel], ...] = (Source, Change, Statement, StatementRelation, Line, LineEntry)
"""The tables that entries fill, each after those that it refers to."""


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


# Built once: a bulk request asks it for every row, and building costs more than asking.
_LINES = sa.select(col(Line.component), col(Line.id)).where(
    col(Line.country_code) == sa.bindparam("country_code"), col(Line.voice) == sa.bindparam("voice")
)


class Appending:
    """Entries on their way into the ledger: `insert` puts all of them in, a statement for each table."""

    def __init__(self, session: Session, head: Head) -> None:
        self.head = head
        """The head that the record has once everything is inserted."""
        self._session = session
        self._rows: dict[type[SQLModel], list[Mapping[str, Any]]] = {table: [] for table in ORDER}
        self._lines: dict[tuple[str, Voice], dict[Component, int]] = {}
        self._newest_line: int | None = None

    def add_source(self, source: Values) -> None:
        """Add a source that is not known yet, by the columns of `Source`."""
        self._rows[Source].append(vars(source))

    def append(self, change: Values, draft: Draft | None) -> Head:
        """Add an entry, and the statement that it brings, after the head; return the new head.

        `change` has the columns of `Change`, of which this sets `seq`, `chain` and `digest`.
        """
        change.seq = self.head.seq + 1
        change.chain = change.chain or change.seq
        statement = source = None
        relations: tuple[Values, ...] = ()
        if draft is not None:
            statement, source, relations = draft.statement, draft.source, draft.relations
            statement.seq = change.seq
            for relation in relations:
                relation.seq = change.seq
        change.digest = next_digest(self.head.digest, entry_document(change, statement, relations, source))
        self._rows[Change].append(vars(change))
        if draft is not None and statement is not None:
            self._rows[Statement].append(vars(statement))
            self._rows[StatementRelation] += map(vars, relations)
            self._enter_lines(statement, draft.components, change.chain)
        self.head = Head(change.seq, change.recorded_at, change.digest)
        return self.head

    def insert(self) -> None:
        """Insert what was added since the last time."""
        for table, rows in self._rows.items():
            if rows:
                # The order of the tables is ours, and nothing is read back.
                self._session.execute(sa.inspect(table).local_table.insert(), rows)
                self._rows[table] = []

    def _enter_lines(self, statement: Values, components: Sequence[Component], chain: int) -> None:
        """Give a statement its places in its lines; a line that is new is made."""
        ids = self._known_lines(statement.country_code, statement.voice)
        for component in components:
            if component not in ids:
                ids[component] = self._next_line()
                line = {"country_code": statement.country_code, "voice": statement.voice}
                self._rows[Line].append(line | {"id": ids[component], "component": component})
            self._rows[LineEntry].append(
                {
                    "line_id": ids[component],
                    "seq": statement.seq,
                    "effective_on": statement.effective_on,
                    "is_withdrawal": statement.firmness == Firmness.WITHDRAWN,
                    "chain": chain,
                }
            )

    def _known_lines(self, country_code: str, voice: Voice) -> dict[Component, int]:
        key = (country_code, voice)
        if key not in self._lines:
            found = self._session.execute(_LINES, {"country_code": country_code, "voice": voice})
            self._lines[key] = {row.component: row.id for row in found}
        return self._lines[key]

    def _next_line(self) -> int:
        if self._newest_line is None:
            self._newest_line = self._session.exec(select(sa.func.max(Line.id))).one() or 0
        self._newest_line += 1
        return self._newest_line


def append(session: Session, head: Head, change: Values, draft: Draft | None) -> Head:
    """Add one entry after `head`, at once; return the new head (see `Appending.append`)."""
    entering = Appending(session, head)
    entering.append(change, draft)
    entering.insert()
    return entering.head
