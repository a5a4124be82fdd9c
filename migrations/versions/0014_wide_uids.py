"""UIDs and UIDVALIDITYs of up to 63 bits: some servers exceed the 32 bits of RFC 9051."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

COLUMNS = (
    ("mailboxes", "last_uid"),
    ("mailboxes", "uid_validity"),
    ("messages", "uid"),
    ("messages", "uid_validity"),
)


def _replace_checks(condition: str) -> None:
    """Replace the check of each column. The rows are scanned without a lock that stops anybody's writes."""
    for table, column in COLUMNS:
        name = f"ck_{table}_{column}"
        op.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}, "
            f"ADD CONSTRAINT {name} CHECK ({column} {condition}) NOT VALID"
        )
    with op.get_context().autocommit_block():
        for table, column in COLUMNS:
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT ck_{table}_{column}")


def upgrade() -> None:
    _replace_checks(">= 0")


def downgrade() -> None:
    _replace_checks("BETWEEN 0 AND 4294967295")
