"""Partners with their API keys, signing secrets and rate limits."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Integer, Text, text
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
    created_at: Mapped[TimestampDefaultNow]

    __table_args__ = (Index("uq_partners_name", text("lower(name)"), unique=True),)


class ApiKey(Base):
    """An API key, looked up by digest. It is also stored encrypted, because it signs webhook bodies."""

    __tablename__ = "api_keys"
    id: Mapped[IdentityKey]
    partner_id: Mapped[int] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"), index=True)
    digest: Mapped[DigestBytes] = mapped_column(unique=True)
    secret: Mapped[SealedBytes]
    hint: Mapped[str]
    created_at: Mapped[TimestampDefaultNow]
    expires_at: Mapped[datetime | None]


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
