"""Makes a long record, the same for the same size: what measurements are taken on.

    python -m tests.bench.history sqlite:///var/long.db 100000

Every entry goes in by the ledger's own way, so `coalition verify` holds for it. Nothing is read
back and only what is recent is remembered: a million entries need no more memory than a thousand.
"""

import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from random import Random

import sqlalchemy as sa
from sqlmodel import col

from app.appending import Appending, Draft, Values
from app.changes import Head, head_of
from app.countries import Country
from app.dates import parse_edtf
from app.db import Database
from app.deriving import derive_report_counts, derive_standings
from app.fields import canonical_url
from app.settings import Settings
from app.statements import search_text_of
from app.vocabulary import (
    FORCE,
    OFFERS,
    REFUSALS,
    SUPPORT,
    Action,
    Attribution,
    Authority,
    CaveatType,
    Component,
    ConditionType,
    Firmness,
    Kind,
    Location,
    Relation,
    Reliability,
    Voice,
)

SPEAKING = 195
"""How many countries say something; the first of them much more often than the last."""
BEGUN = datetime(2025, 2, 17, 9, tzinfo=UTC)
ENDED = datetime(2026, 10, 31, 18, tzinfo=UTC)
PER_SOURCE = 12
REMEMBERED = 24
AT_ONCE = 5_000
LEADERS = ("Anna", "Boris", "Chiara", "Dana", "Emil", "Freja", "Goran", "Hanna")
VOICES = (
    (Voice.GOVERNMENT, Authority.HEAD_OF_GOVERNMENT, 40),
    (Voice.GOVERNMENT, Authority.DEFENCE_MINISTER, 20),
    (Voice.GOVERNMENT, Authority.FOREIGN_MINISTER, 12),
    (Voice.HEAD_OF_STATE, Authority.HEAD_OF_STATE, 10),
    (Voice.REPORT, Authority.MEDIA, 12),
    (Voice.REPORT, Authority.UNNAMED_OFFICIAL, 6),
)
OFFERED = (Kind.TROOPS, Kind.AIR, Kind.SEA, Kind.SUPPORT)


@dataclass(frozen=True, slots=True)
class Said:
    """An entry that may still be corrected, retracted or repeated."""

    seq: int
    chain: int
    draft: Draft


@dataclass(slots=True)
class History:
    """What the next entry depends on."""

    random: Random
    countries: list[str]
    span: timedelta
    recorded_at: datetime
    source_id: int
    source: Values | None = None
    recent: dict[str, deque[Said]] = field(default_factory=dict)
    weights: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = list(accumulate(1 / (rank + 10) for rank in range(len(self.countries))))

    def next_entries(self, entering: Appending, count: int) -> None:
        """Add `count` entries."""
        for _ in range(count):
            self.recorded_at += self.span
            (country,) = self.random.choices(self.countries, cum_weights=self.weights)
            said = self.recent.setdefault(country, deque(maxlen=REMEMBERED))
            chance = self.random.random()
            if said and chance < 0.05:
                self._correct(entering, said)
            elif said and chance < 0.07:
                left = said.popleft()
                self._append(entering, Action.RETRACT, None, "It was never said.", left)
            else:
                draft = self._draft(entering, country, said)
                head = self._append(entering, Action.STATE, draft)
                said.append(Said(head.seq, head.seq, draft))

    def _correct(self, entering: Appending, said: deque[Said]) -> None:
        left = said.pop()
        old = left.draft
        fields = dict(vars(old.statement))
        fields["summary"] = f"{fields['summary']} (As printed.)"
        fields["search_text"] = search_text_of(fields["summary"], fields["quote"], fields["speaker"])
        relations = tuple(Values(**vars(each)) for each in old.relations)
        draft = Draft(Values(**fields), old.source, relations, old.components)
        head = self._append(entering, Action.CORRECT, draft, "A slip of ours.", left)
        said.append(Said(head.seq, left.chain, draft))

    def _append(
        self,
        entering: Appending,
        action: Action,
        draft: Draft | None,
        reason: str | None = None,
        left: Said | None = None,
    ) -> Head:
        change = Values(
            seq=0,
            action=action,
            recorded_at=self.recorded_at,
            recorded_by_id="history",
            recorded_by_name="A long history",
            reason=reason,
            replaces=left.seq if left else None,
            chain=left.chain if left else 0,
            digest="",
        )
        return entering.append(change, draft)

    def _draft(self, entering: Appending, country: str, said: deque[Said]) -> Draft:
        random, today = self.random, self.recorded_at.date()
        source = self._source(entering, today)
        ((voice, authority, _),) = random.choices(VOICES, weights=[weight for *_, weight in VOICES])
        kind, component, refuses, firmness = self._content()
        edtf = parse_edtf(self._stated_on(today))
        speaker = f"{random.choice(LEADERS)} {country.title()}"
        verb = "will not take part" if kind is Kind.REFUSAL else f"offers {component}"
        summary = f"{speaker} says that the country {verb}: {firmness}."
        quote = (
            f"“We have said it before, and on {edtf.text} we say it again.”"
            if random.random() < 0.4
            else None
        )
        has_number = kind is Kind.TROOPS and random.random() < 0.3
        statement = Values(
            seq=0,
            country_code=country,
            kind=kind,
            component=component,
            refuses=refuses,
            firmness=firmness,
            stated_on=edtf.text,
            stated_earliest_on=edtf.earliest_on,
            stated_latest_on=edtf.latest_on,
            effective_on=min(edtf.latest_on, today),
            summary=summary,
            speaker=speaker,
            speaker_role="prime minister" if authority is Authority.HEAD_OF_GOVERNMENT else None,
            authority=authority,
            voice=voice,
            attribution=random.choice((Attribution.PARAPHRASE, Attribution.OFFICIAL_TEXT))
            if quote is None
            else Attribution.DIRECT_QUOTE,
            quote=quote,
            quote_language=None if quote is None else "en",
            conditions=self._marks(ConditionType, 0.35),
            caveats=self._marks(CaveatType, 0.2),
            location=random.choice((None, None, *Location)),
            quantity_min=500 if has_number else None,
            quantity_max=random.choice((1000, 2000)) if has_number else None,
            quantity_unit="soldiers" if has_number else None,
            quantity_verbatim=None,
            credibility=random.choice((6, 6, 2, 3)),
            locator=None,
            notes=None,
            source_id=source.id,
            search_text=search_text_of(summary, quote, speaker),
        )
        components = (component,) if component else tuple(Component(each) for each in refuses or ())
        return Draft(statement, source, tuple(self._relations(said, voice)), components)

    def _content(self) -> tuple[Kind, Component | None, list[str] | None, Firmness]:
        random = self.random
        if random.random() < 0.22:
            refused = random.choice((FORCE, (Component.TROOPS,), (Component.TROOPS, Component.AIR)))
            return Kind.REFUSAL, None, list(refused), random.choice((*REFUSALS, Firmness.WITHDRAWN))
        (kind,) = random.choices(OFFERED, weights=(5, 2, 2, 3))
        component = random.choice(SUPPORT) if kind is Kind.SUPPORT else Component(kind)
        (firmness,) = random.choices((*OFFERS, Firmness.WITHDRAWN), weights=(20, 25, 20, 15, 8, 6, 6))
        return kind, component, None, firmness

    def _stated_on(self, today: date) -> str:
        days = self.random.choice((0, 0, 0, 1, 1, 2, 3, 9, 60, 200))
        day = today - timedelta(days)
        chance = self.random.random()
        if chance < 0.08:
            return f"{day:%Y-%m}"
        if chance < 0.12:
            return f"{day - timedelta(2)}/{day}"
        return f"../{day}" if chance < 0.13 else day.isoformat()

    def _marks(
        self, types: type[ConditionType] | type[CaveatType], share: float
    ) -> list[dict[str, str | None]]:
        if self.random.random() >= share:
            return []
        chosen = sorted(self.random.sample(list(types), self.random.choice((1, 1, 2))))
        return [{"type": each, "text": "After the vote." if each == "other" else None} for each in chosen]

    def _relations(self, said: deque[Said], voice: Voice) -> Iterator[Values]:
        chance = self.random.random()
        if not said or chance > 0.09:
            return
        target = said[-1]
        relation = Relation.CLARIFIES if chance > 0.06 else Relation.REPEATS
        if relation is Relation.CLARIFIES or target.draft.statement.voice is voice:
            yield Values(seq=0, target_seq=target.seq, relation=relation, target_chain=target.chain)

    def _source(self, entering: Appending, today: date) -> Values:
        if self.source is None or self.random.random() < 1 / PER_SOURCE:
            self.source_id += 1
            url = f"https://news.example/{today:%Y/%m}/{self.source_id}"
            self.source = Values(
                id=self.source_id,
                url=url,
                canonical_url=canonical_url(url),
                title=f"Report number {self.source_id} on the force",
                publisher=f"Gazette {self.source_id % 40}",
                published_on=today.isoformat(),
                reliability=self.random.choice(list(Reliability)),
                notes=None,
                recorded_at=self.recorded_at,
                recorded_by_id="history",
                recorded_by_name="A long history",
                known_from_seq=entering.head.seq + 1,
            )
            entering.add_source(self.source)
        return self.source


def make_history(database: Database, size: int, *, seed: int = 1) -> Head:
    """Add `size` entries to a migrated database whose record is empty; return the head."""
    with database.reading() as session:
        countries = list(session.scalars(sa.select(col(Country.code)).order_by(col(Country.code))))
    random = Random(seed)
    random.shuffle(countries)
    history = History(random, countries[:SPEAKING], (ENDED - BEGUN) / size, BEGUN, 0)
    done = 0
    head = None
    while head is None or done < size:
        count = min(AT_ONCE, size - done)
        with database.writing() as session:
            entering = Appending(session, head or head_of(session))
            history.next_entries(entering, count)
            entering.insert()
        head, done = entering.head, done + count
    with database.writing() as session:
        derive_standings(session, head.seq)
        derive_report_counts(session)
    return head


def main(url: str, size: str) -> None:
    """Make a record of `size` entries at `url`."""
    database = Database(Settings(database_url=url, _env_file=None))
    database.migrate()
    begun = time.perf_counter()
    head = make_history(database, int(size))
    database.close()
    print(f"{head.seq} entries in {time.perf_counter() - begun:.1f} s; digest {head.digest}")


if __name__ == "__main__":
    main(*sys.argv[1:])
