"""Time at which a mailbox was opened last: the mailbox of a user that was opened last is the watched one."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE mailboxes ADD COLUMN opened_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE mailboxes DROP COLUMN opened_at")
