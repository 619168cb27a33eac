"""Stories: lines of the record with all that is live in them, and all that they answer from day to day."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from sqlmodel import Session

from app.diff import Step, steps_of
from app.lines import Heard, LineKey, Lines, by_place, entries
from app.standings import Stand, counted, stands_of
from app.vocabulary import Voice


@dataclass(frozen=True, slots=True)
class Story:
    """Lines with all that is live in them, and all that they answer from day to day."""

    heard: dict[LineKey, list[Heard]]
    stands: dict[LineKey, list[Stand]]

    def stand(self, key: LineKey, day: date) -> Stand | None:
        """Return what a line answers on `day`."""
        before = (each for each in reversed(self.stands.get(key, [])) if each.holds_from <= day)
        stand = next(before, None)
        return stand and counted(stand, self.report_days(key), day)

    def report_days(self, key: LineKey) -> list[date]:
        """Return the day from which each report of a line counts, in order."""
        return [each.effective_on for each in self.heard.get(key, []) if each.voice == Voice.REPORT]

    def steps(self, key: LineKey, day: date) -> Iterator[Step]:
        """Yield the line's steps along valid time up to `day`."""
        return steps_of(each for each in self.stands.get(key, []) if each.holds_from <= day)

    def said(self, key: LineKey, day: date) -> list[Heard]:
        """Return what counts in a line by `day`, in order."""
        return [each for each in self.heard.get(key, []) if each.effective_on <= day]

    def reports(self, key: LineKey, day: date) -> list[int]:
        """Return the entries of the reports that stand beside the line's position on `day`, in order."""
        return [each.seq for each in self.said(key, day) if each.voice == Voice.REPORT]


def story_of(session: Session, seq: int, lines: Lines) -> Story:
    """Return some lines of the record as known at `seq`, whole."""
    heard: dict[LineKey, list[Heard]] = {}
    for each in sorted(entries(session, (seq, seq), lines), key=by_place):
        heard.setdefault(each.key, []).append(each)
    return Story(heard, stands_of(session, seq, lines))
