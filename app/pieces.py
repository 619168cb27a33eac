"""JSON as it is kept and answered: a statement's, in the pieces that a position shows; an entry's, in two.

All of it is derived when an entry is recorded, so that no reading has to make it again.
"""

from collections.abc import Iterable
from itertools import pairwise
from json.encoder import encode_basestring
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from app.db import RowNumber
from app.fields import instant_text

_MARKS = (',"kind":', ',"conditions":', ',"stated_on":', ',"stated_earliest_on":', ',"source":')
"""Where the pieces of a statement begin: within a text, its quotation marks would be escaped."""


class Pieces(NamedTuple):
    """A statement as JSON without its braces, cut where a position says more in between."""

    words: str
    """From `kind` to `voice`."""
    content: str
    """From `conditions` to `quote`."""
    dates: str
    """From `stated_on` to `effective_on`."""
    rest: str
    """From `stated_earliest_on` to `notes`."""
    source: str

    @classmethod
    def of(cls, statement: str) -> "Pieces":
        """Return the pieces of a statement's JSON."""
        places = [statement.index(mark) for mark in _MARKS]
        return cls._make(statement[first + 1 : end] for first, end in pairwise([*places, -1]))

    @property
    def is_conditional(self) -> bool:
        """Whether there are conditions."""
        return not self.content.startswith(UNCONDITIONAL)


UNCONDITIONAL = '"conditions":[],'
"""How the content of a statement begins that has no conditions."""

_ENDING = ',"digest":"%s","statement":%s}'
LIVE = ',"live":'
"""What stands in an entry between the one that replaces it and whether it is live."""


class ChangeJSON(SQLModel, table=True):
    """An entry as it is answered, of `ChangeView`, cut where later entries decide what is told.

    After `opening` stands the entry that replaces it, then `LIVE`, then whether it is live.
    """

    __tablename__ = "change_json"

    seq: int = Field(sa_type=RowNumber, primary_key=True, foreign_key="change.seq")
    opening: str = Field(sa_type=sa.Text)
    ending: str = Field(sa_type=sa.Text)
    """From the digest on, with the statement whole."""
    words_at: int | None
    """Where in `ending` the statement's `Pieces` begin, from 1; null where it has no statement."""
    content_at: int | None
    dates_at: int | None
    rest_at: int | None
    source_at: int | None


class EntryPieces(NamedTuple):
    """What is kept of an entry, as in `ChangeJSON`."""

    opening: str
    ending: str
    words_at: int | None = None
    content_at: int | None = None
    dates_at: int | None = None
    rest_at: int | None = None
    source_at: int | None = None

    def newest(self) -> str:
        """Return the JSON of the entry as long as nothing replaces it."""
        return f"{self.opening}null{LIVE}true{self.ending}"


def entry_pieces(change: Any, country: str | None, statement: Pieces | None) -> EntryPieces:
    """Return what is kept of an entry, by the columns of `Change`, and of its statement, if it has one."""
    seq, replaces = change.seq, "null" if change.replaces is None else change.replaces
    opening = (
        f'{{"seq":{seq},"action":"{change.action}","recorded_at":"{instant_text(change.recorded_at)}",'
        f'"recorded_by":{{"id":{_text(change.recorded_by_id)},"name":{_text(change.recorded_by_name)}}},'
        f'"reason":{_text(change.reason)},"replaces":{replaces},"replaced_by":'
    )
    if statement is None:
        return EntryPieces(opening, _ENDING % (change.digest, "null"))
    before = f'{{"seq":{seq},"country":"{country}",'
    ending = _ENDING % (change.digest, f"{before}{','.join(statement)}}}")
    words, content, dates, rest, _ = map(len, statement)
    # Between two pieces is a comma.
    words_at = _BEFORE_STATEMENT + len(before) + 1
    content_at = words_at + words + 1
    dates_at = content_at + content + 1
    rest_at = dates_at + dates + 1
    return EntryPieces(opening, ending, words_at, content_at, dates_at, rest_at, rest_at + rest + 1)


_BEFORE_STATEMENT = len(_ENDING % ("0" * 64, "")) - 1
"""How long an ending is ahead of the statement: a digest has 64 digits."""


def whole_statement(ending: Any) -> Any:
    """Return the JSON of the statement in the `ending` of an entry, as part of a query."""
    first: Any = sa.literal_column(str(_BEFORE_STATEMENT + 1))
    return sa.func.substr(ending, first, sa.func.length(ending) - first, type_=sa.Text())


def pieces_in(kept: Any) -> Pieces:
    """Return the pieces of the statement of an entry, each as part of a query, by what is kept of that."""
    one: Any = sa.literal_column("1")
    places = kept.words_at, kept.content_at, kept.dates_at, kept.rest_at, kept.source_at
    found = (
        sa.func.substr(kept.ending, first, end - first - one, type_=sa.Text())
        for first, end in pairwise([*places, sa.func.length(kept.ending)])
    )
    return Pieces._make(found)


def pieces_from(row: Any, source: Any, relations: Iterable[Any]) -> Pieces:
    """Return the JSON of a statement in pieces, as of `StatementView`.

    Takes what has the columns of `Statement`, of `Source` and of `StatementRelation`. What was
    recorded was checked then: it is not checked again.
    """
    related = sorted(relations, key=attrgetter("target_seq", "relation"))
    text = _text
    return Pieces(
        f'"kind":"{row.kind}","firmness":"{row.firmness}","voice":"{row.voice}"',
        f'"conditions":{_marks(row.conditions)},"caveats":{_marks(row.caveats)},'
        f'"location":{_word(row.location)},"quantity":{_quantity(row)},"summary":{text(row.summary)},'
        f'"speaker":{text(row.speaker)},"quote":{text(row.quote)}',
        f'"stated_on":{text(row.stated_on)},"effective_on":"{row.effective_on}"',
        f'"stated_earliest_on":{_word(row.stated_earliest_on)},"stated_latest_on":"{row.stated_latest_on}",'
        f'"refuses":{_listed(row.refuses)},"component":{_word(row.component)},'
        f'"speaker_role":{text(row.speaker_role)},"authority":{_word(row.authority)},'
        f'"attribution":{_word(row.attribution)},"quote_language":{text(row.quote_language)},'
        f'"relates_to":[{",".join(map(_related, related))}],"credibility":{row.credibility},'
        f'"locator":{text(row.locator)},"notes":{text(row.notes)}',
        f'"source":{{"id":{source.id},"title":{text(source.title)},"publisher":{text(source.publisher)},'
        f'"url":{text(source.url)},"published_on":{text(source.published_on)}}}',
    )


def _text(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)


def _word(word: object) -> str:
    """Return a word of a vocabulary, or a day, as JSON: there is nothing in it to escape."""
    return "null" if word is None else f'"{word}"'


def _listed(words: list[str] | None) -> str:
    return "null" if words is None else f"[{','.join(map(_word, words))}]"


def _related(relation: Any) -> str:
    return f'{{"seq":{relation.target_seq},"relation":"{relation.relation}"}}'


def _marks(marks: list[dict[str, str | None]]) -> str:
    if not marks:
        return "[]"
    told = (f'{{"type":"{mark["type"]}","text":{_text(mark["text"])}}}' for mark in marks)
    return f"[{','.join(told)}]"


def _quantity(row: Any) -> str:
    low, high, unit, verbatim = row.quantity_min, row.quantity_max, row.quantity_unit, row.quantity_verbatim
    if low is None and high is None and unit is None and verbatim is None:
        return "null"
    low, high = ("null" if each is None else each for each in (low, high))
    return f'{{"min":{low},"max":{high},"unit":{_text(unit)},"verbatim":{_text(verbatim)}}}'
