"""Find what a voice said last in a line, however much it said before; count reports in their index alone."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

REPORTS, SAID = "line_entry_reports_idx", "line_entry_said_idx"
PLACE = ["line_id", "effective_on", "seq", "left_seq"]


def upgrade() -> None:
    op.drop_index(REPORTS, "line_entry")
    _create(REPORTS, [*PLACE, "voice"], "voice = 'report'")
    _create(SAID, ["line_id", "voice", "effective_on"], "voice <> 'report'")


def downgrade() -> None:
    op.drop_index(SAID, "line_entry")
    op.drop_index(REPORTS, "line_entry")
    _create(REPORTS, PLACE, "voice = 'report'")


def _create(name: str, columns: list[str], condition: str) -> None:
    of_some = sa.text(condition)
    op.create_index(name, "line_entry", columns, sqlite_where=of_some, postgresql_where=of_some)
