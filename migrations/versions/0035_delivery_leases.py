"""Leases of deliveries in a table of their own: a claim rewrites neither the delivery nor its index entries.

Dispatchers of earlier versions claim a delivery by the state `sending`. While such processes run, a trigger keeps
them from what a newer dispatcher is sending and from content in a format that they cannot read, and `under_way`
counts the POSTs of both.
"""

from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

# Each mail inserts and deletes a row, so vacuum comes by the number of dead rows and not by a share of the living.
TABLE = """
    CREATE TABLE delivery_leases (
        endpoint_id bigint NOT NULL,
        delivery_id uuid NOT NULL,
        lease_until timestamptz NOT NULL,
        token uuid NOT NULL,
        holder integer,
        CONSTRAINT pk_delivery_leases PRIMARY KEY (endpoint_id, delivery_id)
    ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
"""
# As in version 0013: a statement of a volatile function sees what was committed before it, here after the lock.
UNDER_WAY = """
    CREATE OR REPLACE FUNCTION under_way(endpoint bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock(6002244206641283072 + endpoint);
        RETURN (
            SELECT count(*) FROM delivery_leases WHERE endpoint_id = endpoint AND lease_until > now()
        ) + (
            SELECT count(*) FROM deliveries
            WHERE endpoint_id = endpoint AND state = 'sending' AND lease_until > now()
        );
    END $$
"""
FORMER_UNDER_WAY = """
    CREATE OR REPLACE FUNCTION under_way(endpoint bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock(6002244206641283072 + endpoint);
        RETURN (
            SELECT count(*) FROM deliveries
            WHERE endpoint_id = endpoint AND state = 'sending' AND lease_until > now()
        );
    END $$
"""
# The first byte of content is the version of its encryption; older dispatchers know version 1 only.
REFUSE = """
    DO $do$ BEGIN EXECUTE format($format$
        CREATE FUNCTION refuse_old_claim() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            IF substr(OLD.content, 1, 1) > '\\x01'::bytea OR EXISTS (
                SELECT FROM %I.delivery_leases
                WHERE endpoint_id = OLD.endpoint_id AND delivery_id = OLD.id AND lease_until > now()
            ) THEN
                RETURN NULL;
            END IF;
            RETURN NEW;
        END
        $$
    $format$, current_schema()); END $do$
"""
RESTRICT = "REVOKE ALL ON FUNCTION refuse_old_claim() FROM PUBLIC"
TRIGGER = """
    CREATE TRIGGER refuse_old_claim BEFORE UPDATE OF state ON deliveries FOR EACH ROW
    WHEN (OLD.state = 'pending' AND NEW.state = 'sending') EXECUTE FUNCTION refuse_old_claim()
"""


def upgrade() -> None:
    for statement in (TABLE, UNDER_WAY, REFUSE, RESTRICT, TRIGGER):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER refuse_old_claim ON deliveries")
    op.execute("DROP FUNCTION refuse_old_claim()")
    op.execute(FORMER_UNDER_WAY)
    op.execute("DROP TABLE delivery_leases")
