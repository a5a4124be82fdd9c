"""Schemas of partners, their quotas and connections, for operators."""

from datetime import datetime
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field

from superimap.api.schemas.api_keys import ApiKeyChange
from superimap.api.schemas.common import RequestBody
from superimap.api.schemas.deliveries import Moment
from superimap.db.accounts.validation.partners import PartnerFields
from superimap.domain.api_keys import Scope
from superimap.domain.quotas import Quota

_URLS: dict[str, Any] = {
    "success_url": None,
    "failure_url": None,
    "return_origins": ["https://app.example.com"],
    "append_results": False,
    "send_traceparent": False,
    "new_mail_webhook": "https://app.example.com/hook",
    "user_connected_webhook": None,
    "user_disconnected_webhook": None,
    "events_webhook": None,
}
_PARTNER = {"id": 1, "name": "acme", "created_at": "2026-09-21T14:13:20Z", **_URLS}
_WEBHOOK = "URL for these webhooks; null or blank: they are not sent."


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(from_attributes=True, json_schema_extra={"example": example})


class PartnerInList(BaseModel):
    """A partner in a list."""

    model_config = _example({"id": 1, "name": "acme", "created_at": "2026-09-21T14:13:20Z", "connections": 2})

    id: int
    name: str
    created_at: datetime
    connections: int = Field(description="Number of its connections.")


class PartnerOut(BaseModel):
    """A partner with its URLs. Tokens of the role `viewer` see only the origins of webhook URLs."""

    model_config = _example(_PARTNER)

    id: int
    name: str
    created_at: datetime
    success_url: str | None
    failure_url: str | None
    return_origins: list[str]
    append_results: bool
    send_traceparent: bool
    new_mail_webhook: str | None
    user_connected_webhook: str | None
    user_disconnected_webhook: str | None
    events_webhook: str | None


class NewPartnerOut(PartnerOut):
    """A new partner with its secrets. Store them now: they are not shown again."""

    model_config = _example({**_PARTNER, "api_key": "sip_3fM0…", "signing_secret": "whsec_C2FV…"})

    api_key: str = Field(repr=False)
    signing_secret: str = Field(repr=False)


class PartnerChange(RequestBody):
    """Fields of a partner to change. Fields that are left out keep their value."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"new_mail_webhook": "https://app.example.com/h"}}
    )

    name: str = Field("", description="Name, such as acme-production; letter case is ignored.")
    success_url: str | None = Field(None, description="Page for people who have connected or disconnected.")
    failure_url: str | None = Field(None, description="Page for people whose attempt failed.")
    return_origins: list[str] = Field([], description="Other origins that links may return to.")
    append_results: bool = Field(False, description="Whether these pages get the result in their query.")
    send_traceparent: bool = Field(
        False,
        description="Whether webhooks have the header `traceparent`, which continues a trace.",
    )
    new_mail_webhook: str | None = Field(None, description=_WEBHOOK)
    user_connected_webhook: str | None = Field(None, description=_WEBHOOK)
    user_disconnected_webhook: str | None = Field(None, description=_WEBHOOK)
    events_webhook: str | None = Field(None, description=_WEBHOOK)

    def fields(self) -> PartnerFields:
        """Return the fields that were sent, as the database layer takes them."""
        return cast(PartnerFields, self.sent_fields())


class NewPartnerRequest(PartnerChange):
    """A partner to create."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "globex"}})

    name: str = Field(description="Name, such as acme-production; letter case is ignored.")


class NewPartnerKey(ApiKeyChange):
    """An API key of a partner to create."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "billing-reader", "scopes": ["read"]}})

    name: str = Field(description="Name of the key, such as the program that uses it.")
    scopes: list[str] = Field(
        [],
        description="What the key may do. Default: everything.",
        json_schema_extra={"items": {"enum": [*Scope]}},
    )
    expires_at: Moment | None = Field(None, description="End of its validity; null: none.")


class QuotaOut(BaseModel):
    """A quota of a partner."""

    model_config = _example(
        {
            "quota": "users",
            "maximum": 100000,
            "is_default": True,
            "used": 312,
            "is_estimate": False,
            "is_held": False,
        }
    )

    quota: Quota
    maximum: int
    is_default: bool = Field(description="Whether it is that of the settings.")
    used: int | None = Field(description="What is used of it; null if that is not known.")
    is_estimate: bool = Field(description="Whether at most `used` are used.")
    is_held: bool = Field(description="Whether mails are not recorded because it is reached.")


class QuotaChange(RequestBody):
    """Quotas to set; null returns to the setting of the installation. Quotas that are left out do not change."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"users": 500000, "sessions": None}}
    )

    users: int | None = Field(None, description="Users that are not archived.")
    sessions: int | None = Field(None, description="Users with complete credentials: each has a session.")
    backlog_rows: int | None = Field(None, description="Webhooks that are to be sent.")
    backlog_bytes: int | None = Field(None, description="Bytes of their encrypted content.")
    requests_per_second: int | None = Field(None, description="Of the API, in each of its processes.")

    def changes(self) -> dict[Quota, int | None]:
        """Return the quotas that were sent."""
        return {Quota(name): maximum for name, maximum in self.sent_fields().items()}


class PartnerConnection(BaseModel):
    """A connection of a partner to a provider."""

    model_config = _example(
        {"id": 3, "imap_provider_code": "PLAIN", "users": 312, "has_client_secret": False}
    )

    id: int
    imap_provider_code: str
    users: int = Field(
        description="Number of users, archived ones included; 1,001 stands for more than 1,000."
    )
    has_client_secret: bool = Field(description="Whether a secret of an OAuth 2.0 client is stored.")
