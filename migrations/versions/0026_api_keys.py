"""API keys: names, scopes, source networks, last use, and the key that signs webhook bodies.

Existing keys keep every scope. Until now the oldest valid key signed: each existing key signs from the moment when
those before it have ended.
"""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

COLUMNS = """
    ALTER TABLE api_keys
        ADD COLUMN name text NOT NULL DEFAULT 'default',
        ADD COLUMN scopes text[] NOT NULL DEFAULT '{read,write,replay,keys}',
        ADD COLUMN networks text[] NOT NULL DEFAULT '{}',
        ADD COLUMN last_used_at timestamptz,
        ADD COLUMN signs_from timestamptz,
        ADD CONSTRAINT ck_api_keys_scopes CHECK (scopes <@ '{read,write,replay,keys}'::text[])
"""
MARK_OLDEST = """
    UPDATE api_keys k SET signs_from = greatest(k.created_at, (
        SELECT max(older.expires_at) FROM api_keys older
        WHERE older.partner_id = k.partner_id AND older.id < k.id
    ))
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(MARK_OLDEST)


def downgrade() -> None:
    # An older version gives every key all rights and lets every key sign, which keys with fewer rights must not.
    op.execute(
        "UPDATE api_keys SET expires_at = least(expires_at, now()) "
        "WHERE signs_from IS NULL OR networks <> '{}' OR NOT scopes @> '{read,write,replay,keys}'"
    )
    op.execute(
        "ALTER TABLE api_keys DROP COLUMN name, DROP COLUMN scopes, DROP COLUMN networks, "
        "DROP COLUMN last_used_at, DROP COLUMN signs_from"
    )
