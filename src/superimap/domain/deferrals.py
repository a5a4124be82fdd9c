"""Deferred mails: when a mail that could not be read is tried again, and when it is given up. Pure decisions.

A mail is given up by time and proof, never by a number of attempts. An attempt that fails counts only if another
mail of the same mailbox could be read since the attempt before it: then the mail is at fault and not its server.
"""

from datetime import datetime
from typing import NamedTuple

from superimap.domain.numbering import MailIdentity, is_same_mail

GIVE_UP_SECONDS = 2 * 24 * 3600.0
"""Seconds of proven failure after which a mail is given up.

Some servers refuse single mails for a while. Gmail locks an account that reads too much for a day at most.
"""
FIRST_RETRY_SECONDS = 1.0
"""Longest wait before the first retry. Each failure doubles it."""
LONGEST_RETRY_SECONDS = 3600.0
LONGEST_UNPROVEN_RETRY_SECONDS = 300.0
"""Longest wait after a failure that may be the server's: once it is well, the mail is read within minutes."""
GONE_AFTER_SECONDS = 600.0
"""Time for which the server denies a mail, without a proof, after which it counts as deleted.

A replica that lags behind knows it by then.
"""
MAX_DEFERRED_MAILS = 1000
"""Deferred mails of one mailbox. The mailbox is not read any further while it has that many."""
MAX_UNPROVEN_FAILURES = 3
"""Mails that fail in a row, after which another mail is read to prove that the server is well."""

UNKNOWN = "the mail server has renumbered the mailbox, and too little is known of the mail to find it again"
UNWATCHED = "its folder is no longer watched, and the folder that is watched now does not have the mail"
LOST_TRACK = (UNKNOWN, UNWATCHED)
"""Reasons to give up a mail that do not say that it cannot be read: it is deferred again if it shows up again."""


class StoredDeferral(NamedTuple):
    """A deferred mail as PostgreSQL knows it; the last two fields are in seconds by its clock.

    `message` is the id of its row in `messages`, `message_id` the Message-ID of the mail, and
    `began` the time of its first failure. `size` is 0 if it is not
    known.
    """

    message: int
    mailbox: int
    uid_validity: int
    uid: int
    internal_date: datetime | None
    message_id: str | None
    size: int
    found_by_date: bool
    began: datetime
    attempts: int
    failing_seconds: float
    announced_size: int | None
    since_attempt: float
    until_attempt: float


def retry_delay(attempts: int, *, first: float, longest: float, chance: float) -> float:
    """Return the seconds from a failure to the next attempt, after `attempts` attempts (at least 1) in all.

    The wait doubles from `first` to `longest`. `chance`, from 0 to 1, takes up to half of it away, so that mails
    that failed together are not tried together.
    """
    doubled = first * 2.0 ** min(attempts - 1, 32)
    return float(min(doubled, longest) * (0.5 + chance / 2))


def silence_limit(gap: float, *, fetch: float) -> float:
    """Return the seconds of silence after which a further attempt ends, `gap` seconds after the one before.

    New mail waits behind it. A mail that only needs longer gets it once attempts are rare: half of the timeout
    `fetch` at most.
    """
    return min(max(fetch / 12, 0.25, gap / 30), fetch / 2)


def failure_credit(seconds: float, *, is_proven: bool, longest_retry: float) -> float:
    """Return the part of the `seconds` between two failed attempts that counts towards giving the mail up.

    `is_proven` says that another mail was read in that time. A longer gap than two retries counts as two: the time
    in which nothing was tried proves nothing.
    """
    return min(max(seconds, 0.0), 2 * longest_retry) if is_proven else 0.0


def is_found_again(deferred: MailIdentity, seen: MailIdentity) -> bool:
    """Return whether a mail under another UID is the deferred one.

    Message-ID or date must be the same, and nothing else may show that it is another mail: scanners give all their
    mails one Message-ID, and several mails may arrive in one second.
    """
    has_id = deferred.message_id is not None and seen.message_id is not None
    has_date = deferred.internal_date is not None and deferred.internal_date == seen.internal_date
    return (has_id or has_date) and is_same_mail(deferred, seen) is not False
