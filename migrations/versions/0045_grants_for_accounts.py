"""The grant type `jwt_bearer`, to which nobody consents, and accounts that consent for a shared mailbox."""

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None

NAME = "ck_providers_oauth2_complete"
COMPLETE = (
    "kind <> 'OAUTH2' OR (oauth2_token_url IS NOT NULL AND oauth2_scope IS NOT NULL"
    " AND (oauth2_authorize_url IS NOT NULL OR oauth2_grant_type IN ('client_credentials', 'jwt_bearer')))"
)
COMPLETE_BEFORE = (
    "kind <> 'OAUTH2' OR (oauth2_token_url IS NOT NULL AND oauth2_scope IS NOT NULL"
    " AND (oauth2_authorize_url IS NOT NULL OR oauth2_grant_type = 'client_credentials'))"
)


def upgrade() -> None:
    op.add_column("users", sa.Column("sign_in_email", sa.Text(), nullable=True))
    op.drop_constraint(op.f(NAME), "providers", type_="check")
    op.create_check_constraint(op.f(NAME), "providers", COMPLETE)


def downgrade() -> None:
    # Such providers did not exist before, so neither do their connections and users.
    ours = "SELECT id FROM providers WHERE oauth2_grant_type = 'jwt_bearer'"
    op.execute(f"DELETE FROM connections WHERE provider_id IN ({ours})")  # noqa: S608 - a constant
    op.execute("DELETE FROM providers WHERE oauth2_grant_type = 'jwt_bearer'")
    op.drop_constraint(op.f(NAME), "providers", type_="check")
    op.create_check_constraint(op.f(NAME), "providers", COMPLETE_BEFORE)
    op.drop_column("users", "sign_in_email")
