"""What a client must be shown at least: the entries that it has seen, and those that it names."""

from typing import Annotated

from fastapi import Depends, Header, Request

from app.db import Need
from app.fields import DIGITS, MAX_SEQ, MIN_SEQ
from app.paging import KnownQuery


async def note_min_seq(
    request: Request,
    min_seq: Annotated[
        int,
        Header(
            alias=MIN_SEQ,
            ge=0,
            le=MAX_SEQ,
            description="The greatest seq that you have seen: no replica answers that lacks it. "
            "`Ledger-Seq` of every answer, and the seq of what you recorded, say what to send.",
        ),
        DIGITS,
    ] = 0,
) -> None:
    """Note what the client has seen, for `needed`."""
    request.state.min_seq = min_seq


SEEN = Depends(note_min_seq)
"""What every route that reads the record depends on."""


def needed(request: Request, query: KnownQuery, *, sources: bool) -> Need | None:
    """Return what a server must have to answer as the primary would, as far as that is known; None: all.

    `sources` says that the answer is of sources: there may be some for which there is no entry yet.
    """
    asked = request.query_params
    along_knowledge = asked.get("axis") == "recorded"
    ends = [asked[name] for name in ("from", "to") if along_knowledge and name in asked]
    if not all(map(_is_seq, ends)):
        return None
    named = [*ends, asked.get("seq", ""), asked.get("after", ""), str(request.path_params.get("seq", ""))]
    seen: int = request.state.min_seq
    seq = max([seen, *(int(each) for each in named if _is_seq(each))])
    is_pinned = query.seq is not None or query.known_at is not None
    return Need(seq, query.known_at, newest=not is_pinned, sources=sources and not is_pinned)


def _is_seq(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_SEQ))
