"""Deferred mails: further attempts at them, and the end of those that are no longer where they were found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg import Pool

from superimap.db import statements
from superimap.db.watching.intake import Fence, Fenced, MailboxRow, asserted, storable_error
from superimap.domain.numbering import MailIdentity, identify

_STATEMENTS = statements.load(__file__)
_RECORD_FAILED_READ = _STATEMENTS["record_failed_read"]
_CLOSE_MOVED = _STATEMENTS["close_moved"]
_DEFERRED_AMONG = _STATEMENTS["deferred_among"]
_MAILS_LIKE = _STATEMENTS["mails_like"]
_UNSEEN_BEFORE = _STATEMENTS["unseen_before"]


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A deferred mail after one more attempt that failed; see `models.DeferredMail` for the fields."""

    uid_validity: int
    uid: int
    attempts: int
    failing_seconds: float
    retry_in: float
    error: str
    announced_size: int | None


async def record_failed_read(pool: Pool, box: MailboxRow, fence: Fence, failed: FailedAttempt) -> int:
    """Record that a deferred mail could not be read again; return the id of its message. Raises Fenced."""
    message: int | None = await pool.fetchval(
        *_RECORD_FAILED_READ.bind(
            **asserted(box, fence),
            uid_validity=failed.uid_validity,
            uid=failed.uid,
            attempts=failed.attempts,
            failing_seconds=failed.failing_seconds,
            retry_in=failed.retry_in,
            error=storable_error(failed.error),
            announced_size=failed.announced_size,
        )
    )
    if message is None:
        raise Fenced
    return message


class ClosedMail(NamedTuple):
    """A deferred mail that is no longer where it was found, with its final outcome.

    `message` is the id of its message. `delivery_id` and `content` are those of an event, if there is one, and
    `fingerprint` identifies the mail of the event.
    """

    message: int
    outcome: str
    detail: str | None
    fingerprint: bytes | None = None
    delivery_id: UUID | None = None
    content: bytes | None = None


async def close_moved(
    pool: Pool, box: MailboxRow, fence: Fence, closed: Sequence[ClosedMail]
) -> tuple[int, ...]:
    """Record final outcomes; return the endpoints whose doorbells to ring. One that is recorded is skipped."""
    columns = {name: [getattr(each, name) for each in closed] for name in ClosedMail._fields}
    session = asserted(box, fence)
    del session["mailbox_id"]
    rows = await pool.fetch(*_CLOSE_MOVED.bind(**session, **columns))
    return tuple(row["endpoint_id"] for row in rows)


class RecordedMail(NamedTuple):
    """A mail that was recorded under this UID."""

    uid: int
    identity: MailIdentity
    outcome: str


async def mails_like(
    pool: Pool, mailbox_id: int, *, uid_validity: int, message_ids: list[str], dates: list[datetime]
) -> list[RecordedMail]:
    """Return the recorded mails of a numbering that have one of these Message-IDs or dates."""
    rows = await pool.fetch(
        *_MAILS_LIKE.bind(
            mailbox_id=mailbox_id, uid_validity=uid_validity, message_ids=message_ids, dates=dates
        )
    )
    return [
        RecordedMail(
            row["uid"], identify(row["message_id"], row["internal_date"], row["size"]), row["outcome"]
        )
        for row in rows
    ]


async def unseen_before(
    pool: Pool, mailbox_id: int, messages: Sequence[int], *, uid_validity: int
) -> list[tuple[int, int]]:
    """Return pairs of a deferred message and a UID of this numbering, ascending, that may be the same mail.

    That mail was new in this numbering, and arrived before the deferred one failed for the first time: it would
    have been recorded then, had it been read. Or its date cannot be read now either.
    """
    rows = await pool.fetch(
        *_UNSEEN_BEFORE.bind(mailbox_id=mailbox_id, uid_validity=uid_validity, messages=list(messages))
    )
    return [(row["message_id"], row["uid"]) for row in rows]


class NewDeferral(NamedTuple):
    """The id of the message of a deferred mail, and when the mail could not be read for the first time."""

    message: int
    began: datetime


async def deferred_among(
    pool: Pool, mailbox_id: int, uids: Sequence[int], *, uid_validity: int
) -> dict[int, NewDeferral]:
    """Return those of the mails with these UIDs that are deferred, by UID."""
    rows = await pool.fetch(
        *_DEFERRED_AMONG.bind(mailbox_id=mailbox_id, uid_validity=uid_validity, uids=list(uids))
    )
    return {row["uid"]: NewDeferral(row["message_id"], row["first_failed_at"]) for row in rows}
