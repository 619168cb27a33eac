"""Answers kept for retries: what a POST with an `Idempotency-Key` answered, for 48 hours."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "kept_answer",
        sa.Column("api_key_id", sa.String(40), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("api_key_id", "idempotency_key", name="kept_answer_pkey"),
    )
    op.create_index("kept_answer_kept_at_idx", "kept_answer", ["kept_at"])


def downgrade() -> None:
    op.drop_table("kept_answer")
