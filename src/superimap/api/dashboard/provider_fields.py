"""Fields of the forms of providers, in groups."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from superimap.api.dashboard.form_fields import Field, FieldKind
from superimap.domain.providers import ClientAuth, GrantType, OpenBy, PollBy, ProviderKind, Tls, TracerBy


def _choices(kinds: type[StrEnum], **words: str) -> tuple[tuple[str, str], ...]:
    return tuple((each.value, words.get(each.name, each.value)) for each in kinds)


_DEFAULT = (("", "default"),)
_TLS = _choices(Tls, TLS="TLS from the first byte", STARTTLS="STARTTLS", NONE="none")
CODE = Field(
    "code",
    "Code",
    hint="Letters, digits and _, such as ACME_OAUTH2. Connections name it in URLs.",
    is_required=True,
)
IDENTITY = (
    CODE,
    Field("title", "Name", hint="What people see.", is_required=True),
    Field(
        "kind",
        "Sign-in",
        FieldKind.CHOICE,
        "Cannot change while partners are connected.",
        _choices(ProviderKind, PLAIN="Password", OAUTH2="OAuth 2.0"),
    ),
)
IMAP = (
    Field("imap_host", "Server", hint="Such as imap.example.com.", is_required=True),
    Field("imap_port", "Port", FieldKind.NUMBER, is_required=True),
    Field("imap_tls", "Encryption", FieldKind.CHOICE, choices=_TLS),
    Field("host_by_user", "Each mailbox has a server of its own", FieldKind.CHECK, "Only with passwords."),
    Field(
        "folders", "Folder", hint=r"The first of these that exists, such as \All,Archive,INBOX. Empty: INBOX."
    ),
    Field(
        "open_by",
        "Opened by",
        FieldKind.CHOICE,
        "The default is EXAMINE, which changes nothing, and SELECT where the server is known to need it.",
        (*_DEFAULT, *_choices(OpenBy)),
    ),
)
PACE = (
    Field("idle_renew", "Renew IDLE after, seconds", FieldKind.NUMBER, "Empty: IDLE_RENEW. From 5 to 540."),
    Field(
        "poll_by",
        "Poll by",
        FieldKind.CHOICE,
        "The default polls only where the server has no IDLE.",
        (*_DEFAULT, *_choices(PollBy)),
    ),
    Field("poll_seconds", "Poll every, seconds", FieldKind.NUMBER, "Empty: 60. From 5 to 300."),
    Field(
        "logins_per_second", "Sign-ins per second", FieldKind.DECIMAL, "At one server. Empty: no limit here."
    ),
    Field(
        "connections_per_account", "Connections of an account", FieldKind.NUMBER, "What the server allows."
    ),
)
OAUTH2 = (
    Field(
        "oauth2_grant_type",
        "Grant type",
        FieldKind.CHOICE,
        "client_credentials: one token of the application opens every mailbox. jwt_bearer: the application signs "
        "for each mailbox. Nobody consents.",
        (*_DEFAULT, *_choices(GrantType)),
    ),
    Field("oauth2_client_auth", "Client sends", FieldKind.CHOICE, choices=(*_DEFAULT, *_choices(ClientAuth))),
    Field("oauth2_authorize_url", "Authorization endpoint", FieldKind.URL, "Where people consent."),
    Field(
        "oauth2_token_url",
        "Token endpoint",
        FieldKind.URL,
        "{tenant} in its path is the connection's tenant.",
    ),
    Field("oauth2_scope", "Scopes", hint="Separated by blanks."),
    Field("oauth2_revoke_url", "Revocation endpoint", FieldKind.URL),
    Field("oauth2_userinfo_url", "Userinfo endpoint", FieldKind.URL),
    Field("oauth2_issuer", "Issuer of ID tokens", hint="{tenantid} is the claim tid."),
    Field("oauth2_jwks_url", "Keys of ID tokens (JWKS)", FieldKind.URL),
    Field("oauth2_email_claims", "Claims with the address", hint="In order. Empty: email."),
    Field("oauth2_access_type", "Parameter access_type"),
    Field("oauth2_approval_prompt", "Parameter prompt"),
)
TRACERS = (
    Field(
        "tracer_by",
        "Tracers",
        FieldKind.CHOICE,
        "How test mails get into mailboxes. Appended ones test everything but the provider's own delivery.",
        (("", "are not sent"), *_choices(TracerBy, SMTP="are sent by SMTP", APPEND="are appended by IMAP")),
    ),
    Field("smtp_host", "SMTP server", hint="Tracers sign in there like their mailbox."),
    Field("smtp_port", "Port", FieldKind.NUMBER, "Empty: 587, or 465 with TLS from the first byte."),
    Field("smtp_domain", "Own name in EHLO"),
    Field("smtp_tls", "Encryption", FieldKind.CHOICE, choices=_TLS),
)
GROUPS: Sequence[tuple[str, Sequence[Field]]] = (
    ("Provider", IDENTITY),
    ("Mail server", IMAP),
    ("Pace", PACE),
    ("OAuth 2.0", OAUTH2),
    ("Tracers", TRACERS),
)
FIELDS = tuple(each for _, fields in GROUPS for each in fields)
STORED_SECRETS = Field(
    "stored_secrets",
    "Passwords and tokens that are stored",
    FieldKind.CHOICE,
    "They were given for the servers and URLs before this change.",
    (
        ("", "choose"),
        ("keep", "are sent to the new ones, which belong to the same service"),
        ("forget", "are deleted; people and partners enter them again"),
    ),
)


def setting_text(each: Field, value: Any) -> str:
    """Return a setting as it is shown; empty for one that has the default."""
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    return dict(each.choices).get(str(value), str(value))
