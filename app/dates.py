"""Dates of the world as sources give them: a day, a month, a decade, "on or before".

They are written in EDTF level 1 (ISO 8601-2:2019), of which this takes calendar dates of the years
0001 to 9999, and intervals of them that have an end; X inside an interval, which is level 2, is
taken too. No accepted text is longer than 23 characters.
"""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

# (year, month, day); XX leaves its group empty. `(?<!X)`: only a whole year can have a month.
_DATE = re.compile(
    r"([0-9]{2}(?:[0-9]{2}|[0-9]X|XX))"
    r"(?:(?<!X)-(?:XX(?:-XX)?|([0-9]{2})(?:-(?:XX|([0-9]{2})))?))?"
    r"[~?%]?"
)


@dataclass(frozen=True, slots=True)
class Edtf:
    """A date as written, with the first and the last day that it can mean, both inclusive."""

    text: str
    """As the source supports it, unchanged."""

    earliest_on: date | None
    """None where the start is open (`../2025-03-28`: on or before that day)."""

    latest_on: date


class BadDate(ValueError):
    """The text is not a date that can be recorded; the message says why, and what to write.

    `code` is part of the public API: not_a_date, impossible_date, open_end, unknown_start or
    reversed_interval.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


# Few dates are met again and again.
@lru_cache(10_000)
def parse_edtf(text: str) -> Edtf:
    """Return what `text` says, with its bounds.

    A date is YYYY, YYYY-MM or YYYY-MM-DD, or has X for its unspecified last digits (202X, 20XX,
    2025-XX, 2025-03-XX, 2025-XX-XX); one qualifier (~ ? %) may follow and never widens the
    bounds. An interval A/B runs from the earliest day of A to the latest day of B; A may be open
    (..), B may not, because nothing is stated in the future. Raises BadDate for anything else,
    seasons and days with a time included (ISO 8601-2:2019; DESIGN.md 3.1).
    """
    start, slash, end = text.partition("/")
    if not slash:
        return Edtf(text, *_bounds(text))
    if end in ("", ".."):
        raise BadDate(
            "open_end",
            f"{text[:32]!r} has no end: write the latest day it can be after the slash.",
        )
    latest_on = _bounds(end)[1]
    if not start:
        raise BadDate("unknown_start", f"{text!r} has an unknown start: write '..{text}'.")
    if start == "..":
        return Edtf(text, None, latest_on)
    earliest_on = _bounds(start)[0]
    if earliest_on > latest_on:
        raise BadDate(
            "reversed_interval",
            f"{text!r} ends before it starts: write the earlier date before the slash.",
        )
    return Edtf(text, earliest_on, latest_on)


def parse_day(text: str) -> date:
    """Return the one day that `text` names, strictly as YYYY-MM-DD in ASCII digits.

    Raises BadDate with code not_a_date for any other form that ISO 8601-1 knows (20250327,
    2025-W13-4) and impossible_date for a day that the Gregorian calendar lacks.
    """
    if not _DAY.fullmatch(text):
        raise BadDate("not_a_date", f"{text[:32]!r} is not a day: write YYYY-MM-DD, as in 2025-03-27.")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _impossible(text) from None


def _bounds(text: str) -> tuple[date, date]:
    found = _DATE.fullmatch(text)
    if not found:
        raise BadDate(
            "not_a_date",
            f"{text[:32]!r} is not a date: write YYYY, YYYY-MM or YYYY-MM-DD, with X for unknown "
            "last digits (202X, 2025-XX), then at most one of ~ ? %, or two such dates as A/B.",
        )
    year, month, day = found.groups()
    try:
        if day:
            only = date(int(year), int(month), int(day))
            return only, only
        if month:
            first = date(int(year), int(month), 1)
            return first, first.replace(day=monthrange(first.year, first.month)[1])
        return date(int(year.replace("X", "0")), 1, 1), date(int(year.replace("X", "9")), 12, 31)
    except ValueError:
        raise _impossible(text) from None


def _impossible(text: str) -> BadDate:
    return BadDate(
        "impossible_date",
        f"{text!r} is not in the calendar: write a year from 0001, a month from 01 to 12 and a day "
        "which that month has; for a season write its months, as in 2025-03/2025-05.",
    )
