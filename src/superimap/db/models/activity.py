"""Activity by partner and by provider in short intervals, sessions of idlers, and how far rows are counted."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, PrimaryKeyConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, one_of
from superimap.db.models.partner import Partner
from superimap.db.models.provider import Provider
from superimap.domain.activity import ActivitySource

_NONE = text("0")
_EMPTY = text("'{}'")


class Activity(Base):
    """What happened at an endpoint in the `seconds` from `began_at` (`ActivityCounts`).

    Mails are counted at the endpoint of `new_mail`. `endpoint_id` is 0 where there is none; it is no foreign key.
    An event is counted in one row only: rows of different length add up. `latencies` is a histogram of the times
    from recorded to acknowledged, `answer_times` that of the times to answer.
    """

    __tablename__ = "activity"
    partner_id: Mapped[int] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"))
    endpoint_id: Mapped[int] = mapped_column(BigInteger)
    began_at: Mapped[datetime]
    seconds: Mapped[int] = mapped_column(Integer)
    mails: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    skipped: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    delivered: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    failed: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    cancelled: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    accepted: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    refused: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    unanswered: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    unsent: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    latencies: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=_EMPTY)
    answer_times: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=_EMPTY)

    __table_args__ = (
        PrimaryKeyConstraint("partner_id", "began_at", "endpoint_id", "seconds"),
        Index("ix_activity_age", "seconds", "began_at"),
    )


class ProviderActivity(Base):
    """What happened to the mailboxes at a provider in the `seconds` from `began_at` (`ActivityCounts`).

    `delays` and `recordings` are histograms of the first stages of mails that were found while their mailbox was
    watched: from INTERNALDATE until found, and from there until recorded.
    """

    __tablename__ = "provider_activity"
    provider_id: Mapped[int] = mapped_column(ForeignKey(Provider.id, ondelete="CASCADE"))
    began_at: Mapped[datetime]
    seconds: Mapped[int] = mapped_column(Integer)
    mails: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    skipped: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    delivered: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    failed: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    cancelled: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    refusals: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    silences: Mapped[int] = mapped_column(Integer, server_default=_NONE)
    latencies: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=_EMPTY)
    delays: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=_EMPTY)
    recordings: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=_EMPTY)

    __table_args__ = (
        PrimaryKeyConstraint("provider_id", "began_at", "seconds"),
        Index("ix_provider_activity_age", "seconds", "began_at"),
    )


class IdlerActivity(Base):
    """Sessions of a living idler at one moment of the interval from `began_at`; id 0 is the sum of all idlers."""

    __tablename__ = "idler_activity"
    idler_id: Mapped[int] = mapped_column(BigInteger)
    began_at: Mapped[datetime]
    sessions: Mapped[int] = mapped_column(Integer)
    capacity: Mapped[int] = mapped_column(BigInteger)
    users: Mapped[int] = mapped_column(Integer)

    __table_args__ = (
        PrimaryKeyConstraint("idler_id", "began_at"),
        Index("ix_idler_activity_age", "began_at"),
    )


class ActivityMark(Base):
    """How far the rows of a table are counted: up to this time, and for messages up to this id."""

    __tablename__ = "activity_marks"
    source: Mapped[str] = mapped_column(primary_key=True)
    counted_to: Mapped[datetime]
    counted_id: Mapped[int] = mapped_column(BigInteger, server_default=_NONE)

    __table_args__ = (one_of("source", ActivitySource),)
