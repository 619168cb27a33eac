"""All that a country's page shows, in one answer."""

from datetime import date
from typing import Any

from pydantic import BaseModel, Field

from app.as_of import CountryView, Viewer, positions_of
from app.countries import CountryFacts
from app.diff import DiffEntry, events
from app.items import listed
from app.lines import by_place
from app.sources import SourceBrief
from app.statements import Condition, StatementView
from app.story import Story
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


def country_page(story: Story, viewer: Viewer, facts: CountryFacts, day: date) -> dict[str, Any]:
    """Return the fields of `CountryPage` for a country on `day`, statements effective on it included."""
    lines = [(facts.code, component) for component in Component if (facts.code, component) in story.heard]
    by_now = {each.seq: each for key in lines for each in story.said(key, day)}
    viewer.load(by_now)
    viewer.load_shown(stand for key in lines for stand in story.stands.get(key, ()))
    ordered = sorted(by_now.values(), key=by_place)
    held = {key: viewer.position(day, story.stand(key, day)) for key in lines}
    positions = positions_of({key: item.view for key, item in held.items() if item}, facts.code)
    views = [position for position in positions.values() if position is not None]
    statements = [viewer.statement(each.seq).view for each in ordered]
    sources = {statement.source.id or 0: statement.source for statement in statements}
    steps = {
        key[1]: listed(events(viewer, key, story.steps(key, day), story.report_days(key))) for key in lines
    }
    reports = {key[1]: [viewer.statement(seq).view for seq in story.reports(key, day)] for key in lines}
    return dict(facts) | {
        "tracked": bool(lines),
        "positions": positions,
        "conditions": list(
            {each.model_dump_json(): each for view in views for each in view.conditions}.values()
        ),
        "history": {component: found for component, found in steps.items() if found},
        "reports": {component: found for component, found in reports.items() if found},
        "sources": [sources[each] for each in sorted(sources)],
        "first_statement": statements[0] if statements else None,
        "last_statement": statements[-1] if statements else None,
        "counts": CountryCounts(
            positions=len(views),
            statements=len(statements),
            reports=sum(each.voice == Voice.REPORT for each in ordered),
            sources=len(sources),
        ),
    }
