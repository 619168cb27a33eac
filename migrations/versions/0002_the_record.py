"""The record: sources, the ledger of changes with its statements, and the lines that they enter.

Triggers refuse UPDATE, DELETE and TRUNCATE of what was recorded, on both databases, so that not
even an administrator rewrites history by mistake. Lines and their entries are derived and free.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# Each recorded table, and which of its rows a new one would take the place of.
RECORDED = {
    "source": "id = NEW.id",
    "change": "seq = NEW.seq OR replaces = NEW.replaces",
    "statement": "seq = NEW.seq",
    "statement_relation": "seq = NEW.seq AND target_seq = NEW.target_seq AND relation = NEW.relation",
}


def upgrade() -> None:
    op.create_table(
        "source",
        sa.Column("id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("url", sa.String(2000), nullable=True),
        sa.Column("canonical_url", sa.String(2200), nullable=True),
        sa.Column("title", sa.String(500), nullable=False),
        sa.Column("publisher", sa.String(200), nullable=True),
        sa.Column("published_on", sa.String(32), nullable=True),
        sa.Column("reliability", sa.String(40), nullable=False),
        sa.Column("notes", sa.String(2000), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by_id", sa.String(40), nullable=False),
        sa.Column("recorded_by_name", sa.String(100), nullable=False),
        sa.Column("known_from_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="source_pkey"),
    )
    op.create_index("source_canonical_url_idx", "source", ["canonical_url"])
    op.create_index("source_title_idx", "source", ["title"])
    op.create_table(
        "change",
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by_id", sa.String(40), nullable=False),
        sa.Column("recorded_by_name", sa.String(100), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("replaces", sa.BigInteger(), nullable=True),
        sa.Column("chain", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="change_pkey"),
        sa.ForeignKeyConstraint(["replaces"], ["change.seq"], name="change_replaces_fkey"),
        sa.UniqueConstraint("replaces", name="change_replaces_key"),
    )
    op.create_index("change_recorded_at_idx", "change", ["recorded_at"])
    op.create_index("change_chain_idx", "change", ["chain"])
    op.create_table(
        "statement",
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("country_code", sa.String(2), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("component", sa.String(40), nullable=True),
        sa.Column("refuses", sa.Text(), nullable=True),
        sa.Column("firmness", sa.String(40), nullable=False),
        sa.Column("stated_on", sa.String(32), nullable=False),
        sa.Column("stated_earliest_on", sa.Date(), nullable=True),
        sa.Column("stated_latest_on", sa.Date(), nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("speaker", sa.Text(), nullable=True),
        sa.Column("speaker_role", sa.Text(), nullable=True),
        sa.Column("authority", sa.String(40), nullable=True),
        sa.Column("voice", sa.String(40), nullable=False),
        sa.Column("attribution", sa.String(40), nullable=True),
        sa.Column("quote", sa.Text(), nullable=True),
        sa.Column("quote_language", sa.String(35), nullable=True),
        sa.Column("conditions", sa.Text(), nullable=False),
        sa.Column("caveats", sa.Text(), nullable=False),
        sa.Column("location", sa.String(40), nullable=True),
        sa.Column("quantity_min", sa.BigInteger(), nullable=True),
        sa.Column("quantity_max", sa.BigInteger(), nullable=True),
        sa.Column("quantity_unit", sa.Text(), nullable=True),
        sa.Column("quantity_verbatim", sa.Text(), nullable=True),
        sa.Column("credibility", sa.Integer(), nullable=False),
        sa.Column("locator", sa.Text(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="statement_pkey"),
        sa.ForeignKeyConstraint(["seq"], ["change.seq"], name="statement_seq_fkey"),
        sa.ForeignKeyConstraint(["country_code"], ["country.code"], name="statement_country_code_fkey"),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name="statement_source_id_fkey"),
    )
    op.create_index("statement_country_code_idx", "statement", ["country_code"])
    op.create_index("statement_source_id_idx", "statement", ["source_id"])
    op.create_table(
        "statement_relation",
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("target_seq", sa.BigInteger(), nullable=False),
        sa.Column("relation", sa.String(40), nullable=False),
        sa.Column("target_chain", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", "target_seq", "relation", name="statement_relation_pkey"),
        sa.ForeignKeyConstraint(["seq"], ["statement.seq"], name="statement_relation_seq_fkey"),
        sa.ForeignKeyConstraint(["target_seq"], ["statement.seq"], name="statement_relation_target_seq_fkey"),
    )
    op.create_index("statement_relation_target_chain_idx", "statement_relation", ["target_chain"])
    op.create_table(
        "line",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("country_code", sa.String(2), nullable=False),
        sa.Column("component", sa.String(40), nullable=False),
        sa.Column("voice", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("id", name="line_pkey"),
        sa.ForeignKeyConstraint(["country_code"], ["country.code"], name="line_country_code_fkey"),
        sa.UniqueConstraint(
            "country_code", "component", "voice", name="line_country_code_component_voice_key"
        ),
    )
    op.create_table(
        "line_entry",
        sa.Column("line_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("chain", sa.BigInteger(), nullable=False),
        sa.Column("left_seq", sa.BigInteger(), nullable=True),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.Column("is_withdrawal", sa.Boolean(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("stance", sa.String(80), nullable=False),
        sa.Column("meaning", sa.String(32), nullable=False),
        sa.Column("is_related", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("line_id", "seq", name="line_entry_pkey"),
        sa.ForeignKeyConstraint(["line_id"], ["line.id"], name="line_entry_line_id_fkey"),
        sa.ForeignKeyConstraint(["seq"], ["statement.seq"], name="line_entry_seq_fkey"),
    )
    op.create_index(
        "line_entry_place_idx",
        "line_entry",
        ["line_id", "effective_on", "is_withdrawal", "chain", "seq", "left_seq"],
    )
    for column in ("seq", "chain", "left_seq", "effective_on"):
        op.create_index(f"line_entry_{column}_idx", "line_entry", [column])
    # Dates that are not exact, and what repeats or clarifies, are few.
    for name, columns, rows in (
        ("imprecise", ["effective_on", "starts_on"], sa.text("starts_on < effective_on")),
        ("related", ["line_id"], sa.text("is_related")),
    ):
        op.create_index(
            f"line_entry_{name}_idx", "line_entry", columns, sqlite_where=rows, postgresql_where=rows
        )
    if op.get_bind().dialect.name == "sqlite":
        for table, same in RECORDED.items():
            refuse = f"BEGIN SELECT RAISE(ABORT, 'the record is append-only: {table}'); END"
            for event in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_refuse_{event.lower()} BEFORE {event} ON {table} {refuse}"
                )
            # INSERT OR REPLACE deletes without asking the trigger on DELETE.
            op.execute(
                f"CREATE TRIGGER {table}_refuse_replace BEFORE INSERT ON {table} "
                f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) {refuse}"
            )
    else:
        op.execute(
            "CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$ "
            "BEGIN RAISE EXCEPTION 'the record is append-only: %', TG_TABLE_NAME; END $$"
        )
        for table in RECORDED:
            op.execute(
                f"CREATE TRIGGER {table}_refuse_rewriting BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting()"
            )


def downgrade() -> None:
    for table in ("line_entry", "line", "statement_relation", "statement", "change", "source"):
        op.drop_table(table)  # its triggers go with it
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_rewriting()")
