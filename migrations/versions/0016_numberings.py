"""Numberings of mailboxes as the server reports them, and the identity of the last mail."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

COLUMNS = (
    ("server_uid_validity", sa.BigInteger()),
    ("last_mail_uid", sa.BigInteger()),
    ("last_mail_message_id", sa.LargeBinary()),
    ("last_mail_date", sa.DateTime(timezone=True)),
    ("last_mail_size", sa.BigInteger()),
)


def upgrade() -> None:
    for name, kind in COLUMNS:
        op.add_column("mailboxes", sa.Column(name, kind, nullable=True))
    op.add_column(
        "mailboxes", sa.Column("restarts", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "mailboxes", sa.Column("was_empty", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )


def downgrade() -> None:
    for name in ("was_empty", "restarts", *(name for name, _ in reversed(COLUMNS))):
        op.drop_column("mailboxes", name)
