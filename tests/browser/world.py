"""A made-up record that is larger than the seed: forty-one countries over a year, every mark present."""

from datetime import date, timedelta
from random import Random
from typing import Any

from starlette.testclient import TestClient

from tests import make

COUNTRIES = (
    *("AL", "AU", "AT", "BE", "BG", "CA", "HR", "CY", "CZ", "DK", "EE", "FI", "FR", "DE", "GR", "HU"),
    *("IS", "IE", "IT", "JP", "LV", "LT", "LU", "MT", "ME", "NL", "NZ", "NO", "PL", "PT", "RO", "SK"),
    *("SI", "ES", "SE", "TR", "GB", "US", "XK", "UA", "KR"),
)
OFFERS = ("considering", "signalled", "planned", "committed", "authorised", "deployed")
REFUSALS = ("leaning", "declared", "binding")
FIRST, LAST = date(2025, 2, 17), date(2026, 1, 30)
SOURCES = [
    {
        "url": f"https://example.org/{number}",
        "title": f"Report number {number} from the capital",
        "publisher": ("Example Gazette", "The Daily Sample", "Agence Exemple")[number % 3],
        "published_on": (FIRST + timedelta(days=11 * number)).isoformat(),
    }
    for number in range(31)
]


def statements() -> list[dict[str, Any]]:
    """Return the bodies, always the same."""
    chance = Random(2025)
    found: list[dict[str, Any]] = []
    for country in COUNTRIES:
        rung = chance.choice([0, 0, 1, 1, 2, 3])
        refuses = chance.random() < 0.3
        for number in range(chance.randint(2, 5)):
            day = FIRST + timedelta(days=chance.randint(0, (LAST - FIRST).days))
            fields: dict[str, Any] = {"country": country, "stated_on": day.isoformat()}
            fields["source"] = chance.choice(SOURCES)
            fields["speaker"] = f"Minister {number + 1} of {country}"
            fields["quote"] = "We will do our part when the time comes." if number % 2 else None
            component = chance.choice(["troops", "troops", "air", "sea", "training", "logistics", "funding"])
            if refuses and component in ("troops", "air", "sea"):
                fields["firmness"] = REFUSALS[min(number, 2)]
                fields["summary"] = f"{country} sees no role for itself in {component}."
                found.append(make.refusal(refuses=[component], **fields))
                continue
            rung = min(5, max(0, rung + chance.choice([-1, 0, 1, 1])))
            kind = component if component in ("troops", "air", "sea") else "support"
            fields["summary"] = f"{country} would take part in {component} as far as its means allow."
            if chance.random() < 0.4:
                fields["conditions"] = [{"type": chance.choice(["ceasefire", "us_backstop", "un_mandate"])}]
            if chance.random() < 0.15:
                fields["authority"] = chance.choice(["media", "opposition", "armed_forces"])
            if kind == "support":
                fields["component"] = component
            found.append(make.body(kind=kind, firmness=OFFERS[rung], **fields))
    return found + special()


def special() -> list[dict[str, Any]]:
    """Return the bodies that bring what chance may not: contested, possible, withdrawn."""
    source = SOURCES[3]
    ships: dict[str, Any] = {"country": "MD", "kind": "sea", "source": source}
    planes: dict[str, Any] = {"country": "SE", "kind": "air", "source": source}
    return [
        make.body(country="RS", firmness="considering", stated_on="2025-04-01", source=source),
        make.refusal(country="RS", stated_on="2025-04-01", source=source, summary="No, the same day."),
        make.body(**planes, firmness="committed", stated_on="2025-09/2025-12"),
        make.body(**ships, firmness="planned", stated_on="2025-05-02"),
        make.body(**ships, firmness="withdrawn", stated_on="2025-06-11", summary="They stay at home."),
    ]


def record_world(contributor: TestClient) -> None:
    """Record it all, in the order of the days; mend one entry and retract another."""
    bodies = sorted(statements(), key=lambda body: str(body["stated_on"]))
    unique = {
        (b["country"], b["kind"], b.get("component"), b["firmness"], b["stated_on"], b["source"]["url"]): b
        for b in bodies
    }
    answer = contributor.post("/v1/positions/bulk", json=list(unique.values()))
    assert answer.status_code == 201, answer.text
    make.correct(contributor, 3, summary="What was really said.")
    make.retract(contributor, 4)
