"""Consents in progress, used links, and counts of attempts."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import (
    Base,
    DigestBytes,
    IdentityKey,
    SealedBytes,
    TimestampDefaultNow,
)


class OAuthState(Base):
    """A consent in progress. The state is a digest, bound to one browser; the row is deleted on return.

    `destinations_digest` is of the servers and URLs that the provider had at the start. NULL: started by a process
    from before migration 0031.
    """

    __tablename__ = "oauth_states"
    id: Mapped[IdentityKey]
    partner_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger)
    state_digest: Mapped[DigestBytes] = mapped_column(unique=True)
    browser_digest: Mapped[DigestBytes]
    link_digest: Mapped[DigestBytes]
    destinations_digest: Mapped[DigestBytes | None]
    verifier: Mapped[SealedBytes]
    success_url: Mapped[str | None]
    failure_url: Mapped[str | None]
    created_at: Mapped[TimestampDefaultNow]
    expires_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(["user_id", "partner_id"], ["users.id", "users.partner_id"], ondelete="CASCADE"),
        Index("ix_oauth_states_expires_at", "expires_at"),
    )


class UsedLink(Base):
    """Digest of a link that has connected or disconnected its user and cannot be used again."""

    __tablename__ = "used_links"
    link_digest: Mapped[DigestBytes] = mapped_column(primary_key=True)
    partner_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger)
    used_at: Mapped[TimestampDefaultNow]

    __table_args__ = (
        ForeignKeyConstraint(["user_id", "partner_id"], ["users.id", "users.partner_id"], ondelete="CASCADE"),
        Index("ix_used_links_used_at", "used_at"),
    )


class LoginTry(Base):
    """Number of tries through a link or from an address until `ends_at`. The key is a digest of either."""

    __tablename__ = "login_tries"
    key: Mapped[DigestBytes] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    ends_at: Mapped[datetime]

    __table_args__ = (Index("ix_login_tries_ends_at", "ends_at"),)
