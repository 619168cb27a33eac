"""The chain of digests: what an entry's digest covers, in its one spelling."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import date
from json.encoder import encode_basestring
from operator import attrgetter
from typing import Any

from app.db import canonical_json
from app.fields import instant_text
from app.statements import Statement

NO_DIGEST = "0" * 64
"""Digest of the empty record: what the first entry is chained to."""

SOURCE_FIELDS = ("id", "url", "title", "publisher", "published_on", "reliability", "notes")
"""What the digest of an entry covers of its source."""

_NOT_COVERED = ("seq", "source_id", "search_text")
STATEMENT_FIELDS = tuple(name for name in Statement.model_fields if name not in _NOT_COVERED)
"""What the digest of an entry covers of its statement, besides its relations and its source."""


def next_digest(previous: str, entry: str) -> str:
    """Return the digest of an entry: SHA-256 over the previous digest and its canonical JSON."""
    return hashlib.sha256((previous + entry).encode()).hexdigest()


def entry_json(change: Any, statement: Any, relations: Sequence[Any], source: Any) -> str:
    """Return the canonical JSON of what an entry's digest covers: every stored value, its source's too.

    Takes rows or objects; days and instants become ISO 8601 text. The lists of a statement may be
    given as the text that is stored, if that is canonical.
    """
    return _ENTRY.json(
        change,
        recorded_at=f'"{instant_text(change.recorded_at)}"',
        recorded_by=f'{{"id":{_json(change.recorded_by_id)},"name":{_json(change.recorded_by_name)}}}',
        statement="null" if statement is None else _statement_json(statement, relations, source),
    )


def _statement_json(statement: Any, relations: Sequence[Any], source: Any) -> str:
    return _STATEMENT.json(
        statement,
        caveats=_list_json(statement.caveats),
        conditions=_list_json(statement.conditions),
        refuses=_list_json(statement.refuses),
        relates_to=_list_json(sorted([each.target_seq, each.relation] for each in relations)),
        source=_SOURCE.json(source),
    )


def _list_json(listed: Any) -> str:
    if isinstance(listed, str):
        return listed
    return _json(listed) if listed else "[]" if listed == [] else "null"


def _json(value: Any) -> str:
    return _SPELLINGS[type(value)](value)


class _Spellings(dict[type, Callable[[Any], str]]):
    """How values of each type are spelt: as by `canonical_json`, which takes thrice as long for an entry."""

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        spelling = self[kind] = encode_basestring if issubclass(kind, str) else canonical_json
        return spelling


_SPELLINGS = _Spellings(
    {
        str: encode_basestring,
        int: int.__repr__,
        date: lambda day: f'"{day.isoformat()}"',
    }
)


class _Object:
    """A JSON object with sorted names: some of its values are attributes, others are given as JSON."""

    def __init__(self, names: Sequence[str], given: Sequence[str] = ()) -> None:
        every = sorted((*names, *given))
        self._frame = "{" + ",".join(f'"{name}":%s' for name in every) + "}"
        self._values = attrgetter(*(name for name in every if name not in given))
        self._given = [(every.index(name), name) for name in sorted(given)]

    def json(self, values: Any, **given: str) -> str:
        # Much is not said.
        spelt = [
            "null" if value is None else _SPELLINGS[type(value)](value) for value in self._values(values)
        ]
        for place, name in self._given:
            spelt.insert(place, given[name])
        return self._frame % tuple(spelt)


_ENTRY = _Object(
    ("seq", "action", "reason", "replaces", "chain"), given=("recorded_at", "recorded_by", "statement")
)
_LISTS = ("caveats", "conditions", "refuses")
_STATEMENT = _Object(
    [name for name in STATEMENT_FIELDS if name not in _LISTS], given=(*_LISTS, "relates_to", "source")
)
_SOURCE = _Object(SOURCE_FIELDS)
