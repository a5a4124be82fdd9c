"""Events: their own endpoint, notifications about users, and deliveries that are built from an event."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KINDS = "'new_mail', 'user_connected', 'user_disconnected'"
HAPPENINGS = "'stalled', 'recovered'"
EVENT_FK = "fk_deliveries_event_id_partner_id"


def upgrade() -> None:
    _allow("endpoints", f"{KINDS}, 'events'")
    _allow("deliveries", f"{KINDS}, 'events'")
    _allow("user_events", f"{HAPPENINGS}, 'reauth_required', 'restored', 'archived'")
    op.execute("INSERT INTO endpoints (partner_id, kind) SELECT id, 'events' FROM partners")
    op.add_column("users", sa.Column("reauth", sa.Text))
    op.create_check_constraint(op.f("ck_users_reauth"), "users", "reauth IN ('required', 'renewed')")
    op.add_column("user_events", sa.Column("code", sa.Text))
    op.create_unique_constraint(op.f("uq_user_events_id_partner_id"), "user_events", ["id", "partner_id"])
    op.add_column("deliveries", sa.Column("event_id", sa.BigInteger))
    op.create_foreign_key(
        op.f(EVENT_FK),
        "deliveries",
        "user_events",
        ["event_id", "partner_id"],
        ["id", "partner_id"],
        ondelete="CASCADE",
    )
    op.create_index(
        "ix_deliveries_event", "deliveries", ["event_id"], postgresql_where=sa.text("event_id IS NOT NULL")
    )


def downgrade() -> None:
    op.execute("DELETE FROM deliveries WHERE kind = 'events'")
    op.execute("DELETE FROM endpoints WHERE kind = 'events'")
    op.execute("DELETE FROM user_events WHERE kind NOT IN ('stalled', 'recovered')")
    op.drop_index("ix_deliveries_event", "deliveries")
    op.drop_constraint(op.f(EVENT_FK), "deliveries", type_="foreignkey")
    op.drop_column("deliveries", "event_id")
    op.drop_constraint(op.f("uq_user_events_id_partner_id"), "user_events", type_="unique")
    op.drop_column("user_events", "code")
    op.drop_column("users", "reauth")
    _allow("user_events", HAPPENINGS)
    _allow("deliveries", KINDS)
    _allow("endpoints", KINDS)


def _allow(table: str, words: str) -> None:
    op.drop_constraint(op.f(f"ck_{table}_kind"), table, type_="check")
    op.create_check_constraint(op.f(f"ck_{table}_kind"), table, f"kind IN ({words})")
