"""Providers: servers, sign-in methods and watch settings."""

from sqlalchemy import CheckConstraint, Double, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import Base, IdentityKey, TimestampDefaultNow, one_of
from superimap.domain.providers import (
    APP_ONLY_GRANTS,
    ClientAuth,
    OpenBy,
    PollBy,
    ProviderKind,
    Tls,
    TracerBy,
)


class Provider(Base):
    """A mail provider: its servers, sign-in method and watch settings. A column that is None has the default.

    `idle_renew` and `poll_seconds` are in seconds. Without `poll_by`, IDLE is used where it is offered. Without
    `open_by`, mailboxes are opened by EXAMINE where that suffices. `folders` are comma-separated; the first that
    exists is watched, and one with a backslash is a special use (RFC 6154). With `host_by_user` each user has its
    own mail server. Without `tracer_by` no tracers are sent.
    """

    __tablename__ = "providers"
    id: Mapped[IdentityKey]
    code: Mapped[str]
    title: Mapped[str]
    kind: Mapped[str]
    imap_host: Mapped[str]
    imap_port: Mapped[int] = mapped_column(Integer)
    imap_tls: Mapped[str] = mapped_column(server_default="tls")
    host_by_user: Mapped[bool] = mapped_column(server_default=text("false"))
    smtp_host: Mapped[str | None]
    smtp_port: Mapped[int | None] = mapped_column(Integer)
    smtp_domain: Mapped[str | None]
    smtp_tls: Mapped[str] = mapped_column(server_default="starttls")
    tracer_by: Mapped[str | None]
    idle_renew: Mapped[int | None] = mapped_column(Integer)
    poll_by: Mapped[str | None]
    poll_seconds: Mapped[int | None] = mapped_column(Integer)
    open_by: Mapped[str | None]
    logins_per_second: Mapped[float | None] = mapped_column(Double)
    connections_per_account: Mapped[int | None] = mapped_column(Integer)
    folders: Mapped[str | None]
    oauth2_grant_type: Mapped[str | None]
    oauth2_client_auth: Mapped[str | None]
    oauth2_scope: Mapped[str | None]
    oauth2_site: Mapped[str | None]
    oauth2_token_method: Mapped[str | None]
    oauth2_token_url: Mapped[str | None]
    oauth2_authorize_url: Mapped[str | None]
    oauth2_response_type: Mapped[str | None]
    oauth2_access_type: Mapped[str | None]
    oauth2_approval_prompt: Mapped[str | None]
    oauth2_userinfo_url: Mapped[str | None]
    oauth2_revoke_url: Mapped[str | None]
    oauth2_issuer: Mapped[str | None]
    oauth2_jwks_url: Mapped[str | None]
    oauth2_email_claims: Mapped[str | None]
    created_at: Mapped[TimestampDefaultNow]

    __table_args__ = (
        Index("uq_providers_code", text("upper(code)"), unique=True),
        one_of("kind", ProviderKind),
        one_of("imap_tls", Tls),
        one_of("smtp_tls", Tls),
        one_of("tracer_by", TracerBy),
        one_of("poll_by", PollBy),
        one_of("open_by", OpenBy),
        one_of("oauth2_client_auth", ClientAuth),
        CheckConstraint("NOT host_by_user OR kind = 'PLAIN'", name="host_by_user"),
        CheckConstraint("idle_renew BETWEEN 5 AND 540", name="idle_renew"),
        CheckConstraint("poll_seconds BETWEEN 5 AND 300", name="poll_seconds"),
        CheckConstraint("logins_per_second > 0", name="logins_per_second"),
        CheckConstraint("connections_per_account > 0", name="connections_per_account"),
        CheckConstraint(
            "kind <> 'OAUTH2' OR (oauth2_token_url IS NOT NULL AND oauth2_scope IS NOT NULL"
            " AND (oauth2_authorize_url IS NOT NULL"
            " OR oauth2_grant_type IN ('client_credentials', 'jwt_bearer')))",
            name="oauth2_complete",
        ),
    )

    @property
    def client_auth(self) -> ClientAuth:
        """How a connection's client authenticates at the token endpoint."""
        return ClientAuth(self.oauth2_client_auth or ClientAuth.SECRET_POST)

    @property
    def is_app_only(self) -> bool:
        """Whether one token of the application itself opens every mailbox of a connection."""
        return self.kind == ProviderKind.OAUTH2 and self.oauth2_grant_type in APP_ONLY_GRANTS
