"""Quotas of partners, and what is left of them."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, one_of
from superimap.db.models.partner import Partner
from superimap.domain.quotas import Quota


class PartnerQuota(Base):
    """A quota that an operator has set for a partner. Without a row the default of the settings applies."""

    __tablename__ = "partner_quotas"
    partner_id: Mapped[int] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"), primary_key=True)
    quota: Mapped[str] = mapped_column(primary_key=True)
    maximum: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (one_of("quota", Quota),)


class PartnerUsage(Base):
    """What is left of a quota, at least. `maximum` is the quota for which `room` was counted.

    Users and sessions: creations take from `room`; when that is used up, the users are counted again. Backlog:
    measured by a dispatcher; `held_since` is set while the partner's mails are not recorded because the quota is
    reached.
    """

    __tablename__ = "partner_usage"
    partner_id: Mapped[int] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"), primary_key=True)
    quota: Mapped[str] = mapped_column(primary_key=True)
    maximum: Mapped[int] = mapped_column(BigInteger)
    room: Mapped[int] = mapped_column(BigInteger)
    held_since: Mapped[datetime | None]

    __table_args__ = (
        one_of("quota", Quota),
        Index("ix_partner_usage_held", "partner_id", postgresql_where=text("held_since IS NOT NULL")),
    )
