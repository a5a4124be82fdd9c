"""Schemas of providers, for operators."""

from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field

from superimap.api.schemas.common import RequestBody
from superimap.db.accounts.stored_secrets import StoredSecrets
from superimap.db.accounts.validation.providers import ProviderFields

_PROVIDER: dict[str, Any] = {
    "code": "PLAIN",
    "title": "Example Mail",
    "kind": "PLAIN",
    "imap_host": "imap.example.com",
    "imap_port": 993,
    "imap_tls": "tls",
}
_URL = "Null or blank clears it."


class ProviderChange(RequestBody):
    """Settings of a provider to change. Fields that are left out keep their value; null clears optional ones."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"imap_host": "imap2.example.com", "stored_secrets": "keep"}}
    )

    code: str = Field("", description="Letters, digits and _; connections name it in URLs.")
    title: str = Field("", description="Name that people see.")
    kind: str = Field("", description="PLAIN or OAUTH2; cannot change while partners are connected.")
    imap_host: str = Field("", description="IMAP server, such as imap.example.com.")
    imap_port: int = Field(0, description="Port of the server.")
    imap_tls: str = Field("", description="tls, starttls or none.")
    host_by_user: bool = Field(False, description="Whether each user has a server of its own.")
    folders: str | None = Field(
        None, description="The first of these that exists is watched. Default: INBOX."
    )
    open_by: str | None = Field(None, description="EXAMINE or SELECT.")
    idle_renew: int | None = Field(None, description="Seconds after which IDLE is renewed.")
    poll_by: str | None = Field(None, description="How folders are polled.")
    poll_seconds: int | None = Field(None, description="Seconds between polls.")
    logins_per_second: float | None = Field(None, description="Logins per second at one server.")
    connections_per_account: int | None = Field(None, description="Connections that an account may have.")
    oauth2_grant_type: str | None = Field(
        None, description="client_credentials or jwt_bearer for app-only access."
    )
    oauth2_client_auth: str | None = Field(None, description="How the client proves itself.")
    oauth2_authorize_url: str | None = Field(None, description=_URL)
    oauth2_token_url: str | None = Field(None, description=_URL)
    oauth2_scope: str | None = Field(None, description="Scopes to request, separated by blanks.")
    oauth2_userinfo_url: str | None = Field(None, description=_URL)
    oauth2_revoke_url: str | None = Field(None, description=_URL)
    oauth2_issuer: str | None = Field(None, description="Issuer of ID tokens.")
    oauth2_jwks_url: str | None = Field(None, description=_URL)
    oauth2_email_claims: str | None = Field(None, description="Claims that may hold the address, in order.")
    oauth2_access_type: str | None = Field(None, description="Value of the parameter access_type.")
    oauth2_approval_prompt: str | None = Field(None, description="Value of the parameter prompt.")
    smtp_host: str | None = Field(None, description="SMTP server that tracers are sent to.")
    smtp_port: int | None = Field(None, description="Its port. Default: 587, or 465 with tls.")
    smtp_domain: str | None = Field(None, description="Own name in EHLO.")
    smtp_tls: str = Field("", description="starttls, tls or none; tracers are not sent with none.")
    tracer_by: str | None = Field(
        None, description="How tracers get into mailboxes: smtp or append. Null: none are sent."
    )

    def fields(self) -> ProviderFields:
        """Return the fields that were sent, as the database layer takes them."""
        fields = {name: value for name, value in self.sent_fields().items() if name != "stored_secrets"}
        return cast(ProviderFields, fields)


class ProviderUpdate(ProviderChange):
    """Settings of a provider to change, and what becomes of the secrets that are stored for the present ones."""

    stored_secrets: StoredSecrets | None = Field(
        None,
        description="Needed where stored secrets would go elsewhere: keep sends them there, forget deletes them.",
    )


class NewProvider(ProviderChange):
    """A provider to create. An OAuth 2.0 provider also needs its URLs and scopes."""

    model_config = ConfigDict(json_schema_extra={"example": {**_PROVIDER, "code": "ACME"}})

    code: str = Field(description="Letters, digits and _; connections name it in URLs.")
    title: str = Field(description="Name that people see.")
    imap_host: str = Field(description="IMAP server, such as imap.example.com.")


class ProviderOut(BaseModel):
    """A provider with all of its settings; null is the default."""

    model_config = ConfigDict(from_attributes=True)

    code: str
    title: str
    kind: str
    imap_host: str
    imap_port: int
    imap_tls: str
    host_by_user: bool
    folders: str | None
    open_by: str | None
    idle_renew: int | None
    poll_by: str | None
    poll_seconds: int | None
    logins_per_second: float | None
    connections_per_account: int | None
    oauth2_grant_type: str | None
    oauth2_client_auth: str | None
    oauth2_authorize_url: str | None
    oauth2_token_url: str | None
    oauth2_scope: str | None
    oauth2_userinfo_url: str | None
    oauth2_revoke_url: str | None
    oauth2_issuer: str | None
    oauth2_jwks_url: str | None
    oauth2_email_claims: str | None
    oauth2_access_type: str | None
    oauth2_approval_prompt: str | None
    smtp_host: str | None
    smtp_port: int | None
    smtp_domain: str | None
    smtp_tls: str
    tracer_by: str | None
