"""What lists answer beside their items: `meta`, and the cursors and links that lead on."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field

from app.db import canonical_json
from app.errors import Invalid, refused
from app.export import Format
from app.fields import DIGITS, MAX_SEQ, Day, Instant, Moment

Item = TypeVar("Item")
Key = list[Any]

Limit = Annotated[int, Field(ge=1, le=1000), DIGITS]
"""How many items a page holds: 1 to 1000."""


PAIRS = "tracker.pairs"
"""Where the parameters of a question stand in its scope, once they were read: names and values as given."""


class NoQuery(BaseModel):
    """No parameters: any that is given is refused."""

    model_config = ConfigDict(extra="forbid")

    @property
    def is_light(self) -> bool:
        """Whether a local database answers it sooner than another thread would take it over."""
        return False


class KnownQuery(NoQuery):
    """At what state of our knowledge a question is asked: `known_at` or `seq`, default now."""

    known_at: Moment | None = Field(
        default=None,
        description="Answer with what was recorded by this instant (RFC 3339). Excludes `seq`.",
        examples=["2026-11-23T12:00:00Z"],
    )
    seq: Annotated[int, Field(ge=0, le=MAX_SEQ), DIGITS] | None = Field(
        default=None,
        description="Answer with the ledger up to this entry; 0 is the empty record. Excludes `known_at`.",
        examples=[3],
    )


class MomentQuery(KnownQuery):
    """On what day, and at what state of our knowledge, a question is asked."""

    as_of: Day | None = Field(
        default=None,
        description="Answer as of the end of this day (UTC). Default: today.",
        examples=["2025-03-28"],
    )


class FormatQuery(NoQuery):
    """In what format a list is wanted."""

    format: Format | None = Field(default=None, description="`json`, `csv` or `ndjson`; wins over `Accept`.")
    excel: bool = Field(
        default=False, description="For CSV: with a byte order mark, and safe from formulas in cells."
    )


class ListQuery(FormatQuery):
    """How much of a list is wanted, and in what format."""

    limit: Limit = Field(default=100, description="Items on a page, 1 to 1000.")


class PageQuery(ListQuery):
    """Which part of a list is wanted."""

    cursor: Annotated[str, Field(max_length=1000)] | None = Field(
        default=None, description="Where to go on: taken from `next`, for the same question only."
    )


class Meta(BaseModel):
    """What an answer is of: cite `as_of` and `seq` to have it again, `digest` to prove it."""

    as_of: date | None = Field(description="The day asked about; null where no day matters.")
    known_at: Instant | None = Field(description="When the last entry used was recorded; null at seq 0.")
    seq: int = Field(description="The last ledger entry used.")
    digest: str = Field(description="Digest of the ledger's chain at `seq`.")
    first_recorded_at: Instant | None = Field(
        description="For a `known_at` before the first entry: when that was recorded."
    )
    total: int = Field(description="How many items there are on all pages.")


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    meta: Meta
    items: list[Item]
    next: str | None = Field(description="URL of the next page; null on the last.")


def cut(
    items: Sequence[Item], key: Callable[[Item], Key], query: PageQuery, question: str
) -> tuple[list[Item], str | None]:
    """Return the page of `items` that `query` asks for, and the cursor of the next one.

    `key` tells items apart. `question` is what was asked, at a moment at which the answer can
    never differ: a cursor serves no other.
    """
    start = 0
    if query.cursor is not None:
        last = read_cursor(query.cursor, question)
        found = next((number for number, item in enumerate(items) if key(item) == last), None)
        if found is None:
            raise bad_cursor()
        start = found + 1
    page = list(items[start : start + query.limit])
    more = start + len(page) < len(items)
    return page, write_cursor(key(page[-1]), question) if more else None


def write_cursor(key: Key, question: str) -> str:
    """Return the cursor of the item with `key` in the answer to `question`."""
    text = canonical_json([_fingerprint(question), *key])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, question: str) -> Key:
    """Return the key in a cursor; raise `Invalid` unless it is one of ours for this question."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        fingerprint, *key = json.loads(raw)
        # Only the spelling that we wrote: anything appended or padded is somebody's mistake.
        is_ours = fingerprint == _fingerprint(question) and write_cursor(key, question) == cursor
    except (ValueError, TypeError, binascii.Error, RecursionError):
        is_ours = False
    if not is_ours:
        raise bad_cursor()
    return list(key)


def bad_cursor() -> Invalid:
    """Build the 422 for a cursor that we did not write, or not for this question."""
    message = "This cursor does not belong to this question; start again without it."
    return refused("bad_cursor", message, parameter="cursor")


def _fingerprint(question: str) -> str:
    return hashlib.sha256(question.encode()).hexdigest()[:12]


def link(base: str, path: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Return the URL of a question."""
    return f"{base}{path}?{urlencode(list(parameters))}"
