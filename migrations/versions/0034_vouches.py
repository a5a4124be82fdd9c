"""Vouches of idlers, which replace a write for each quiet user: whose mail servers have answered, as one bit each.

`users.last_proven_alive_at` becomes what is written of the user alone. The last proof of life is that, or a later
vouch; `proven_alive_at` computes it. A row of `vouches` covers one interval of one voucher, and is overwritten
some intervals later. It has a page of its own, so that its update stays there and is a small record in the WAL.

The functions of triggers run as the owner, so that processes that change users need no privilege on `vouches`.
"""

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

TABLE = """
    CREATE TABLE vouches (
        voucher bigint NOT NULL,
        turn smallint NOT NULL,
        since timestamptz NOT NULL,
        reported_at timestamptz NOT NULL DEFAULT now(),
        proven bit varying NOT NULL,
        CONSTRAINT pk_vouches PRIMARY KEY (voucher, turn)
    ) WITH (fillfactor = 10, toast_tuple_target = 8160)
"""
# Both tables have few rows, which change all the time. By default they are analysed after some 50 changes, which
# writes more to the log than the changes.
ANALYZE = (
    "ALTER TABLE vouches SET (autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000)",
    "ALTER TABLE idlers SET (autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000)",
)
COLUMNS = "ALTER TABLE users ADD COLUMN vouched_by bigint, ADD COLUMN vouch_slot integer"
# `own` is the column of the user.
PROVEN = """
    CREATE FUNCTION proven_alive_at(own timestamptz, vouched_by bigint, slot integer) RETURNS timestamptz
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN greatest(own, (
        SELECT max(v.since) FROM vouches v
        WHERE v.voucher = vouched_by
            AND CASE WHEN slot < length(v.proven) THEN get_bit(v.proven, slot) = 1 ELSE false END
    ))
"""
# A user who is no longer to be watched keeps the last proof, and nothing vouches for it.
KEEP = """
    DO $do$ BEGIN EXECUTE format($format$
        CREATE FUNCTION keep_proof() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            NEW.last_proven_alive_at := %1$I.proven_alive_at(
                greatest(OLD.last_proven_alive_at, NEW.last_proven_alive_at), OLD.vouched_by, OLD.vouch_slot);
            NEW.vouched_by := NULL;
            NEW.vouch_slot := NULL;
            RETURN NEW;
        END
        $$
    $format$, current_schema()); END $do$
"""
# A dispatcher of an earlier version looks at the column only. A user with a later vouch is not stalled: the vouch
# is written to the column, and the change is left out. The dispatcher judges the user again in its next round.
PREVENT = """
    DO $do$ BEGIN EXECUTE format($format$
        CREATE FUNCTION prevent_stall() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        DECLARE
            proven timestamptz := %1$I.proven_alive_at(NULL, NEW.vouched_by, NEW.vouch_slot);
        BEGIN
            IF proven > coalesce(NEW.last_proven_alive_at, '-infinity') THEN
                UPDATE %1$I.users SET last_proven_alive_at = proven WHERE id = NEW.id;
                RETURN NULL;
            END IF;
            RETURN NEW;
        END
        $$
    $format$, current_schema()); END $do$
"""
TRIGGERS = (
    """
    CREATE TRIGGER keep_proof BEFORE UPDATE OF archived, connected_at ON users FOR EACH ROW
    WHEN (OLD.vouched_by IS NOT NULL AND (NEW.archived OR NEW.connected_at IS NULL))
    EXECUTE FUNCTION keep_proof()
    """,
    """
    CREATE TRIGGER prevent_stall BEFORE UPDATE OF stalled_at ON users FOR EACH ROW
    WHEN (OLD.stalled_at IS NULL AND NEW.stalled_at IS NOT NULL AND NEW.vouched_by IS NOT NULL)
    EXECUTE FUNCTION prevent_stall()
    """,
)
# Nobody else may make them triggers of a table of their own. Firing needs no privilege.
RESTRICT = "REVOKE ALL ON FUNCTION keep_proof(), prevent_stall() FROM PUBLIC"
KEEP_ALL = """
    UPDATE users SET last_proven_alive_at = proven_alive_at(last_proven_alive_at, vouched_by, vouch_slot)
    WHERE vouched_by IS NOT NULL
"""


def upgrade() -> None:
    for statement in (TABLE, *ANALYZE, COLUMNS, PROVEN, KEEP, PREVENT, *TRIGGERS, RESTRICT):
        op.execute(statement)


def downgrade() -> None:
    op.execute(KEEP_ALL)
    op.execute("DROP TRIGGER prevent_stall ON users")
    op.execute("DROP TRIGGER keep_proof ON users")
    op.execute("DROP FUNCTION prevent_stall")
    op.execute("DROP FUNCTION keep_proof")
    op.execute("DROP FUNCTION proven_alive_at")
    op.execute("ALTER TABLE users DROP COLUMN vouched_by, DROP COLUMN vouch_slot")
    op.execute("DROP TABLE vouches")
    op.execute("ALTER TABLE idlers RESET (autovacuum_analyze_scale_factor, autovacuum_analyze_threshold)")
