"""Consents under way: one row per OAuth 2.0 authorization request, gone once it is used."""

from sqlalchemy import BigInteger, ForeignKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, Created, Digest, Id, Sealed, When, Words


class OAuthState(Base):
    """A state sent to a provider, stored hashed and bound to one browser; used once, for 10 minutes."""

    __tablename__ = "oauth_states"
    id: Mapped[Id]
    partner_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger)
    state_digest: Mapped[Digest] = mapped_column(unique=True)
    browser_digest: Mapped[Digest]
    verifier: Mapped[Sealed]
    success_url: Mapped[Words | None]
    failure_url: Mapped[Words | None]
    created_at: Mapped[Created]
    expires_at: Mapped[When]

    __table_args__ = (
        ForeignKeyConstraint(["user_id", "partner_id"], ["users.id", "users.partner_id"], ondelete="CASCADE"),
    )
