"""Health of an endpoint (breaker, reason why it is disabled), and the dispatcher that holds a lease."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NEW = (
    "failures",
    "failing_since",
    "breaker",
    "width",
    "setbacks",
    "probe_at",
    "disabled_at",
    "disabled_reason",
)


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    for column in (
        sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("failing_since", moment),
        sa.Column("breaker", sa.Text, nullable=False, server_default="closed"),
        sa.Column("width", sa.Integer),
        sa.Column("setbacks", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("probe_at", moment),
        sa.Column("disabled_at", moment),
        sa.Column("disabled_reason", sa.Text),
    ):
        op.add_column("endpoints", column)
    op.create_check_constraint(
        op.f("ck_endpoints_breaker"), "endpoints", "breaker IN ('closed', 'open', 'slow_start')"
    )
    op.add_column("deliveries", sa.Column("holder", sa.Integer))


def downgrade() -> None:
    op.drop_column("deliveries", "holder")
    op.drop_constraint(op.f("ck_endpoints_breaker"), "endpoints", type_="check")
    for name in reversed(NEW):
        op.drop_column("endpoints", name)
