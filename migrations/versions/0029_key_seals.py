"""Count of the values that each encryption key has encrypted."""

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

# Earlier values were not counted. Each mail causes at most two: its content, and the answer of the receiver.
ESTIMATE = """
    UPDATE vault_canaries
    SET seals = 2 * coalesce(pg_sequence_last_value(pg_get_serial_sequence('messages', 'id')::regclass), 0)
"""


def upgrade() -> None:
    op.execute("ALTER TABLE vault_canaries ADD COLUMN seals bigint NOT NULL DEFAULT 0")
    op.execute(ESTIMATE)


def downgrade() -> None:
    op.execute("ALTER TABLE vault_canaries DROP COLUMN seals")
