"""History of a user's logins: whether the credentials were accepted before, and refusals in a row."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The credentials of existing users count as accepted. A constant default is no rewrite of the table.
    op.add_column("users", sa.Column("login_accepted", sa.Boolean, nullable=False, server_default=sa.true()))
    op.alter_column("users", "login_accepted", server_default=sa.false())
    op.add_column("users", sa.Column("refusals", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("users", sa.Column("refused_since", sa.DateTime(timezone=True)))


def downgrade() -> None:
    for name in ("login_accepted", "refusals", "refused_since"):
        op.drop_column("users", name)
