"""Messages of a user with their outcomes, and the reason why a mail caused a webhook or none."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import ScalarSelect, Select, UnaryExpression, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from superimap.db.errors import NotFound
from superimap.db.models import Attempt, DeferredMail, Delivery, Endpoint, Mailbox, Message, Partner, User
from superimap.db.monitoring.history import SHOWN_STATE
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind
from superimap.domain.mail_stages import MailStages, found_by_number
from superimap.domain.mails import REASONS, MailOutcome
from superimap.domain.message_ids import spellings
from superimap.webhooks.signing import webhook_id

T = TypeVar("T")

MAX_MESSAGES = 200
MAX_SEARCHED = 10_000
"""Messages of a user among which a Message-ID is looked for."""

DISABLED_REASONS = {"gone": "it answered 410", "failing": "it failed for days"}


@dataclass(frozen=True, slots=True)
class DuplicateOriginal:
    """The message that another message duplicates. If its row is purged, only the id is known."""

    id: int
    mailbox: str | None
    uid: int | None
    message_id: str | None
    is_exact: bool
    """True: the bytes are the same. False: the fingerprint is, and the mail has other UIDs now."""


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
    """Why the endpoint is disabled; None if it is enabled."""


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
    stages: MailStages


async def list_latest(
    db: AsyncSession, user: User, *, limit: int, before: int | None = None, outcome: MailOutcome | None = None
) -> list[MessageRow]:
    """Return the last `limit` messages of this user, the newest first, with ids below `before`."""
    page = select(Message).where(Message.partner_id == user.partner_id, Message.user_id == user.id)
    if before is not None:
        page = page.where(Message.id < before)
    if outcome is not None:
        page = page.where(Message.outcome == outcome)
    return await _read_rows(db, page.order_by(Message.id.desc()).limit(limit))


async def list_newest(db: AsyncSession, *, limit: int) -> list[tuple[MessageRow, str, str]]:
    """Return the last messages of all users, the newest first, each with the tag of its user and its partner."""
    newest = select(Message).order_by(Message.id.desc()).limit(limit)
    ids = select(newest.subquery().c.id)
    owners = (
        select(Message.id, User.tag, Partner.name)
        .join(User, User.id == Message.user_id)
        .join(Partner, Partner.id == Message.partner_id)
        .where(Message.id.in_(ids))
    )
    named = {row[0]: (row[1], row[2]) for row in await db.execute(owners)}
    rows = await _read_rows(db, newest)
    return [(row, *named[row.id]) for row in rows if row.id in named]


async def get(db: AsyncSession, user: User, message_id: int) -> MessageRow:
    """Return one message of this user. Raises NotFound."""
    mine = (Message.partner_id == user.partner_id, Message.user_id == user.id)
    rows = await _read_rows(db, select(Message).where(Message.id == message_id, *mine))
    if not rows:
        raise NotFound("Message not found.")
    return rows[0]


async def owner(db: AsyncSession, message_id: int, *, partner_id: int | None = None) -> int:
    """Return the id of the user whose message this is, among the users of a partner or of all. Raises NotFound."""
    statement = select(Message.user_id).where(Message.id == message_id)
    if partner_id is not None:
        statement = statement.where(Message.partner_id == partner_id)
    found = await db.scalar(statement)
    if found is None:
        raise NotFound("Message not found.")
    return found


async def find_by_header(db: AsyncSession, user: User, message_id: str, *, limit: int) -> list[MessageRow]:
    """Return the messages with this Message-ID among the latest MAX_SEARCHED of the user, the newest first.

    Angle brackets may be missing, the name of the header may be there, and letter case does not count.
    """
    latest = (
        select(Message.id, Message.message_id)
        .where(Message.partner_id == user.partner_id, Message.user_id == user.id)
        .order_by(Message.id.desc())
        .limit(MAX_SEARCHED)
        .subquery()
    )
    found = select(latest.c.id).where(func.lower(latest.c.message_id).in_(spellings(message_id))).limit(limit)
    mine = (Message.partner_id == user.partner_id, Message.user_id == user.id)
    return await _read_rows(db, select(Message).where(Message.id.in_(found), *mine))


async def _read_rows(db: AsyncSession, page: Select[Message]) -> list[MessageRow]:
    """Read the selected messages with what belongs to them, the newest first."""
    # The page is selected first, so that the joins look up each of its rows by index.
    seen = aliased(Message, page.cte("page"), name="seen")
    original, where = aliased(Message, name="original"), aliased(Mailbox, name="original_mailbox")
    same_user = and_(original.partner_id == seen.partner_id, original.user_id == seen.user_id)
    statement = (
        select(
            seen,
            Mailbox.name,
            original,
            where.name,
            Delivery,
            SHOWN_STATE,
            Endpoint.disabled_reason,
            DeferredMail,
            _of_attempt(Attempt.started_at, Attempt.number),
            _of_attempt(Attempt.milliseconds, Attempt.number.desc()),
        )
        .join(Mailbox, Mailbox.id == seen.mailbox_id)
        .outerjoin(original, and_(original.id == seen.duplicate_of, same_user))
        .outerjoin(where, where.id == original.mailbox_id)
        .outerjoin(DeferredMail, DeferredMail.message_id == seen.id)
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
    return [_message_row(*row) for row in await db.execute(statement)]


def _of_attempt(
    column: InstrumentedAttribute[T], order: InstrumentedAttribute[int] | UnaryExpression[int]
) -> ScalarSelect[T]:
    """Return a column of the attempt at the delivery that is first in this order."""
    mine = (Attempt.delivery_id == Delivery.id, Attempt.partner_id == Delivery.partner_id)
    return select(column).where(*mine).order_by(order).limit(1).correlate(Delivery).scalar_subquery()


def _message_row(
    seen: Message,
    mailbox: str,
    original: Message | None,
    original_mailbox: str | None,
    delivery: Delivery | None,
    state: str | None,
    disabled_reason: str | None,
    deferred: DeferredMail | None,
    first_attempt_at: datetime | None,
    milliseconds: int | None,
) -> MessageRow:
    duplicate_of = webhook = None
    if seen.duplicate_of is not None:
        duplicate_of = DuplicateOriginal(
            id=seen.duplicate_of,
            mailbox=original_mailbox,
            uid=original.uid if original else None,
            message_id=original.message_id if original else None,
            is_exact=original is not None and original.sha1 == seen.sha1,
        )
    if delivery is not None:
        webhook = MessageDelivery(
            webhook_id=webhook_id(delivery.id),
            state=state or delivery.state,
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
        reason=explain(seen.outcome, seen.detail, duplicate_of, webhook, deferred),
        duplicate_of=duplicate_of,
        delivery=webhook,
        stages=_stages(seen, delivery, first_attempt_at, milliseconds),
    )


def _stages(
    seen: Message, delivery: Delivery | None, first_attempt_at: datetime | None, milliseconds: int | None
) -> MailStages:
    ago = seen.recording_milliseconds
    return MailStages(
        found_by=found_by_number(seen.found_by),
        received_at=seen.internal_date,
        found_at=None if ago is None else seen.created_at - timedelta(milliseconds=ago),
        recorded_at=seen.created_at if delivery is None else delivery.created_at,
        first_attempt_at=first_attempt_at,
        attempt_seconds=None if milliseconds is None else milliseconds / 1000,
        settled_at=None if delivery is None else delivery.settled_at,
    )


def explain(
    outcome: str,
    detail: str | None,
    duplicate_of: DuplicateOriginal | None,
    delivery: MessageDelivery | None,
    deferred: DeferredMail | None = None,
) -> str:
    """Explain to a person why a mail caused a webhook or none. Contains no content of the mail."""
    if outcome == MailOutcome.DUPLICATE and duplicate_of is not None:
        return _explain_duplicate(duplicate_of)
    if outcome == MailOutcome.DELIVERED and delivery is not None:
        return _explain_delivery(delivery)
    if outcome == MailOutcome.DEFERRED and deferred is not None:
        return _explain_deferred(deferred)
    return detail or REASONS[MailOutcome(outcome)]


def _explain_deferred(deferred: DeferredMail) -> str:
    if deferred.last_error is None:
        return "it is read again at the partner's request"
    tries = f"{deferred.attempts} attempt{'' if deferred.attempts == 1 else 's'}"
    first, following = deferred.first_failed_at, deferred.next_attempt_at
    return (
        f"it could not be read yet: {deferred.last_error} ({tries} since {first:%Y-%m-%d %H:%M:%S}Z,"
        f" the next at {following:%Y-%m-%d %H:%M:%S}Z)"
    )


def _explain_duplicate(duplicate_of: DuplicateOriginal) -> str:
    if duplicate_of.uid is None:
        return "the same mail was seen before; its record is purged"
    how = "byte for byte the same" if duplicate_of.is_exact else "the same mail, renumbered by its server,"
    return f"{how} as UID {duplicate_of.uid} of {duplicate_of.mailbox} (message {duplicate_of.id})"


def _explain_delivery(delivery: MessageDelivery) -> str:
    tries = f"{delivery.attempts} attempt{'' if delivery.attempts == 1 else 's'}"
    answer = str(delivery.last_code) if delivery.last_code else delivery.last_error or "no answer"
    match delivery.state:
        case DeliveryState.DELIVERED:
            return f"the webhook was delivered ({answer}, {tries})"
        case DeliveryState.FAILED:
            return f"the webhook failed permanently ({answer}, {tries})"
        case DeliveryState.CANCELLED if delivery.last_error == "no_url":
            return "the new_mail URL was removed before the webhook was sent"
        case DeliveryState.CANCELLED:
            return f"the webhook was cancelled ({tries})"
        case DeliveryState.SENDING:
            return "the webhook is being sent"
        case _:
            return f"the webhook is pending{_explain_wait(delivery, answer, tries)}"


def _explain_wait(delivery: MessageDelivery, answer: str, tries: str) -> str:
    if delivery.disabled_reason is not None:
        why = DISABLED_REASONS.get(delivery.disabled_reason, delivery.disabled_reason)
        return f"; its endpoint is disabled because {why} ({tries})"
    if delivery.last_code:
        return f"; the last answer was {answer} ({tries})"
    if delivery.attempts:
        return f"; the last attempt failed: {answer} ({tries})"
    return "; there was no attempt yet"
