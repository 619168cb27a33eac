"""What the fields of a request may hold: texts, whole numbers, dates of the world, web addresses."""

import re
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, Strict
from pydantic_core import PydanticCustomError
from url_normalize import url_normalize

from app.dates import BadDate, parse_day, parse_edtf

MAX_SEQ = 2**63 - 1
"""The largest number that either database keeps as a key."""
MIN_SEQ = "Ledger-Min-Seq"
"""Header in which a client says which entry it has seen."""
_TRACKING = re.compile(r"utm_.*|fbclid|gclid", re.IGNORECASE)
LONGEST_CANONICAL_URL = 2200
"""How many characters the column takes: one beyond ASCII becomes up to twelve."""
# Blanks are refused rather than mended, so that the URL shown is the URL given; so is what cannot
# be seen, or turns the text around it (RFC 3987, section 4.1).
_UNSEEN = r"\s\x00-\x20\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
_URL = re.compile(rf"https?://[^{_UNSEEN}\\\"<>^`{{|}}]+", re.IGNORECASE)
_HOST = re.compile(r"https?://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]*)?/")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_FORBIDDEN_IN_LINES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def _one_line(text: str) -> str:
    if _FORBIDDEN.search(text):
        raise PydanticCustomError(
            "control_character",
            "Control characters and lone surrogates are not allowed; remove them.",
        )
    return _not_blank(text)


def _lines(text: str) -> str:
    if _FORBIDDEN_IN_LINES.search(text):
        raise PydanticCustomError(
            "control_character",
            "Control characters other than line feeds, and lone surrogates, are not allowed; remove them.",
        )
    return _not_blank(text)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Say something; a field that is optional may be left out.")
    return text


def _edtf(text: str) -> str:
    try:
        return parse_edtf(text).text
    except BadDate as error:
        raise PydanticCustomError(error.code, "{why}", {"why": str(error)}) from None


def _web_address(text: str) -> str:
    try:
        canonical_url(text)
    except ValueError as error:
        raise PydanticCustomError("bad_url", "{why}", {"why": str(error)}) from None
    return text


Line = Annotated[str, AfterValidator(_one_line)]
"""Text without control characters or lone surrogates, not blank."""
Text = Annotated[str, AfterValidator(_lines)]
"""The same, but line feeds are allowed."""
EdtfText = Annotated[str, AfterValidator(_edtf)]
"""A date of the world, EDTF level 1 (DESIGN.md 3.1), kept as written."""
Url = Annotated[str, Field(max_length=2000), AfterValidator(_web_address)]
"""An http(s) address that a reader can open, kept as given."""


Whole = Annotated[int, Strict()]
"""A whole number: JSON's `5`, neither `5.0` nor `"5"` nor `true`."""


# What is canonical as it stands, as most addresses are: for the rest, the rules take half a millisecond.
_PLAIN = re.compile(
    r"https?://(?=[a-z0-9.-]{1,253}/)(?:(?=[a-z0-9-]{1,63}\.)[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]{2,63}/"
    r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?)?"
)


# One publication is often the source of several statements that come together.
@lru_cache(1000)
def canonical_url(url: str) -> str:
    """Return the one spelling of `url` under which a source is found again.

    Lower-case scheme and host, no default port, no fragment, dot segments resolved, no `utm_*`,
    `fbclid`, `gclid`; the order of the other parameters is kept, since it may matter. Raises
    ValueError, with the cure, for what no reader could open: another scheme, blanks, credentials.
    """
    if len(url) <= LONGEST_CANONICAL_URL and _PLAIN.fullmatch(url):
        return url
    return _canonical_url(url)


def _canonical_url(url: str) -> str:
    if not _URL.fullmatch(url):
        raise ValueError("Give an http:// or https:// address without blanks or control characters.")
    try:
        parts = urlsplit(url)
        is_open = all((parts.hostname or "").removesuffix(".").split(".")) and parts.port != 0
        kept = [pair for pair in parts.query.split("&") if not _TRACKING.fullmatch(pair.split("=")[0])]
        bare = urlunsplit((parts.scheme, parts.netloc, parts.path, "&".join(kept), ""))
        normal = url_normalize(bare) or ""
    except ValueError:
        # Their own messages repeat the address, passwords in it included.
        raise ValueError("The address cannot be read: check its host and its port.") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("Take the user name and password out of the address.")
    if not is_open or not _HOST.match(normal):
        raise ValueError("The address names no host that could be opened.")
    if len(normal) > LONGEST_CANONICAL_URL:
        raise ValueError("The address is too long; leave out what it does not need.")
    return str(normal)


# Whatever is recorded at once has the same, and it is spelt several times.
@lru_cache(100)
def instant_text(instant: datetime) -> str:
    """Return an aware UTC instant as RFC 3339 text, always with microseconds."""
    return f"{instant.isoformat(timespec='microseconds')[:26]}Z"  # without its offset


Instant = Annotated[datetime, PlainSerializer(instant_text, return_type=str)]
"""An aware UTC instant, shown as RFC 3339 with microseconds."""


def _day(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return parse_day(text)
    except BadDate as error:
        raise PydanticCustomError(error.code, "{why}", {"why": str(error)}) from None


def parse_instant(text: str) -> datetime:
    """Return the instant that an RFC 3339 text names, in UTC; raise ValueError with the cure."""
    if not _RFC3339.fullmatch(text):
        raise ValueError("Give an instant with its offset, as in 2025-03-27T12:00:00Z (in a URL, + is %2B).")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("There is no such instant: check day, time and offset (no second 60).") from None


def _moment(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return parse_instant(text)
    except ValueError as error:
        raise PydanticCustomError("not_an_instant", "{why}", {"why": str(error)}) from None


def _digits(text: Any) -> Any:
    if isinstance(text, str) and not re.fullmatch(r"[0-9]{1,19}", text):
        raise PydanticCustomError("not_a_number", "Give a whole number in digits, at most 19 of them.")
    return text


_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)

Day = Annotated[date, BeforeValidator(_day)]
"""A day as a parameter: strictly YYYY-MM-DD."""
Moment = Annotated[datetime, BeforeValidator(_moment)]
"""An instant as a parameter: RFC 3339 with an offset, read as UTC."""
DIGITS = BeforeValidator(_digits)
"""For a whole number as a parameter: ASCII digits and nothing else. Limits stand before it."""
