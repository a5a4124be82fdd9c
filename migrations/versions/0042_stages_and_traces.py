"""Stages of mails: when and how each was found, and histograms by provider. Partners that get trace ids.

The columns of `messages` have no default, so that adding them rewrites no row, and no constraint, which would read
all of them.
"""

from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE messages ADD COLUMN recording_milliseconds integer, ADD COLUMN found_by smallint")
    op.execute(
        "ALTER TABLE provider_activity ADD COLUMN delays integer[] NOT NULL DEFAULT '{}',"
        " ADD COLUMN recordings integer[] NOT NULL DEFAULT '{}'"
    )
    op.execute("ALTER TABLE partners ADD COLUMN send_traceparent boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    op.execute("ALTER TABLE partners DROP COLUMN send_traceparent")
    op.execute("ALTER TABLE provider_activity DROP COLUMN delays, DROP COLUMN recordings")
    op.execute("ALTER TABLE messages DROP COLUMN recording_milliseconds, DROP COLUMN found_by")
