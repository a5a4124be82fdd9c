"""Fields of the forms of connections and mailboxes, which depend on the kind of their provider."""

from collections.abc import Sequence

from superimap.api.dashboard.form_fields import Field, FieldKind
from superimap.db.accounts.connections import required_fields
from superimap.db.accounts.validation.accounts import sign_in_fields
from superimap.db.models import Provider
from superimap.domain.providers import ClientAuth

FORGET = "forget_secret"
"""Field that deletes a stored secret."""
_CHOICES_OF_TLS = (
    ("", "as usual at the port"),
    ("tls", "TLS from the first byte"),
    ("starttls", "STARTTLS"),
    ("none", "none, in development only"),
)


_FOLDERS = r"One in each line: a name, a pattern such as Projects/*, or a special use such as \Sent. "
_FOLDERS_OF_ALL = Field(
    "folders",
    "Folders to watch",
    FieldKind.LINES,
    _FOLDERS + "For all mailboxes without a list of their own. Empty: the usual folder.",
)


def connection_fields(provider: Provider, *, has_secret: bool = False) -> Sequence[Field]:
    """Return the fields of a connection to this provider."""
    is_key = provider.client_auth is ClientAuth.PRIVATE_KEY_JWT
    known = {
        "oauth2_client_id": Field("oauth2_client_id", "Client id", is_required=True),
        "oauth2_client_secret": Field(
            "oauth2_client_secret",
            "Private key" if is_key else "Client secret",
            FieldKind.SECRET_LINES if is_key else FieldKind.SECRET,
            _hint(has_secret, "In PEM or as a JWK." if is_key else "As the provider shows it."),
            is_required=not has_secret,
            has_secret=has_secret,
        ),
        "oauth2_tenant": Field(
            "oauth2_tenant",
            "Tenant",
            hint="Id of the directory, or one of its domains, such as contoso.onmicrosoft.com.",
            is_required=True,
        ),
    }
    return [
        *(known[name] for name in required_fields(provider)),
        Field("history_days", "Days of history", FieldKind.NUMBER, _HISTORY_OF_CONNECTION),
        _FOLDERS_OF_ALL,
        _change_events("no"),
    ]


_HISTORY_OF_CONNECTION = "Mail of so many days is read when a mailbox is connected. Empty: none."
_HISTORY = "Mail of so many days is read when the mailbox is connected. Empty: as its connection says."
_SHARED = "For a shared mailbox: the address of the person who consents. Empty: the mailbox itself."


def _change_events(default: str) -> Field:
    choices = (("", default), ("on", "yes"), *([("off", "no")] if default != "no" else []))
    hint = "Changed flags, moves and deletions of mails are sent to the URL for events."
    return Field("change_events", "Change events", FieldKind.CHOICE, hint, choices=choices)


def mailbox_fields(provider: Provider, *, has_secret: bool = False) -> Sequence[Field]:
    """Return the fields of a mailbox of this provider."""
    fields = [
        Field("tag", "Tag", hint="The partner's name for this mailbox.", is_required=True),
        Field("email", "Email address"),
    ]
    used = sign_in_fields(provider)
    if "login_username" in used:
        fields.append(Field("login_username", "User name", hint="For the sign-in; often the email address."))
    if "login_password" in used:
        hint = _hint(has_secret, "Empty: the person enters it with a connect link.")
        fields.append(Field("login_password", "Password", FieldKind.SECRET, hint, has_secret=has_secret))
    if "oauth2_refresh_token" in used:
        fields.append(Field("sign_in_email", "Account that signs in", hint=_SHARED))
        hint = _hint(has_secret, "Empty: the person connects with a connect link.")
        fields.append(
            Field("oauth2_refresh_token", "Refresh token", FieldKind.SECRET, hint, has_secret=has_secret)
        )
    if has_secret:
        name = "refresh token" if "oauth2_refresh_token" in used else "password"
        fields.append(
            Field(FORGET, f"Delete the stored {name}", FieldKind.CHECK, "The mailbox is disconnected.")
        )
    if provider.host_by_user:
        fields += [
            Field("imap_host", "Mail server", hint="Such as imap.example.com."),
            Field("imap_port", "Port", FieldKind.NUMBER, "Empty: 993."),
            Field("imap_tls", "Encryption", FieldKind.CHOICE, choices=_CHOICES_OF_TLS),
        ]
    fields.append(Field("history_days", "Days of history", FieldKind.NUMBER, _HISTORY))
    fields.append(
        Field("folders", "Folders to watch", FieldKind.LINES, _FOLDERS + "Empty: those of the connection.")
    )
    fields.append(_change_events("as its connection says"))
    fields.append(
        Field(
            "enable_tracer",
            "Tracer",
            FieldKind.CHECK,
            "A mailbox of your own for test mails. A webhook that is answered with 403 does not archive it.",
        )
    )
    return fields


def _hint(has_secret: bool, otherwise: str) -> str:
    return "One is stored and never shown. Empty: it stays as it is." if has_secret else otherwise
