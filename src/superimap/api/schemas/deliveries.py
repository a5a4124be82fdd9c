"""Schemas of deliveries: lists, details, replays and cancellations."""

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

from superimap.api.schemas.common import LenientText, RequestBody
from superimap.db.delivery.replay import MAX_PER_CALL
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind

_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)


def _plausible(when: datetime) -> datetime:
    if not _EARLIEST <= when <= _LATEST:
        raise ValueError("must be a time after the year 2000 with an offset, such as 2026-09-21T14:13:20Z")
    return when


Moment = Annotated[AwareDatetime, AfterValidator(_plausible)]

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


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(from_attributes=True, json_schema_extra={"example": example})


class DeliveryOut(BaseModel):
    """A webhook that is to be sent, was sent, or failed, without its content."""

    model_config = _example(_DELIVERY)

    id: str = Field(description="The `webhook-id`: the same on every attempt and replay.")
    state: DeliveryState
    kind: EventKind
    user_tag: str
    imap_provider_code: str
    created_at: datetime
    attempts: int = Field(description="Number of attempts so far.")
    next_attempt_at: datetime | None = Field(
        description="When the next attempt is due; null unless the state is `pending` and its endpoint is enabled."
    )
    settled_at: datetime | None = Field(description="When it was delivered, failed or was cancelled.")
    last_code: int | None = Field(description="HTTP status of the last response; null if there was none.")
    last_error: str | None = Field(description="Why there was no response, as one word.")
    has_content: bool = Field(description="Whether the content is still kept, so that it can be sent.")


class AttemptOut(BaseModel):
    """One POST and its result."""

    model_config = _example(_ATTEMPT)

    number: int
    started_at: datetime
    milliseconds: int
    code: int | None = Field(description="HTTP status of the response; null if there was none.")
    error: str | None = Field(description="Why there was no response, as one word.")
    answer: str | None = Field(description="First 1,024 characters of the response; null if it was empty.")


class DeliveryDetail(DeliveryOut):
    """A delivery with its latest attempts, at most 100, oldest first."""

    model_config = _example({**_DELIVERY, "attempts_made": [_ATTEMPT]})

    attempts_made: list[AttemptOut]


class _Selection(RequestBody):
    """The deliveries that a request selects.

    An unknown field, or null, is refused: ignoring either would widen the selection to all deliveries.
    """

    model_config = ConfigDict(extra="forbid")

    kind: EventKind | None = Field(None, description="Only webhooks of this kind.")
    user_tag: LenientText = Field(None, description="Only webhooks about the user with this tag.")
    imap_provider_code: LenientText = Field(None, description="Only webhooks about users of this connection.")
    since: Moment | None = Field(None, description="Only webhooks created at this time or later.")
    until: Moment | None = Field(None, description="Only webhooks created before this time.")
    limit: int = Field(100, ge=1, le=MAX_PER_CALL, description="Maximum number of webhooks.")

    @model_validator(mode="before")
    @classmethod
    def _without_key(cls, fields: Any) -> Any:
        """Drop `api_key`, which a body may contain; the authentication reads it separately."""
        return {name: value for name, value in fields.items() if name != "api_key"}

    @field_validator("*", mode="before")
    @classmethod
    def _is_not_null(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("must not be null; leave it out to select any")
        return value


class ReplayRequest(_Selection):
    """Selects the webhooks to send again, oldest first. Without fields: all that failed."""

    model_config = ConfigDict(json_schema_extra={"example": {"since": "2026-09-21T14:00:00Z", "limit": 500}})

    state: Literal["failed", "cancelled"] = Field(
        "failed", description="Select failed webhooks or cancelled ones."
    )


class CancelRequest(_Selection):
    """Selects the pending webhooks to cancel, oldest first. Without fields: all."""

    model_config = ConfigDict(json_schema_extra={"example": {"user_tag": "MY_USER"}})

    state: Literal["pending"] = Field("pending", description="Only pending webhooks can be cancelled.")


class ReplayOut(BaseModel):
    """Result of a replay. Remaining, erased and blocked webhooks are counted up to 10,000 in all."""

    model_config = _example({"replayed": 500, "remaining": 120, "erased": 7, "blocked": 0})

    replayed: int
    remaining: int = Field(description="Number of webhooks that another call would replay.")
    erased: int = Field(description="Number of webhooks that cannot be replayed, as their content is erased.")
    blocked: int = Field(description="Number of webhooks whose kind has no enabled endpoint.")


class CancelOut(BaseModel):
    """Result of a cancellation. Remaining webhooks are counted up to 10,000."""

    model_config = _example({"cancelled": 12, "remaining": 0})

    cancelled: int
    remaining: int
