"""Digest of the servers and URLs that a provider had when a consent began: the code is sent nowhere else."""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE oauth_states ADD COLUMN destinations_digest bytea")


def downgrade() -> None:
    op.execute("ALTER TABLE oauth_states DROP COLUMN destinations_digest")
