"""Protocol logs: requests of operators to see the conversation with a mail server, and its lines."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, IdentityKey, TimestampDefaultNow
from superimap.db.models.user import User


class ProtocolLog(Base):
    """A mailbox whose conversation is kept until `ends_at`. `lines` is how many were kept."""

    __tablename__ = "protocol_logs"
    user_id: Mapped[int] = mapped_column(
        ForeignKey(User.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    requested_by: Mapped[str]
    started_at: Mapped[TimestampDefaultNow]
    ends_at: Mapped[datetime]
    lines: Mapped[int] = mapped_column(Integer, server_default=text("0"))

    __table_args__ = (Index("ix_protocol_logs_ends_at", "ends_at"),)


class ProtocolLogLine(Base):
    """A line without secrets and without anything of a mail. `direction` says who has said it."""

    __tablename__ = "protocol_log_lines"
    id: Mapped[IdentityKey]
    user_id: Mapped[int] = mapped_column(ForeignKey(ProtocolLog.user_id, ondelete="CASCADE"))
    at: Mapped[datetime]
    direction: Mapped[str]
    line: Mapped[str]

    __table_args__ = (Index("ix_protocol_log_lines_user_id", "user_id", "id"),)
