"""Countries: ISO 3166-1 and Kosovo, the groups they belong to, and who leads their executive.

The rows come with the migrations, each membership with its day and its source.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from pydantic import BaseModel
from pydantic import Field as Described
from sqlmodel import Field, Session, SQLModel, col, select

from app.errors import NotFound, refused
from app.vocabulary import Group

ALIASES = {"UK": "GB", "EL": "GR"}
"""Codes in common use that ISO 3166-1 does not assign to the country they mean."""


class Country(SQLModel, table=True):
    """A country; the key is its ISO 3166-1 alpha-2 code (XK for Kosovo)."""

    code: str = Field(sa_type=sa.String(2), primary_key=True)
    alpha3: str = Field(sa_type=sa.String(3), unique=True)
    name: str = Field(sa_type=sa.String(80))
    executive_president: bool
    """Whether the head of state leads the executive and so speaks for the government."""
    executive_president_basis: str | None = Field(default=None, sa_type=sa.String(200))


class Membership(SQLModel, table=True):
    """A country's membership of a group, with the day on which it began and the source for it."""

    country_code: str = Field(sa_type=sa.String(2), foreign_key="country.code", primary_key=True)
    group_name: str = Field(sa_type=sa.String(10), primary_key=True)
    joined_on: date
    source: str = Field(sa_type=sa.String(200))


class MembershipView(BaseModel):
    """A membership, sourced and dated."""

    group: Group
    joined_on: date = Described(description="Day on which the membership began.")
    source: str


class CountryFacts(BaseModel):
    """What is known of a country apart from its positions."""

    code: str = Described(description="ISO 3166-1 alpha-2; XK is Kosovo.", examples=["PL"])
    alpha3: str = Described(description="ISO 3166-1 alpha-3; XKX is Kosovo.", examples=["POL"])
    name: str = Described(examples=["Poland"])
    groups: list[Group] = Described(description="Groups that the country belongs to.")
    memberships: list[MembershipView]
    executive_president: bool = Described(
        description="Whether the head of state leads the executive and so speaks for the government."
    )


_read: WeakKeyDictionary[Any, dict[str, CountryFacts]] = WeakKeyDictionary()
"""The countries of each database: only a migration changes them, and then the server starts anew."""


def every_country(session: Session) -> dict[str, CountryFacts]:
    """Return all countries by code, in the order of their codes; read once for each database."""
    pool = session.get_bind().engine.pool  # an engine with options of its own is another one
    found = _read.get(pool)
    if found is None:
        found = _read[pool] = _read_countries(session)
    return found


def _read_countries(session: Session) -> dict[str, CountryFacts]:
    memberships: dict[str, list[MembershipView]] = {}
    for row in session.exec(select(Membership).order_by(col(Membership.group_name))):
        view = MembershipView(group=Group(row.group_name), joined_on=row.joined_on, source=row.source)
        memberships.setdefault(row.country_code, []).append(view)
    return {
        row.code: CountryFacts(
            code=row.code,
            alpha3=row.alpha3,
            name=row.name,
            groups=[each.group for each in memberships.get(row.code, [])],
            memberships=memberships.get(row.code, []),
            executive_president=row.executive_president,
        )
        for row in sorted(session.exec(select(Country)), key=lambda country: country.code)
    }


def find_code(session: Session, given: str) -> str | None:
    """Return the alpha-2 code that `given` means, or None.

    Alpha-2, alpha-3 and the aliases `UK` and `EL` are understood, in either case.
    """
    if not (given.isascii() and given.isalpha() and len(given) in (2, 3)):
        return None
    asked = given.upper()
    asked = ALIASES.get(asked, asked)
    countries = every_country(session)
    if asked in countries:
        return asked
    return next((code for code, country in countries.items() if country.alpha3 == asked), None)


def country_code(session: Session, given: str, *, pointer: str | None = None) -> str:
    """Return the alpha-2 code that a request means; raise the 422 that names the cure if none is."""
    code = find_code(session, given)
    if code is None:
        message = "No such country; use an ISO 3166-1 code such as PL or POL, or XK, UK, EL."
        parameter = None if pointer else "country"
        raise refused("unknown_country", message, pointer=pointer, parameter=parameter)
    return code


def get_code(session: Session, given: str) -> str:
    """Return the alpha-2 code of a country named in a path; raise `NotFound` if there is none."""
    code = find_code(session, given)
    if code is None:
        raise NotFound("No such country; /v1/countries lists them all.")
    return code


def members(session: Session, groups: Iterable[Group]) -> set[str]:
    """Return the codes of the countries that belong to any of `groups` today."""
    wanted = set(groups)
    return {code for code, country in every_country(session).items() if wanted & set(country.groups)}


def chosen_countries(session: Session, given: Sequence[str], groups: Sequence[Group]) -> set[str] | None:
    """Return the codes that `country` and `group` parameters choose together; None means all.

    Values of one parameter widen, the two parameters narrow each other.
    """
    chosen = {country_code(session, each) for each in given} if given else None
    if groups:
        in_groups = members(session, groups)
        chosen = in_groups if chosen is None else chosen & in_groups
    return chosen
