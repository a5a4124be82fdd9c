"""Operators of the dashboard with their means of signing in, and the sessions of dashboard and portal."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, DigestBytes, IdentityKey, SealedBytes, TimestampDefaultNow, one_of
from superimap.db.models.partner import Partner
from superimap.domain.operators import OperatorRole


class Operator(Base):
    """A person who operates the installation.

    `password` is a hash by Argon2 (RFC 9106). `totp_seed` is that of the second factor (RFC 6238), and `totp_step`
    the last step that was accepted, so that no code is accepted twice. `oidc_subject` is the person's issuer and
    subject at an OpenID provider.
    """

    __tablename__ = "operators"
    id: Mapped[IdentityKey]
    email: Mapped[str]
    role: Mapped[str]
    password: Mapped[str | None]
    totp_seed: Mapped[SealedBytes | None]
    totp_step: Mapped[int | None] = mapped_column(BigInteger)
    oidc_subject: Mapped[str | None] = mapped_column(unique=True)
    refusals: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    locked_until: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[TimestampDefaultNow]
    signed_in_at: Mapped[datetime | None]
    signed_in_from: Mapped[str | None]
    sign_ins: Mapped[int] = mapped_column(Integer, server_default=text("0"))

    __table_args__ = (
        Index("uq_operators_email", text("lower(email)"), unique=True),
        one_of("role", OperatorRole),
    )


class Passkey(Base):
    """A passkey of an operator (WebAuthn level 2). `sign_count` is the counter of its authenticator."""

    __tablename__ = "passkeys"
    id: Mapped[IdentityKey]
    operator_id: Mapped[int] = mapped_column(ForeignKey(Operator.id, ondelete="CASCADE"), index=True)
    credential_id: Mapped[DigestBytes] = mapped_column(unique=True)
    public_key: Mapped[DigestBytes]
    sign_count: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str]
    created_at: Mapped[TimestampDefaultNow]
    used_at: Mapped[datetime | None]


class RecoveryCode(Base):
    """Digest of a code that replaces the second factor once."""

    __tablename__ = "recovery_codes"
    operator_id: Mapped[int] = mapped_column(ForeignKey(Operator.id, ondelete="CASCADE"))
    digest: Mapped[DigestBytes]

    __table_args__ = (PrimaryKeyConstraint("operator_id", "digest"),)


class OperatorToken(Base):
    """A token with which a program acts for an operator, with a role of its own that is not above the operator's.

    `is_confirmed`: it may also do what a person may do with a confirmed identity only. `hint` is its beginning.
    """

    __tablename__ = "operator_tokens"
    id: Mapped[IdentityKey]
    operator_id: Mapped[int] = mapped_column(ForeignKey(Operator.id, ondelete="CASCADE"), index=True)
    name: Mapped[str]
    digest: Mapped[DigestBytes] = mapped_column(unique=True)
    hint: Mapped[str]
    role: Mapped[str]
    is_confirmed: Mapped[bool]
    created_at: Mapped[TimestampDefaultNow]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]

    __table_args__ = (one_of("role", OperatorRole),)


class DashboardLink(Base):
    """Digest of a link that is used once: an operator sets a password with it, or it opens a partner's portal."""

    __tablename__ = "dashboard_links"
    digest: Mapped[DigestBytes] = mapped_column(primary_key=True)
    operator_id: Mapped[int | None] = mapped_column(ForeignKey(Operator.id, ondelete="CASCADE"), index=True)
    partner_id: Mapped[int | None] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"), index=True)
    made_by: Mapped[str]
    expires_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("num_nulls(operator_id, partner_id) = 1", name="one_owner"),
        Index("ix_dashboard_links_expires_at", "expires_at"),
    )


class DashboardSession(Base):
    """A browser that is signed in, by the digest of its cookie: as an operator, or in the portal of a partner.

    `stepped_up_at`: when the identity was last confirmed. `opened_by` says who made the link of a portal session.
    """

    __tablename__ = "dashboard_sessions"
    digest: Mapped[DigestBytes] = mapped_column(primary_key=True)
    operator_id: Mapped[int | None] = mapped_column(ForeignKey(Operator.id, ondelete="CASCADE"), index=True)
    partner_id: Mapped[int | None] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"), index=True)
    created_at: Mapped[TimestampDefaultNow]
    seen_at: Mapped[TimestampDefaultNow]
    expires_at: Mapped[datetime]
    stepped_up_at: Mapped[datetime | None]
    method: Mapped[str]
    address: Mapped[str]
    browser: Mapped[str]
    opened_by: Mapped[str | None]

    __table_args__ = (
        CheckConstraint("num_nulls(operator_id, partner_id) = 1", name="one_owner"),
        Index("ix_dashboard_sessions_expires_at", "expires_at"),
    )


class UsedForm(Base):
    """Digest of a form, or of a challenge, that was sent and is not accepted again."""

    __tablename__ = "used_forms"
    digest: Mapped[DigestBytes] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]

    __table_args__ = (Index("ix_used_forms_expires_at", "expires_at"),)
