"""Days of history that are read when a mailbox is connected, and why a sweep exists."""

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

ACTIVE = "state IN ('waiting', 'running', 'paused')"


def upgrade() -> None:
    for table in ("connections", "users"):
        op.add_column(table, sa.Column("history_days", sa.SmallInteger(), nullable=True))
    op.execute("ALTER TABLE sweeps ADD COLUMN cause text NOT NULL DEFAULT 'requested'")
    op.execute(
        "ALTER TABLE sweeps ADD CONSTRAINT ck_sweeps_cause CHECK (cause IN ('requested', 'connected'))"
    )
    op.execute("DROP INDEX ix_sweeps_partner, ix_sweeps_partner_active")
    op.execute("CREATE INDEX ix_sweeps_partner ON sweeps (partner_id, id) WHERE cause = 'requested'")
    op.execute(
        f"CREATE INDEX ix_sweeps_partner_active ON sweeps (partner_id) WHERE cause = 'requested' AND {ACTIVE}"
    )
    op.execute("CREATE UNIQUE INDEX uq_sweeps_connected ON sweeps (user_id) WHERE cause = 'connected'")


def downgrade() -> None:
    op.execute("DROP INDEX uq_sweeps_connected, ix_sweeps_partner_active, ix_sweeps_partner")
    op.execute("ALTER TABLE sweeps DROP COLUMN cause")
    op.execute("CREATE INDEX ix_sweeps_partner ON sweeps (partner_id, id)")
    op.execute(f"CREATE INDEX ix_sweeps_partner_active ON sweeps (partner_id) WHERE {ACTIVE}")
    for table in ("users", "connections"):
        op.drop_column(table, "history_days")
