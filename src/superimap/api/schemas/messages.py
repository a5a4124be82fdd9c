"""Schemas of messages: ids, dates, outcomes and reasons, without content."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from superimap.domain.deliveries import DeliveryState
from superimap.domain.mail_stages import FoundBy
from superimap.domain.mails import MailOutcome


class OriginalOut(BaseModel):
    """The message of which a duplicate is a copy. All fields but `id` are null once its record is purged."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    mailbox: str | None
    uid: int | None
    message_id: str | None


class MessageDeliveryOut(BaseModel):
    """The webhook of a message."""

    model_config = ConfigDict(from_attributes=True)

    webhook_id: str = Field(description="Value of the header `webhook-id`, the same on every attempt.")
    state: DeliveryState
    attempts: int = Field(description="Number of attempts so far.")
    last_code: int | None = Field(description="HTTP status of the last response; null if there was none.")
    last_error: str | None = Field(description="Why there was no response, as one word.")
    due_at: datetime = Field(description="When the next attempt is due, while the state is `pending`.")
    settled_at: datetime | None


class StagesOut(BaseModel):
    """How a mail was found, and the duration of each stage in seconds, exact to a millisecond.

    A stage is null if the mail has not come so far, and for mails from before this was recorded.
    """

    model_config = ConfigDict(from_attributes=True)

    found_by: FoundBy | None = Field(
        description="`announced`: the mail server announced the mail to a session that watched the mailbox. "
        "`polled`: such a session asked for it. `catch_up`: a search found it, as after an outage; then "
        "`provider_seconds` says little about the mail server."
    )
    found_at: datetime | None = Field(description="When SuperIMAP learned of the mail.")
    recorded_at: datetime = Field(
        description="When the mail was recorded with its webhook; of a deferred mail, once it was read. "
        "The same as in the body of the webhook."
    )
    provider_seconds: float | None = Field(
        description="From `internal_date`, which is a whole second, until the mail was found. Negative if the "
        "mail server's clock is ahead."
    )
    recording_seconds: float | None = Field(description="From there until it was recorded.")
    sending_seconds: float | None = Field(description="From there until the first attempt began.")
    receiver_seconds: float | None = Field(description="Duration of the latest attempt.")
    settled_seconds: float | None = Field(
        description="From `found_at`, or else `recorded_at`, until no further attempt was due."
    )


class MessageOut(BaseModel):
    """A mail that was seen, its outcome, and the reason for the outcome."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "id": 4211,
                "seen_at": "2026-09-21T14:31:02Z",
                "mailbox": "INBOX",
                "uid_validity": 1,
                "uid": 812,
                "internal_date": "2026-09-21T14:31:01Z",
                "size": 5120,
                "message_id": "<1@example.com>",
                "outcome": "duplicate",
                "reason": "byte for byte the same as UID 811 of INBOX (message 4210)",
                "duplicate_of": {
                    "id": 4210,
                    "mailbox": "INBOX",
                    "uid": 811,
                    "message_id": "<1@example.com>",
                },
                "delivery": None,
                "stages": {
                    "found_by": "announced",
                    "found_at": "2026-09-21T14:31:01.812Z",
                    "recorded_at": "2026-09-21T14:31:01.841Z",
                    "provider_seconds": 0.812,
                    "recording_seconds": 0.029,
                    "sending_seconds": None,
                    "receiver_seconds": None,
                    "settled_seconds": None,
                },
            }
        },
    )

    id: int = Field(description="Increases with each mail that is seen; accepted by the parameter `before`.")
    seen_at: datetime = Field(description="When the mail was first recorded.")
    mailbox: str
    uid_validity: int
    uid: int
    internal_date: datetime | None = Field(description="When the mail server received the mail.")
    size: int = Field(description="Size in bytes; 0 if it could not be read.")
    message_id: str | None = Field(description="The header Message-ID, cut off after 255 characters.")
    outcome: MailOutcome
    reason: str = Field(description="Why the mail has a webhook or none, for people.")
    duplicate_of: OriginalOut | None
    delivery: MessageDeliveryOut | None = Field(
        description="The webhook of this mail; null if there is none, or if its record is purged."
    )
    stages: StagesOut
