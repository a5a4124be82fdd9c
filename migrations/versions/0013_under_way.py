"""POSTs under way to an endpoint are counted by one claim at a time"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Each statement of a volatile function sees what was committed until then: the count sees what the claim took that
# had the lock before. In the claim's own statement it would see only what was there when that began.
# The key is "SLAN" and the endpoint's id.
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
