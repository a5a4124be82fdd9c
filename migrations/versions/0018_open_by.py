"""The command by which a provider's mailboxes are opened."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("providers", sa.Column("open_by", sa.Text(), nullable=True))
    op.create_check_constraint(op.f("ck_providers_open_by"), "providers", "open_by IN ('examine', 'select')")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_providers_open_by"), "providers", type_="check")
    op.drop_column("providers", "open_by")
