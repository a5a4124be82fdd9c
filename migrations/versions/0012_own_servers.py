"""Mail servers that people enter themselves, for providers with `host_by_user`."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

SERVER = ("imap_host", "imap_port", "imap_tls")


def upgrade() -> None:
    op.add_column(
        "providers", sa.Column("host_by_user", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.create_check_constraint(
        op.f("ck_providers_host_by_user"), "providers", "NOT host_by_user OR kind = 'PLAIN'"
    )
    op.add_column("users", sa.Column("imap_host", sa.Text(), nullable=True))
    op.add_column("users", sa.Column("imap_port", sa.Integer(), nullable=True))
    op.add_column("users", sa.Column("imap_tls", sa.Text(), nullable=True))
    op.create_check_constraint(op.f("ck_users_imap_tls"), "users", "imap_tls IN ('tls', 'starttls', 'none')")
    op.create_check_constraint(
        op.f("ck_users_imap_server"), "users", "num_nulls(imap_host, imap_port, imap_tls) IN (0, 3)"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_users_imap_server"), "users", type_="check")
    op.drop_constraint(op.f("ck_users_imap_tls"), "users", type_="check")
    for name in reversed(SERVER):
        op.drop_column("users", name)
    op.drop_constraint(op.f("ck_providers_host_by_user"), "providers", type_="check")
    op.drop_column("providers", "host_by_user")
