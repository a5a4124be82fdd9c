"""What do requests and answers about deliveries and webhooks hold?"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from superimap.api.schemas import Fields, Word
from superimap.db.delivery.replay import MOST
from superimap.domain.deliveries import Breaker, DeliveryState
from superimap.domain.events import EventKind

WEEK = 168
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)


def _sane(when: datetime) -> datetime:
    if not _EARLIEST <= when <= _LATEST:
        raise ValueError("should be a moment after 2000, with its offset, such as 2026-09-21T14:13:20Z")
    return when


Moment = Annotated[AwareDatetime, AfterValidator(_sane)]

_DELIVERY: dict[str, Any] = {
    "id": "msg_01a20796af867650808acc1f745afa5f",
    "state": "failed",
    "kind": "new_mail",
    "user_tag": "MY_USER",
    "imap_provider_code": "PLAIN",
    "created_at": "2026-09-21T14:13:20Z",
    "attempts": 17,
    "next_attempt_at": None,
    "settled_at": "2026-09-24T10:12:09Z",
    "last_code": 500,
    "last_error": None,
    "has_content": True,
}
_ATTEMPT = {
    "number": 17,
    "started_at": "2026-09-24T10:12:08Z",
    "milliseconds": 41,
    "code": 500,
    "error": None,
    "answer": "Internal Server Error",
}
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


class DeliveryOut(BaseModel):
    """A webhook that is or was owed, without its content."""

    model_config = _example(_DELIVERY)

    id: str = Field(description="The `webhook-id`: the same on every attempt and replay.")
    state: DeliveryState
    kind: EventKind
    user_tag: str
    imap_provider_code: str
    created_at: datetime
    attempts: int = Field(description="How often it was sent.")
    next_attempt_at: datetime | None = Field(description="When it is due; null unless it is pending.")
    settled_at: datetime | None = Field(description="When it was delivered, failed or was cancelled.")
    last_code: int | None = Field(description="HTTP status of the last answer; null if there was none.")
    last_error: str | None = Field(description="Why there was no answer, in a word.")
    has_content: bool = Field(description="Whether it could still be sent; content is erased in the end.")


class AttemptOut(BaseModel):
    """One POST and what came of it."""

    model_config = _example(_ATTEMPT)

    number: int
    started_at: datetime
    milliseconds: int
    code: int | None = Field(description="HTTP status of the answer; null if there was none.")
    error: str | None = Field(description="Why there was no answer, in a word.")
    answer: str | None = Field(description="Its first 1,024 characters; null if it was empty.")


class DeliveryDetail(DeliveryOut):
    """A delivery with its latest attempts, at most 100, oldest first."""

    model_config = _example({**_DELIVERY, "attempts_made": [_ATTEMPT]})

    attempts_made: list[AttemptOut]


class _Which(Fields):
    """Which ones a call is about. A name that is not known, or a null, would widen it to all: both are refused."""

    model_config = ConfigDict(extra="forbid")

    kind: EventKind | None = Field(None, description="Only webhooks of this kind.")
    user_tag: Word = Field(None, description="Only those about the user of this tag.")
    imap_provider_code: Word = Field(None, description="Only those about users of this connection.")
    since: Moment | None = Field(None, description="Only those made at this moment or later.")
    until: Moment | None = Field(None, description="Only those made before this moment.")
    limit: int = Field(100, ge=1, le=MOST, description="At most so many.")

    @model_validator(mode="before")
    @classmethod
    def _without_key(cls, fields: Any) -> Any:
        """The key may stand in a body; it is read elsewhere."""
        return {name: value for name, value in fields.items() if name != "api_key"}

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_null(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("should not be null; leave it out to mean any")
        return value


class ReplayRequest(_Which):
    """Which webhooks are sent again, oldest first; all that failed, if nothing is said."""

    model_config = ConfigDict(json_schema_extra={"example": {"since": "2026-09-21T14:00:00Z", "limit": 500}})

    state: Literal["failed", "cancelled"] = Field(
        "failed", description="Those that failed, or cancelled ones."
    )


class CancelRequest(_Which):
    """Which pending webhooks are called off, oldest first; all, if nothing is said."""

    model_config = ConfigDict(json_schema_extra={"example": {"user_tag": "MY_USER"}})

    state: Literal["pending"] = Field("pending", description="No other can be called off.")


class ReplayOut(BaseModel):
    """What a replay did, and what is left of what was asked for (up to 10,000 are counted)."""

    model_config = _example({"replayed": 500, "remaining": 120, "erased": 7, "blocked": 0})

    replayed: int
    remaining: int = Field(description="So many another call would replay.")
    erased: int = Field(description="So many cannot be replayed, their content is erased.")
    blocked: int = Field(description="So many wait until their kind has a URL that is enabled.")


class CancelOut(BaseModel):
    """What was cancelled, and what is left of what was asked for (up to 10,000 are counted)."""

    model_config = _example({"cancelled": 12, "remaining": 0})

    cancelled: int
    remaining: int


class EndpointOut(BaseModel):
    """Where webhooks of one kind go, and how that place is doing."""

    model_config = _example(_ENDPOINT)

    kind: EventKind
    url: str | None = Field(description="null: webhooks of this kind are not sent.")
    breaker: Breaker = Field(description="`open`: one webhook at a time is tried; the others wait, unharmed.")
    failures: int = Field(description="Failures in a row.")
    failing_since: datetime | None = Field(description="When the first of them was.")
    next_probe_at: datetime | None = Field(
        validation_alias="probe_at", description="Nothing is sent before this moment."
    )
    disabled_at: datetime | None = Field(description="Since when nothing is sent, until it is enabled.")
    disabled_reason: str | None = Field(description="`gone`: it answered 410; `failing`: for too long.")


class TestRequest(Fields):
    """Which endpoint is tried."""

    model_config = ConfigDict(json_schema_extra={"example": {"kind": "new_mail"}})

    kind: EventKind = Field(EventKind.NEW_MAIL, description="Of this kind of webhook.")


class TestOut(BaseModel):
    """What an endpoint answered to a sample. Nothing follows from it, whatever it was."""

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

    id: str = Field(description="The sample's `webhook-id`.")
    url: str
    is_success: bool = Field(description="Whether this would count as delivered: any 2xx.")
    code: int | None
    error: str | None = Field(description="Why there was no answer, in a word.")
    milliseconds: int
    answer: str | None = Field(description="Its first 1,024 characters.")


class SecretOut(BaseModel):
    """A signing secret, without its value."""

    model_config = _example(
        {"id": 7, "created_at": "2026-09-21T14:13:20Z", "expires_at": None, "is_valid": True}
    )

    id: int
    created_at: datetime
    expires_at: datetime | None
    is_valid: bool = Field(description="Whether it signs.")


class RotateRequest(Fields):
    """How long the secrets before go on signing beside the new one."""

    model_config = ConfigDict(json_schema_extra={"example": {"overlap_hours": 24}})

    overlap_hours: int = Field(24, ge=0, le=WEEK, description="Hours; 0 ends them now.")


class NewSecret(BaseModel):
    """A new signing secret. Keep it now: it is not shown again."""

    model_config = _example({"signing_secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"})

    signing_secret: str = Field(repr=False)
