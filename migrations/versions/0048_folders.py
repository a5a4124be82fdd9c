"""Watched folders: lists of users and connections, and since when a folder is watched."""

from alembic import op

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("users", "connections"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN folders text[], ADD COLUMN folders_since timestamptz")
    op.execute("ALTER TABLE mailboxes ADD COLUMN watched_since timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE mailboxes DROP COLUMN watched_since")
    for table in ("connections", "users"):
        op.execute(f"ALTER TABLE {table} DROP COLUMN folders_since, DROP COLUMN folders")
