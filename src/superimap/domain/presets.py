"""Which mail providers do we know? Presets: where their servers are, how one signs in, and how one watches there.

Marks: [D] from the provider's own documentation, [S] as other shipping clients do it, [R] reported by users,
[O] our own choice, on the careful side, where the provider names no figure.
"""

# ruff: noqa: S106 - the addresses of tokens are no passwords

from dataclasses import dataclass
from typing import Literal, TypedDict


class WatchSettings(TypedDict, total=False):
    """What differs by provider in how one watches there; the logins per second are [O] throughout."""

    idle_renew: int
    poll_by: Literal["noop", "status"]
    poll_seconds: int
    logins_per_second: float
    connections_per_account: int
    folders: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A row of the table `providers` as it is installed; operators may change theirs afterwards.

    A preset with a token URL is an OAuth 2.0 provider, every other takes a name and a password. What is
    None is as for any other provider.
    """

    code: str
    title: str
    imap_host: str
    imap_port: int = 993
    imap_tls: Literal["tls", "starttls", "none"] = "tls"
    host_by_user: bool = False
    """Whether each user has a mail server of its own, named by the person; `imap_host` counts for none then."""
    smtp_host: str | None = None
    smtp_port: int | None = None
    smtp_domain: str | None = None
    smtp_tls: Literal["tls", "starttls", "none"] = "starttls"
    idle_renew: int | None = None
    """Seconds after which an IDLE is renewed at the latest, where IDLE_RENEW is too long."""
    poll_by: Literal["noop", "status"] | None = None
    """How to ask for news where IDLE is missing or lies; None: IDLE where it is offered, else NOOP."""
    poll_seconds: int | None = None
    """Seconds between questions without IDLE; None: 60."""
    logins_per_second: float | None = None
    """Logins that one host is asked for in a second, at most."""
    connections_per_account: int | None = None
    """IMAP connections that an account may have; a user takes one of them, other programs the rest."""
    folders: str | None = None
    """Which folder to watch: the first that exists, of special uses (`\\All`) and names; None: INBOX."""
    oauth2_grant_type: Literal["authorization_code", "client_credentials"] | None = None
    """`client_credentials`: nobody is asked, one token opens every mailbox of a connection."""
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

    @property
    def kind(self) -> Literal["PLAIN", "OAUTH2"]:
        """How users of this provider prove who they are."""
        return "OAUTH2" if self.oauth2_token_url else "PLAIN"


_WATCHED: dict[str, WatchSettings] = {
    # All Mail, localised and hidden at will, so by its special use [R]. 15 connections an account [R]. It sends
    # "* OK Still here" every two minutes or so [R], and wants IDLE anew well within 15 minutes [R].
    "gmail": {"folders": r"\All", "connections_per_account": 15},
    # 16 connections a user is the documented default on premises [D], 20 online [R].
    "outlook": {"connections_per_account": 16},
    # IDLE is to be broken within 3 minutes [S], and is cut at 300 s (AOL) [R]. About 10 connections, and rate
    # limits [R].
    "yahoo": {"idle_renew": 170, "connections_per_account": 10, "logins_per_second": 20.0},
    # About 5 connections [R].
    "icloud": {"connections_per_account": 5, "logins_per_second": 20.0},
    # Excess use of IMAP is blocked for a time [D], without a figure.
    "zoho": {"logins_per_second": 20.0},
    # No IDLE, and NOOP tells nothing: STATUS does [S].
    "163": {"poll_by": "status", "poll_seconds": 60, "logins_per_second": 20.0},
    # IDLE is cut after a minute [S].
    "rambler": {"idle_renew": 50, "logins_per_second": 20.0},
}

_OAUTH2 = (
    Preset(
        code="GMAIL_OAUTH2",
        title="Gmail and Google Workspace (OAuth 2.0)",
        imap_host="imap.gmail.com",
        **_WATCHED["gmail"],
        smtp_host="smtp.gmail.com",
        smtp_port=587,
        smtp_domain="gmail.com",
        oauth2_authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
        oauth2_token_url="https://oauth2.googleapis.com/token",
        oauth2_revoke_url="https://oauth2.googleapis.com/revoke",
        oauth2_userinfo_url="https://openidconnect.googleapis.com/v1/userinfo",
        oauth2_issuer="https://accounts.google.com",
        oauth2_jwks_url="https://www.googleapis.com/oauth2/v3/certs",
        oauth2_email_claims="email",
        # `openid email` tells whose account it is; the last one is IMAP, and restricted by Google.
        oauth2_scope="openid email https://mail.google.com/",
        # Without both, Google gives a refresh token at a person's first consent alone.
        oauth2_access_type="offline",
        oauth2_approval_prompt="consent",
    ),
    Preset(
        code="OUTLOOK_OAUTH2",
        title="Microsoft 365 and Outlook.com (OAuth 2.0)",
        imap_host="outlook.office365.com",
        **_WATCHED["outlook"],
        oauth2_authorize_url="https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        oauth2_token_url="https://login.microsoftonline.com/common/oauth2/v2.0/token",
        # No userinfo URL: an access token for IMAP does not open it. The ID token says whose account it is.
        # `profile` brings preferred_username, which no tenant's administrator can set to another's address.
        oauth2_scope="openid profile email offline_access https://outlook.office.com/IMAP.AccessAsUser.All",
        oauth2_issuer="https://login.microsoftonline.com/{tenantid}/v2.0",
        oauth2_jwks_url="https://login.microsoftonline.com/common/discovery/v2.0/keys",
        oauth2_email_claims="preferred_username email",
    ),
    Preset(
        code="OUTLOOK_APP_ONLY",
        title="Microsoft 365 (an organisation's mailboxes, by its administrator)",
        imap_host="outlook.office365.com",
        **_WATCHED["outlook"],
        # The permission is IMAP.AccessAsApp, and Exchange names the mailboxes [D learn.microsoft.com,
        # "Authenticate an IMAP, POP or SMTP connection using OAuth"]. The tenant is the connection's.
        oauth2_grant_type="client_credentials",
        oauth2_token_url="https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
        oauth2_scope="https://outlook.office365.com/.default",
    ),
    Preset(
        code="YAHOO_OAUTH2",
        title="Yahoo Mail (OAuth 2.0, by agreement with Yahoo)",
        imap_host="imap.mail.yahoo.com",
        **_WATCHED["yahoo"],
        oauth2_authorize_url="https://api.login.yahoo.com/oauth2/request_auth",
        oauth2_token_url="https://api.login.yahoo.com/oauth2/get_token",
        oauth2_scope="mail-w",
    ),
    Preset(
        code="AOL_OAUTH2",
        title="AOL Mail (OAuth 2.0, by agreement with Yahoo)",
        imap_host="imap.aol.com",
        oauth2_authorize_url="https://api.login.aol.com/oauth2/request_auth",
        oauth2_token_url="https://api.login.aol.com/oauth2/get_token",
        oauth2_scope="mail-w",
    ),
    Preset(
        code="FASTMAIL_OAUTH2",
        title="Fastmail (OAuth 2.0)",
        imap_host="imap.fastmail.com",
        oauth2_authorize_url="https://api.fastmail.com/oauth/authorize",
        oauth2_token_url="https://api.fastmail.com/oauth/refresh",
        oauth2_scope="https://www.fastmail.com/dev/protocol-imap",
    ),
    Preset(
        code="YANDEX_OAUTH2",
        title="Yandex Mail (OAuth 2.0)",
        imap_host="imap.yandex.com",
        oauth2_authorize_url="https://oauth.yandex.com/authorize",
        oauth2_token_url="https://oauth.yandex.com/token",
        oauth2_scope="mail:imap_ro",
    ),
    Preset(
        code="MAILRU_OAUTH2",
        title="Mail.ru (OAuth 2.0)",
        imap_host="imap.mail.ru",
        oauth2_authorize_url="https://oauth.mail.ru/login",
        oauth2_token_url="https://oauth.mail.ru/token",
        oauth2_scope="mail.imap",
    ),
)

# All of these want a password made for one application, where two-step login is on.
_PASSWORD = (
    Preset(code="GMAIL", title="Gmail (app password)", imap_host="imap.gmail.com", **_WATCHED["gmail"]),
    Preset(
        code="YAHOO",
        title="Yahoo Mail (app password)",
        imap_host="imap.mail.yahoo.com",
        **_WATCHED["yahoo"],
    ),
    Preset(code="AOL", title="AOL Mail (app password)", imap_host="imap.aol.com", **_WATCHED["yahoo"]),
    Preset(
        code="ICLOUD",
        title="iCloud Mail (app-specific password)",
        imap_host="imap.mail.me.com",
        **_WATCHED["icloud"],
        smtp_host="smtp.mail.me.com",
        smtp_port=587,
    ),
    Preset(code="FASTMAIL", title="Fastmail (app password)", imap_host="imap.fastmail.com"),
    # Other regions are imap.zoho.eu, .in, .com.au and .jp; organisations have imappro.zoho.com.
    Preset(code="ZOHO", title="Zoho Mail (app password)", imap_host="imap.zoho.com", **_WATCHED["zoho"]),
    Preset(code="YANDEX", title="Yandex Mail (app password)", imap_host="imap.yandex.com"),
    Preset(code="MAILRU", title="Mail.ru (app password)", imap_host="imap.mail.ru"),
    Preset(
        code="NETEASE_163",
        title="163.com (authorisation code)",
        imap_host="imap.163.com",
        **_WATCHED["163"],
    ),
    Preset(code="RAMBLER", title="Rambler (password)", imap_host="imap.rambler.ru", **_WATCHED["rambler"]),
)

# Each person names the server: the form asks for it, and the API takes it.
OTHER = Preset(
    code="OTHER", title="Any mail server, named by the person", imap_host="imap.invalid", host_by_user=True
)

# RFC 2606 keeps .invalid free: until an operator sets the host, nobody's password goes anywhere.
PLAIN = Preset(code="PLAIN", title="Any IMAP server; set its host", imap_host="imap.invalid")
PLAIN_IN_DEVELOPMENT = Preset(
    code="PLAIN",
    title="An IMAP server on this machine",
    imap_host="localhost",
    imap_port=10143,
    imap_tls="none",
)


def presets(*, development: bool = False) -> tuple[Preset, ...]:
    """Every preset; in development PLAIN leads to `superimap fake-imap` on this machine."""
    return (*_OAUTH2, *_PASSWORD, OTHER, PLAIN_IN_DEVELOPMENT if development else PLAIN)
