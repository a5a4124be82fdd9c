"""What became of a user's last mails, and why did one give a webhook, or none?"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from superimap.db.models import Delivery, Endpoint, Mailbox, Message, User
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind
from superimap.domain.mails import REASONS, MailOutcome
from superimap.webhooks.signing import webhook_id

MAX_MESSAGES = 200

DISABLED_REASONS = {"gone": "it answered 410", "failing": "it failed for days"}


@dataclass(frozen=True, slots=True)
class DuplicateOriginal:
    """The message that another one is a duplicate of; its row may be purged, then nothing but the id is known."""

    id: int
    mailbox: str | None
    uid: int | None
    message_id: str | None
    is_exact: bool
    """The bytes are the same; else the fingerprint, and the mail lies under other UIDs now."""


@dataclass(frozen=True, slots=True)
class MessageDelivery:
    """The webhook of a message; `last_code` is the HTTP status of the last answer."""

    webhook_id: str
    state: str
    attempts: int
    last_code: int | None
    last_error: str | None
    due_at: datetime
    settled_at: datetime | None
    disabled_reason: str | None = None
    """Why its endpoint is disabled, None where it is not."""


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A mail that was seen, without its content."""

    id: int
    seen_at: datetime
    mailbox: str
    uid_validity: int
    uid: int
    internal_date: datetime | None
    size: int
    message_id: str | None
    outcome: str
    reason: str
    duplicate_of: DuplicateOriginal | None
    delivery: MessageDelivery | None


async def list_latest(
    db: AsyncSession, user: User, *, limit: int, before: int | None = None, outcome: MailOutcome | None = None
) -> list[MessageRow]:
    """The last `limit` mails that were seen of this user, the newest first; those before the id `before`."""
    page = select(Message).where(Message.partner_id == user.partner_id, Message.user_id == user.id)
    if before is not None:
        page = page.where(Message.id < before)
    if outcome is not None:
        page = page.where(Message.outcome == outcome)
    # The page is cut first: what is joined to it is looked up by index, row by row.
    seen = aliased(Message, page.order_by(Message.id.desc()).limit(limit).cte("page"), name="seen")
    original, where = aliased(Message, name="original"), aliased(Mailbox, name="original_mailbox")
    same_user = and_(original.partner_id == seen.partner_id, original.user_id == seen.user_id)
    statement = (
        select(seen, Mailbox.name, original, where.name, Delivery, Endpoint.disabled_reason)
        .join(Mailbox, Mailbox.id == seen.mailbox_id)
        .outerjoin(original, and_(original.id == seen.duplicate_of, same_user))
        .outerjoin(where, where.id == original.mailbox_id)
        .outerjoin(
            Delivery,
            and_(
                Delivery.message_id == seen.id,
                Delivery.partner_id == seen.partner_id,
                Delivery.kind == EventKind.NEW_MAIL,
            ),
        )
        .outerjoin(
            Endpoint, and_(Endpoint.id == Delivery.endpoint_id, Endpoint.partner_id == Delivery.partner_id)
        )
        .order_by(seen.id.desc())
    )
    return [_listed(*row) for row in await db.execute(statement)]


def _listed(
    seen: Message,
    mailbox: str,
    original: Message | None,
    original_mailbox: str | None,
    delivery: Delivery | None,
    disabled_reason: str | None,
) -> MessageRow:
    duplicate_of = owed = None
    if seen.duplicate_of is not None:
        duplicate_of = DuplicateOriginal(
            id=seen.duplicate_of,
            mailbox=original_mailbox,
            uid=original.uid if original else None,
            message_id=original.message_id if original else None,
            is_exact=original is not None and original.sha1 == seen.sha1,
        )
    if delivery is not None:
        owed = MessageDelivery(
            webhook_id=webhook_id(delivery.id),
            state=delivery.state,
            attempts=delivery.attempts,
            last_code=delivery.last_code,
            last_error=delivery.last_error,
            due_at=delivery.due_at,
            settled_at=delivery.settled_at,
            disabled_reason=disabled_reason,
        )
    return MessageRow(
        id=seen.id,
        seen_at=seen.created_at,
        mailbox=mailbox,
        uid_validity=seen.uid_validity,
        uid=seen.uid,
        internal_date=seen.internal_date,
        size=seen.size,
        message_id=seen.message_id,
        outcome=seen.outcome,
        reason=explain(seen.outcome, seen.detail, duplicate_of, owed),
        duplicate_of=duplicate_of,
        delivery=owed,
    )


def explain(
    outcome: str, detail: str | None, duplicate_of: DuplicateOriginal | None, owed: MessageDelivery | None
) -> str:
    """Why a mail gave a webhook, or none, in words for people; no content."""
    if outcome == MailOutcome.DUPLICATE and duplicate_of is not None:
        return _explain_duplicate(duplicate_of)
    if outcome == MailOutcome.DELIVERED and owed is not None:
        return _explain_delivery(owed)
    return detail or REASONS[MailOutcome(outcome)]


def _explain_duplicate(duplicate_of: DuplicateOriginal) -> str:
    if duplicate_of.uid is None:
        return "the same mail was seen before; the record of it is purged"
    how = "byte for byte the same" if duplicate_of.is_exact else "the same mail, renumbered by its server,"
    return f"{how} as UID {duplicate_of.uid} of {duplicate_of.mailbox} (message {duplicate_of.id})"


def _explain_delivery(owed: MessageDelivery) -> str:
    tries = f"{owed.attempts} attempt{'' if owed.attempts == 1 else 's'}"
    answer = str(owed.last_code) if owed.last_code else owed.last_error or "no answer"
    match owed.state:
        case DeliveryState.DELIVERED:
            return f"the webhook was taken ({answer}, {tries})"
        case DeliveryState.FAILED:
            return f"the webhook failed for good ({answer}, {tries})"
        case DeliveryState.CANCELLED if owed.last_error == "no_url":
            return "the new_mail URL was taken away before the webhook was sent"
        case DeliveryState.CANCELLED:
            return f"the webhook was called off ({tries})"
        case DeliveryState.SENDING:
            return "the webhook is being sent"
        case _:
            return f"the webhook is owed{_explain_wait(owed, answer, tries)}"


def _explain_wait(owed: MessageDelivery, answer: str, tries: str) -> str:
    if owed.disabled_reason is not None:
        why = DISABLED_REASONS.get(owed.disabled_reason, owed.disabled_reason)
        return f", and waits for its endpoint to be enabled, which is disabled because {why} ({tries})"
    if owed.attempts:
        return f"; the last answer was {answer} ({tries})"
    return ", and was not tried yet"
