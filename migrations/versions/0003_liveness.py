"""Liveness statuses with their events, pauses that survive a restart, and watch settings of providers."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OLD = "'not_connected', 'connecting', 'watching', 'backing_off', 'throttled', 'authentication_failed', 'archived'"
LIMITS = {
    "idle_renew": "idle_renew BETWEEN 5 AND 540",
    "poll_seconds": "poll_seconds BETWEEN 5 AND 300",
    "poll_by": "poll_by IN ('noop', 'status')",
    "logins_per_second": "logins_per_second > 0",
    "connections_per_account": "connections_per_account > 0",
}
# Settings of providers that were installed before these columns existed and still have the same host.
KNOWN = (
    # host, idle_renew, logins_per_second, connections_per_account, folders
    ("imap.gmail.com", None, 10.0, 15, "\\All"),
    ("outlook.office365.com", None, 10.0, 16, None),
    ("imap.mail.yahoo.com", 170, 2.0, 10, None),
    ("imap.aol.com", 170, 2.0, 10, None),
    ("imap.mail.me.com", None, 2.0, 5, None),
    ("imap.zoho.com", None, 2.0, None, None),
)


def upgrade() -> None:
    _allow(f"{OLD}, 'catching_up', 'stalled'")
    when = sa.DateTime(timezone=True)
    op.add_column("users", sa.Column("stalled_at", when))
    op.add_column("users", sa.Column("retry_at", when))
    op.create_table(
        "user_events",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("partner_id", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("at", when, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_user_events"),
        sa.ForeignKeyConstraint(
            ["user_id", "partner_id"],
            ["users.id", "users.partner_id"],
            name="fk_user_events_user_id_partner_id",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("kind IN ('stalled', 'recovered')", name=op.f("ck_user_events_kind")),
    )
    op.create_index("ix_user_events_user", "user_events", ["user_id", sa.text("id DESC")])
    op.create_index("ix_user_events_at", "user_events", ["at"])
    _tell_providers_apart()


def downgrade() -> None:
    for name in (
        "folders",
        "connections_per_account",
        "logins_per_second",
        "poll_by",
        "poll_seconds",
        "idle_renew",
    ):
        op.drop_column("providers", name)
    op.drop_table("user_events")
    op.drop_column("users", "retry_at")
    op.drop_column("users", "stalled_at")
    op.execute("UPDATE users SET status = 'backing_off' WHERE status IN ('catching_up', 'stalled')")
    _allow(OLD)


def _tell_providers_apart() -> None:
    for name in ("idle_renew", "poll_seconds", "connections_per_account"):
        op.add_column("providers", sa.Column(name, sa.Integer))
    op.add_column("providers", sa.Column("logins_per_second", sa.Double))
    for name in ("poll_by", "folders"):
        op.add_column("providers", sa.Column(name, sa.Text))
    for name, limit in LIMITS.items():
        op.create_check_constraint(op.f(f"ck_providers_{name}"), "providers", limit)
    known = sa.text(
        "UPDATE providers SET idle_renew = :renew, logins_per_second = :pace,"
        " connections_per_account = :most, folders = :folders WHERE imap_host = :host"
    )
    for host, renew, pace, most, folders in KNOWN:
        op.get_bind().execute(
            known, {"host": host, "renew": renew, "pace": pace, "most": most, "folders": folders}
        )


def _allow(words: str) -> None:
    op.drop_constraint(op.f("ck_users_status"), "users", type_="check")
    op.create_check_constraint(op.f("ck_users_status"), "users", f"status IN ({words})")
