"""Keep the JSON of each entry whole, but for what later entries decide, instead of its statement's in pieces.

It is put together from those pieces, and positions and counts are filled where a migration before this one
has made their tables; where no standings are there yet, everything is derived from the ledger.
"""

from itertools import pairwise

import sqlalchemy as sa
from alembic import op
from sqlmodel import Session

from app.deriving import derive_everything, derive_positions, derive_report_counts

revision = "0009"
down_revision = "0008"

NUMBER = """
UPDATE standing SET position_id = held.number FROM (
    SELECT line_id, holds_from, seq, row_number() OVER (ORDER BY line_id, holds_from, seq) AS number
    FROM standing WHERE shown_seq IS NOT NULL
) AS held
WHERE standing.line_id = held.line_id AND standing.holds_from = held.holds_from AND standing.seq = held.seq
"""
PIECES = ("words", "content", "dates", "rest", "source")
INSTANT = {
    "sqlite": "replace(c.recorded_at, ' ', 'T')",
    "postgresql": "to_char(timezone('UTC', c.recorded_at), 'YYYY-MM-DD\"T\"HH24:MI:SS.US')",
}
QUOTED = {"sqlite": "json_quote({0})", "postgresql": "coalesce(CAST(to_json({0}) AS text), 'null')"}
BEFORE = len(',"digest":"","statement":') + 64
"""How long the ending of an entry is ahead of its statement."""


def upgrade() -> None:
    bind = op.get_bind()
    op.create_table(
        "change_json",
        _number("seq"),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("opening", "ending")),
        *(sa.Column(f"{piece}_at", sa.Integer(), nullable=True) for piece in PIECES),
        sa.PrimaryKeyConstraint("seq", name="change_json_pkey"),
        sa.ForeignKeyConstraint(["seq"], ["change.seq"], name="change_json_seq_fkey"),
    )
    with Session(bind) as session:
        if not session.scalar(sa.text("SELECT 1 FROM standing LIMIT 1")):
            derive_everything(session)
        else:
            bind.exec_driver_sql(_fill(bind.dialect.name))
            if not session.scalar(sa.text("SELECT 1 FROM position_json LIMIT 1")):
                bind.exec_driver_sql(NUMBER)
                derive_positions(session)
                bind.exec_driver_sql("DELETE FROM report_count")
                derive_report_counts(session)
        session.flush()
    op.drop_table("statement_json")


def downgrade() -> None:
    op.create_table(
        "statement_json",
        _number("seq"),
        *(sa.Column(name, sa.Text(), nullable=False) for name in PIECES),
        sa.PrimaryKeyConstraint("seq", name="statement_json_pkey"),
        sa.ForeignKeyConstraint(["seq"], ["statement.seq"], name="statement_json_seq_fkey"),
    )
    bind = op.get_bind()
    places = [f"{piece}_at" for piece in PIECES]
    pieces = (
        f"substr(ending, {first}, {end} - {first} - 1)"
        for first, end in pairwise([*places, "length(ending)"])
    )
    bind.exec_driver_sql(
        f"INSERT INTO statement_json (seq, {', '.join(PIECES)}) SELECT j.seq, {', '.join(pieces)} "
        "FROM change_json j JOIN statement s ON s.seq = j.seq ORDER BY j.seq"
    )
    op.drop_table("change_json")


def _number(name: str) -> sa.Column[int]:
    return sa.Column(
        name, sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=False
    )


def _fill(dialect: str) -> str:
    by_id, by_name, reason = (
        QUOTED[dialect].format(f"c.{name}") for name in ("recorded_by_id", "recorded_by_name", "reason")
    )
    before = """'{"seq":' || s.seq || ',"country":"' || s.country_code || '"'"""
    pieces = "".join(f" || ',' || j.{piece}" for piece in PIECES)
    places, ahead = {}, f"{BEFORE} + length({before}) + 2"
    for piece in PIECES:
        places[f"{piece}_at"] = ahead
        ahead += f" + length(j.{piece}) + 1"
    return f"""
INSERT INTO change_json (seq, opening, ending, {", ".join(places)})
SELECT c.seq,
       '{{"seq":' || c.seq || ',"action":"' || c.action || '","recorded_at":"' || {INSTANT[dialect]}
           || 'Z","recorded_by":{{"id":' || {by_id} || ',"name":' || {by_name} || '}},"reason":' || {reason}
           || ',"replaces":' || coalesce(CAST(c.replaces AS text), 'null') || ',"replaced_by":',
       ',"digest":"' || c.digest || '","statement":' || coalesce(
           {before} {pieces} || '}}', 'null'
       ) || '}}',
       {", ".join(places.values())}
FROM change c LEFT JOIN statement s ON s.seq = c.seq LEFT JOIN statement_json j ON j.seq = c.seq
ORDER BY c.seq
"""
