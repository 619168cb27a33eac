"""Loading `seed_data/`: through the same checks as a POST, once."""

import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from app.as_of import viewer
from app.changes import Change, Writer
from app.db import ROOT
from app.errors import Duplicate
from app.recording import state
from app.statements import NewPosition, Statement
from app.vocabulary import Action, Scope

SEED = ROOT / "seed_data" / "statements.json"
SEEDER = Writer(id="seed", name="Seed data", scope=Scope.CURATE)


def seed(session: Session, path: Path = SEED) -> int:
    """Record the statements of `path` that are not in the record yet; return how many were added.

    The file holds a JSON array of bodies as for POST /v1/positions, in the order in which they
    are to stand in the ledger. The caller holds the write lock.
    """
    bodies: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    shown = viewer(session, stale_after_days=180)
    loaded = _loaded(session)
    added = 0
    for body in bodies:
        new = NewPosition.model_validate(body)
        # What was corrected or retracted since is no duplicate, and must not come back.
        if (new.country, new.kind, new.firmness, new.stated_on, new.speaker, new.summary) in loaded:
            continue
        try:
            state(session, shown, SEEDER, new)
            added += 1
        except Duplicate:
            continue
    return added


def _loaded(session: Session) -> set[Any]:
    """Return what tells apart the statements that the seed recorded before, live or not."""
    told_apart = ("country_code", "kind", "firmness", "stated_on", "speaker", "summary")
    query = (
        sa.select(*(getattr(Statement, name) for name in told_apart))
        .join(Change, col(Change.seq) == col(Statement.seq))
        .where(col(Change.recorded_by_id) == SEEDER.id, col(Change.action) == Action.STATE)
    )
    return {tuple(row) for row in session.execute(query)}
