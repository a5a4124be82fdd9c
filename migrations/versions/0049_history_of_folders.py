"""A sweep of each watched folder when a mailbox is connected, one after the other."""

from alembic import op

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None

CONNECTED = "WHERE cause = 'connected'"


def upgrade() -> None:
    op.execute("DROP INDEX uq_sweeps_connected")
    op.execute(
        f"CREATE UNIQUE INDEX uq_sweeps_connected ON sweeps (user_id, coalesce(folder, '')) {CONNECTED}"
    )


def downgrade() -> None:
    op.execute("DROP INDEX uq_sweeps_connected")
    op.execute("DELETE FROM sweeps WHERE cause = 'connected' AND folder IS NOT NULL")
    op.execute(f"CREATE UNIQUE INDEX uq_sweeps_connected ON sweeps (user_id) {CONNECTED}")
