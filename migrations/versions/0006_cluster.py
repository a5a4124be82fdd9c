"""Load of an idler, and the port of its health server."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("users", "shards"):
        op.add_column("idlers", sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("idlers", sa.Column("health_port", sa.Integer(), nullable=True))


def downgrade() -> None:
    for name in ("health_port", "shards", "users"):
        op.drop_column("idlers", name)
