"""The advisory lock of an idler, the server on which it was taken, and since when it is known to be absent."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("idlers", sa.Column("presence", sa.Integer(), nullable=True))
    op.add_column("idlers", sa.Column("presence_server", sa.DateTime(timezone=True), nullable=True))
    op.add_column("idlers", sa.Column("presence_address", postgresql.INET(), nullable=True))
    op.add_column("idlers", sa.Column("absent_since", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for column in ("absent_since", "presence_address", "presence_server", "presence"):
        op.drop_column("idlers", column)
