"""The method by which a provider's token endpoint authenticates clients."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

METHODS = "'client_secret_post', 'client_secret_basic', 'private_key_jwt'"


def upgrade() -> None:
    op.add_column("providers", sa.Column("oauth2_client_auth", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("ck_providers_oauth2_client_auth"), "providers", f"oauth2_client_auth IN ({METHODS})"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_providers_oauth2_client_auth"), "providers", type_="check")
    op.drop_column("providers", "oauth2_client_auth")
