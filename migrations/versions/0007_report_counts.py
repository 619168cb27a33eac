"""Keep how many reports stand in each line by the end of a month, so that not all are counted each time.

The table is filled by a later migration, which counts them by the day.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "report_count",
        sa.Column("line_id", sa.Integer(), nullable=False),
        sa.Column("before", sa.Date(), nullable=False),
        sa.Column("reports", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("line_id", "before", name="report_count_pkey"),
        sa.ForeignKeyConstraint(["line_id"], ["line.id"], name="report_count_line_id_fkey"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("report_count")
