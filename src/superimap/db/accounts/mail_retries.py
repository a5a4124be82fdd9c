"""Retries of mails that have no webhook because they could not be read, at the partner's request."""

from datetime import UTC, datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.accounts.announcements import ring_users
from superimap.db.errors import Conflict, NotFound
from superimap.db.models import DeferredMail, Mailbox, Message, User
from superimap.domain.audit import AuditAction
from superimap.domain.mails import MailOutcome

RETRYABLE = (MailOutcome.UNREADABLE, MailOutcome.TOO_BIG, MailOutcome.DEFERRED)


class NotRetryable(Conflict):
    """The message has an outcome that another attempt would not change."""

    kind = "not-retryable"


class Renumbered(Conflict):
    """The UID of the message means another mail now, or none, and the mail cannot be recognised."""

    kind = "renumbered"


class NotWatched(Conflict):
    """The message is of a folder that is not watched any more."""

    kind = "not-watched"


async def retry_message(db: AsyncSession, user: User, message_id: int) -> None:
    """Make a message deferred and due at once, with two more days until it is given up.

    If the mailbox is renumbered since, the session looks for it by its Message-ID or date.

    The session of the user starts again to notice it. Raises NotFound, NotRetryable, NotWatched or
    Renumbered.
    """
    mine = (Message.id == message_id, Message.partner_id == user.partner_id, Message.user_id == user.id)
    found = await db.execute(
        select(Message, Mailbox)
        .join(Mailbox, Mailbox.id == Message.mailbox_id)
        .where(*mine)
        .with_for_update(of=Message)
    )
    row = found.one_or_none()
    if row is None:
        raise NotFound("Message not found.")
    message, mailbox = row
    if message.outcome not in RETRYABLE:
        raise NotRetryable(f"Its outcome is {message.outcome}; only a mail that was not read is tried again.")
    if await _is_left(db, mailbox):
        raise NotWatched(f"Its folder {mailbox.name!r} is no longer watched.")
    is_known = message.message_id is not None or message.internal_date is not None
    if message.uid_validity != mailbox.uid_validity and not is_known:
        raise Renumbered(
            "The mail server has renumbered the mailbox since, and the mail cannot be recognised."
        )
    await db.execute(
        update(Message)
        .where(*mine)
        .values(outcome=MailOutcome.DEFERRED, detail=None)
        .execution_options(synchronize_session=False)
    )
    await db.execute(delete(DeferredMail).where(DeferredMail.message_id == message_id))
    await db.execute(
        insert(DeferredMail).values(
            message_id=message_id,
            partner_id=user.partner_id,
            user_id=user.id,
            mailbox_id=message.mailbox_id,
            uid_validity=message.uid_validity,
            uid=message.uid,
            found_by_date=False,
            next_attempt_at=func.now(),
        )
    )
    await db.execute(
        update(User)
        .where(User.id == user.id, User.partner_id == user.partner_id)
        .values(credentials_version=User.credentials_version + 1)
        .execution_options(synchronize_session=False)
    )
    partner_id, tag = user.partner_id, {"tag": user.tag}
    await audit.record(
        db, AuditAction.MESSAGE_RETRY, partner_id=partner_id, object_id=message_id, details=tag
    )
    await ring_users(db, user.shard)


async def _is_left(db: AsyncSession, mailbox: Mailbox) -> bool:
    """Return whether another mailbox of the user was opened after this one, and no list of folders selects it."""
    if mailbox.watched_since is not None:
        return False
    later = select(Mailbox.id).where(
        Mailbox.user_id == mailbox.user_id,
        Mailbox.opened_at > (mailbox.opened_at or datetime.min.replace(tzinfo=UTC)),
    )
    return (await db.scalar(later.limit(1))) is not None
