"""A function that counts the POSTs in flight to an endpoint, for one claim at a time."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Each statement of a volatile function sees everything that was committed before it. The count therefore sees what
# the previous holder of the lock claimed. Inside the statement of the claim it would see only what was committed
# when that statement began. The lock's key is "SLAN" and the endpoint's id.
FUNCTION = """
    CREATE FUNCTION under_way(endpoint bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock(6002244206641283072 + endpoint);
        RETURN (
            SELECT count(*) FROM deliveries
            WHERE endpoint_id = endpoint AND state = 'sending' AND lease_until > now()
        );
    END $$
"""


def upgrade() -> None:
    op.execute(FUNCTION)


def downgrade() -> None:
    op.execute("DROP FUNCTION under_way(bigint)")
