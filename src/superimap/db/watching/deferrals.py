"""Deferred mails: further attempts at them, and the end of those that were renumbered."""

from dataclasses import dataclass

from asyncpg import Pool

from superimap.db import statements
from superimap.db.watching.intake import Fence, Fenced, MailboxRow, asserted, storable_error

_STATEMENTS = statements.load(__file__)
_RECORD_FAILED_READ = _STATEMENTS["record_failed_read"]
_CLOSE_RENUMBERED = _STATEMENTS["close_renumbered"]


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


async def close_renumbered(
    pool: Pool, box: MailboxRow, fence: Fence, *, uid_validity: int, reason: str
) -> int:
    """Close the deferred mails of other numberings than `uid_validity` as gone; return their number.

    Their mails must have been looked for in the present numbering, and that must be recorded.
    """
    closed: int = await pool.fetchval(
        *_CLOSE_RENUMBERED.bind(**asserted(box, fence), uid_validity=uid_validity, reason=reason)
    )
    return closed
