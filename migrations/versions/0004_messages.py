"""Outcome `tracer`, and an index that finds messages without a webhook by outcome."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WORDS = (
    "'delivered', 'duplicate', 'before_connect', 'too_big', 'own_mail', 'unreadable', 'gone', 'no_webhook'"
)


def upgrade() -> None:
    _allow(f"{WORDS}, 'tracer'")
    op.create_index(
        "ix_messages_without_webhook",
        "messages",
        ["user_id", "outcome", sa.text("id DESC")],
        postgresql_where=sa.text("outcome <> 'delivered'"),
    )


def downgrade() -> None:
    op.drop_index("ix_messages_without_webhook", table_name="messages")
    op.execute("UPDATE messages SET outcome = 'no_webhook', detail = 'a tracer' WHERE outcome = 'tracer'")
    _allow(WORDS)


def _allow(words: str) -> None:
    op.drop_constraint(op.f("ck_messages_outcome"), "messages", type_="check")
    op.create_check_constraint(op.f("ck_messages_outcome"), "messages", f"outcome IN ({words})")
