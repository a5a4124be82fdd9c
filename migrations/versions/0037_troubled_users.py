"""Users that are not watched, in a narrow table of their own, so that nobody searches all users for them.

A trigger writes it, and only when a user enters or leaves one of these statuses: neither a new user nor a login
that succeeds at once costs anything. The function runs as the owner, so that no process needs a privilege on it.
"""

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

STATUSES = "'backing_off', 'throttled', 'suspended', 'authentication_failed', 'stalled'"
TABLE = """
    CREATE TABLE troubled_users (
        user_id bigint NOT NULL,
        partner_id bigint NOT NULL,
        connection_id bigint NOT NULL,
        status text NOT NULL,
        since timestamptz NOT NULL,
        CONSTRAINT pk_troubled_users PRIMARY KEY (user_id)
    )
"""
INDEXES = (
    "CREATE INDEX ix_troubled_users_cause ON troubled_users (status, connection_id, since)",
    "CREATE INDEX ix_troubled_users_partner ON troubled_users (partner_id, status, since)",
    """
    CREATE INDEX ix_endpoints_troubled ON endpoints (id)
    WHERE breaker <> 'closed' OR disabled_at IS NOT NULL OR failing_since IS NOT NULL
    """,
)
# In a table where a provider's outage inserts and deletes most rows, the default waits for a fifth of them.
VACUUM = (
    "ALTER TABLE troubled_users SET"
    " (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000)"
)
# The list of STATUSES, once more: a trigger's function has no parameters.
NOTE = """
    DO $do$ BEGIN EXECUTE format($format$
        CREATE FUNCTION note_trouble() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            IF TG_OP = 'DELETE' OR NEW.archived OR NEW.status NOT IN
                ('backing_off', 'throttled', 'suspended', 'authentication_failed', 'stalled') THEN
                DELETE FROM %1$I.troubled_users WHERE user_id = OLD.id;
            ELSE
                INSERT INTO %1$I.troubled_users (user_id, partner_id, connection_id, status, since)
                VALUES (NEW.id, NEW.partner_id, NEW.connection_id, NEW.status, NEW.status_since)
                ON CONFLICT (user_id) DO UPDATE SET status = excluded.status, since = excluded.since;
            END IF;
            RETURN NULL;
        END
        $$
    $format$, current_schema()); END $do$
"""
RESTRICT = "REVOKE ALL ON FUNCTION note_trouble() FROM PUBLIC"
# Takes a lock that waits for all writers of users, so that the copy below misses none.
TRIGGERS = (
    f"""
    CREATE TRIGGER note_trouble_ended AFTER DELETE ON users FOR EACH ROW WHEN (OLD.status IN ({STATUSES}))
    EXECUTE FUNCTION note_trouble()
    """,
    f"""
    CREATE TRIGGER note_trouble AFTER UPDATE OF status, archived ON users FOR EACH ROW
    WHEN ((OLD.status, OLD.archived) IS DISTINCT FROM (NEW.status, NEW.archived)
        AND (OLD.status IN ({STATUSES}) OR NEW.status IN ({STATUSES})))
    EXECUTE FUNCTION note_trouble()
    """,
)
COPY = f"""
    INSERT INTO troubled_users (user_id, partner_id, connection_id, status, since)
    SELECT id, partner_id, connection_id, status, status_since FROM users
    WHERE NOT archived AND status IN ({STATUSES})
"""  # noqa: S608


def upgrade() -> None:
    for statement in (TABLE, *INDEXES, VACUUM, NOTE, RESTRICT, *TRIGGERS, COPY):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER note_trouble ON users")
    op.execute("DROP TRIGGER note_trouble_ended ON users")
    op.execute("DROP FUNCTION note_trouble()")
    op.execute("DROP INDEX ix_endpoints_troubled")
    op.execute("DROP TABLE troubled_users")
