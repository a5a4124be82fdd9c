"""Sweeps: readings of a mailbox's history into webhooks. Their states, bounds and pace. Pure decisions."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from superimap.domain.users import UserStatus


class SweepState(StrEnum):
    """State of a sweep. The first three are active: a mailbox has one active sweep at most."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


class SweepCause(StrEnum):
    """Why a sweep exists: a request, or a mailbox that was connected with days of history to read."""

    REQUESTED = "requested"
    CONNECTED = "connected"


class SweepDirection(StrEnum):
    """Order in which the mails are read, by their UIDs."""

    NEWEST = "newest"
    OLDEST = "oldest"


ACTIVE = (SweepState.WAITING, SweepState.RUNNING, SweepState.PAUSED)

MAX_BATCH_MAILS = 5
"""Mails that are read and recorded at once."""
MAX_BATCH_BYTES = 1024 * 1024
MAX_OWED_WEBHOOKS = 5
"""Webhooks that an endpoint may owe when a batch is recorded, so that live mail waits behind few others."""
MAX_MAILS_PER_SECOND = 40.0
"""Mails of one mailbox that are read in a second at most, on average."""
MAX_LOOKED_AT_PER_SECOND = 1_000.0
"""Mails of one mailbox of which only metadata are read in a second at most, on average."""
MAX_SERVER_SWEEPS, MAX_PARTNER_SERVER_SWEEPS = 4, 2
"""Sweeps of one mail server that an idler runs at once, of all partners and of one; each has a connection."""
MAX_IDLER_SWEEPS, MAX_PARTNER_SWEEPS = 8, 4
"""Sweeps that an idler runs at once, of all partners and of one partner."""
SLICE_SECONDS = 120.0
"""Time after which a sweep gives its place to others that wait, and is due again behind them."""
MAX_SWEPT_UIDS = 5_000_000
"""UIDs that a mail server may claim for a sweep; a mailbox has fewer."""
GIVE_UP_SECONDS = 2 * 24 * 3600.0
"""Seconds of failure without any progress after which a sweep fails, and after which a mail of it is given up."""
MAX_UNREAD_MAILS = 1_000
"""Mails of a sweep that could not be read. No further mail is read while a sweep has that many."""
MAX_ACTIVE_SWEEPS = 1_000
"""Active sweeps of a partner."""
MAX_KEPT_SWEEPS = 10_000
"""Sweeps of a partner, with those that have ended and are not purged yet."""
MAX_MAILS = 1_000_000
"""Largest value of `limit`."""
MAX_HISTORY_DAYS = 3650
"""Days of history that may be read when a mailbox is connected."""

FIRST_RETRY_SECONDS = 10.0
LONGEST_RETRY_SECONDS = 1_800.0
LONGEST_GAP_SECONDS = 2 * LONGEST_RETRY_SECONDS
"""Longest time between two failures that counts as failure: the time in which nothing was tried proves nothing."""
FIRST_MAIL_RETRY_SECONDS = 60.0
LONGEST_MAIL_RETRY_SECONDS = 3_600.0
LONGEST_MAIL_GAP_SECONDS = 2 * LONGEST_MAIL_RETRY_SECONDS
USER_WAIT_SECONDS = 60.0
CONNECTING_WAIT_SECONDS = 5.0
ENDPOINT_WAIT_SECONDS = 30.0
BACKLOG_WAIT_SECONDS = 10.0
SERVER_WAIT_SECONDS = 10.0
REFUSED_WAIT_SECONDS = 900.0
"""Least wait after a refused login: more of them could lock the account."""


class Proceed(NamedTuple):
    """The next batch may be read."""


class Wait(NamedTuple):
    """Nothing may be read for `seconds`; `reason` is for people. A brief wait may end at any moment."""

    seconds: float
    reason: str
    is_brief: bool = False


class Stop(NamedTuple):
    """The sweep ends in `state`, or stays in it; `reason` is for people."""

    state: SweepState
    reason: str | None = None


Step = Proceed | Wait | Stop


@dataclass(frozen=True, slots=True)
class SweepFacts:
    """What decides whether a sweep goes on. `owed` counts due webhooks up to a bound."""

    state: SweepState
    is_archived: bool
    is_connected: bool
    status: UserStatus
    is_held: bool
    has_url: bool
    is_disabled: bool
    is_breaker_open: bool
    owed: int
    dry_run: bool = False


_USER_WAITS = {
    UserStatus.NOT_CONNECTED: "the mailbox is not connected",
    UserStatus.THROTTLED: "the mail server requests a pause",
    UserStatus.SUSPENDED: "the mailbox is suspended",
    UserStatus.AUTHENTICATION_FAILED: "the mail server refuses the mailbox's login",
    UserStatus.STALLED: "the mail server does not answer",
    UserStatus.BACKING_OFF: "the connection to the mail server fails",
}
"""Statuses in which a sweep waits: another connection would make them worse, or fail as well."""


def next_step(facts: SweepFacts) -> Step:
    """Return whether a sweep may read its next batch. Total: every combination of facts has a step."""
    for step in (_user_step(facts), None if facts.dry_run else _endpoint_step(facts)):
        if step is not None:
            return step
    return Proceed()


def _user_step(facts: SweepFacts) -> Wait | Stop | None:
    if facts.state not in (SweepState.WAITING, SweepState.RUNNING):
        return Stop(facts.state)
    if facts.is_archived:
        return Stop(SweepState.CANCELLED, "the user is archived")
    if not facts.is_connected:
        return Wait(USER_WAIT_SECONDS, _USER_WAITS[UserStatus.NOT_CONNECTED])
    if facts.status is UserStatus.CONNECTING:
        return Wait(CONNECTING_WAIT_SECONDS, "the mailbox is being connected")
    if facts.status in _USER_WAITS:
        return Wait(USER_WAIT_SECONDS, _USER_WAITS[facts.status])
    return None


def _endpoint_step(facts: SweepFacts) -> Wait | None:
    if not facts.has_url:
        return Wait(ENDPOINT_WAIT_SECONDS, "the partner has no new_mail URL")
    if facts.is_disabled:
        return Wait(ENDPOINT_WAIT_SECONDS, "the new_mail endpoint is disabled")
    if facts.is_breaker_open:
        return Wait(ENDPOINT_WAIT_SECONDS, "the new_mail endpoint fails")
    if facts.is_held:
        return Wait(ENDPOINT_WAIT_SECONDS, "the partner's backlog of webhooks has reached its quota")
    if facts.owed > MAX_OWED_WEBHOOKS:
        return Wait(BACKLOG_WAIT_SECONDS, "earlier webhooks of the endpoint are sent first", is_brief=True)
    return None


def is_new_connection(
    *, before: datetime | None, after: datetime | None, was_archived: bool, last_login_at: datetime | None
) -> bool:
    """Return whether the history of a live user is to be read: `connected_at` is new, or was never used.

    `before` and `after` are `connected_at` before and after a change. It is kept by a new secret of the same
    account. A restored user that has not signed in since it was connected was never watched in this connection.
    """
    if after is None:
        return False
    return after != before or (was_archived and (last_login_at is None or last_login_at < after))


def retry_delay(failures: int) -> float:
    """Return the seconds until the next attempt, after `failures` (at least 1) in a row."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 16), LONGEST_RETRY_SECONDS)


def mail_retry_delay(attempts: int) -> float:
    """Return the seconds until a mail that could not be read `attempts` times (at least 1) is tried again."""
    return min(FIRST_MAIL_RETRY_SECONDS * 2.0 ** min(attempts - 1, 16), LONGEST_MAIL_RETRY_SECONDS)


def after_last_mail(*, retry_in: float | None, unread: int, is_full: bool) -> Wait | Stop:
    """Return what follows when a sweep has looked at all mails, or at no more of them because `is_full`.

    Of `unread` mails that could not be read, the next one is tried again in `retry_in` seconds; None if none is.
    """
    mails = "1 mail" if unread == 1 else f"{unread:,} mails"
    if retry_in is not None:
        further = ", and no other mail is read until then" if is_full else ""
        again = "it is tried again" if unread == 1 else "they are tried again"
        return Wait(max(retry_in, 1.0), f"{mails} could not be read; {again}{further}")
    if is_full:
        return Stop(SweepState.FAILED, f"{mails} could not be read within two days")
    return Stop(SweepState.FINISHED, f"{mails} could not be read" if unread else None)


def pause_after(mails: int, *, looked_at: int, seconds: float) -> float:
    """Return the pause after a batch that took `seconds`, by the pace of one mailbox.

    Of `looked_at` mails, `mails` were read.
    """
    return max(0.0, mails / MAX_MAILS_PER_SECOND - seconds, looked_at / MAX_LOOKED_AT_PER_SECOND - seconds)


def search_day(since: datetime | None) -> date | None:
    """Return the day from which a search finds all mail since a moment; None for all mail.

    A day of margin: SEARCH SINCE disregards time and time zone (RFC 9051 section 6.4.4).
    """
    return None if since is None else (since - timedelta(days=1)).date()


def is_in_range(when: datetime | None, *, since: datetime | None, until: datetime | None) -> bool:
    """Return whether INTERNALDATE is at `since` or later, and before `until`.

    A mail of which the server does not tell it is in range if there is no bound.
    """
    if when is None:
        return since is None and until is None
    return (since is None or when >= since) and (until is None or when < until)


def remaining_bounds(direction: SweepDirection, *, up_to: int, done: int | None) -> tuple[int, int]:
    """Return the bounds of the UIDs that are still to be looked at: above the first, and below the second.

    None is above `up_to`, and none was looked at before `done`, the last one that was.
    """
    if direction is SweepDirection.OLDEST:
        return done or 0, up_to + 1
    return 0, up_to + 1 if done is None else done
