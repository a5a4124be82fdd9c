"""Listing and replay of deliveries by partner, and rate limits of partners."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ATTEMPTS_FK = "fk_attempts_delivery_id_partner_id"


def upgrade() -> None:
    _key_deliveries_by("partner_id", "id")
    op.add_column(
        "deliveries", sa.Column("attempts_before", sa.Integer, nullable=False, server_default=sa.text("0"))
    )
    op.create_index(
        "ix_deliveries_dead",
        "deliveries",
        ["partner_id", "id"],
        postgresql_where=sa.text("state IN ('failed', 'cancelled')"),
    )
    # By default a table is vacuumed once a fifth of its rows are dead: with 90 million rows, once a week.
    op.execute("ALTER TABLE deliveries SET (autovacuum_vacuum_scale_factor = 0.01)")
    op.create_table(
        "allowances",
        sa.Column(
            "partner_id",
            sa.BigInteger,
            sa.ForeignKey("partners.id", name="fk_allowances_partner_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("used", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("partner_id", "action", name="pk_allowances"),
    )


def downgrade() -> None:
    op.drop_table("allowances")
    op.execute("ALTER TABLE deliveries RESET (autovacuum_vacuum_scale_factor)")
    op.drop_index("ix_deliveries_dead", "deliveries")
    op.drop_column("deliveries", "attempts_before")
    _key_deliveries_by("id", "partner_id")


def _key_deliveries_by(*columns: str) -> None:
    """The order of the columns of a key decides which listings it serves."""
    op.drop_constraint(op.f(ATTEMPTS_FK), "attempts", type_="foreignkey")
    op.drop_constraint(op.f("pk_deliveries"), "deliveries", type_="primary")
    op.create_primary_key(op.f("pk_deliveries"), "deliveries", list(columns))
    op.create_foreign_key(
        op.f(ATTEMPTS_FK),
        "attempts",
        "deliveries",
        ["delivery_id", "partner_id"],
        ["id", "partner_id"],
        ondelete="CASCADE",
    )
