"""Change events: the setting of users and connections, and the known flags of mails."""

from alembic import op

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "ALTER TABLE users ADD COLUMN change_events boolean, ADD COLUMN change_events_since timestamptz"
    )
    op.execute(
        "ALTER TABLE connections ADD COLUMN change_events boolean, ADD COLUMN change_events_since timestamptz"
    )
    op.execute(
        "ALTER TABLE mailboxes ADD COLUMN changes_seen_at timestamptz, ADD COLUMN changes_uid_validity bigint,"
        " ADD COLUMN changes_modseq bigint"
    )
    op.execute(
        """
        CREATE TABLE mail_flags (
            message_id bigint NOT NULL,
            partner_id bigint NOT NULL,
            mailbox_id bigint NOT NULL,
            uid_validity bigint NOT NULL,
            uid bigint NOT NULL,
            flags text NOT NULL,
            absent_since timestamptz,
            is_gone boolean DEFAULT false NOT NULL,
            CONSTRAINT pk_mail_flags PRIMARY KEY (message_id),
            CONSTRAINT fk_mail_flags_message_id_partner_id FOREIGN KEY (message_id, partner_id)
                REFERENCES messages (id, partner_id) ON DELETE CASCADE,
            CONSTRAINT uq_mail_flags_mailbox_id_uid_validity_uid UNIQUE (mailbox_id, uid_validity, uid)
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE mail_flags")
    op.execute(
        "ALTER TABLE mailboxes DROP COLUMN changes_modseq, DROP COLUMN changes_uid_validity,"
        " DROP COLUMN changes_seen_at"
    )
    for table in ("connections", "users"):
        op.execute(f"ALTER TABLE {table} DROP COLUMN change_events_since, DROP COLUMN change_events")
