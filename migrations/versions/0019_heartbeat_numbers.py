"""The number of an idler's last heartbeat, by which it notices that PostgreSQL has lost writes."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("idlers", sa.Column("beat", sa.BigInteger(), server_default=sa.text("0"), nullable=False))


def downgrade() -> None:
    op.drop_column("idlers", "beat")
