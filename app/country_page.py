"""All that a country's page shows, in one answer. Pure: no database, no clock."""

from datetime import date
from typing import Any

from pydantic import BaseModel, Field

from app.as_of import (
    CountryView,
    Known,
    PositionFilter,
    Viewer,
    by_line,
    positions_as_of,
    positions_of,
    report_views,
)
from app.countries import CountryFacts
from app.diff import DiffEntry, events_by_day, steps_by_day
from app.sources import SourceBrief
from app.statements import Condition, StatementView, statement_view
from app.vocabulary import Component, Voice


class CountryCounts(BaseModel):
    """How much the record holds of a country."""

    positions: int = Field(description="Positions in force.")
    statements: int = Field(description="Live statements that count by `as_of`, reports included.")
    reports: int = Field(description="Those of them that are reports.")
    sources: int = Field(description="Sources of those statements.")


class CountryPage(CountryView):
    """What the record holds of a country on a day."""

    conditions: list[Condition] = Field(description="Conditions of the positions in force, each once.")
    history: dict[Component, list[DiffEntry]] = Field(
        description="By component: every step and affirmation up to `as_of`."
    )
    reports: dict[Component, list[StatementView]] = Field(
        description="By component: the reports beside the position, up to `as_of`."
    )
    sources: list[SourceBrief] = Field(description="Sources of the statements that count by `as_of`.")
    first_statement: StatementView | None = Field(description="The earliest statement.")
    last_statement: StatementView | None = Field(description="The latest statement by `as_of`.")
    counts: CountryCounts


def country_page(known: Known, viewer: Viewer, facts: CountryFacts, day: date) -> dict[str, Any]:
    """Return the fields of `CountryPage` for a country on `day`, statements effective on it included."""
    lines = [(facts.code, component) for component in Component if (facts.code, component) in known.lines]
    by_now = {each.seq for key in lines for each in known.lines[key] if each.effective_on <= day}
    viewer.load(by_now)
    statements = sorted(map(viewer.stated, by_now), key=lambda stated: stated.place)
    positions = positions_of(by_line(positions_as_of(known, viewer, day, PositionFilter())), facts.code)
    held = [position for position in positions.values() if position is not None]
    sources = {stated.row.source_id: stated.source for stated in statements}
    steps = {
        key[1]: list(events_by_day(known, viewer, key, steps_by_day(known, key, None, day))) for key in lines
    }
    reports = {key[1]: report_views(known, viewer, key, day) for key in lines}
    return dict(facts) | {
        "tracked": any(known.lines[key] for key in lines),
        "positions": positions,
        "conditions": list(
            {each.model_dump_json(): each for view in held for each in view.conditions}.values()
        ),
        "history": {component: found for component, found in steps.items() if found},
        "reports": {component: found for component, found in reports.items() if found},
        "sources": [sources[each] for each in sorted(sources)],
        "first_statement": statement_view(statements[0]) if statements else None,
        "last_statement": statement_view(statements[-1]) if statements else None,
        "counts": CountryCounts(
            positions=len(held),
            statements=len(statements),
            reports=sum(stated.voice is Voice.REPORT for stated in statements),
            sources=len(sources),
        ),
    }
