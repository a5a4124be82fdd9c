"""Sweeps: readings of a mailbox's history into webhooks."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, IdentityKey, TimestampDefaultNow, one_of
from superimap.domain.sweeps import SweepCause, SweepDirection, SweepState

_ACTIVE = "state IN ('waiting', 'running', 'paused')"


class Sweep(Base):
    """A reading of a mailbox's history into webhooks, and how far it is.

    `cause` says why it exists. Those that are `connected` are of the present connection: one of each folder.
    `since` and `until` bound INTERNALDATE, and `folder` is null for the watched one. `max_mails` bounds `sent`.
    `again`: mails that had their webhook are sent again. Nothing is read before `due_at`; `failures` counts
    failures of the mail server in a row, the first at `failing_since`, the last at `failed_at`. `failing_seconds`
    is the time between them, without the time in which nothing was tried.

    Of the mailbox and numbering in `mailbox_id` and `uid_validity`, the UIDs up to `up_to_uid` are swept, and
    `done_uid` is the last one that was. `total` is their number, `done` that of those looked at. Of these, `sent`
    have a webhook by this sweep (with `dry_run`: would have), `known` had one, `skipped` get none by a rule, and
    `unreadable` could not be read (table `sweep_mails`); the others are out of range.
    """

    __tablename__ = "sweeps"
    id: Mapped[IdentityKey]
    partner_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger)
    shard: Mapped[int] = mapped_column(Integer)
    folder: Mapped[str | None]
    since: Mapped[datetime | None]
    until: Mapped[datetime | None]
    max_mails: Mapped[int | None] = mapped_column(Integer)
    direction: Mapped[str]
    again: Mapped[bool] = mapped_column(server_default=text("false"))
    dry_run: Mapped[bool] = mapped_column(server_default=text("false"))
    cause: Mapped[str] = mapped_column(server_default="requested")
    actor_kind: Mapped[str]
    made_by: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="waiting")
    reason: Mapped[str | None]
    created_at: Mapped[TimestampDefaultNow]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    due_at: Mapped[TimestampDefaultNow]
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    failing_since: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    failing_seconds: Mapped[float] = mapped_column(Double, server_default=text("0"))
    mailbox_id: Mapped[int | None] = mapped_column(BigInteger)
    uid_validity: Mapped[int | None] = mapped_column(BigInteger)
    up_to_uid: Mapped[int | None] = mapped_column(BigInteger)
    done_uid: Mapped[int | None] = mapped_column(BigInteger)
    total: Mapped[int | None] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    sent: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    known: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    skipped: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    unreadable: Mapped[int] = mapped_column(Integer, server_default=text("0"))

    __table_args__ = (
        ForeignKeyConstraint(["user_id", "partner_id"], ["users.id", "users.partner_id"], ondelete="CASCADE"),
        one_of("cause", SweepCause),
        one_of("direction", SweepDirection),
        one_of("state", SweepState),
        CheckConstraint(
            "(state IN ('finished', 'cancelled', 'failed')) = (finished_at IS NOT NULL)", name="finished"
        ),
        Index("uq_sweeps_active", "user_id", unique=True, postgresql_where=text(_ACTIVE)),
        Index(
            "uq_sweeps_connected",
            "user_id",
            text("coalesce(folder, '')"),
            unique=True,
            postgresql_where=text("cause = 'connected'"),
        ),
        Index(
            "ix_sweeps_partner_active",
            "partner_id",
            postgresql_where=text(f"cause = 'requested' AND {_ACTIVE}"),
        ),
        Index("ix_sweeps_due", "shard", "due_at", postgresql_where=text("state IN ('waiting', 'running')")),
        Index("ix_sweeps_partner", "partner_id", "id", postgresql_where=text("cause = 'requested'")),
        Index("ix_sweeps_user", "user_id", "id"),
        Index("ix_sweeps_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )


class SweepMail(Base):
    """A mail of a sweep that could not be read, by its UID. It is tried again until it is read or given up."""

    __tablename__ = "sweep_mails"
    sweep_id: Mapped[int] = mapped_column(ForeignKey(Sweep.id, ondelete="CASCADE"), primary_key=True)
    uid: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    reason: Mapped[str]
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    first_failed_at: Mapped[TimestampDefaultNow]
    failed_at: Mapped[TimestampDefaultNow]
    failing_seconds: Mapped[float] = mapped_column(Double, server_default=text("0"))
    next_attempt_at: Mapped[datetime]
    given_up_at: Mapped[datetime | None]
