"""Indexes for lists and bulk changes, each in the order of its pages, and smaller shares for autovacuum.

The indexes are built without blocking writes, so each is a transaction of its own; one that an interrupted
migration left invalid is replaced. ix_deliveries_erasable replaces ix_deliveries_kept, which was written for each
pending and each sending delivery: with ix_deliveries_pending, a mail writes one index entry less than before.
"""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

NEW = {
    "ix_deliveries_pending": "deliveries (partner_id, kind, id) WHERE state = 'pending'",
    "ix_deliveries_ended": "deliveries (partner_id, state, kind, id) WHERE state IN ('failed', 'cancelled')",
    "ix_deliveries_replayable": "deliveries (partner_id, state, kind, id)"
    " WHERE state IN ('failed', 'cancelled') AND content IS NOT NULL",
    "ix_deliveries_erasable": "deliveries (settled_at) WHERE settled_at IS NOT NULL AND content IS NOT NULL",
    "ix_deliveries_kind": "deliveries (partner_id, kind, id) WHERE kind <> 'new_mail'",
    "ix_users_tag": "users (connection_id, tag)",
}
OLD = {
    "ix_deliveries_dead": "deliveries (partner_id, id) WHERE state IN ('failed', 'cancelled')",
    "ix_deliveries_kept": "deliveries (settled_at) WHERE content IS NOT NULL",
}
# By default a table is vacuumed once a fifth of its rows are dead, and analysed once a tenth changed. With a
# million mails a day for 90 days, that is every 18 and every 9 days; with these shares, every one and two days.
VACUUM = {
    "messages": "autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02",
    "attempts": "autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02",
    "deliveries": "autovacuum_analyze_scale_factor = 0.02",  # its other share is of 0008
}


def upgrade() -> None:
    for table, settings in VACUUM.items():
        op.execute(f"ALTER TABLE {table} SET ({settings})")
    _replace(OLD, NEW)


def downgrade() -> None:
    _replace(NEW, OLD)
    for table, settings in VACUUM.items():
        names = ", ".join(setting.split(" = ")[0] for setting in settings.split(", "))
        op.execute(f"ALTER TABLE {table} RESET ({names})")


def _replace(old: dict[str, str], new: dict[str, str]) -> None:
    with op.get_context().autocommit_block():
        for name, definition in new.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")
        for name in old:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
