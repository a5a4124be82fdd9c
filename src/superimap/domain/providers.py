"""Providers: sign-in methods, transport security, polling methods, and what a preset consists of."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol, TypedDict


class ProviderKind(StrEnum):
    """Sign-in method of a provider's users: password, or OAuth 2.0."""

    PLAIN = "PLAIN"
    OAUTH2 = "OAUTH2"


class GrantType(StrEnum):
    """Grant type of an OAuth 2.0 provider (RFC 6749 section 1.3). None means `authorization_code`.

    `client_credentials`: one token of the application opens every mailbox of a connection. `jwt_bearer` (RFC 7523
    section 2.1): the application signs a statement for each user, and gets a token that opens this mailbox only.
    """

    AUTHORIZATION_CODE = "authorization_code"
    CLIENT_CREDENTIALS = "client_credentials"
    JWT_BEARER = "jwt_bearer"


APP_ONLY_GRANTS = frozenset({GrantType.CLIENT_CREDENTIALS, GrantType.JWT_BEARER})
"""Grants of the application itself, to which no person consents."""


class ClientAuth(StrEnum):
    """Authentication of clients at a token endpoint, by the names of RFC 8414. None means `client_secret_post`."""

    SECRET_POST = "client_secret_post"  # noqa: S105 - a name
    SECRET_BASIC = "client_secret_basic"  # noqa: S105
    PRIVATE_KEY_JWT = "private_key_jwt"


class SignInRules(Protocol):
    """What decides which fields a user of a provider needs to sign in."""

    @property
    def kind(self) -> str:
        """A ProviderKind."""

    @property
    def host_by_user(self) -> bool:
        """Whether each user has its own mail server."""

    @property
    def is_app_only(self) -> bool:
        """Whether the application signs in by itself, so that no person consents."""


class Tls(StrEnum):
    """Transport security of a mail server: TLS from the first byte, STARTTLS, or none."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


class PollBy(StrEnum):
    """Command that polls a mailbox where IDLE is missing or unreliable."""

    NOOP = "noop"
    STATUS = "status"


class OpenBy(StrEnum):
    """Command that opens the mailbox to watch. EXAMINE is read-only; some servers need SELECT."""

    EXAMINE = "examine"
    SELECT = "select"


class TracerBy(StrEnum):
    """Way of a tracer into a mailbox: sent by SMTP as a mail to oneself, or appended by a second IMAP session."""

    SMTP = "smtp"
    APPEND = "append"


class WatchSettings(TypedDict, total=False):
    """Watch settings that several presets share. All values of `logins_per_second` are [O]."""

    idle_renew: int
    poll_by: Literal["noop", "status"]
    poll_seconds: int
    open_by: Literal["examine", "select"]
    logins_per_second: float
    connections_per_account: int
    folders: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A row of the table `providers` as `superimap migrate` installs it. Operators may change the row later.

    A preset with a token URL is an OAuth 2.0 provider; all others use a user name and a password. A field that is
    None has the default of all providers.
    """

    code: str
    title: str
    imap_host: str
    imap_port: int = 993
    imap_tls: Literal["tls", "starttls", "none"] = "tls"
    host_by_user: bool = False
    """Whether each user has its own mail server, entered by the person. `imap_host` is not used then."""
    smtp_host: str | None = None
    smtp_port: int | None = None
    smtp_domain: str | None = None
    smtp_tls: Literal["tls", "starttls", "none"] = "starttls"
    idle_renew: int | None = None
    """Maximum seconds of one IDLE command, where IDLE_RENEW is too long."""
    poll_by: Literal["noop", "status"] | None = None
    """Command that polls, where IDLE is missing or unreliable. None: IDLE where it is offered, else NOOP."""
    poll_seconds: int | None = None
    """Seconds between polls. None: 60."""
    open_by: Literal["examine", "select"] | None = None
    """Command that opens the mailbox. None: EXAMINE, or SELECT where the server is known to need it."""
    logins_per_second: float | None = None
    """Maximum logins per second at one host."""
    connections_per_account: int | None = None
    """IMAP connections that an account may have. A user takes one of them, other mail clients the rest."""
    folders: str | None = None
    """Mailbox to watch: the first that exists, of special uses (`\\All`) and names. None: INBOX."""
    oauth2_grant_type: Literal["authorization_code", "client_credentials", "jwt_bearer"] | None = None
    """`client_credentials` and `jwt_bearer`: no person consents."""
    oauth2_client_auth: Literal["client_secret_post", "client_secret_basic", "private_key_jwt"] | None = None
    """How the client authenticates at the token endpoint. None: `client_secret_post`."""
    oauth2_authorize_url: str | None = None
    oauth2_token_url: str | None = None
    oauth2_scope: str | None = None
    oauth2_revoke_url: str | None = None
    oauth2_userinfo_url: str | None = None
    oauth2_issuer: str | None = None
    oauth2_jwks_url: str | None = None
    oauth2_email_claims: str | None = None
    oauth2_access_type: str | None = None
    oauth2_approval_prompt: str | None = None
    app_password_hint: str | None = None
    """Where a person creates an app password. Shown on the password page; not a column."""

    @property
    def kind(self) -> Literal["PLAIN", "OAUTH2"]:
        """Sign-in method of the provider's users."""
        return "OAUTH2" if self.oauth2_token_url else "PLAIN"

    def as_row(self) -> dict[str, Any]:
        """Return the columns of the table `providers`."""
        row = {**asdict(self), "kind": self.kind}
        del row["app_password_hint"]
        return row
