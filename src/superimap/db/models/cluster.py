"""Who watches what: idlers with their heartbeats, shards with their owners."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Identity, Integer, SmallInteger, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, TimestampDefaultNow


class Idler(Base):
    """A running idler. Its heartbeat is its lease on every shard that it owns."""

    __tablename__ = "idlers"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str]
    version: Mapped[str]
    capacity: Mapped[int] = mapped_column(Integer)
    sessions: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    is_full: Mapped[bool] = mapped_column(server_default=text("false"))
    is_stopping: Mapped[bool] = mapped_column(server_default=text("false"))
    started_at: Mapped[TimestampDefaultNow]
    heartbeat_at: Mapped[TimestampDefaultNow]
    address: Mapped[str | None] = mapped_column(INET, server_default=text("inet_client_addr()"))
    health_port: Mapped[int | None] = mapped_column(Integer)
    # Load, as the idler told it last; who is about to hand shards over adds them here first.
    users: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    shards: Mapped[int] = mapped_column(Integer, server_default=text("0"))


class Shard(Base):
    """A slice of the users. `epoch` grows with every change of owner and fences the one before."""

    __tablename__ = "shards"
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    owner: Mapped[int | None] = mapped_column(ForeignKey(Idler.id, ondelete="SET NULL"), index=True)
    epoch: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    changed_at: Mapped[datetime | None]

    # A unique (shard, epoch) makes a new epoch a key change, which waits for every FOR KEY SHARE.
    __table_args__ = (UniqueConstraint("shard", "epoch"),)
