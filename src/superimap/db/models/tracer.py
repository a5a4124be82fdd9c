"""Tracers, and how many there were of each verdict."""

import datetime as dt
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, Integer, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, DigestBytes, IdentityKey, TimestampDefaultNow, one_of
from superimap.db.models.provider import Provider
from superimap.domain.providers import TracerBy
from superimap.domain.tracers import CleanUp, TracerVerdict

_OPEN = text("verdict IS NULL")
_BAD = text("verdict IN ('late', 'missing', 'unsendable')")
_UNCLEAN = text("detected_at IS NOT NULL AND clean_up IS NULL")


class Tracer(Base):
    """A test mail that SuperIMAP sends to a user to measure arrival, recognised by the digest of its token.

    The row is made before the mail is sent. `failed_at` says that it surely was not sent; a `failure` without it,
    that it may have been. `detected_at` is when the mail was recorded. A long tracer has a delivery.
    """

    __tablename__ = "tracers"
    id: Mapped[IdentityKey]
    partner_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger)
    provider_id: Mapped[int | None] = mapped_column(ForeignKey(Provider.id, ondelete="CASCADE"))
    token_digest: Mapped[DigestBytes]
    sent_by: Mapped[str | None]
    is_long: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[TimestampDefaultNow]
    accepted_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    failure: Mapped[str | None]
    internal_date: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]
    fetched_at: Mapped[datetime | None]
    detected_at: Mapped[datetime | None]
    mailbox_id: Mapped[int | None] = mapped_column(BigInteger)
    uid_validity: Mapped[int | None] = mapped_column(BigInteger)
    uid: Mapped[int | None] = mapped_column(BigInteger)
    delivery_id: Mapped[UUID | None]
    claimed_at: Mapped[datetime | None]
    posted_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    verdict: Mapped[str | None]
    clean_up: Mapped[str | None]
    tries: Mapped[int] = mapped_column(Integer, server_default=text("0"))

    __table_args__ = (
        ForeignKeyConstraint(["user_id", "partner_id"], ["users.id", "users.partner_id"], ondelete="CASCADE"),
        UniqueConstraint("user_id", "token_digest"),
        one_of("sent_by", TracerBy),
        one_of("verdict", TracerVerdict),
        one_of("clean_up", CleanUp),
        Index("ix_tracers_created_at", "created_at"),
        Index("ix_tracers_user", "user_id", "created_at"),
        Index("ix_tracers_provider", "provider_id", "created_at"),
        Index("ix_tracers_open", "created_at", postgresql_where=_OPEN),
        Index("ix_tracers_bad", "created_at", postgresql_where=_BAD),
        Index("ix_tracers_unclean", "detected_at", postgresql_where=_UNCLEAN),
        Index("ix_tracers_delivery", "delivery_id", postgresql_where=text("delivery_id IS NOT NULL")),
    )


class TracerDay(Base):
    """Tracers of a provider that were made on a day (UTC), by verdict."""

    __tablename__ = "tracer_days"
    provider_id: Mapped[int] = mapped_column(
        ForeignKey(Provider.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    day: Mapped[dt.date] = mapped_column(primary_key=True)
    detected: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    late: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    missing: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    unsendable: Mapped[int] = mapped_column(Integer, server_default=text("0"))

    __table_args__ = (Index("ix_tracer_days_day", "day"),)
