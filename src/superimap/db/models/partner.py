"""Who our customers are: partners, their API keys and their signing secrets."""

from sqlalchemy import ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, Created, Digest, Id, Sealed, When, Words


class Partner(Base):
    """An application (or one environment of it) that has inboxes watched."""

    __tablename__ = "partners"
    id: Mapped[Id]
    name: Mapped[Words]
    success_url: Mapped[Words | None]
    failure_url: Mapped[Words | None]
    return_origins: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    append_results: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[Created]

    __table_args__ = (Index("uq_partners_name", text("lower(name)"), unique=True),)


class ApiKey(Base):
    """A key of a partner: looked up by digest, and kept sealed because it signs webhook bodies too."""

    __tablename__ = "api_keys"
    id: Mapped[Id]
    partner_id: Mapped[int] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"), index=True)
    digest: Mapped[Digest] = mapped_column(unique=True)
    secret: Mapped[Sealed]
    hint: Mapped[Words]
    created_at: Mapped[Created]
    expires_at: Mapped[When | None]


class SigningSecret(Base):
    """A Standard Webhooks secret of a partner; during a rotation each unexpired one signs."""

    __tablename__ = "signing_secrets"
    id: Mapped[Id]
    partner_id: Mapped[int] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"), index=True)
    secret: Mapped[Sealed]
    created_at: Mapped[Created]
    expires_at: Mapped[When | None]
