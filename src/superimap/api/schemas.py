"""What do requests and answers hold? The wire's words, with what OpenAPI says of them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from superimap.db.accounts.account_values import LONGEST, ConnectionFields, UserFields
from superimap.domain.events import ReasonCode, UserEventKind
from superimap.domain.users import UserStatus

Archived = Annotated[bool, Field(description="Archived users are not watched; `false` restores one.")]


def _word(value: object) -> object:
    """Numbers are taken for strings, as JSON clients in Ruby or PHP send a numeric tag."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _text(name: str, description: str, **extra: Any) -> Any:
    # The database's side checks length and characters, for every caller alike; here they are told.
    return Field(
        None, description=description, json_schema_extra={"maxLength": LONGEST[name], **extra}, repr=False
    )


Word = Annotated[str | None, BeforeValidator(_word)]
Port = Annotated[int | None, BeforeValidator(lambda value: None if value == "" else value)]
"""A number, or a form's digits; blank clears."""


class Fields(BaseModel):
    """Fields of a request. Unknown ones are passed over: clients of the original send some."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    def given(self) -> dict[str, Any]:
        """The fields that were sent."""
        return self.model_dump(exclude_unset=True)


class ConnectionChange(Fields):
    """Settings of a connection; what is left out stays. A provider with passwords has none."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"oauth2_client_id": "1234.apps.example", "oauth2_client_secret": "s3cret"}
        }
    )

    oauth2_client_id: Word = _text("oauth2_client_id", "Id of your OAuth 2.0 client.")
    oauth2_client_secret: Word = _text(
        "oauth2_client_secret", "Secret of your OAuth 2.0 client; never shown again.", writeOnly=True
    )
    oauth2_tenant: Word = _text(
        "oauth2_tenant",
        "Whose mailboxes, where the provider opens a whole organisation's (OUTLOOK_APP_ONLY).",
    )

    def fields(self) -> ConnectionFields:
        """What was sent, for the database."""
        return cast(ConnectionFields, self.given())


class NewConnection(ConnectionChange):
    """A connection to a provider. OAuth 2.0 providers need both client credentials, OUTLOOK_APP_ONLY a tenant."""

    model_config = ConfigDict(json_schema_extra={"example": {"imap_provider_code": "PLAIN"}})

    imap_provider_code: str = Field(description="Code of the provider.", examples=["PLAIN", "GMAIL_OAUTH2"])


class ConnectionOut(BaseModel):
    """A connection: a provider that this partner's users may have their mail at."""

    model_config = ConfigDict(
        from_attributes=True, json_schema_extra={"example": {"imap_provider_code": "PLAIN", "users_count": 2}}
    )

    imap_provider_code: str = Field(description="Code of the provider; names the connection in URLs.")
    users_count: int = Field(description="Number of users, archived ones included.")


class UserChange(Fields):
    """Values of a user; what is left out stays, null or blank clears. Passwords and tokens are write-only.

    `login_username` and `login_password` connect a user of a provider with passwords, `email` and
    `oauth2_refresh_token` one of an OAuth 2.0 provider, `email` alone where that opens a whole organisation's.
    Where the provider leaves the mail server to the person (OTHER), `imap_host` is needed as well.
    """

    model_config = ConfigDict(json_schema_extra={"example": {"archived": False}})

    tag: Annotated[str, BeforeValidator(_word)] = _text(
        "tag", "Your name for this user: any text without slash and control characters."
    )
    email: Word = _text("email", "Mail address; given back in lists.")
    archived: Archived = False
    login_username: Word = _text("login_username", "Name to log in with.")
    login_password: Word = _text("login_password", "Password to log in with.", writeOnly=True)
    oauth2_refresh_token: Word = _text(
        "oauth2_refresh_token", "Refresh token that your OAuth 2.0 client was given.", writeOnly=True
    )
    imap_host: Word = Field(
        None, description="Mail server, where the provider (OTHER) leaves it to the person; else passed over."
    )
    imap_port: Port = Field(None, ge=1, le=65535, description="Its port: 993, which is assumed, or 143.")
    imap_tls: Word = Field(
        None, description="`tls` at once or `starttls`; as usual at the port. `none` in development only."
    )

    def fields(self) -> UserFields:
        """What was sent, for the database."""
        return cast(UserFields, self.given())


class NewUser(UserChange):
    """A user to watch. The tag is unique among the connection's live users, in any case of letters."""

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

    tag: Annotated[str, BeforeValidator(_word)] = Field(
        description="Your name for this user: any text without slash and control characters.",
        json_schema_extra={"minLength": 1, "maxLength": LONGEST["tag"]},
    )


class ListedUser(BaseModel):
    """A user as it is listed."""

    model_config = ConfigDict(
        from_attributes=True, json_schema_extra={"example": {"tag": "MY_USER", "email": "ada@example.com"}}
    )

    tag: str
    email: str | None


_USER_OUT: Mapping[str, Any] = {
    "tag": "MY_USER",
    "email": "ada@example.com",
    "connect_url": "https://superimap.example.com/users/connect/new?user_id=7&ts=1790000000&sig=5f2b",
    "disconnect_url": "https://superimap.example.com/users/disconnect/new?user_id=7&ts=1790000000&sig=91ac",
    "connected_at": "2026-09-21T14:13:20Z",
    "imap_host": None,
    "imap_port": None,
    "imap_tls": None,
    "archived": False,
    "status": "watching",
    "status_reason": None,
    "status_since": "2026-09-21T14:13:21Z",
    "last_login_at": "2026-09-21T14:13:21Z",
    "last_email_at": None,
    "last_proven_alive_at": "2026-09-21T14:31:02Z",
}


class UserOut(BaseModel):
    """A user, without anything secret."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": {**_USER_OUT}})

    tag: str
    email: str | None
    connect_url: str = Field(
        description="Send the person here to connect; made anew each time, good for 30 minutes."
    )
    disconnect_url: str = Field(description="Send the person here to disconnect; likewise.")
    connected_at: datetime | None = Field(
        description="Since when there are complete credentials; null: there are none."
    )
    imap_host: str | None = Field(
        description="The user's own mail server; null: the provider's, or none is known yet."
    )
    imap_port: int | None
    imap_tls: str | None
    archived: bool
    status: UserStatus = Field(description="What the watching of this user's inbox is doing.")
    status_reason: str | None = Field(description="Why it failed, for a person to read.")
    status_since: datetime
    last_login_at: datetime | None
    last_email_at: datetime | None
    last_proven_alive_at: datetime | None = Field(description="When the mail server last answered.")


class UserEventOut(BaseModel):
    """Something that happened to the watching of a user."""

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

    kind: UserEventKind = Field(
        description="`stalled`: the mail server was not proven alive for long; `recovered`: it is again. "
        "`reauth_required`: the login is refused for good; `restored`: the person has signed in again. "
        "`archived`: by a 403 of yours."
    )
    code: ReasonCode | None = Field(description="Why, in a word, for programs.")
    reason: str | None = Field(description="Why, for a person to read.")
    at: datetime


class FieldFault(BaseModel):
    """A field at fault, and what would do."""

    field: str
    message: str


class ProblemOut(BaseModel):
    """A refusal (RFC 9457)."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="Name of this kind of problem, for programs.")
    title: str
    status: int
    detail: str = Field(description="What happened and what to do, for people.")
    errors: list[FieldFault] = Field(description="The fields at fault; empty if it is none's.")


class Health(BaseModel):
    """How the process is."""

    status: str = Field(examples=["ok"])
