"""Schemas of endpoints, test webhooks and signing secrets."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from superimap.api.schemas.common import RequestBody
from superimap.db.accounts import partner_keys
from superimap.db.models import SigningSecret
from superimap.domain.deliveries import Breaker
from superimap.domain.events import EventKind

MAX_OVERLAP_HOURS = 168

_ENDPOINT = {
    "kind": "new_mail",
    "url": "https://app.example.com/hook",
    "breaker": "open",
    "failures": 12,
    "failing_since": "2026-09-24T10:12:08Z",
    "next_probe_at": "2026-09-24T10:22:08Z",
    "disabled_at": None,
    "disabled_reason": None,
}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(from_attributes=True, json_schema_extra={"example": example})


class EndpointOut(BaseModel):
    """The URL for webhooks of one kind, and its health."""

    model_config = _example(_ENDPOINT)

    kind: EventKind
    url: str | None = Field(description="Null if webhooks of this kind are not sent.")
    breaker: Breaker = Field(
        description="State of the circuit breaker. `open`: one webhook at a time is tried; the others wait, and "
        "none of their attempts is used up."
    )
    failures: int = Field(description="Number of failures in a row.")
    failing_since: datetime | None = Field(description="Time of the first of these failures.")
    next_probe_at: datetime | None = Field(
        validation_alias="probe_at", description="Nothing is sent before this time."
    )
    disabled_at: datetime | None = Field(
        description="Since when the endpoint is disabled: nothing is sent until you enable it."
    )
    disabled_reason: str | None = Field(
        description="`gone`: it answered 410. `failing`: it failed for too long."
    )


class TestRequest(RequestBody):
    """Selects the endpoint to test."""

    model_config = ConfigDict(json_schema_extra={"example": {"kind": "new_mail"}})

    kind: EventKind = Field(EventKind.NEW_MAIL, description="Kind of webhook whose endpoint is tested.")


class TestOut(BaseModel):
    """The endpoint's response to a sample. It has no consequences: no retry, no archiving."""

    model_config = _example(
        {
            "id": "msg_01a20796af867650808acc1f745afa5f",
            "url": "https://app.example.com/hook",
            "is_success": True,
            "code": 200,
            "error": None,
            "milliseconds": 41,
            "answer": "OK",
        }
    )

    id: str = Field(description="The `webhook-id` of the sample.")
    url: str
    is_success: bool = Field(description="Whether this response would count as delivered: any 2xx does.")
    code: int | None
    error: str | None = Field(description="Why there was no response, as one word.")
    milliseconds: int
    answer: str | None = Field(description="First 1,024 characters of the response.")


class SecretOut(BaseModel):
    """A signing secret, without its value."""

    model_config = _example(
        {"id": 7, "created_at": "2026-09-21T14:13:20Z", "expires_at": None, "is_valid": True}
    )

    id: int
    created_at: datetime
    expires_at: datetime | None
    is_valid: bool = Field(description="Whether webhooks are signed with this secret.")

    @classmethod
    def of(cls, secret: SigningSecret) -> "SecretOut":
        """Return a signing secret as it is shown."""
        is_valid = partner_keys.is_valid(secret)
        return cls(
            id=secret.id, created_at=secret.created_at, expires_at=secret.expires_at, is_valid=is_valid
        )


class RotateRequest(RequestBody):
    """Time for which the previous secrets sign as well as the new one."""

    model_config = ConfigDict(json_schema_extra={"example": {"overlap_hours": 24}})

    overlap_hours: int = Field(
        24,
        ge=0,
        le=MAX_OVERLAP_HOURS,
        description="Hours for which the previous secrets stay valid; 0 ends them now.",
    )


class NewSecret(BaseModel):
    """A new signing secret. Store it now: it is not shown again."""

    model_config = _example({"signing_secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"})

    signing_secret: str = Field(repr=False)
