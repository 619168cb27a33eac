"""Datasette beside our server, on a copy of the same file, asked by the best SQL that we could find.

It is made once, in an environment of its own. What it is asked gives the statement in force in each
line: who holds what, with all that the statement says. It does not tell since when a position is
held, how often it was affirmed, who contests it, and how many reports stand beside it.
"""

import json
import shutil
import sqlite3
import subprocess
import venv
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from tests.bench.questions import COMPONENTS, DIFF, FEED, ONE_COUNTRY, SNAPSHOT, Items, Parameters, Question
from tests.bench.records import copy_file
from tests.bench.serving import Server, say, started

NAME = "record"
RELEASE = "datasette<1"
"""What is installed: the newest whose queries can be named in its metadata."""

LIMITS = {"sql_time_limit_ms": 60_000, "max_returned_rows": 10_000}
STATEMENT = """s.seq, s.country_code AS country, l.component, s.kind, s.firmness, s.voice, s.conditions,
s.caveats, s.location, s.quantity_min, s.quantity_max, s.quantity_unit, s.quantity_verbatim, s.summary,
s.speaker, s.quote, s.stated_on, s.effective_on, o.id AS source_id, o.title, o.publisher, o.url,
o.published_on"""
END = (
    *("seq", "kind", "firmness", "voice", "conditions", "caveats", "location", "summary", "speaker"),
    *("quote", "stated_on", "effective_on"),
)


def _sets_nothing(entry: str) -> str:
    """Return the condition that an entry repeats another of its country and voice."""
    return f"""({entry}.is_related AND EXISTS (
  SELECT 1 FROM statement_relation r
  JOIN line_entry t ON t.chain = r.target_chain AND t.left_seq IS NULL
  JOIN line k ON k.id = t.line_id AND k.country_code = l.country_code AND k.voice = l.voice
  WHERE r.seq = {entry}.seq AND r.relation = 'repeats'))"""


def _word(day: str) -> str:
    """Return a query for the seq of a line's word on a day; it gives none where that is taken back.

    One seek in the index of places for the word, and one for what may have taken it back.
    """
    return f"""(SELECT w.seq FROM line_entry w WHERE w.line_id = l.id AND w.seq = (
  SELECT e.seq FROM line_entry e
  WHERE e.line_id = l.id AND e.left_seq IS NULL AND e.effective_on <= {day}
    AND NOT e.is_withdrawal AND NOT {_sets_nothing("e")}
  ORDER BY e.effective_on DESC, e.is_withdrawal DESC, e.chain DESC LIMIT 1)
 AND NOT EXISTS (
  SELECT 1 FROM line_entry x
  WHERE x.line_id = l.id AND x.left_seq IS NULL AND x.is_withdrawal
    AND x.effective_on BETWEEN w.effective_on AND {day}
    AND (x.stance LIKE 'refusal%') = (w.stance LIKE 'refusal%') AND NOT {_sets_nothing("x")}))"""


def _leads(day: str) -> str:
    """Return the condition that a line's voice is the one that sets the position on a day."""
    return f"""(l.voice = 'government' OR l.voice = 'head_of_state' AND NOT EXISTS (
  SELECT 1 FROM line g JOIN line_entry h ON h.line_id = g.id
  WHERE g.country_code = l.country_code AND g.component = l.component AND g.voice = 'government'
    AND h.left_seq IS NULL AND h.effective_on <= {day}))"""


def _held(where: str) -> str:
    return f"""SELECT {STATEMENT}, c.name AS country_name
FROM line l
JOIN country c ON c.code = l.country_code
JOIN statement s ON s.seq = {_word(":day")}
JOIN source o ON o.id = s.source_id
WHERE {where} AND {_leads(":day")}
ORDER BY l.country_code, l.component"""


def _end(name: str, day: str) -> str:
    shown = ", ".join(f"s.{each}" for each in END)
    return f"""{name} AS (
SELECT l.country_code, l.component, e.meaning, {shown}, o.title, o.url
FROM touched
JOIN line l ON l.country_code = touched.country_code AND l.component = touched.component
JOIN statement s ON s.seq = {_word(day)}
JOIN line_entry e ON e.line_id = l.id AND e.seq = s.seq
JOIN source o ON o.id = s.source_id
WHERE {_leads(day)})"""


_DIFFERENT = f"""WITH touched AS MATERIALIZED (
SELECT DISTINCT l.country_code, l.component FROM line_entry e JOIN line l ON l.id = e.line_id
WHERE e.effective_on > :first AND e.effective_on <= :last AND l.voice <> 'report'),
{_end("b", ":first")}, {_end("a", ":last")}
SELECT touched.country_code AS country, touched.component,
{
    ", ".join(
        f"{end}.{each} AS {name}_{each}"
        for end, name in (("b", "before"), ("a", "after"))
        for each in (*END, "title", "url")
    )
}
FROM touched
LEFT JOIN b ON b.country_code = touched.country_code AND b.component = touched.component
LEFT JOIN a ON a.country_code = touched.country_code AND a.component = touched.component
WHERE a.meaning IS NOT b.meaning OR a.voice IS NOT b.voice
ORDER BY 1, 2"""

# The last of columns of the same name is shown: `seq` is the entry's, also where there is no statement.
_LEDGER = """SELECT s.*, c.*, later.seq AS replaced_by, o.title, o.publisher, o.url, o.published_on,
(SELECT json_group_array(json_array(r.relation, r.target_seq)) FROM statement_relation r WHERE r.seq = c.seq)
 AS relates_to
FROM change c
LEFT JOIN change later ON later.replaces = c.seq
LEFT JOIN statement s ON s.seq = c.seq
LEFT JOIN source o ON o.id = s.source_id
WHERE c.seq > :after ORDER BY c.seq LIMIT :limit"""

ASKED = {
    ONE_COUNTRY: ("one_country", _held("l.country_code = :country")),
    SNAPSHOT: ("snapshot", _held(f"l.component IN {COMPONENTS}")),
    DIFF: ("difference", _DIFFERENT),
    FEED: ("feed", _LEDGER),
}
"""By question: the name that its query goes by, and the query."""


def path(question: Question, given: Parameters) -> str | None:
    """Return where Datasette is asked the same; None for what cannot be asked of it."""
    if question not in ASKED:
        return None
    query, _ = ASKED[question]
    return f"/{NAME}/{query}.json?{urlencode(given | {'_shape': 'array'})}"


def items(question: Question, answer: Any) -> Items:
    """Return of Datasette's rows what our answer is compared by."""
    if question is FEED:
        return [each["seq"] for each in answer]
    if question is DIFF:
        return [
            [each["country"], each["component"], *(_at_end(each, end) for end in ("before", "after"))]
            for each in answer
        ]
    return [[each[name] for name in ("country", "component", "voice", "kind", "firmness")] for each in answer]


def _at_end(row: Any, end: str) -> list[str] | None:
    found = [row[f"{end}_{name}"] for name in ("voice", "kind", "firmness")]
    return None if found[0] is None else found


def installed(folder: Path) -> Path | None:
    """Return Datasette, installed from the package index the first time; None where that cannot be."""
    home = folder / "datasette"
    program = home / "bin" / "datasette"
    if not program.exists():
        say("installing Datasette, once ...")
        venv.EnvBuilder(clear=True, symlinks=True, with_pip=True).create(home)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--no-input", RELEASE]
        done = subprocess.run(pip, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            say(f"Datasette cannot be installed; going on without it:\n{done.stderr[-1000:]}")
            shutil.rmtree(home, ignore_errors=True)
            return None
    return program


@contextmanager
def datasette(program: Path, url: str, scratch: Path) -> Iterator[Server]:
    """Serve a copy of a record, which nobody writes to, while the context lasts."""
    copy = scratch / f"{NAME}.db"
    copy_file(Path(sa.make_url(url).database or ""), copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        # No ANALYZE: with its statistics the query for differences takes three times as long.
    queries = {name: {"sql": query} for name, query in ASKED.values()}
    told = scratch / "metadata.json"
    told.write_text(json.dumps({"databases": {NAME: {"queries": queries}}}))
    command = [str(program), "serve", "--immutable", str(copy), "--metadata", str(told), "--port", "{port}"]
    for name, value in LIMITS.items():
        command += ["--setting", name, str(value)]
    with started("datasette", command, scratch) as server:
        yield server
