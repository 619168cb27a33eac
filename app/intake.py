"""What a write asks of the record, and what it adds to it: each thing is read once, however many rows ask."""

from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

from app.appending import Appending, Draft, Values
from app.changes import Change, Head, Writer, head_of
from app.countries import CountryFacts, every_country, find_code
from app.db import table_of
from app.fields import canonical_url
from app.prepared import Prepared
from app.sources import NewSource, Source, find_source
from app.statements import Statement, components_of
from app.vocabulary import Component

_statement, _later = table_of(Statement).c, table_of(Change).alias("later").c
_SAME = ("kind", "firmness", "stated_on", "speaker")
_words: Any = attrgetter(*_SAME)
_LIVE = Prepared(
    sa.select(*(_statement[name] for name in ("seq", "component", "refuses", *_SAME)))
    .outerjoin(_later.seq.table, _later.replaces == _statement.seq)
    .where(
        _later.seq.is_(None),
        _statement.country_code == sa.bindparam("country_code"),
        _statement.source_id == sa.bindparam("source_id"),
    )
    .order_by(_statement.seq)
)
_NEWEST_SOURCE = Prepared(sa.select(sa.func.max(table_of(Source).c.id)))

SameKey = tuple[str | None, ...]


def intake(session: Session) -> "Intake":
    """Return an intake that goes on from the head of the record."""
    return Intake(session, Appending(session, head_of(session)))


@dataclass(slots=True)
class Intake:
    """The record as a writer sees it, with what is on its way in.

    The writer holds the write lock. What was added is in the database from `insert` on.
    """

    session: Session
    entering: Appending
    _countries: dict[str, CountryFacts | None] = field(default_factory=dict)
    _sources: dict[tuple[str | None, ...], Source | Values] = field(default_factory=dict)
    _made: dict[int, Values] = field(default_factory=dict)
    _newest_source: int | None = None
    _said: dict[tuple[str, int], dict[SameKey, int]] = field(default_factory=dict)

    @property
    def head(self) -> Head:
        """The head that the record has with all that was added."""
        return self.entering.head

    def insert(self) -> None:
        """Put in the database what was added."""
        self.entering.insert()

    def derive(self) -> None:
        """Put in the database what was added, and what follows from it."""
        self.entering.derive()

    def flush(self) -> None:
        """Insert, and forget what was read and made: it is in the database now."""
        self.insert()
        for known in (self._countries, self._sources, self._made, self._said):
            known.clear()

    def append(self, change: Values, draft: Draft) -> None:
        """Add an entry that brings a statement (see `Appending.append`)."""
        head = self.entering.append(change, draft)
        said = self._said.get((draft.statement.country_code, draft.statement.source_id))
        if said is not None:
            said.setdefault(_same(draft.statement, draft.components), head.seq)

    def country(self, given: str) -> CountryFacts | None:
        """Return the country that a code or an alias means."""
        if given not in self._countries:
            code = find_code(self.session, given)
            self._countries[given] = None if code is None else every_country(self.session)[code]
        return self._countries[given]

    def source(self, new: NewSource) -> Source | Values | None:
        """Return the newest source that `new` means, or None if the record has none yet."""
        key = _source_key(new)
        if key not in self._sources:
            found = find_source(self.session, new)
            if found is None:
                return None
            self._sources[key] = found
        return self._sources[key]

    def source_numbered(self, source_id: int) -> Source | Values | None:
        """Return the source of an id, or None if there is none."""
        return self._made.get(source_id) or self.session.get(Source, source_id)

    def add_source(self, new: NewSource, recorded_at: datetime, writer: Writer) -> Values:
        """Add a source that is not known yet, with the entry that comes next."""
        if self._newest_source is None:
            self._newest_source = _NEWEST_SOURCE.rows(self.session)[0][0] or 0
        self._newest_source += 1
        source = Values(
            id=self._newest_source,
            url=new.url,
            canonical_url=None if new.url is None else canonical_url(new.url),
            title=new.title or "",
            publisher=new.publisher,
            published_on=new.published_on,
            reliability=new.reliability,
            notes=new.notes,
            recorded_at=recorded_at,
            recorded_by_id=writer.id,
            recorded_by_name=writer.name,
            known_from_seq=self.head.seq + 1,
        )
        self.entering.add_source(source)
        self._sources[_source_key(new)] = source
        self._made[source.id] = source
        # Under `dry_run` the answer must not name it, nor those that follow: they are not kept.
        self.session.info.setdefault("first_source_made", source.id)
        return source

    def same_as(self, draft: Draft) -> int | None:
        """Return the first live entry that says the same (DESIGN.md 5), if there is one.

        The same are country, kind, components, speaker, stated_on, source and firmness.
        """
        statement = draft.statement
        of = (statement.country_code, statement.source_id)
        if of not in self._said:
            said: dict[SameKey, int] = {}
            # Nothing rests yet on a source that was made just now, but what came with it.
            if statement.source_id not in self._made:
                asked = {"country_code": statement.country_code, "source_id": statement.source_id}
                for row in _LIVE.named(self.session, **asked):
                    said.setdefault(_same(row, components_of(row)), row.seq)
            self._said[of] = said
        return self._said[of].get(_same(statement, draft.components))


def _same(statement: Any, components: tuple[Component, ...]) -> SameKey:
    return (*_words(statement), *components)


def _source_key(new: NewSource) -> tuple[str | None, ...]:
    if new.url is not None:
        return (canonical_url(new.url),)
    return (new.title, new.publisher, new.published_on)
