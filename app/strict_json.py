"""JSON texts that can be read in one way only."""

import json
import math
from typing import Any

from app.errors import Invalid, refused


def parse_json(body: bytes, *, is_line: bool = False) -> Any:
    """Return what a JSON text (RFC 8259) says; raise `Invalid` where it could be read in two ways.

    `is_line` says that it is a line of several, whose number others tell.
    Refused: other encodings than UTF-8, duplicate names, NaN and Infinity, numbers too large to
    be held, nesting too deep to be meant.
    """
    try:
        return json.loads(
            body.decode("utf-8-sig"),
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_no_duplicates,
        )
    except UnicodeDecodeError:
        raise _malformed("The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        what, place = ("line", "") if is_line else ("body", f"line {error.lineno}, ")
        message = f"The {what} is not JSON: {error.msg} at {place}column {error.colno}."
        raise _malformed(message) from None
    except RecursionError:
        raise _malformed("The body is nested too deeply.") from None
    except ValueError:
        raise _malformed("A number in the body has too many digits.") from None


def _no_constant(name: str) -> Any:
    raise _malformed(f"{name} is not JSON; leave the field out, or give null.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _malformed("A number in the body is too large.")
    return number


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _malformed("A name occurs twice in one object; which value is meant?")
    return found


def _malformed(message: str) -> Invalid:
    return refused("malformed", message, pointer="")
