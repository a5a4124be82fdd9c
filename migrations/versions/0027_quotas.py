"""Quotas of partners: limits that an operator has set, what is left of each, and an index to count live users."""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

KINDS = "'users', 'sessions', 'backlog_rows', 'backlog_bytes', 'requests_per_second'"
QUOTAS = f"""
    CREATE TABLE partner_quotas (
        partner_id bigint NOT NULL,
        quota text NOT NULL,
        maximum bigint NOT NULL,
        CONSTRAINT pk_partner_quotas PRIMARY KEY (partner_id, quota),
        CONSTRAINT fk_partner_quotas_partner_id FOREIGN KEY (partner_id)
            REFERENCES partners (id) ON DELETE CASCADE,
        CONSTRAINT ck_partner_quotas_quota CHECK (quota IN ({KINDS}))
    )
"""
USAGE = f"""
    CREATE TABLE partner_usage (
        partner_id bigint NOT NULL,
        quota text NOT NULL,
        maximum bigint NOT NULL,
        room bigint NOT NULL,
        held_since timestamptz,
        CONSTRAINT pk_partner_usage PRIMARY KEY (partner_id, quota),
        CONSTRAINT fk_partner_usage_partner_id FOREIGN KEY (partner_id)
            REFERENCES partners (id) ON DELETE CASCADE,
        CONSTRAINT ck_partner_usage_quota CHECK (quota IN ({KINDS}))
    )
"""
INDEXES = (
    "CREATE INDEX ix_partner_usage_held ON partner_usage (partner_id) WHERE held_since IS NOT NULL",
    "CREATE INDEX ix_users_live ON users (partner_id) WHERE NOT archived",
)


def upgrade() -> None:
    for statement in (QUOTAS, USAGE, *INDEXES):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX ix_users_live")
    op.execute("DROP TABLE partner_usage")
    op.execute("DROP TABLE partner_quotas")
