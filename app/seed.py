"""Loading `seed_data/`: through the same checks as a POST, once."""

import json
from pathlib import Path
from typing import Any

from sqlmodel import Session

from app.as_of import viewer
from app.changes import Writer
from app.db import ROOT
from app.errors import Duplicate
from app.recording import state
from app.statements import NewPosition
from app.vocabulary import Scope

SEED = ROOT / "seed_data" / "statements.json"
SEEDER = Writer(id="seed", name="Seed data", scope=Scope.CURATE)


def seed(session: Session, path: Path = SEED) -> int:
    """Record the statements of `path` that are not in the record yet; return how many were added.

    The file holds a JSON array of bodies as for POST /v1/positions, in the order in which they
    are to stand in the ledger. The caller holds the write lock.
    """
    bodies: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    shown = viewer(session, stale_after_days=180)
    added = 0
    for body in bodies:
        try:
            state(session, shown, SEEDER, NewPosition.model_validate(body))
            added += 1
        except Duplicate:
            continue
    return added
