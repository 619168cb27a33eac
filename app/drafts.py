"""What a body means: a statement fit for the ledger, checked against the record, with its source.

Every function here runs under the write lock. A fault is collected with the others, so that a
client learns of all of them at once.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlmodel import Session, col

from app.appending import Draft, Values
from app.changes import (
    Change,
    Head,
    Writer,
    stated_by,
)
from app.countries import CountryFacts
from app.dates import parse_edtf
from app.errors import Duplicate, Fault, Invalid, invalid
from app.intake import Intake
from app.lines import Lines, by_place, entries, heard_in, relations_of
from app.positions import line_state
from app.replay import Marks
from app.sources import NewSource, Source
from app.statements import (
    CorrectedFields,
    NewCaveat,
    NewCondition,
    NewPosition,
    NewQuantity,
    Stated,
    Statement,
    components_of,
    search_text_of,
)
from app.vocabulary import (
    FORCE,
    OFFERS,
    REFUSALS,
    SUPPORT,
    Component,
    Firmness,
    Kind,
    Relation,
    Voice,
    voice_of,
)

GRACE = timedelta(days=1)
"""How far ahead of UTC a stated day may lie: somewhere it is tomorrow already (DESIGN.md 3.1)."""

_NO_QUANTITY = NewQuantity()


def source_faults(new: NewSource, pointer: str) -> list[Fault]:
    """Return what a source that is not known yet lacks."""
    faults = []
    if new.title is None:
        faults.append(Fault("missing", "A new source needs a title.", f"{pointer}/title"))
    if new.url is None and new.publisher is None:
        message = "A source without a url needs a publisher, to be found again."
        faults.append(Fault("missing", message, f"{pointer}/publisher"))
    return faults


def corrected(left: Stated, given: CorrectedFields) -> NewPosition:
    """Return the statement of `left` as the correction says it should have been."""
    row = left.row
    changed = given.model_fields_set
    fields = {
        "country": row.country_code,
        "kind": row.kind,
        "refuses": row.refuses,
        "component": row.component if row.kind is Kind.SUPPORT else None,
        "relates_to": [{"seq": each.target_seq, "relation": each.relation} for each in left.relations],
        "quantity": {name: getattr(row, f"quantity_{name}") for name in NewQuantity.model_fields},
        "source_id": row.source_id,
    }
    for name in CorrectedFields.model_fields:
        if name not in fields and name != "source":
            fields[name] = getattr(row, name)
    if "kind" in changed and given.kind is not row.kind:
        fields |= {"component": None, "refuses": None}
    # With no authority to derive it from, a voice that was given stays.
    if "authority" in changed or ("country" in changed and row.authority is not None):
        fields["voice"] = None
    if {"source", "source_id"} & changed:
        fields["source_id"] = None
    kept = fields["quantity"]
    fields |= {name: getattr(given, name) for name in changed}
    if given.quantity is not None:
        fields["quantity"] = kept | given.quantity.model_dump(exclude_unset=True)
    missing = [
        Fault("missing", "This cannot be emptied.", f"/statement/{name}")
        for name in ("country", "kind", "firmness", "stated_on", "summary")
        if fields[name] is None
    ]
    if missing:
        raise invalid(missing)
    return NewPosition.model_validate(fields)


def _corrected_source(taken: Intake, left: Stated, given: NewSource) -> Source | Values | NewSource:
    """Return the source that a correction means, or the new record that it asks for.

    A `url` that the record knows means that source, another one means a new source; without a
    `url` it is the statement's own. What else is given and differs makes a new record, which
    later look-ups then find.
    """
    base = taken.source_numbered(left.row.source_id) if given.url is None else taken.source(given)
    if base is None:
        return given
    kept = {name: getattr(base, name) for name in NewSource.model_fields}
    wanted = kept | {name: getattr(given, name) for name in given.model_fields_set}
    if given.url is not None:
        wanted["url"] = base.url
    return base if wanted == kept else NewSource.model_validate(wanted)


def draft_of(
    taken: Intake,
    recorded_at: datetime,
    writer: Writer,
    new: NewPosition,
    left: Stated | None = None,
) -> Draft:
    """Return the statement that `new` makes, checked against the record; make its source if need be.

    `left` is the statement that it corrects. Raises `Invalid` naming every fault at once.
    """
    faults: list[Fault] = []
    country = _country(taken, new, faults)
    component, refuses = _scope(new, faults)
    _check_firmness(new, faults)
    _check_marks(new, faults)
    voice = _voice(country, new, faults)
    edtf = parse_edtf(new.stated_on)
    today = recorded_at.date()
    keeps_day = left is not None and left.row.stated_on == new.stated_on
    if not keeps_day and edtf.earliest_on is not None and edtf.earliest_on > today + GRACE:
        message = "Nothing is stated in the future; give the day on which it was said."
        faults.append(Fault("in_the_future", message, "/stated_on"))
    source = _source(taken, new, left, faults)
    relations = _relations(taken, new, left, country, voice, faults)
    if faults:
        raise _invalid(faults, left)
    # Each of these is missing only together with a fault.
    assert country is not None
    assert voice is not None
    assert source is not None
    if isinstance(source, NewSource):
        source = taken.add_source(source, recorded_at, writer)
    quantity = new.quantity or _NO_QUANTITY
    statement = Values(
        seq=taken.head.seq + 1,
        country_code=country.code,
        kind=new.kind,
        component=component,
        refuses=refuses,
        firmness=new.firmness,
        stated_on=edtf.text,
        stated_earliest_on=edtf.earliest_on,
        stated_latest_on=edtf.latest_on,
        effective_on=left.row.effective_on if left and keeps_day else min(edtf.latest_on, today),
        summary=new.summary,
        speaker=new.speaker,
        speaker_role=new.speaker_role,
        authority=new.authority,
        voice=voice,
        attribution=new.attribution,
        quote=new.quote,
        quote_language=new.quote_language,
        conditions=[each.model_dump(mode="json") for each in new.conditions or ()],
        caveats=[each.model_dump(mode="json") for each in new.caveats or ()],
        location=new.location,
        quantity_min=quantity.min,
        quantity_max=quantity.max,
        quantity_unit=quantity.unit,
        quantity_verbatim=quantity.verbatim,
        credibility=6 if new.credibility is None else new.credibility,
        locator=new.locator,
        notes=new.notes,
        source_id=source.id,
        search_text=search_text_of(new.summary, new.quote, new.speaker),
    )
    draft = Draft(statement, source, relations, components_of(statement))
    if new.kind is Kind.REFUSAL and new.refuses is None:
        _refuse_to_end_offers(taken, draft, left)
    return draft


def _invalid(faults: list[Fault], left: Stated | None) -> Invalid:
    """Build the 422, pointing into the body that was sent: a correction's statement lies deeper."""
    prefix = "" if left is None else "/statement"
    return invalid([replace(fault, pointer=f"{prefix}{fault.pointer}") for fault in faults])


def _country(taken: Intake, new: NewPosition, faults: list[Fault]) -> CountryFacts | None:
    country = taken.country(new.country)
    if country is None:
        message = "No such country; use an ISO 3166-1 code such as PL or POL, or XK, UK, EL."
        faults.append(Fault("unknown_country", message, "/country"))
    return country


def _scope(new: NewPosition, faults: list[Fault]) -> tuple[Component | None, list[str] | None]:
    """Return the component offered and the components refused: one of the two is None."""
    if new.kind is Kind.REFUSAL:
        if new.component is not None:
            message = "A refusal names what it refuses in `refuses`; leave `component` out."
            faults.append(Fault("not_for_refusal", message, "/component"))
        refuses = FORCE if new.refuses is None else new.refuses
        return None, [each.value for each in Component if each in refuses]
    if new.refuses is not None:
        message = "Only a statement of kind refusal refuses; leave this out."
        faults.append(Fault("only_for_refusal", message, "/refuses"))
    if new.kind is Kind.SUPPORT:
        if new.component not in SUPPORT:
            message = f"Name the type of support: {', '.join(SUPPORT)}."
            faults.append(Fault("missing" if new.component is None else "enum", message, "/component"))
        return new.component, None
    if new.component is not None and new.component != Component(new.kind):
        message = f"A statement of kind {new.kind} concerns the component {new.kind}; leave this out."
        faults.append(Fault("contradicts_kind", message, "/component"))
    return Component(new.kind), None


def _check_firmness(new: NewPosition, faults: list[Fault]) -> None:
    rungs = (*(REFUSALS if new.kind is Kind.REFUSAL else OFFERS), Firmness.WITHDRAWN)
    if new.firmness not in rungs:
        message = f"For kind {new.kind} this is one of {', '.join(rungs)}."
        faults.append(Fault("wrong_ladder", message, "/firmness"))


def _check_marks(new: NewPosition, faults: list[Fault]) -> None:
    """Check conditions, caveats and quantity against themselves."""
    every: dict[str, Sequence[NewCondition | NewCaveat]] = {
        "conditions": new.conditions or (),
        "caveats": new.caveats or (),
    }
    for name, marks in every.items():
        for number, mark in enumerate(marks):
            if mark.type == "other" and mark.text is None:
                pointer = f"/{name}/{number}/text"
                faults.append(Fault("missing", "Say what, where the type is `other`.", pointer))
    low, high = (new.quantity.min, new.quantity.max) if new.quantity else (None, None)
    if low is not None and high is not None and low > high:
        faults.append(Fault("reversed_range", "The larger number belongs in `max`.", "/quantity/max"))


def _voice(country: CountryFacts | None, new: NewPosition, faults: list[Fault]) -> Voice | None:
    if new.voice is not None:
        return new.voice
    if new.authority is None:
        message = "Say who spoke (`authority`), or for whom (`voice`)."
        faults.append(Fault("missing", message, "/authority"))
        return None
    president = country is not None and country.executive_president
    return voice_of(new.authority, executive_president=president)


def _source(
    taken: Intake, new: NewPosition, left: Stated | None, faults: list[Fault]
) -> Source | Values | NewSource | None:
    if new.source is not None and new.source_id is not None:
        faults.append(Fault("ambiguous", "Give `source` or `source_id`, not both.", "/source_id"))
        return None
    if new.source_id is not None:
        source = taken.source_numbered(new.source_id)
        if source is None:
            message = "No such source; /v1/sources lists them all."
            faults.append(Fault("unknown_source", message, "/source_id"))
        return source
    if new.source is None:
        message = "Every statement needs a source: give `source` or `source_id`."
        faults.append(Fault("missing", message, "/source"))
        return None
    if left is None:
        found: Source | Values | NewSource = taken.source(new.source) or new.source
    else:
        found = _corrected_source(taken, left, new.source)
    if isinstance(found, NewSource):
        faults += source_faults(found, "/source")
    return found


def _relations(
    taken: Intake,
    new: NewPosition,
    left: Stated | None,
    country: CountryFacts | None,
    voice: Voice | None,
    faults: list[Fault],
) -> tuple[Values, ...]:
    """Return the marked relations, each target followed to the first entry of its chain."""
    found: dict[tuple[int, Relation], Values] = {}
    if not new.relates_to:
        return ()
    taken.insert()
    session, head = taken.session, taken.head
    for number, given in enumerate(new.relates_to):
        pointer = f"/relates_to/{number}/seq"
        named = stated_by(session, head.seq, None, col(Statement.seq) == given.seq)
        chain = named[0].chain if named else None
        if chain is None:
            faults.append(Fault("unknown_entry", "No entry of that number holds a statement.", pointer))
            continue
        family = stated_by(session, head.seq, None, col(Change.chain) == chain)
        target = next((each for each in family if each.is_live(head.seq)), family[-1])
        if given.relation is Relation.REPEATS:
            if (country and country.code, voice) != (target.row.country_code, target.voice):
                message = "Only a statement of the same country and voice can be repeated."
                faults.append(Fault("not_repeatable", message, pointer))
            elif left is not None and _leads_to(session, head, chain, left.chain):
                message = "That statement repeats this one; mark one of the two only."
                faults.append(Fault("circular", message, pointer))
        found[given.seq, given.relation] = Values(
            seq=head.seq + 1, target_seq=given.seq, relation=given.relation, target_chain=chain
        )
    return tuple(found.values())


def _leads_to(session: Session, head: Head, chain: int, goal: int) -> bool:
    """Tell whether marked repeats lead from the statement of `chain` to that of `goal`."""
    if chain == goal:
        return True
    family = stated_by(session, head.seq, None, col(Change.chain) == chain)
    return any(
        relation.relation is Relation.REPEATS and _leads_to(session, head, relation.target_chain, goal)
        for stated in family
        if stated.is_live(head.seq)
        for relation in stated.relations
    )


def _refuse_to_end_offers(taken: Intake, draft: Draft, left: Stated | None) -> None:
    """Refuse a refusal that does not say what it refuses and would end a standing offer.

    An offer stands if it is the position, or the same voice's word, on the day from which the
    refusal counts (DESIGN.md 5, POST body).
    """
    taken.insert()
    session, head = taken.session, taken.head
    statement, day = draft.statement, draft.statement.effective_on
    keys = [(statement.country_code, component) for component in draft.components]
    standing = entries(session, (head.seq, head.seq), Lines(keys=keys), until=day)
    standing = [each for each in standing if left is None or each.seq != left.seq]
    chain = left.chain if left else statement.seq
    entering = heard_in(statement, draft.components, chain, draft.relations)
    relations = relations_of(session, standing, head.seq, draft.relations)
    now = Marks(relations.with_live(chain, ()), head.seq)
    then = Marks(relations.with_live(chain, entering[:1]), head.seq + 1)
    ended = []
    for component, new in zip(draft.components, entering, strict=True):
        line = sorted((each for each in standing if each.key == new.key), key=by_place)
        offered = line_state(line, now).offers(statement.voice)
        if offered - line_state(sorted([*line, new], key=by_place), then).offers(statement.voice):
            ended.append(component)
    if ended:
        listed = ", ".join(f'"{component}"' for component in draft.components)
        message = (
            f"This would end the standing offer in {', '.join(ended)}. If the refusal is meant to reach"
            f' that far, say so: "refuses": [{listed}]; else list what it refuses.'
        )
        raise _invalid([Fault("ends_an_offer", message, "/refuses")], left)


def refuse_duplicate(taken: Intake, draft: Draft) -> None:
    """Raise `Duplicate`, with a link to the first, if the same statement is live in the record."""
    first = taken.same_as(draft)
    if first is not None:
        raise Duplicate(first)
