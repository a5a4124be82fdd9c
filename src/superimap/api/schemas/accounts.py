"""Schemas of connections, users and their events."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from superimap.api.schemas.common import LenientTag, LenientText, Number, RequestBody, Switch
from superimap.db.accounts.validation.accounts import MAX_CHARACTERS, ConnectionFields, UserFields
from superimap.domain.events import ReasonCode, UserEventKind, recorded_events_description
from superimap.domain.folders import MAX_SELECTORS
from superimap.domain.sweeps import MAX_HISTORY_DAYS
from superimap.domain.users import UserStatus

Archived = Annotated[
    bool,
    Field(description="`true` archives the user, who is then no longer watched; `false` restores the user."),
]
_TAG_DESCRIPTION = "Your name for this user: any text without slashes and control characters."


Folders = Annotated[
    list[str] | None,
    BeforeValidator(lambda value: [value] if isinstance(value, str) and value else value or None),
]
"""A list, or the only entry of a form; blank clears the value."""


def _text(name: str, description: str, **extra: Any) -> Any:
    # The database layer checks length and characters for every caller; here they are only documented.
    return Field(
        None,
        description=description,
        json_schema_extra={"maxLength": MAX_CHARACTERS[name], **extra},
        repr=False,
    )


class ConnectionChange(RequestBody):
    """Settings of a connection. Fields that are left out keep their value. Password providers have no settings."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"oauth2_client_id": "1234.apps.example", "oauth2_client_secret": "s3cret"}
        }
    )

    oauth2_client_id: LenientText = _text("oauth2_client_id", "Id of your OAuth 2.0 client.")
    oauth2_client_secret: LenientText = _text(
        "oauth2_client_secret",
        "Secret of your OAuth 2.0 client, or its private key (PEM, JWK, or the JSON file of a Google service "
        "account) where the provider takes private_key_jwt. Write-only.",
        writeOnly=True,
    )
    oauth2_tenant: LenientText = _text(
        "oauth2_tenant",
        "The organisation whose mailboxes are opened, for app-only access (OUTLOOK_APP_ONLY).",
    )
    history_days: Number = Field(
        None,
        ge=0,
        le=MAX_HISTORY_DAYS,
        description="Default of `history_days` for the users of this connection. Null or 0: none.",
    )
    folders: Folders = Field(
        None,
        description="Folders to watch of all users without a list of their own, in the form of a user's "
        "`folders`. Null: the usual folder. A change lets these users sign in again.",
        json_schema_extra={"maxItems": MAX_SELECTORS},
    )
    change_events: Switch = Field(
        None,
        description="Default of `change_events` for the users of this connection. Null: false. A change lets the "
        "users without a value of their own sign in again.",
    )

    def fields(self) -> ConnectionFields:
        """Return the fields that were sent, as the database layer takes them."""
        return cast(ConnectionFields, self.sent_fields())


class NewConnection(ConnectionChange):
    """A connection to create. OAuth 2.0 providers need client id and secret; OUTLOOK_APP_ONLY also a tenant."""

    model_config = ConfigDict(json_schema_extra={"example": {"imap_provider_code": "PLAIN"}})

    imap_provider_code: str = Field(description="Code of the provider.", examples=["PLAIN", "GMAIL_OAUTH2"])


class ConnectionOut(BaseModel):
    """A connection between you and a mail provider."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "imap_provider_code": "PLAIN",
                "users_count": 2,
                "history_days": None,
                "folders": None,
                "change_events": None,
            }
        },
    )

    imap_provider_code: str = Field(description="Code of the provider; identifies the connection in URLs.")
    users_count: int = Field(description="Number of users, including archived ones.")
    history_days: int | None = Field(description="Default of `history_days` for the users.")
    folders: list[str] | None = Field(
        description="Folders to watch of all users without a list of their own; null: the usual folder."
    )
    change_events: bool | None = Field(description="Default of `change_events` for the users; null: false.")


class UserChange(RequestBody):
    """Changes to a user. Fields that are left out keep their value; null or blank clears a value.

    To connect a user, send `login_username` and `login_password` for a password provider, `email` and
    `oauth2_refresh_token` for an OAuth 2.0 provider, or only `email` for app-only access. The provider OTHER also
    needs `imap_host`. Passwords and tokens are write-only.
    """

    model_config = ConfigDict(json_schema_extra={"example": {"archived": False}})

    tag: LenientTag = _text("tag", _TAG_DESCRIPTION)
    email: LenientText = _text("email", "Email address, as shown in lists.")
    archived: Archived = False
    sign_in_email: LenientText = _text(
        "sign_in_email",
        "Account of the person who consents, where `email` is a shared or delegated mailbox. For OAuth 2.0 "
        "providers with consent. Null: the person consents as `email`.",
    )
    login_username: LenientText = _text("login_username", "User name for the IMAP login.")
    login_password: LenientText = _text(
        "login_password", "Password for the IMAP login. Write-only.", writeOnly=True
    )
    oauth2_refresh_token: LenientText = _text(
        "oauth2_refresh_token",
        "Refresh token that was issued to your OAuth 2.0 client. Write-only.",
        writeOnly=True,
    )
    history_days: Number = Field(
        None,
        ge=0,
        le=MAX_HISTORY_DAYS,
        description="When the mailbox is connected, a sweep reads its mail of so many days. 0: none. Null: the "
        "value of the connection. A change applies from the next time that the mailbox is connected.",
    )
    imap_host: LenientText = Field(
        None,
        description="Host name of the IMAP server, for the provider OTHER. Ignored for all other providers.",
    )
    imap_port: Number = Field(
        None, ge=1, le=65535, description="Port of the IMAP server: 993 (the default) or 143."
    )
    imap_tls: LenientText = Field(
        None,
        description="`tls` or `starttls`. Default: `tls` at port 993, `starttls` at port 143. "
        "`none` is accepted in development only.",
    )
    folders: Folders = Field(
        None,
        description="Folders to watch: names, patterns with `*` such as `Projects/*`, and special uses such as "
        "`\\Sent`. `/` separates the levels of names. IDLE waits in the first folder that exists. Null: the "
        "folders of the connection.",
        json_schema_extra={"maxItems": MAX_SELECTORS},
    )
    change_events: Switch = Field(
        None,
        description="Whether changes of mails after their `new_mail` are reported by the events "
        "`mail_flags_changed`, `mail_moved` and `mail_deleted`. Null: the value of the connection. A change lets "
        "the user sign in again.",
    )

    def fields(self) -> UserFields:
        """Return the fields that were sent, as the database layer takes them."""
        return cast(UserFields, self.sent_fields())


class NewUser(UserChange):
    """A user to create. The tag must be unique among the connection's live users, regardless of letter case."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "tag": "MY_USER",
                "email": "ada@example.com",
                "login_username": "ada",
                "login_password": "s3cret",
            }
        }
    )

    tag: LenientTag = Field(
        description=_TAG_DESCRIPTION,
        json_schema_extra={"minLength": 1, "maxLength": MAX_CHARACTERS["tag"]},
    )


class ListedUser(BaseModel):
    """A user in a list."""

    model_config = ConfigDict(
        from_attributes=True, json_schema_extra={"example": {"tag": "MY_USER", "email": "ada@example.com"}}
    )

    tag: str
    email: str | None


USER_EXAMPLE: Mapping[str, Any] = {
    "tag": "MY_USER",
    "email": "ada@example.com",
    "sign_in_email": None,
    "history_days": None,
    "connect_url": "https://superimap.example.com/users/connect/new?user_id=7&ts=1790000000&sig=5f2b",
    "disconnect_url": "https://superimap.example.com/users/disconnect/new?user_id=7&ts=1790000000&sig=91ac",
    "connected_at": "2026-09-21T14:13:20Z",
    "imap_host": None,
    "imap_port": None,
    "imap_tls": None,
    "folders": None,
    "change_events": None,
    "archived": False,
    "status": "watching",
    "status_reason": None,
    "status_since": "2026-09-21T14:13:21Z",
    "last_login_at": "2026-09-21T14:13:21Z",
    "last_email_at": None,
    "last_proven_alive_at": "2026-09-21T14:31:02Z",
}


class UserOut(BaseModel):
    """A user, without secrets."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": {**USER_EXAMPLE}})

    tag: str
    email: str | None
    sign_in_email: str | None = Field(
        description="Account of the person who consents, where `email` is a shared or delegated mailbox."
    )
    history_days: int | None = Field(
        description="Days of mail that are read when the mailbox is connected; null: as the connection says."
    )
    connect_url: str | None = Field(
        description="Link to which you send the person to connect. Signed for each response; valid for "
        "30 minutes. Null for an API key without the scope `write`."
    )
    disconnect_url: str | None = Field(
        description="Link to which you send the person to disconnect. Signed for each response; "
        "valid for 30 minutes. Null for an API key without the scope `write`."
    )
    connected_at: datetime | None = Field(
        description="Since when the credentials are complete; null if they are not."
    )
    imap_host: str | None = Field(
        description="The user's own IMAP server; null if the provider's server is used, or none is known yet."
    )
    imap_port: int | None
    imap_tls: str | None
    folders: list[str] | None = Field(
        description="Folders to watch; null: those of the connection. `status_reason` names missing ones."
    )
    change_events: bool | None = Field(
        description="Whether changes of mails are reported; null: as the connection says."
    )
    archived: bool
    status: UserStatus = Field(description="State of watching this user's mailbox.")
    status_reason: str | None = Field(description="Reason for the status, for people.")
    status_since: datetime
    last_login_at: datetime | None
    last_email_at: datetime | None
    last_proven_alive_at: datetime | None = Field(
        description="When the mail server last sent anything in a signed-in session."
    )


class UserEventOut(BaseModel):
    """An event of a user, as it was recorded."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "kind": "stalled",
                "code": None,
                "reason": "connecting to imap.example.com took more than 15 s",
                "at": "2026-09-21T14:46:21Z",
            }
        },
    )

    kind: UserEventKind = Field(description=recorded_events_description())
    code: ReasonCode | None = Field(description="Reason code, for programs.")
    reason: str | None = Field(description="Reason, for people.")
    at: datetime
