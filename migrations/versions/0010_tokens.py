"""Access tokens: a lease for the process that refreshes one, and one token for a whole connection."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COMPLETE = (
    "kind <> 'OAUTH2' OR (oauth2_token_url IS NOT NULL AND oauth2_scope IS NOT NULL"
    " AND (oauth2_authorize_url IS NOT NULL OR oauth2_grant_type = 'client_credentials'))"
)
COMPLETE_BEFORE = (
    "kind <> 'OAUTH2' OR (oauth2_token_url IS NOT NULL AND oauth2_authorize_url IS NOT NULL"
    " AND oauth2_scope IS NOT NULL)"
)
ON_CONNECTIONS = (
    ("oauth2_tenant", sa.Text()),
    ("oauth2_access_token", sa.LargeBinary()),
    ("oauth2_access_token_expires_at", sa.DateTime(timezone=True)),
    ("oauth2_pause_until", sa.DateTime(timezone=True)),
    ("oauth2_pause_reason", sa.Text()),
)


def upgrade() -> None:
    for name, kind in ON_CONNECTIONS:
        op.add_column("connections", sa.Column(name, kind, nullable=True))
    for table in ("users", "connections"):
        op.add_column(table, sa.Column("oauth2_access_token_life", sa.Double(), nullable=True))
        op.add_column(table, sa.Column("oauth2_lease_until", sa.DateTime(timezone=True), nullable=True))
        version = sa.Column("oauth2_token_version", sa.Integer(), server_default=sa.text("1"), nullable=False)
        op.add_column(table, version)
    op.drop_constraint(op.f("ck_providers_oauth2_complete"), "providers", type_="check")
    op.create_check_constraint(op.f("ck_providers_oauth2_complete"), "providers", COMPLETE)


def downgrade() -> None:
    op.drop_constraint(op.f("ck_providers_oauth2_complete"), "providers", type_="check")
    # App-only providers did not exist before, so neither do their connections and users.
    app_only = "SELECT id FROM providers WHERE kind = 'OAUTH2' AND oauth2_authorize_url IS NULL"
    op.execute(f"DELETE FROM connections WHERE provider_id IN ({app_only})")  # noqa: S608 - constants
    op.execute(f"DELETE FROM providers WHERE id IN ({app_only})")  # noqa: S608
    op.create_check_constraint(op.f("ck_providers_oauth2_complete"), "providers", COMPLETE_BEFORE)
    for table in ("users", "connections"):
        for name in ("oauth2_access_token_life", "oauth2_lease_until", "oauth2_token_version"):
            op.drop_column(table, name)
    for name, _ in ON_CONNECTIONS:
        op.drop_column("connections", name)
