"""Answers as tables and lines for a terminal: colour helps, and nothing is told by colour alone."""

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from app.changes import ChangeView
from app.diff import DiffEntry, Op
from app.paging import Meta
from app.positions import PositionView
from app.sources import SourceBrief
from app.vocabulary import OFFERS, Firmness, Kind

FIRM = OFFERS[OFFERS.index(Firmness.COMMITTED) :]
WIDE = 110
"""Characters across from which a table has room for sentences."""
NARROW = ("", "component", "since", "affirmed", "cause", "when")
"""Columns whose cells are too short to be broken."""
OPS = {
    Op.ADDED: ("+ added", "green"),
    Op.REMOVED: ("- removed", "red"),
    Op.CHANGED: ("~ changed", "yellow"),
    Op.AFFIRMED: ("= affirmed", "dim"),
}


def positions_table(positions: Iterable[PositionView], meta: Meta, width: int) -> Table:
    """Return positions as a table, a row each; the caption says what would give it again.

    Where `width` characters are too few, last affirmation, summary and source are left out.
    """
    shown = [
        (
            plain(each.country_name),
            plain(each.component),
            held(each),
            plain(each.since),
            plain(each.last_affirmed_on),
            plain(each.summary),
            _source(each.source),
        )
        for each in positions
    ]
    day = f" as of {meta.as_of}" if meta.as_of else ""
    names = ("country", "component", "position", "since", "affirmed", "what was said", "source")
    return _table(names if width >= WIDE else names[:4], shown, f"{_counted(meta, 'position')}{day}", meta)


def diff_table(entries: Iterable[DiffEntry], meta: Meta, ends: Sequence[object]) -> Table:
    """Return differences as a table, a row each; `ends` are what was compared."""
    shown = []
    for each in entries:
        word, colour = OPS[each.op]
        end = each.after or each.before
        shown.append(
            (
                Text(word, colour),
                plain(end.country_name if end else each.country),
                plain(each.component),
                held(each.before),
                held(each.after),
                plain(each.cause),
                plain(", ".join(map(str, each.seqs))),
                plain(each.on or each.seq),
            )
        )
    names = ("", "country", "component", "before", "after", "cause", "entries", "when")
    is_stepwise = any(row[-1].plain for row in shown)
    caption = f"{_counted(meta, 'difference')} between {ends[0]} and {ends[1]}"
    return _table(names if is_stepwise else names[:-1], shown, caption, meta)


def change_line(change: ChangeView) -> Text:
    """Return an entry of the ledger in one line."""
    said = change.statement
    parts = [
        Text(f"{change.seq:>5}", "bold"),
        Text(f"{change.recorded_at:%Y-%m-%d %H:%M:%S}Z", "dim"),
        Text(change.action, {"state": "green", "correct": "yellow", "retract": "red"}[change.action]),
    ]
    if said is not None:
        about = said.component or ", ".join(said.refuses or ())
        kind = f"refusal of {about}" if said.kind is Kind.REFUSAL else about
        parts += [
            Text(said.country, "bold"),
            Text(f"{kind}: {said.firmness}", _colour(said.kind, said.firmness)),
        ]
    if change.replaces is not None:
        parts.append(plain(f"(entry {change.replaces}: {change.reason})"))
    if said is not None:
        parts += [plain(said.summary), _source(said.source)]
    return Text("  ").join(parts)


def held(position: PositionView | None) -> Text:
    """Return what is held in a few words: `refusal, declared`, or `committed if ceasefire`."""
    if position is None:
        return Text("none", "dim")
    is_refusal = position.kind is Kind.REFUSAL
    text = Text(f"refusal, {position.firmness}" if is_refusal else str(position.firmness))
    text.stylize(_colour(position.kind, position.firmness))
    if position.conditions:
        text.append(f" if {', '.join(each.type for each in position.conditions)}")
    for mark in ("contested", "stale"):
        if getattr(position, mark):
            text.append(f", {mark}", "bold" if mark == "contested" else "dim")
    return text


def plain(value: object) -> Text:
    """Return a value as text that a terminal only shows: whoever wrote it, it steers nothing."""
    text = "" if value is None else str(value)
    return Text("".join(each if each.isprintable() else " " for each in text))


def _colour(kind: Kind, firmness: Firmness) -> str:
    if kind is Kind.REFUSAL:
        return "red"
    return "bold green" if firmness in FIRM else "green"


def _source(source: SourceBrief) -> Text:
    text = plain(source.publisher or source.title)
    if source.url:
        text.stylize(f"link {plain(source.url).plain.replace(' ', '%20')}")
    return text


def _table(names: Sequence[str], rows: Iterable[Sequence[Text]], caption: str, meta: Meta) -> Table:
    """Return the columns of `rows` that have a name, as a table."""
    table = Table(box=None, padding=(0, 2, 0, 0), caption_justify="left", header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=name in NARROW, overflow="fold")
    for row in rows:
        table.add_row(*row[: len(names)])
    table.caption = Text(f"{caption}, known at seq {meta.seq} (digest {meta.digest[:12]}…)")
    return table


def _counted(meta: Meta, noun: str) -> str:
    return f"{meta.total} {noun}" if meta.total == 1 else f"{meta.total} {noun}s"
