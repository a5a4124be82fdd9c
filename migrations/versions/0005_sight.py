"""when a shard changed hands, and where an idler is"""

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
    # Set apart: as part of ADD COLUMN it would be filled in for idlers that joined from elsewhere.
    op.alter_column("idlers", "address", server_default=sa.text("inet_client_addr()"))


def downgrade() -> None:
    op.drop_column("idlers", "address")
    op.drop_column("shards", "changed_at")
