"""Status `suspended`, for users whose mail server exceeds its bounds."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

WORDS = (
    "'not_connected', 'connecting', 'catching_up', 'watching', 'backing_off', 'throttled', "
    "'authentication_failed', 'stalled', 'archived'"
)


def upgrade() -> None:
    _allow(f"{WORDS}, 'suspended'")


def downgrade() -> None:
    op.execute("UPDATE users SET status = 'backing_off' WHERE status = 'suspended'")
    _allow(WORDS)


def _allow(words: str) -> None:
    # NOT VALID and validated apart: the table is read without a lock that blocks its users.
    op.execute("ALTER TABLE users DROP CONSTRAINT ck_users_status")
    op.execute(f"ALTER TABLE users ADD CONSTRAINT ck_users_status CHECK (status IN ({words})) NOT VALID")
    op.execute("ALTER TABLE users VALIDATE CONSTRAINT ck_users_status")
