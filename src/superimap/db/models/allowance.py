"""What a partner may do only so often: how much of it was used, and since when."""

from sqlalchemy import ForeignKey, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, TimestampDefaultNow
from superimap.db.models.partner import Partner


class Allowance(Base):
    """A partner's use of one action within a window of time that began at `since`."""

    __tablename__ = "allowances"
    partner_id: Mapped[int] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"), primary_key=True)
    action: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[TimestampDefaultNow]
    used: Mapped[int] = mapped_column(Integer, server_default=text("0"))
