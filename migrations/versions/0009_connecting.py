"""Connecting people by link: expected identity, return URLs, and used links."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

FACTS = ("oauth2_issuer", "oauth2_jwks_url", "oauth2_email_claims")
KNOWN = (
    (
        "GMAIL_OAUTH2",
        "https://oauth2.googleapis.com/token",
        "https://accounts.google.com",
        "https://www.googleapis.com/oauth2/v3/certs",
        "email",
        None,
    ),
    (
        "OUTLOOK_OAUTH2",
        "https://login.microsoftonline.com/common/oauth2/v2.0/token",
        "https://login.microsoftonline.com/{tenantid}/v2.0",
        "https://login.microsoftonline.com/common/discovery/v2.0/keys",
        "preferred_username email",
        "openid profile email offline_access https://outlook.office.com/IMAP.AccessAsUser.All",
    ),
)


def upgrade() -> None:
    op.add_column(
        "partners", sa.Column("append_results", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    for name in FACTS:
        op.add_column("providers", sa.Column(name, sa.Text(), nullable=True))
    tell = sa.text(
        "UPDATE providers SET oauth2_issuer = :issuer, oauth2_jwks_url = :jwks, oauth2_email_claims = :claims,"
        " oauth2_scope = coalesce(:scope, oauth2_scope) WHERE code = :code AND oauth2_token_url = :token"
    )
    for code, token, issuer, jwks, claims, scope in KNOWN:
        op.execute(
            tell.bindparams(code=code, token=token, issuer=issuer, jwks=jwks, claims=claims, scope=scope)
        )
    _states()
    _links()


def downgrade() -> None:
    op.drop_table("login_tries")
    op.drop_table("used_links")
    op.drop_index(op.f("ix_oauth_states_expires_at"), table_name="oauth_states")
    op.drop_column("oauth_states", "link_digest")
    for name in FACTS:
        op.drop_column("providers", name)
    op.drop_column("partners", "append_results")


def _states() -> None:
    op.execute("DELETE FROM oauth_states")  # no version so far has written any
    op.add_column("oauth_states", sa.Column("link_digest", sa.LargeBinary(), nullable=False))
    op.create_index(op.f("ix_oauth_states_expires_at"), "oauth_states", ["expires_at"])


def _links() -> None:
    now = sa.text("now()")
    op.create_table(
        "used_links",
        sa.Column("link_digest", sa.LargeBinary(), nullable=False),
        sa.Column("partner_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id", "partner_id"],
            ["users.id", "users.partner_id"],
            name=op.f("fk_used_links_user_id_partner_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("link_digest", name=op.f("pk_used_links")),
    )
    op.create_index(op.f("ix_used_links_used_at"), "used_links", ["used_at"])
    op.create_table(
        "login_tries",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("count", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_login_tries")),
    )
    op.create_index(op.f("ix_login_tries_ends_at"), "login_tries", ["ends_at"])
