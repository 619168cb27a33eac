"""Keep the JSON of what each standing holds; count reports by the day instead of the month.

The next migration fills both.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

MONTH_END = {
    "sqlite": "date(effective_on, 'start of month', '+1 month')",
    "postgresql": "CAST(date_trunc('month', effective_on) + INTERVAL '1 month' AS date)",
}


def upgrade() -> None:
    op.drop_table("report_count")
    _create_report_count("day")
    op.create_table(
        "position_json",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False),
        sa.Column("last_affirmed_on", sa.Date(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("opening", "middle", "ending")),
        sa.PrimaryKeyConstraint("id", name="position_json_pkey"),
    )
    op.add_column("standing", sa.Column("position_id", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("standing", "position_id")
    op.drop_table("position_json")
    op.drop_table("report_count")
    _create_report_count("before")
    op.execute(
        "INSERT INTO report_count SELECT line_id, before, "
        "CAST(sum(sum(live)) OVER (PARTITION BY line_id ORDER BY before) AS integer) FROM ("
        f"SELECT line_id, {MONTH_END[op.get_bind().dialect.name]} AS before, "
        "CASE WHEN left_seq IS NULL THEN 1 ELSE 0 END AS live FROM line_entry WHERE voice = 'report'"
        ") AS report GROUP BY line_id, before"
    )


def _create_report_count(day: str) -> None:
    op.create_table(
        "report_count",
        sa.Column("line_id", sa.Integer(), nullable=False),
        sa.Column(day, sa.Date(), nullable=False),
        sa.Column("reports", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("line_id", day, name="report_count_pkey"),
        sa.ForeignKeyConstraint(["line_id"], ["line.id"], name="report_count_line_id_fkey"),
        sqlite_with_rowid=False,
    )
