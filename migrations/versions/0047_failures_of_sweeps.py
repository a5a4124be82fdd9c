"""Since when and for how long a sweep has failed, and the mails of a sweep that could not be read."""

from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None

TABLE = """
    CREATE TABLE sweep_mails (
        sweep_id bigint NOT NULL,
        uid bigint NOT NULL,
        reason text NOT NULL,
        attempts integer NOT NULL DEFAULT 1,
        first_failed_at timestamptz NOT NULL DEFAULT now(),
        failed_at timestamptz NOT NULL DEFAULT now(),
        failing_seconds double precision NOT NULL DEFAULT 0,
        next_attempt_at timestamptz NOT NULL,
        given_up_at timestamptz,
        CONSTRAINT pk_sweep_mails PRIMARY KEY (sweep_id, uid),
        CONSTRAINT fk_sweep_mails_sweep_id_sweeps FOREIGN KEY (sweep_id) REFERENCES sweeps (id) ON DELETE CASCADE
    )
"""


def upgrade() -> None:
    op.execute(
        "ALTER TABLE sweeps ADD COLUMN failing_since timestamptz, ADD COLUMN failed_at timestamptz,"
        " ADD COLUMN failing_seconds double precision NOT NULL DEFAULT 0"
    )
    op.execute(TABLE)


def downgrade() -> None:
    op.execute("DROP TABLE sweep_mails")
    op.execute(
        "ALTER TABLE sweeps DROP COLUMN failing_since, DROP COLUMN failed_at, DROP COLUMN failing_seconds"
    )
