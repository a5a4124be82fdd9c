"""Status `throttled`, for users whose mail server requests a pause."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WORDS = "'not_connected', 'connecting', 'watching', 'backing_off', 'authentication_failed', 'archived'"


def upgrade() -> None:
    _allow(f"{WORDS}, 'throttled'")


def downgrade() -> None:
    op.execute("UPDATE users SET status = 'backing_off' WHERE status = 'throttled'")
    _allow(WORDS)


def _allow(words: str) -> None:
    op.drop_constraint(op.f("ck_users_status"), "users", type_="check")
    op.create_check_constraint(op.f("ck_users_status"), "users", f"status IN ({words})")
