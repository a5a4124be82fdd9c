"""Schemas of API keys."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from superimap.api.schemas.common import RequestBody
from superimap.api.schemas.deliveries import Moment
from superimap.db.accounts import partner_keys
from superimap.db.accounts.validation.api_keys import KeyFields, validate_key
from superimap.db.models import ApiKey
from superimap.domain.api_keys import Scope

_KEY: dict[str, Any] = {
    "id": 7,
    "name": "billing-reader",
    "hint": "sip_3fM0",
    "scopes": ["read"],
    "networks": ["192.0.2.0/24"],
    "created_at": "2026-09-21T14:13:20Z",
    "expires_at": None,
    "last_used_at": "2026-09-24T10:12:00Z",
    "is_valid": True,
    "is_signing": False,
}
_SCOPES = (
    "What the key may do: `read`, `write`, `replay`, `keys`. No scope implies another; a key without any can only "
    "sign webhook bodies."
)
_NETWORKS = "Networks from which the key may be used; empty: every address."


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(from_attributes=True, json_schema_extra={"example": example})


class ApiKeyOut(BaseModel):
    """An API key, without its secret."""

    model_config = _example(_KEY)

    id: int
    name: str
    hint: str = Field(description="First characters of the key.")
    scopes: list[Scope] = Field(description=_SCOPES)
    networks: list[str] = Field(description=_NETWORKS)
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="Last use, exact to a minute.")
    is_valid: bool = Field(description="Whether the key is accepted.")
    is_signing: bool = Field(
        description="Whether this key makes `signature` in webhook bodies; one key does."
    )

    @classmethod
    def of(cls, key: ApiKey, signing: int | None) -> Self:
        """Return a key as it is shown; `signing` is the id of the one that signs."""
        names = [name for name in ApiKeyOut.model_fields if not name.startswith("is_")]
        columns = {name: getattr(key, name) for name in names}
        return cls(**columns, is_valid=partner_keys.is_valid(key), is_signing=key.id == signing)


class ApiKeyChange(RequestBody):
    """Fields of an API key to change."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "billing-reader", "scopes": ["read"]}})

    name: str = Field("", description="Your name for the key, such as the program that uses it.")
    scopes: list[str] = Field([], description=_SCOPES, json_schema_extra={"items": {"enum": [*Scope]}})
    networks: list[str] = Field([], description=_NETWORKS)

    def fields(self) -> KeyFields:
        """Return the fields that were sent, validated. Raises Invalid."""
        return validate_key(self.sent_fields())


class NewApiKeyRequest(ApiKeyChange):
    """An API key to create."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "billing-reader", "scopes": ["read"], "expires_at": None}}
    )

    name: str = Field(description="Your name for the key, such as the program that uses it.")
    scopes: list[str] = Field(
        [],
        description=f"{_SCOPES} Default: those of your key.",
        json_schema_extra={"items": {"enum": [*Scope]}},
    )
    networks: list[str] = Field([], description=f"{_NETWORKS} Default: those of your key.")
    expires_at: Moment | None = Field(None, description="End of its validity; null: none.")


class NewApiKeyOut(ApiKeyOut):
    """A new API key. Store it now: it is not shown again."""

    model_config = _example({**_KEY, "api_key": "sip_3fM0…"})

    api_key: str = Field(repr=False)
