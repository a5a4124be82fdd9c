"""Time of a shard's last change of owner, and address of an idler."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("shards", sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("idlers", sa.Column("address", postgresql.INET(), nullable=True))
    # A separate statement: as part of ADD COLUMN the default would give existing idlers a wrong address.
    op.alter_column("idlers", "address", server_default=sa.text("inet_client_addr()"))


def downgrade() -> None:
    op.drop_column("idlers", "address")
    op.drop_column("shards", "changed_at")
