"""Keep how many reports stand in each line by the end of a month, so that not all are counted each time."""

import sqlalchemy as sa
from alembic import op
from sqlmodel import Session

from app.deriving import derive_report_counts

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
    with Session(op.get_bind()) as session:
        derive_report_counts(session)
        session.flush()


def downgrade() -> None:
    op.drop_table("report_count")
