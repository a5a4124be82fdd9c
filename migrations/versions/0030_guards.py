"""Rules that the schema enforces itself: whatever process, version or stolen login writes a row.

The function that runs as the owner is bound to the table when it is created: a search path can be led to temporary
objects of the caller. A password stays with its mail server. API keys of processes from before 0026, which do not
know `signs_from`, sign as they did there: once the keys that sign before them have ended.
"""

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

PRESENCE = """
    CREATE OR REPLACE FUNCTION has_login_password(user_id bigint) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN (SELECT login_password IS NOT NULL FROM users WHERE id = user_id)
"""
REFUSE = """
    CREATE FUNCTION guard_password() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the password of a user is stored for its mail server; change both together, or clear it'
            USING ERRCODE = 'restrict_violation';
    END
    $$
"""
# TLS and STARTTLS verify the same certificate.
GUARD = """
    CREATE TRIGGER guard_password BEFORE UPDATE OF imap_host, imap_port, imap_tls ON users FOR EACH ROW
    WHEN (
        NEW.login_password = OLD.login_password
        AND (
            lower(NEW.imap_host) IS DISTINCT FROM lower(OLD.imap_host)
            OR NEW.imap_port IS DISTINCT FROM OLD.imap_port
            OR (NEW.imap_tls = 'none' AND OLD.imap_tls IS DISTINCT FROM 'none')
        )
    )
    EXECUTE FUNCTION guard_password()
"""
UNKNOWN_MARK = "ALTER TABLE api_keys ALTER COLUMN signs_from SET DEFAULT '-infinity'"
MARK = """
    CREATE FUNCTION mark_signing_key() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.signs_from := greatest(now(), (
            SELECT max(expires_at) FROM api_keys WHERE partner_id = NEW.partner_id AND signs_from IS NOT NULL
        ));
        RETURN NEW;
    END
    $$
"""
MARK_WHEN_UNKNOWN = """
    CREATE TRIGGER mark_signing_key BEFORE INSERT ON api_keys FOR EACH ROW
    WHEN (NEW.signs_from = '-infinity') EXECUTE FUNCTION mark_signing_key()
"""
# Keys that such processes have created since 0026, with every right, of partners of which no key would sign.
MARK_UNSIGNED = """
    UPDATE api_keys k SET signs_from = greatest(now(), (
        SELECT max(older.expires_at) FROM api_keys older
        WHERE older.partner_id = k.partner_id AND older.id < k.id
    ))
    WHERE (k.expires_at IS NULL OR k.expires_at > now())
        AND k.name = 'default' AND k.networks = '{}' AND k.scopes @> '{read,write,replay,keys}'
        AND NOT EXISTS (
            SELECT FROM api_keys marked
            WHERE marked.partner_id = k.partner_id AND marked.signs_from IS NOT NULL
                AND (marked.expires_at IS NULL OR marked.expires_at > now())
        )
"""


def upgrade() -> None:
    for statement in (
        PRESENCE,
        REFUSE,
        GUARD,
        UNKNOWN_MARK,
        MARK,
        MARK_WHEN_UNKNOWN,
        MARK_UNSIGNED,
    ):
        op.execute(statement)


def downgrade() -> None:
    # The safe form of has_login_password stays.
    op.execute("DROP TRIGGER guard_password ON users")
    op.execute("DROP FUNCTION guard_password")
    op.execute("DROP TRIGGER mark_signing_key ON api_keys")
    op.execute("DROP FUNCTION mark_signing_key")
    op.execute("ALTER TABLE api_keys ALTER COLUMN signs_from DROP DEFAULT")
