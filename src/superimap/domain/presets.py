"""Provider presets: servers, sign-in method and watch settings of well-known mail providers.

To add a preset, add one `Preset` to `_OAUTH2` or `_PASSWORD`; `make docs` lists it in docs/providers.md.

Marks of the sources: [D] the provider's documentation, [S] what other mail clients do, [R] reported by users,
[O] our own cautious choice where the provider names no figure.
"""

# ruff: noqa: S106 - token URLs are not passwords

from superimap.domain.providers import Preset, WatchSettings

# All Mail is localised and can be hidden, so it is found by its special use [R]. 15 connections per account [R].
# The server sends "* OK Still here" about every two minutes, and expects a new IDLE well within 15 minutes [R].
_GMAIL: WatchSettings = {"folders": r"\All", "connections_per_account": 15}
# 16 connections per user is the documented default on premises [D], 20 online [R].
_OUTLOOK: WatchSettings = {"connections_per_account": 16}
# An IDLE must end within 3 minutes [S]; AOL's server cuts it at 300 s [R]. About 10 connections per account, and
# rate limits [R].
_YAHOO: WatchSettings = {"idle_renew": 170, "connections_per_account": 10, "logins_per_second": 20.0}
# The servers have no IDLE, and NOOP reports nothing; STATUS does [S]. They open no mailbox before ID [R], which is
# said to every server that offers it.
_NETEASE: WatchSettings = {"poll_by": "status", "poll_seconds": 60, "logins_per_second": 20.0}

_OAUTH2 = (
    Preset(
        code="GMAIL_OAUTH2",
        title="Gmail and Google Workspace (OAuth 2.0)",
        imap_host="imap.gmail.com",
        **_GMAIL,
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
        # `openid email` identifies the account; the last scope is IMAP, which Google restricts.
        oauth2_scope="openid email https://mail.google.com/",
        # Without both, Google issues a refresh token only at a person's first consent.
        oauth2_access_type="offline",
        oauth2_approval_prompt="consent",
    ),
    Preset(
        code="GMAIL_APP_ONLY",
        title="Google Workspace (an organisation's mailboxes, by its administrator)",
        imap_host="imap.gmail.com",
        **_GMAIL,
        # A service account with domain-wide delegation signs for each address [D developers.google.com,
        # "Using OAuth 2.0 for Server to Server Applications"]. With this scope all labels and all messages are
        # shown, whatever people have hidden from IMAP [D "IMAP, POP, and SMTP"]. It does not cover SMTP.
        oauth2_grant_type="jwt_bearer",
        oauth2_client_auth="private_key_jwt",
        oauth2_token_url="https://oauth2.googleapis.com/token",
        oauth2_scope="https://www.googleapis.com/auth/gmail.imap_admin",
    ),
    Preset(
        code="OUTLOOK_OAUTH2",
        title="Microsoft 365 and Outlook.com (OAuth 2.0)",
        imap_host="outlook.office365.com",
        **_OUTLOOK,
        oauth2_authorize_url="https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        oauth2_token_url="https://login.microsoftonline.com/common/oauth2/v2.0/token",
        # No userinfo URL: it does not accept an access token for IMAP. The ID token identifies the account.
        # `profile` adds preferred_username, which no tenant's administrator can set to another tenant's address.
        oauth2_scope="openid profile email offline_access https://outlook.office.com/IMAP.AccessAsUser.All",
        oauth2_issuer="https://login.microsoftonline.com/{tenantid}/v2.0",
        oauth2_jwks_url="https://login.microsoftonline.com/common/discovery/v2.0/keys",
        oauth2_email_claims="preferred_username email",
    ),
    Preset(
        code="OUTLOOK_APP_ONLY",
        title="Microsoft 365 (an organisation's mailboxes, by its administrator)",
        imap_host="outlook.office365.com",
        **_OUTLOOK,
        # The permission is IMAP.AccessAsApp; the mailboxes are granted in Exchange [D learn.microsoft.com,
        # "Authenticate an IMAP, POP or SMTP connection using OAuth"]. The connection has the tenant.
        oauth2_grant_type="client_credentials",
        oauth2_token_url="https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
        oauth2_scope="https://outlook.office365.com/.default",
    ),
    Preset(
        code="YAHOO_OAUTH2",
        title="Yahoo Mail (OAuth 2.0, by agreement with Yahoo)",
        imap_host="imap.mail.yahoo.com",
        **_YAHOO,
        oauth2_authorize_url="https://api.login.yahoo.com/oauth2/request_auth",
        oauth2_token_url="https://api.login.yahoo.com/oauth2/get_token",
        oauth2_scope="mail-w",
    ),
    Preset(
        code="AOL_OAUTH2",
        title="AOL Mail (OAuth 2.0, by agreement with Yahoo)",
        imap_host="imap.aol.com",
        **_YAHOO,
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

# All of these require a password created for one application, if two-step login is on.
_PASSWORD = (
    Preset(
        code="GMAIL",
        title="Gmail (app password)",
        imap_host="imap.gmail.com",
        **_GMAIL,
        app_password_hint="Google needs an app password: "
        "Google Account › Security › 2-Step Verification › App passwords.",
    ),
    Preset(
        code="YAHOO",
        title="Yahoo Mail (app password)",
        imap_host="imap.mail.yahoo.com",
        **_YAHOO,
        app_password_hint="Yahoo needs an app password: Account info › Security › Generate app password.",
    ),
    Preset(
        code="AOL",
        title="AOL Mail (app password)",
        imap_host="imap.aol.com",
        **_YAHOO,
        app_password_hint="AOL needs an app password: Account info › Security › Generate app password.",
    ),
    Preset(
        code="ICLOUD",
        title="iCloud Mail (app-specific password)",
        imap_host="imap.mail.me.com",
        smtp_host="smtp.mail.me.com",
        smtp_port=587,
        connections_per_account=5,  # about 5 [R]
        logins_per_second=20.0,
        app_password_hint="Apple needs an app-specific password: account.apple.com › Sign-In and Security.",
    ),
    Preset(
        code="FASTMAIL",
        title="Fastmail (app password)",
        imap_host="imap.fastmail.com",
        app_password_hint="Fastmail needs an app password: Settings › Privacy & Security › App passwords.",
    ),
    Preset(
        code="ZOHO",
        title="Zoho Mail (app password)",
        # Other regions are imap.zoho.eu, .in, .com.au and .jp; organisations have imappro.zoho.com.
        imap_host="imap.zoho.com",
        logins_per_second=20.0,  # excess use of IMAP is blocked for a time [D], without a figure
        app_password_hint="Turn on IMAP in Zoho Mail's settings. "
        "With two-factor sign-in, use an app-specific password.",
    ),
    Preset(
        code="YANDEX",
        title="Yandex Mail (app password)",
        imap_host="imap.yandex.com",
        app_password_hint="Yandex needs an app password: Yandex ID › Security › App passwords, type Mail.",
    ),
    Preset(
        code="MAILRU",
        title="Mail.ru (app password)",
        imap_host="imap.mail.ru",
        app_password_hint="Mail.ru needs a password for external applications: Account › Security.",
    ),
    Preset(
        code="NETEASE_163",
        title="163.com (authorisation code)",
        imap_host="imap.163.com",
        **_NETEASE,
    ),
    Preset(
        code="NETEASE_126",
        title="126.com (authorisation code)",
        imap_host="imap.126.com",
        **_NETEASE,
    ),
    Preset(
        code="NETEASE_YEAH",
        title="yeah.net (authorisation code)",
        imap_host="imap.yeah.net",
        **_NETEASE,
    ),
    Preset(
        code="RAMBLER",
        title="Rambler (password)",
        imap_host="imap.rambler.ru",
        idle_renew=50,  # the server cuts an IDLE after a minute [S]
        logins_per_second=20.0,
    ),
)

# Each person enters the server on the password page, or the partner sets it through the API.
OTHER = Preset(
    code="OTHER", title="Any mail server, named by the person", imap_host="imap.invalid", host_by_user=True
)

# RFC 2606 reserves .invalid: until an operator sets the host, no password is sent anywhere.
PLAIN = Preset(code="PLAIN", title="Any IMAP server; set its host", imap_host="imap.invalid")
PLAIN_IN_DEVELOPMENT = Preset(
    code="PLAIN",
    title="An IMAP server on this machine",
    imap_host="localhost",
    imap_port=10143,
    imap_tls="none",
)


def presets(*, development: bool = False) -> tuple[Preset, ...]:
    """Return every preset. In development PLAIN is the server of `superimap fake-imap` on this machine."""
    return (*_OAUTH2, *_PASSWORD, OTHER, PLAIN_IN_DEVELOPMENT if development else PLAIN)


_APP_PASSWORD_HINTS = {preset.code: preset.app_password_hint for preset in _PASSWORD}


def app_password_hint(code: str) -> str | None:
    """Return where a person creates an app password at this provider; None if none is known to be required.

    The first part of the code decides, so that GMAIL_EU has the hint of GMAIL.
    """
    return _APP_PASSWORD_HINTS.get(code.partition("_")[0])
