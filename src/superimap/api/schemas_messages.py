"""What does the answer about a user's mails hold? Ids, dates and reasons; never content."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from superimap.domain.deliveries import DeliveryState
from superimap.domain.mails import MailOutcome


class OriginalOut(BaseModel):
    """The message that a duplicate is a copy of. All but `id` is null once its record is purged."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    mailbox: str | None
    uid: int | None
    message_id: str | None


class MessageDelivery(BaseModel):
    """The webhook of a message."""

    model_config = ConfigDict(from_attributes=True)

    webhook_id: str = Field(description="The header `webhook-id` of each of its attempts.")
    state: DeliveryState
    attempts: int = Field(description="How often it was POSTed.")
    last_code: int | None = Field(description="HTTP status of the last answer; null: there was none.")
    last_error: str | None = Field(description="Why there was no answer, in a word.")
    due_at: datetime = Field(description="When the next attempt is due, while it is `pending`.")
    settled_at: datetime | None


class MessageOut(BaseModel):
    """A mail that was seen, what became of it, and why."""

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
            }
        },
    )

    id: int = Field(description="Grows with each mail seen; `before` takes it.")
    seen_at: datetime
    mailbox: str
    uid_validity: int
    uid: int
    internal_date: datetime | None = Field(description="When the mail server received it.")
    size: int = Field(description="Bytes; 0 where it could not be read.")
    message_id: str | None = Field(description="The header Message-ID, cut at 255 characters.")
    outcome: MailOutcome
    reason: str = Field(description="Why there is a webhook, or none, for a person to read.")
    duplicate_of: OriginalOut | None
    delivery: MessageDelivery | None = Field(
        description="The webhook; null: none is owed, or its record is purged."
    )
