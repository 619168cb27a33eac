"""The query parameters that narrow positions, the same on every route that takes them."""

from typing import Annotated, Any

from pydantic import Field
from sqlmodel import Session

from app.changes import LedgerFilter
from app.countries import chosen_countries
from app.fields import DIGITS, MAX_SEQ, Day, Line
from app.filters import PositionFilter
from app.paging import NoQuery
from app.vocabulary import Action, Component, ConditionType, Firmness, Group, Kind, Voice, rungs_from

Code = Annotated[Line, Field(max_length=100)]
SourceId = Annotated[int, Field(ge=1, le=MAX_SEQ), DIGITS]


class FilterQuery(NoQuery):
    """Which positions are wanted: values of one parameter widen, parameters narrow each other."""

    country: Annotated[list[Code], Field(max_length=300)] = Field(
        default_factory=list,
        description="ISO 3166-1 alpha-2 or alpha-3, XK, UK or EL, in either case; repeatable.",
        examples=[["PL"]],
    )
    group: list[Group] = Field(default_factory=list, description="Members of a group today; repeatable.")
    component: list[Component] = Field(default_factory=list, description="Repeatable.")
    kind: list[Kind] = Field(default_factory=list, description="Repeatable.")
    firmness: list[Firmness] = Field(default_factory=list, description="Exactly these rungs; repeatable.")
    min_firmness: Firmness | None = Field(
        default=None, description="This rung and those above it, on its own ladder only."
    )
    condition: list[ConditionType] = Field(
        default_factory=list, description="Positions that depend on any of these; repeatable."
    )
    conditional: bool | None = Field(default=None, description="Only with conditions, or only without.")
    contested: bool | None = Field(default=None, description="Only contested positions, or only others.")
    stale: bool | None = Field(default=None, description="Only those affirmed long ago, or only others.")
    voice: list[Voice] = Field(default_factory=list, description="Repeatable.")
    source: Annotated[list[SourceId], Field(max_length=300)] = Field(
        default_factory=list, description="Resting on a source, by its id; repeatable."
    )
    changed_since: Day | None = Field(
        default=None, description="Only positions whose run began on this day or later."
    )
    q: Annotated[Line, Field(max_length=100)] | None = Field(
        default=None, description="Text in summary, quote or speaker, in any case."
    )

    def position_filter(self, session: Session) -> PositionFilter:
        """Return the filter that the parameters ask for; raise `Invalid` for an unknown country."""
        return PositionFilter(
            **_statements(session, self),
            contested=self.contested,
            stale=self.stale,
            changed_since=self.changed_since,
        )


class LedgerQuery(NoQuery):
    """Which entries of the ledger are wanted: by their statement, or by the one that they replace."""

    country: Annotated[list[Code], Field(max_length=300)] = Field(
        default_factory=list, description="Of a country; repeatable.", examples=[["PL"]]
    )
    group: list[Group] = Field(
        default_factory=list, description="Of the members of a group today; repeatable."
    )
    component: list[Component] = Field(default_factory=list, description="In a line of it; repeatable.")
    kind: list[Kind] = Field(default_factory=list, description="Repeatable.")
    firmness: list[Firmness] = Field(default_factory=list, description="Exactly these rungs; repeatable.")
    min_firmness: Firmness | None = Field(
        default=None, description="This rung and those above it, on its own ladder only."
    )
    condition: list[ConditionType] = Field(
        default_factory=list, description="Statements that depend on any of these; repeatable."
    )
    conditional: bool | None = Field(default=None, description="Only with conditions, or only without.")
    q: Annotated[Line, Field(max_length=100)] | None = Field(
        default=None, description="Text in summary, quote or speaker, in any case."
    )
    voice: list[Voice] = Field(default_factory=list, description="Repeatable.")
    source: Annotated[list[SourceId], Field(max_length=300)] = Field(
        default_factory=list, description="From a source, by its id; repeatable."
    )
    action: list[Action] = Field(default_factory=list, description="Repeatable.")

    def ledger_filter(self, session: Session) -> LedgerFilter:
        """Return the filter that the parameters ask for; raise `Invalid` for an unknown country."""
        return LedgerFilter(**_statements(session, self), actions=tuple(self.action))


def _statements(session: Session, query: FilterQuery | LedgerQuery) -> dict[str, Any]:
    """Return the fields of `StatementFilter` that a query asks for."""
    countries = chosen_countries(session, query.country, query.group)
    return {
        "countries": None if countries is None else frozenset(countries),
        "components": tuple(query.component),
        "kinds": tuple(query.kind),
        "firmness": tuple(query.firmness),
        "rungs": () if query.min_firmness is None else rungs_from(query.min_firmness),
        "voices": tuple(query.voice),
        "sources": tuple(query.source),
        "conditions": tuple(query.condition),
        "conditional": query.conditional,
        "text": query.q,
    }
