"""Audit log of changes."""

from typing import Any

from sqlalchemy import BigInteger, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, IdentityKey, TimestampDefaultNow, one_of
from superimap.domain.audit import ActorKind


class AuditEntry(Base):
    """A change by an operator, an API key or a link. Never updated; the schema forbids it.

    There is no foreign key: an entry outlives its partner. `fields` names what changed, `details` holds the values
    that are not secret.
    """

    __tablename__ = "audit_log"
    id: Mapped[IdentityKey]
    at: Mapped[TimestampDefaultNow]
    actor_kind: Mapped[str]
    actor: Mapped[str]
    partner_id: Mapped[int | None] = mapped_column(BigInteger)
    action: Mapped[str]
    object_id: Mapped[str | None]
    fields: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))

    __table_args__ = (
        one_of("actor_kind", ActorKind),
        Index("ix_audit_log_partner", "partner_id", "id"),
        Index("ix_audit_log_at", "at"),
    )
