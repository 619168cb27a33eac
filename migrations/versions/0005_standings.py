"""Keep what follows from the record ready to be answered: each line's standings, each statement's JSON.

A line is of a country and a component now; whose voice it is stands with each of its entries. All
of these tables are derived. They are filled by the product's own code, as `coalition verify`
checks them: by a later migration that changes them once more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.drop_table("line_entry")
    op.drop_table("line")
    op.create_table(
        "line",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("country_code", sa.String(2), nullable=False),
        sa.Column("component", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("id", name="line_pkey"),
        sa.ForeignKeyConstraint(["country_code"], ["country.code"], name="line_country_code_fkey"),
        sa.UniqueConstraint("country_code", "component", name="line_country_code_component_key"),
    )
    _create_line_entry(sa.Column("voice", sa.String(40), nullable=False))
    op.create_table(
        "statement_json",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            autoincrement=False,
        ),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("words", "content", "dates", "rest", "source")
        ),
        sa.PrimaryKeyConstraint("seq", name="statement_json_pkey"),
        sa.ForeignKeyConstraint(["seq"], ["statement.seq"], name="statement_json_seq_fkey"),
    )
    op.create_table(
        "standing",
        sa.Column("line_id", sa.Integer(), nullable=False),
        sa.Column("holds_from", sa.Date(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("left_seq", sa.BigInteger(), nullable=True),
        sa.Column("shown_seq", sa.BigInteger(), nullable=True),
        sa.Column("since", sa.Date(), nullable=True),
        sa.Column("last_affirmed_on", sa.Date(), nullable=True),
        sa.Column("affirmations", sa.Integer(), nullable=False),
        sa.Column("sides", sa.Text(), nullable=False),
        sa.Column("content", sa.String(160), nullable=True),
        sa.Column("step", sa.String(10), nullable=True),
        sa.Column("step_seqs", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("line_id", "holds_from", "seq", name="standing_pkey"),
        sa.ForeignKeyConstraint(["line_id"], ["line.id"], name="standing_line_id_fkey"),
        sqlite_with_rowid=False,
    )
    for columns in (["seq"], ["left_seq"], ["holds_from", "left_seq"]):
        op.create_index(f"standing_{'_'.join(columns)}_idx", "standing", columns)
    op.create_index(
        "line_entry_reports_idx",
        "line_entry",
        ["line_id", "effective_on", "seq", "left_seq"],
        sqlite_where=sa.text("voice = 'report'"),
        postgresql_where=sa.text("voice = 'report'"),
    )


def downgrade() -> None:
    read = sa.text(
        "SELECT l.country_code, l.component, e.voice, e.seq, e.chain, e.left_seq, e.effective_on, "
        "e.is_withdrawal, e.starts_on, e.stance, e.meaning, e.is_related "
        "FROM line_entry e JOIN line l ON l.id = e.line_id ORDER BY e.seq"
    ).columns(
        effective_on=sa.Date(), starts_on=sa.Date(), is_withdrawal=sa.Boolean(), is_related=sa.Boolean()
    )
    rows = [dict(row) for row in op.get_bind().execute(read).mappings()]
    for table in ("standing", "statement_json", "line_entry", "line"):
        op.drop_table(table)
    line = op.create_table(
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
    entry = _create_line_entry()
    op.create_index(
        "line_entry_place_idx",
        "line_entry",
        ["line_id", "effective_on", "is_withdrawal", "chain", "seq", "left_seq"],
    )
    op.create_index("line_entry_effective_on_idx", "line_entry", ["effective_on"])
    related = sa.text("is_related")
    op.create_index(
        "line_entry_related_idx", "line_entry", ["line_id"], sqlite_where=related, postgresql_where=related
    )
    names = ("country_code", "component", "voice")
    keys = dict.fromkeys(tuple(row[name] for name in names) for row in rows)
    ids = {key: number for number, key in enumerate(keys, 1)}
    op.bulk_insert(line, [{"id": ids[key], **dict(zip(names, key, strict=True))} for key in ids])
    op.bulk_insert(
        entry,
        [
            {name: row[name] for name in row if name not in names}
            | {"line_id": ids[tuple(row[name] for name in names)]}
            for row in rows
        ],
    )


def _create_line_entry(*more: sa.Column[str]) -> sa.Table:
    table = op.create_table(
        "line_entry",
        sa.Column("line_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        *more,
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
    for column in ("seq", "chain", "left_seq"):
        op.create_index(f"line_entry_{column}_idx", "line_entry", [column])
    imprecise = sa.text("starts_on < effective_on")
    op.create_index(
        "line_entry_imprecise_idx",
        "line_entry",
        ["effective_on", "starts_on"],
        sqlite_where=imprecise,
        postgresql_where=imprecise,
    )
    return table
