"""State of the installation: idlers with heartbeats, shards with owners, and canaries of the encryption keys."""

from datetime import datetime

import asyncpg
from sqlalchemy import BigInteger, ForeignKey, Identity, Integer, SmallInteger, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import BIT, INET
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, IdentityKey, SealedBytes, TimestampDefaultNow


class Idler(Base):
    """A running idler. Its heartbeat is its lease on all shards that it owns. `beat` is the heartbeat's number.

    `presence` is the number of the advisory lock that its process holds on the server that was started at
    `presence_server` and has the address `presence_address`; None if the lease alone counts. `absent_since` is set
    when another idler has proven that nobody holds the lock, which ends the lease.
    """

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
    beat: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    presence: Mapped[int | None] = mapped_column(Integer)
    presence_server: Mapped[datetime | None]
    presence_address: Mapped[str | None] = mapped_column(INET)
    absent_since: Mapped[datetime | None]
    # Load as the idler last reported it. A hand-over adds its shards here before it starts.
    users: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    shards: Mapped[int] = mapped_column(Integer, server_default=text("0"))


class Shard(Base):
    """A slice of the users. `epoch` grows with every change of owner, and fences the previous owner."""

    __tablename__ = "shards"
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    owner: Mapped[int | None] = mapped_column(ForeignKey(Idler.id, ondelete="SET NULL"), index=True)
    epoch: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    changed_at: Mapped[datetime | None]

    # The unique key (shard, epoch) makes a new epoch a key change, which waits for every FOR KEY SHARE.
    __table_args__ = (UniqueConstraint("shard", "epoch"),)


class Vouch(Base):
    """An interval in which mail servers have answered an idler: bit n is that of the user with `vouch_slot` n.

    `since` is the start of the interval, by PostgreSQL's clock. `turn` is the number of the interval, modulo the
    number of intervals that are kept.
    """

    __tablename__ = "vouches"
    voucher: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    turn: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    since: Mapped[datetime]
    reported_at: Mapped[TimestampDefaultNow]
    proven: Mapped[asyncpg.BitString] = mapped_column(BIT(varying=True))


class ShardUserSum(Base):
    """A summand: `wanted` of all rows of a shard add up to the number of users that should be watched.

    The XOR of their `digest` is the XOR of hashes of id and credentials version of these users. A trigger of
    `users` adds a row for each change. Not unique by shard, so that transactions never wait for one another.
    """

    __tablename__ = "shard_user_sums"
    id: Mapped[IdentityKey]
    shard: Mapped[int] = mapped_column(SmallInteger, index=True)
    wanted: Mapped[int] = mapped_column(Integer)
    digest: Mapped[int] = mapped_column(BigInteger)


class VaultCanary(Base):
    """A known word encrypted with one key of the ring. A process does not start if it can decrypt none of them.

    `seals` counts the values that the key has encrypted; processes add to it once a minute.
    """

    __tablename__ = "vault_canaries"
    key_id: Mapped[str] = mapped_column(primary_key=True)
    word: Mapped[SealedBytes]
    created_at: Mapped[TimestampDefaultNow]
    seals: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
