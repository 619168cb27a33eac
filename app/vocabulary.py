"""The closed sets of words that statements are made of, each with its definition (DESIGN.md section 2).

A word is stored as text, so adding one needs no migration; `GET /v1/vocabulary` and the README
follow from here.
"""

from enum import StrEnum


class Word(StrEnum):
    """A member of a closed set, carrying its definition."""

    definition: str

    def __new__(cls, value: str, definition: str = "") -> "Word":
        word = str.__new__(cls, value)
        word._value_ = value
        word.definition = definition
        return word


class Kind(Word):
    """What a statement is about."""

    TROOPS = "troops", "Soldiers for the force, on the ground."
    AIR = "air", "Aircraft and crews for the force: air policing, air defence from the air."
    SEA = "sea", "Ships and crews for the force: mine clearance, patrols, freedom of navigation."
    REFUSAL = "refusal", "The country says that it will not take part in the components it refuses."
    SUPPORT = "support", "Anything else that is offered; its component names the type of support."


class Component(Word):
    """The part of the effort that a position is about."""

    TROOPS = "troops", "Soldiers on the ground."
    AIR = "air", "Aircraft and crews of the force. Donating aircraft is equipment."
    SEA = "sea", "Ships and crews of the force."
    LOGISTICS = "logistics", "Transport, transit, supply, maintenance and medical evacuation."
    TRAINING = "training", "Training of Ukrainian forces."
    BASES = "bases", "Use of bases, ports, airfields or territory."
    INTELLIGENCE = "intelligence", "Intelligence, surveillance and reconnaissance."
    MONITORING = "monitoring", "Monitoring of a ceasefire or of a line of contact."
    EQUIPMENT = "equipment", "Weapons and material handed over, aircraft and ships included."
    FUNDING = "funding", "Money."
    COMMAND = "command", "Headquarters, staff officers and planning."
    OTHER = "other", "Support of another type; the summary says which."


FORCE = (Component.TROOPS, Component.AIR, Component.SEA)
"""The force's own components: what a refusal refuses when it does not say."""

SUPPORT = tuple(component for component in Component if component not in FORCE)
"""The types of support: what a statement of kind `support` may name."""


class Firmness(Word):
    """How far a statement goes."""

    CONSIDERING = "considering", "Offer: weighs it, excludes nothing."
    SIGNALLED = "signalled", "Offer: willing in principle."
    PLANNED = "planned", "Offer: has laid out plans."
    COMMITTED = "committed", "Offer: says it will."
    AUTHORISED = "authorised", "Offer: cabinet or parliament has approved."
    DEPLOYED = "deployed", "Offer: in place."
    LEANING = "leaning", "Refusal: reluctant, calls it premature."
    DECLARED = "declared", "Refusal: says it will not."
    BINDING = "binding", "Refusal: a law or formal decision rules it out."
    WITHDRAWN = "withdrawn", "Offer or refusal taken back: nothing is held."


OFFERS = (
    Firmness.CONSIDERING,
    Firmness.SIGNALLED,
    Firmness.PLANNED,
    Firmness.COMMITTED,
    Firmness.AUTHORISED,
    Firmness.DEPLOYED,
)
"""The ladder of an offer, from the least firm to the firmest."""

REFUSALS = (Firmness.LEANING, Firmness.DECLARED, Firmness.BINDING)
"""The ladder of a refusal, from the least firm to the firmest."""


class Voice(Word):
    """For whom the speaker speaks."""

    GOVERNMENT = "government", "The government: its word is the country's position."
    HEAD_OF_STATE = (
        "head_of_state",
        "A head of state who does not lead the executive: counts while the government has not spoken.",
    )
    REPORT = "report", "Anyone else: stands beside a position and never sets one."


class Authority(Word):
    """Who spoke."""

    HEAD_OF_STATE = "head_of_state", "President or monarch."
    HEAD_OF_GOVERNMENT = "head_of_government", "Prime minister, chancellor or taoiseach."
    FOREIGN_MINISTER = "foreign_minister", "Minister of foreign affairs."
    DEFENCE_MINISTER = "defence_minister", "Minister of defence."
    OTHER_MINISTER = "other_minister", "Any other member of the government."
    PARLIAMENT = "parliament", "A parliament, its committee or its speaker."
    MINISTRY = "ministry", "A ministry or government spokesperson."
    ARMED_FORCES = "armed_forces", "The military, on the record."
    DIPLOMAT = "diplomat", "An ambassador or other diplomat, on the record."
    UNNAMED_OFFICIAL = "unnamed_official", "An official or officer who is not named."
    OPPOSITION = "opposition", "A party or politician outside the government."
    MEDIA = "media", "A newspaper or broadcaster in its own words."
    THIRD_PARTY = "third_party", "Another country, an organisation or a commentator."


class Attribution(Word):
    """How the source carries the words."""

    OFFICIAL_TEXT = "official_text", "Published by the speaker's own office."
    DIRECT_QUOTE = "direct_quote", "Quoted word for word."
    PARAPHRASE = "paraphrase", "Reported in the source's own words."
    UNNAMED_SOURCE = "unnamed_source", "From someone whom the source does not name."
    INFERRED = "inferred", "Concluded from what was said or done; the notes say how."


class ConditionType(Word):
    """What must happen first."""

    CEASEFIRE = "ceasefire", "A ceasefire holds."
    PEACE_AGREEMENT = "peace_agreement", "A peace agreement is signed."
    US_BACKSTOP = "us_backstop", "The United States guarantees or covers the force."
    UN_MANDATE = "un_mandate", "The United Nations give a mandate."
    CLEAR_MANDATE = "clear_mandate", "Mandate and rules of engagement are clear."
    PARLIAMENTARY_APPROVAL = "parliamentary_approval", "Parliament approves."
    UKRAINIAN_REQUEST = "ukrainian_request", "Ukraine asks for it."
    RUSSIAN_CONSENT = "russian_consent", "Russia agrees."
    NOT_ALONE = "not_alone", "Others take part too."
    FINANCING = "financing", "The money is found."
    OTHER = "other", "Something else, given as text."


class CaveatType(Word):
    """A limit after deployment."""

    OUTSIDE_UKRAINE_ONLY = "outside_ukraine_only", "Not on Ukrainian territory."
    AWAY_FROM_FRONT = "away_from_front", "Not at the front."
    NON_COMBAT = "non_combat", "No combat tasks."
    TRAINING_ONLY = "training_only", "Only to train."
    TIME_LIMITED = "time_limited", "For a limited time."
    OTHER = "other", "Something else, given as text."


class Location(Word):
    """Where the contribution would be."""

    UKRAINE = "ukraine", "On Ukrainian territory."
    BLACK_SEA = "black_sea", "In the Black Sea."
    NEIGHBOURING_STATE = "neighbouring_state", "In a state beside Ukraine."
    HOME = "home", "On the country's own territory."


class Relation(Word):
    """How a statement relates to an earlier entry."""

    REPEATS = "repeats", "The same speech in more or fewer words: it affirms and sets nothing."
    CLARIFIES = "clarifies", "Explains the earlier words: the two do not contest each other."
    DENIES = "denies", "Says that the earlier report is untrue."


class Action(Word):
    """What an entry of the ledger does."""

    STATE = "state", "Adds a statement."
    CORRECT = "correct", "Our record was wrong: replaces an earlier entry's statement."
    RETRACT = "retract", "It was never so: takes an earlier entry's statement out of the record."


class Group(Word):
    """A group of countries."""

    NATO = "nato", "Members of the North Atlantic Treaty Organization."
    EU = "eu", "Members of the European Union."


class Scope(Word):
    """How far an API key reaches."""

    CONTRIBUTE = "contribute", "States positions and sources; corrects and retracts its own entries."
    CURATE = "curate", "Also corrects and retracts the entries of others."


class Reliability(Word):
    """How reliable a source is, by the letters of the Admiralty code."""

    A = "A", "Completely reliable."
    B = "B", "Usually reliable."
    C = "C", "Fairly reliable."
    D = "D", "Not usually reliable."
    E = "E", "Unreliable."
    F = "F", "Reliability cannot be judged."


CREDIBILITY = {
    1: "Confirmed by other sources.",
    2: "Probably true.",
    3: "Possibly true.",
    4: "Doubtful.",
    5: "Improbable.",
    6: "Truth cannot be judged.",
}
"""How credible one report is, by the figures of the Admiralty code."""

SETS: dict[str, type[Word]] = {
    "kinds": Kind,
    "components": Component,
    "firmness": Firmness,
    "voices": Voice,
    "authorities": Authority,
    "attributions": Attribution,
    "conditions": ConditionType,
    "caveats": CaveatType,
    "locations": Location,
    "relations": Relation,
    "actions": Action,
    "groups": Group,
    "reliability": Reliability,
    "scopes": Scope,
}
"""Every closed set by its name, for the codebook."""

LEADERS = (
    Authority.HEAD_OF_GOVERNMENT,
    Authority.FOREIGN_MINISTER,
    Authority.DEFENCE_MINISTER,
    Authority.OTHER_MINISTER,
    Authority.MINISTRY,
    Authority.DIPLOMAT,
)
"""The authorities that speak for the government in every country."""


def voice_of(authority: Authority, *, executive_president: bool) -> Voice:
    """Return for whom `authority` speaks (DESIGN.md section 2, voice).

    A head of state speaks for the government where the president leads the executive.
    """
    if authority in LEADERS:
        return Voice.GOVERNMENT
    if authority is Authority.HEAD_OF_STATE:
        return Voice.GOVERNMENT if executive_president else Voice.HEAD_OF_STATE
    return Voice.REPORT


def ladder(firmness: Firmness) -> tuple[Firmness, ...]:
    """Return the rungs that `firmness` is on: the offers', the refusals', or none for `withdrawn`."""
    return next((rungs for rungs in (OFFERS, REFUSALS) if firmness in rungs), ())


def rungs_from(least: Firmness) -> tuple[Firmness, ...]:
    """Return `least` and the rungs above it on its own ladder; `withdrawn` stands alone."""
    rungs = ladder(least)
    return rungs[rungs.index(least) :] if rungs else (least,)
