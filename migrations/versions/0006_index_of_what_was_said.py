"""Find what a voice said last in a line, however much it said before."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

NAME = "line_entry_said_idx"


def upgrade() -> None:
    no_report = sa.text("voice <> 'report'")
    op.create_index(
        NAME,
        "line_entry",
        ["line_id", "voice", "effective_on"],
        sqlite_where=no_report,
        postgresql_where=no_report,
    )


def downgrade() -> None:
    op.drop_index(NAME, "line_entry")
