"""A function that tells whether a user has a password, for processes that may not read passwords."""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

# Runs as the owner of the table.
PRESENCE = """
    CREATE FUNCTION has_login_password(user_id bigint) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
    AS $$ SELECT login_password IS NOT NULL FROM users WHERE id = user_id $$
"""


def upgrade() -> None:
    op.execute(PRESENCE)
    op.execute("REVOKE ALL ON FUNCTION has_login_password(bigint) FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION has_login_password(bigint)")
