"""Statements: one source's report of what a country said on one day about one kind.

Rows are never changed, database triggers see to it; a correction is a new statement.
"""

import hashlib
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Described
from sqlmodel import Field, SQLModel

from app.db import JSONText, TextEnum, canonical_json
from app.fields import MAX_SEQ, EdtfText, Text, Whole
from app.fields import Line as OneLine
from app.sources import NewSource, SourceBrief
from app.vocabulary import (
    Attribution,
    Authority,
    CaveatType,
    Component,
    ConditionType,
    Firmness,
    Kind,
    Location,
    Relation,
    Voice,
)


class Statement(SQLModel, table=True):
    """One source's report of what a country said on one day about one kind."""

    seq: int = Field(sa_type=sa.BigInteger, primary_key=True, foreign_key="change.seq")
    country_code: str = Field(sa_type=sa.String(2), foreign_key="country.code", index=True)
    kind: Kind = Field(sa_type=TextEnum(Kind))
    component: Component | None = Field(sa_type=TextEnum(Component))
    refuses: list[str] | None = Field(sa_type=JSONText)
    firmness: Firmness = Field(sa_type=TextEnum(Firmness))
    stated_on: str = Field(sa_type=sa.String(32))
    stated_earliest_on: date | None
    stated_latest_on: date
    effective_on: date
    """Day from which it counts (DESIGN.md 3.1): fixed when recorded, never derived at reading."""
    summary: str = Field(sa_type=sa.Text)
    speaker: str | None = Field(sa_type=sa.Text)
    speaker_role: str | None = Field(sa_type=sa.Text)
    authority: Authority | None = Field(sa_type=TextEnum(Authority))
    voice: Voice = Field(sa_type=TextEnum(Voice))
    attribution: Attribution | None = Field(sa_type=TextEnum(Attribution))
    quote: str | None = Field(sa_type=sa.Text)
    quote_language: str | None = Field(sa_type=sa.String(35))
    conditions: list[dict[str, str | None]] = Field(sa_type=JSONText)
    caveats: list[dict[str, str | None]] = Field(sa_type=JSONText)
    location: Location | None = Field(sa_type=TextEnum(Location))
    quantity_min: int | None = Field(sa_type=sa.BigInteger)
    quantity_max: int | None = Field(sa_type=sa.BigInteger)
    quantity_unit: str | None = Field(sa_type=sa.Text)
    quantity_verbatim: str | None = Field(sa_type=sa.Text)
    credibility: int
    locator: str | None = Field(sa_type=sa.Text)
    notes: str | None = Field(sa_type=sa.Text)
    source_id: int = Field(sa_type=sa.BigInteger, foreign_key="source.id", index=True)
    search_text: str = Field(sa_type=sa.Text)
    """What `q` looks in: derived, so that both databases find the same."""


class StatementRelation(SQLModel, table=True):
    """A statement's marked relation to an earlier entry."""

    __tablename__ = "statement_relation"

    seq: int = Field(sa_type=sa.BigInteger, primary_key=True, foreign_key="statement.seq")
    target_seq: int = Field(sa_type=sa.BigInteger, primary_key=True, foreign_key="statement.seq")
    relation: Relation = Field(sa_type=TextEnum(Relation), primary_key=True)
    target_chain: int = Field(sa_type=sa.BigInteger, index=True)
    """First entry of the target's chain: the relation follows the target through corrections."""


class Condition(BaseModel):
    """Something that must happen first."""

    type: ConditionType
    text: str | None


class Caveat(BaseModel):
    """A limit after deployment."""

    type: CaveatType
    text: str | None


class Quantity(BaseModel):
    """How much: whole numbers, both ends inclusive, and the words of the source."""

    min: int | None
    max: int | None
    unit: str | None
    verbatim: str | None


class Related(BaseModel):
    """A marked relation to an earlier entry."""

    seq: int
    relation: Relation


class StatementView(BaseModel):
    """A statement, whole."""

    seq: int | None = Described(description="Entry that holds it; null only under `dry_run`.")
    country: str = Described(examples=["PL"])
    kind: Kind
    firmness: Firmness
    voice: Voice
    conditions: list[Condition]
    caveats: list[Caveat]
    location: Location | None
    quantity: Quantity | None
    summary: str
    speaker: str | None
    quote: str | None
    stated_on: str = Described(description="EDTF, as the source supports it.", examples=["2025-03"])
    effective_on: date = Described(description="Day from which it counts (DESIGN.md 3.1).")
    stated_earliest_on: date | None = Described(description="First possible day; null if open.")
    stated_latest_on: date = Described(description="Last possible day.")
    refuses: list[Component] | None = Described(description="Components refused; null for an offer.")
    component: Component | None = Described(description="Component offered; null for a refusal.")
    speaker_role: str | None
    authority: Authority | None
    attribution: Attribution | None
    quote_language: str | None
    relates_to: list[Related]
    credibility: int = Described(ge=1, le=6, description="Admiralty figure; 6 = cannot be judged.")
    locator: str | None
    notes: str | None
    source: SourceBrief


def search_text_of(summary: str, quote: str | None, speaker: str | None) -> str:
    """Return what `q` looks in: summary, quote and speaker, without case."""
    return "\n".join(each.casefold() for each in (summary, quote, speaker) if each is not None)


_NO_TYPES: frozenset[tuple[str | None, str | None]] = frozenset()


def types_of(marks: list[dict[str, str | None]]) -> frozenset[tuple[str | None, str | None]]:
    """Return the types of conditions or caveats as a set; only `other` brings its exact text."""
    if not marks:
        return _NO_TYPES
    return frozenset((mark["type"], mark["text"] if mark["type"] == "other" else None) for mark in marks)


def meaning_of(row: Any) -> str:
    """Return a digest of what a statement says of a line (DESIGN.md 3.4).

    The same meaning affirms, another changes. Takes the columns of `Statement`.
    """
    quantity = (row.quantity_min, row.quantity_max, row.quantity_unit)
    return _meaning(
        row.kind, row.firmness, types_of(row.conditions), types_of(row.caveats), row.location, quantity
    )


# Few meanings are met again and again, and a digest costs more than looking one up.
@lru_cache(10_000)
def _meaning(*said: Any) -> str:
    spelt = [sorted(each, key=str) if isinstance(each, frozenset) else each for each in said]
    return hashlib.sha256(canonical_json(spelt).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Stated:
    """A statement as read back from the ledger, whole, with what later entries did to it.

    `row` holds the columns of `Statement`, each of `relations` those of `StatementRelation`.
    """

    seq: int
    chain: int
    replaced_by: int | None
    row: Any
    source: SourceBrief
    relations: tuple[Any, ...]

    @property
    def voice(self) -> Voice:
        """For whom the speaker speaks."""
        voice: Voice = self.row.voice
        return voice

    @property
    def place(self) -> tuple[date, bool, int]:
        """Where it stands in its lines (DESIGN.md 3.2): on one day a withdrawal comes last."""
        return (self.row.effective_on, self.row.firmness is Firmness.WITHDRAWN, self.chain)

    def is_live(self, seq: int) -> bool:
        """Tell whether it was recorded by `seq` and neither corrected nor retracted by then."""
        return self.seq <= seq and (self.replaced_by is None or self.replaced_by > seq)


def components_of(row: Any) -> tuple[Component, ...]:
    """Return the components whose lines a statement enters."""
    if row.component is not None:
        return (row.component,)
    return tuple(Component(each) for each in row.refuses)


class NewCondition(BaseModel):
    """Something that must happen first; `other` says what in `text`."""

    model_config = ConfigDict(extra="forbid")

    type: ConditionType
    text: Annotated[OneLine, Described(max_length=500)] | None = None


class NewCaveat(BaseModel):
    """A limit after deployment; `other` says which in `text`."""

    model_config = ConfigDict(extra="forbid")

    type: CaveatType
    text: Annotated[OneLine, Described(max_length=500)] | None = None


class NewQuantity(BaseModel):
    """How much, both ends inclusive; `verbatim` keeps the words of the source."""

    model_config = ConfigDict(extra="forbid")

    min: Annotated[Whole, Described(ge=0, le=10**12)] | None = None
    max: Annotated[Whole, Described(ge=0, le=10**12)] | None = None
    unit: Annotated[OneLine, Described(max_length=60)] | None = Described(default=None, examples=["soldiers"])
    verbatim: Annotated[OneLine, Described(max_length=300)] | None = None


class NewRelation(BaseModel):
    """A marked relation to an earlier entry."""

    model_config = ConfigDict(extra="forbid")

    seq: Annotated[Whole, Described(ge=1, le=MAX_SEQ)]
    relation: Relation


class CorrectedFields(BaseModel):
    """Fields of a statement that a correction changes: left out = kept, null = emptied.

    When `kind` changes, `component` and `refuses` are emptied unless they are given. When
    `authority` or `country` changes, `voice` is derived again unless it is given. Of `quantity` and
    `source` too only what changes need be given; another `url` names another source.
    """

    model_config = ConfigDict(extra="forbid")

    country: Annotated[OneLine, Described(max_length=100)] | None = Described(
        default=None,
        description="ISO 3166-1 alpha-2 or alpha-3, in either case; XK, UK and EL too.",
        examples=["PL"],
    )
    kind: Kind | None = None
    refuses: Annotated[list[Component], Described(min_length=1, max_length=20)] | None = Described(
        default=None, description="For a refusal: what is refused. Left out: troops, air and sea."
    )
    component: Component | None = Described(
        default=None, description="For support: which type. Otherwise it follows from `kind`."
    )
    firmness: Firmness | None = None
    stated_on: EdtfText | None = Described(
        default=None,
        description="When it was said, EDTF level 1: 2025-03-27, 2025-03, ../2025-03-28, 2025-03-27~.",
        examples=["2025-03-27"],
    )
    summary: Annotated[Text, Described(max_length=2000)] | None = None
    speaker: Annotated[OneLine, Described(max_length=200)] | None = None
    speaker_role: Annotated[OneLine, Described(max_length=200)] | None = None
    authority: Authority | None = None
    voice: Voice | None = Described(default=None, description="Follows from `authority` unless given.")
    attribution: Attribution | None = None
    quote: Annotated[Text, Described(max_length=5000)] | None = None
    quote_language: (
        Annotated[str, Described(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", max_length=35)] | None
    ) = Described(default=None, description="BCP 47 language tag.", examples=["pl"])
    conditions: Annotated[list[NewCondition], Described(max_length=20)] | None = None
    caveats: Annotated[list[NewCaveat], Described(max_length=20)] | None = None
    location: Location | None = None
    quantity: NewQuantity | None = None
    relates_to: Annotated[list[NewRelation], Described(max_length=20)] | None = None
    credibility: Annotated[Whole, Described(ge=1, le=6)] | None = Described(
        default=None, description="Admiralty figure 1 to 6; left out: 6, cannot be judged."
    )
    locator: Annotated[OneLine, Described(max_length=200)] | None = Described(
        default=None, description="Where in the source: page, paragraph, minute."
    )
    notes: Annotated[Text, Described(max_length=5000)] | None = None
    source: NewSource | None = None
    source_id: Annotated[Whole, Described(ge=1, le=MAX_SEQ)] | None = None


class NewPosition(CorrectedFields):
    """What a country said, with the source that says so.

    One of `authority` and `voice`, and one of `source` and `source_id`, must be given too.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "country": "PL",
                    "kind": "refusal",
                    "refuses": ["troops"],
                    "firmness": "declared",
                    "stated_on": "2025-03-27",
                    "summary": "No Polish soldiers in Ukraine; logistics from Polish soil.",
                    "speaker": "Donald Tusk",
                    "speaker_role": "prime minister",
                    "authority": "head_of_government",
                    "attribution": "paraphrase",
                    "source": {
                        "url": "https://example.org/2025/03/27/paris-summit",
                        "title": "After the Paris summit",
                        "publisher": "Example Gazette",
                        "published_on": "2025-03-27",
                    },
                }
            ]
        }
    )

    country: Annotated[OneLine, Described(max_length=100)] = Described(
        description="ISO 3166-1 alpha-2 or alpha-3, in either case; XK, UK and EL too.",
        examples=["PL"],
    )
    kind: Kind
    firmness: Firmness
    stated_on: EdtfText = Described(
        description="When it was said, EDTF level 1: 2025-03-27, 2025-03, ../2025-03-28, 2025-03-27~.",
        examples=["2025-03-27"],
    )
    summary: Annotated[Text, Described(max_length=2000)] = Described(
        examples=["No Polish soldiers in Ukraine; logistics from Polish soil."]
    )
