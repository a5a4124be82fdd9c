"""Jobs: long actions of operators."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, IdentityKey, TimestampDefaultNow, one_of
from superimap.db.models.partner import Partner
from superimap.domain.jobs import JobKind, JobState


class Job(Base):
    """A long action on rows of a partner, carried out in batches.

    `plan` says which rows. `total` is how many there were; None: more than were counted. `failed` are those that
    could not be changed. `position` is where the next batch begins, written in the transaction of a batch. The
    process `holder` may run it until `lease_until`.
    """

    __tablename__ = "jobs"
    id: Mapped[IdentityKey]
    kind: Mapped[str]
    partner_id: Mapped[int] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"), index=True)
    plan: Mapped[dict[str, Any]] = mapped_column(JSONB)
    actor_kind: Mapped[str]
    made_by: Mapped[str]
    total: Mapped[int | None] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    failed: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    position: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default="running")
    error: Mapped[str | None]
    started_at: Mapped[TimestampDefaultNow]
    heartbeat_at: Mapped[TimestampDefaultNow]
    finished_at: Mapped[datetime | None]
    lease_until: Mapped[TimestampDefaultNow]
    holder: Mapped[uuid.UUID | None] = mapped_column(Uuid)

    __table_args__ = (
        one_of("kind", JobKind),
        one_of("state", JobState),
        CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="finished"),
        Index("ix_jobs_running", "lease_until", postgresql_where=text("state = 'running'")),
        Index("ix_jobs_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )
