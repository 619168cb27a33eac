"""What servers that answer with flat rows are asked: the best SQL that we could find over the same file.

It gives what each line holds, with all that the statement in force says. Of the other sides of what is
contested it tells only the numbers.
"""

from typing import Any

from tests.bench.questions import COMPONENTS, DIFF, FEED, ONE_COUNTRY, SNAPSHOT, Items, Question

STATEMENT = """s.seq, s.country_code AS country, l.component, s.kind, s.firmness, s.voice, s.conditions,
s.caveats, s.location, s.quantity_min, s.quantity_max, s.quantity_unit, s.quantity_verbatim, s.summary,
s.speaker, s.quote, s.stated_on, s.effective_on, o.id AS source_id, o.title, o.publisher, o.url,
o.published_on"""
END = (
    *("seq", "kind", "firmness", "voice", "conditions", "caveats", "location", "summary", "speaker"),
    *("quote", "stated_on", "effective_on"),
)


def _on(day: str) -> str:
    """Return the condition that a standing is what its line answers on a day: one seek in the key.

    Joined with CROSS JOIN, by which SQLite keeps the order: lines first.
    """
    return f"""d.line_id = l.id AND (d.holds_from, d.seq + 0) = (
  SELECT t.holds_from, t.seq FROM standing t
  WHERE t.line_id = l.id AND t.holds_from <= {day} AND t.left_seq IS NULL
  ORDER BY t.holds_from DESC, t.seq DESC LIMIT 1)"""


def _held(where: str) -> str:
    return f"""SELECT {STATEMENT}, c.name AS country_name,
d.since, d.last_affirmed_on, d.affirmations, d.sides,
coalesce((SELECT r.reports FROM report_count r WHERE r.line_id = l.id AND r.day <= :day
 ORDER BY r.day DESC LIMIT 1), 0) AS reports
FROM line l
CROSS JOIN standing d ON {_on(":day")}
JOIN country c ON c.code = l.country_code
JOIN statement s ON s.seq = d.shown_seq
JOIN source o ON o.id = s.source_id
WHERE {where}
ORDER BY l.country_code, l.component"""


def _end(name: str, day: str) -> str:
    shown = ", ".join(f"s.{each}" for each in END)
    return f"""{name} AS (
SELECT l.id, d.content AS held, {shown}, o.title, o.url
FROM touched l
CROSS JOIN standing d ON {_on(day)}
JOIN statement s ON s.seq = d.shown_seq
JOIN source o ON o.id = s.source_id)"""


_DIFFERENT = f"""WITH touched AS MATERIALIZED (
SELECT DISTINCT l.id, l.country_code, l.component FROM standing t JOIN line l ON l.id = t.line_id
WHERE t.holds_from > :first AND t.holds_from <= :last AND t.left_seq IS NULL),
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
LEFT JOIN b ON b.id = touched.id
LEFT JOIN a ON a.id = touched.id
WHERE a.held IS NOT b.held
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

ASKED: dict[Question, tuple[str, str]] = {
    ONE_COUNTRY: ("one_country", _held("l.country_code = :country")),
    SNAPSHOT: ("snapshot", _held(f"l.component IN {COMPONENTS}")),
    DIFF: ("difference", _DIFFERENT),
    FEED: ("feed", _LEDGER),
}
"""By question: the name that its query goes by, and the query; others cannot be asked of them."""


def items(question: Question, answer: Any) -> Items:
    """Return of an answer's rows what our answer is compared by."""
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
