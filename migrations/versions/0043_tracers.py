"""Tracers are sent: the way of each provider, the moments of each tracer, and counts of verdicts by day.

No tracer has been sent before, so the table is empty, or has rows that an operator made by hand.
"""

from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

COLUMNS = {
    "provider_id": "bigint",
    "sent_by": "text",
    "is_long": "boolean NOT NULL DEFAULT false",
    "accepted_at": "timestamptz",
    "failed_at": "timestamptz",
    "failure": "text",
    "internal_date": "timestamptz",
    "seen_at": "timestamptz",
    "fetched_at": "timestamptz",
    "mailbox_id": "bigint",
    "uid_validity": "bigint",
    "uid": "bigint",
    "delivery_id": "uuid",
    "claimed_at": "timestamptz",
    "posted_at": "timestamptz",
    "acknowledged_at": "timestamptz",
    "verdict": "text",
    "clean_up": "text",
}
WORDS = {
    "sent_by": ("smtp", "append"),
    "verdict": ("detected", "late", "missing", "unsendable"),
    "clean_up": ("deleted", "gone", "no_uidplus", "kept", "failed"),
}
INDEXES = {
    "ix_tracers_created_at": "created_at",
    "ix_tracers_user": "user_id, created_at",
    "ix_tracers_provider": "provider_id, created_at",
    "ix_tracers_open": ("created_at", "verdict IS NULL"),
    "ix_tracers_bad": ("created_at", "verdict IN ('late', 'missing', 'unsendable')"),
    "ix_tracers_unclean": ("detected_at", "detected_at IS NOT NULL AND clean_up IS NULL"),
    "ix_tracers_delivery": ("delivery_id", "delivery_id IS NOT NULL"),
}
TABLE = """
    CREATE TABLE tracer_days (
        provider_id bigint NOT NULL,
        day date NOT NULL,
        detected integer NOT NULL DEFAULT 0,
        late integer NOT NULL DEFAULT 0,
        missing integer NOT NULL DEFAULT 0,
        unsendable integer NOT NULL DEFAULT 0,
        CONSTRAINT pk_tracer_days PRIMARY KEY (provider_id, day),
        CONSTRAINT fk_tracer_days_provider_id FOREIGN KEY (provider_id) REFERENCES providers (id) ON DELETE CASCADE
    )
"""
USERS_INDEX = "ix_users_tracer ON users (id) WHERE enable_tracer AND NOT archived"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE providers ADD COLUMN tracer_by text CONSTRAINT ck_providers_tracer_by"
        " CHECK (tracer_by IN ('smtp', 'append'))"
    )
    for name, kind in COLUMNS.items():
        op.execute(f"ALTER TABLE tracers ADD COLUMN {name} {kind}")
    for name, words in WORDS.items():
        listed = ", ".join(f"'{word}'" for word in words)
        op.execute(f"ALTER TABLE tracers ADD CONSTRAINT ck_tracers_{name} CHECK ({name} IN ({listed}))")
    op.execute(
        "ALTER TABLE tracers ADD CONSTRAINT fk_tracers_provider_id"
        " FOREIGN KEY (provider_id) REFERENCES providers (id) ON DELETE CASCADE"
    )
    for name, definition in INDEXES.items():
        columns, condition = (definition, None) if isinstance(definition, str) else definition
        op.execute(
            f"CREATE INDEX {name} ON tracers ({columns})" + (f" WHERE {condition}" if condition else "")
        )
    op.execute(TABLE)
    op.execute("CREATE INDEX ix_tracer_days_day ON tracer_days (day)")
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_users_tracer")
        op.execute(f"CREATE INDEX CONCURRENTLY {USERS_INDEX}")


def downgrade() -> None:
    op.execute("DROP INDEX ix_users_tracer")
    op.execute("DROP TABLE tracer_days")
    op.execute(f"DROP INDEX {', '.join(INDEXES)}")
    for name in COLUMNS:  # with their constraints
        op.execute(f"ALTER TABLE tracers DROP COLUMN {name}")
    op.execute("ALTER TABLE providers DROP COLUMN tracer_by")
