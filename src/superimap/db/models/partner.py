"""Partners with their API keys, signing secrets and rate limits."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import (
    Base,
    DigestBytes,
    IdentityKey,
    SealedBytes,
    TimestampDefaultNow,
)


class Partner(Base):
    """An application, or one environment of it, that uses the API."""

    __tablename__ = "partners"
    id: Mapped[IdentityKey]
    name: Mapped[str]
    success_url: Mapped[str | None]
    failure_url: Mapped[str | None]
    return_origins: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    append_results: Mapped[bool] = mapped_column(server_default=text("false"))
    send_traceparent: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[TimestampDefaultNow]

    __table_args__ = (Index("uq_partners_name", text("lower(name)"), unique=True),)


class ApiKey(Base):
    """An API key, looked up by digest. It is also stored encrypted, because it may sign webhook bodies.

    `scopes` and `networks` limit its use; no networks means any address. `last_used_at` is exact to a minute.
    A key with `signs_from` signs bodies from that time on. Of several unexpired ones the latest signs, and the
    others are in `signatures`.
    """

    __tablename__ = "api_keys"
    id: Mapped[IdentityKey]
    partner_id: Mapped[int] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(server_default="default")
    digest: Mapped[DigestBytes] = mapped_column(unique=True)
    secret: Mapped[SealedBytes]
    hint: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{read,write,replay,keys}'"))
    networks: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    created_at: Mapped[TimestampDefaultNow]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    signs_from: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("scopes <@ '{read,write,replay,keys}'::text[]", name="scopes"),)


class SigningSecret(Base):
    """A Standard Webhooks secret. During a rotation every unexpired secret signs."""

    __tablename__ = "signing_secrets"
    id: Mapped[IdentityKey]
    partner_id: Mapped[int] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"), index=True)
    secret: Mapped[SealedBytes]
    created_at: Mapped[TimestampDefaultNow]
    expires_at: Mapped[datetime | None]


class Allowance(Base):
    """A partner's uses of one action within a window that began at `since`."""

    __tablename__ = "allowances"
    partner_id: Mapped[int] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"), primary_key=True)
    action: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[TimestampDefaultNow]
    used: Mapped[int] = mapped_column(Integer, server_default=text("0"))
