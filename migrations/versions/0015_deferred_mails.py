"""Mails that could not be read yet: the outcome `deferred`, and the table of their next attempts."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

OLD_OUTCOMES = (
    "'delivered', 'duplicate', 'before_connect', 'too_big', 'tracer', 'own_mail', 'unreadable', 'gone', "
    "'no_webhook'"
)
OUTCOMES = f"{OLD_OUTCOMES}, 'deferred'"
TABLE = """
    CREATE TABLE deferred_mails (
        message_id bigint NOT NULL,
        partner_id bigint NOT NULL,
        user_id bigint NOT NULL,
        mailbox_id bigint NOT NULL,
        uid_validity bigint NOT NULL,
        uid bigint NOT NULL,
        found_by_date boolean NOT NULL,
        first_failed_at timestamptz NOT NULL DEFAULT now(),
        last_attempt_at timestamptz NOT NULL DEFAULT now(),
        next_attempt_at timestamptz NOT NULL,
        attempts integer NOT NULL DEFAULT 1,
        failing_seconds double precision NOT NULL DEFAULT 0,
        announced_size bigint,
        last_error text,
        CONSTRAINT pk_deferred_mails PRIMARY KEY (message_id),
        CONSTRAINT uq_deferred_mails_mailbox_id_uid_validity_uid UNIQUE (mailbox_id, uid_validity, uid),
        CONSTRAINT fk_deferred_mails_message_id_partner_id FOREIGN KEY (message_id, partner_id)
            REFERENCES messages (id, partner_id) ON DELETE CASCADE
    )
"""


def allow(outcomes: str) -> None:
    """Allow these outcomes. Existing rows all comply, and to check them would lock a large table."""
    op.execute("ALTER TABLE messages DROP CONSTRAINT ck_messages_outcome")
    op.execute(
        f"ALTER TABLE messages ADD CONSTRAINT ck_messages_outcome CHECK (outcome IN ({outcomes})) NOT VALID"
    )


def upgrade() -> None:
    allow(OUTCOMES)
    op.execute(TABLE)


def downgrade() -> None:
    op.execute(
        "UPDATE messages m SET outcome = 'unreadable' FROM deferred_mails d "
        "WHERE m.id = d.message_id AND m.partner_id = d.partner_id"
    )
    op.execute("DROP TABLE deferred_mails")
    allow(OLD_OUTCOMES)
