"""Plans for a catch-up: by UID or by date, and which numbering. Pure decisions, without a connection."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice

from superimap.db.watching.intake import Cursor
from superimap.imap.types import Selected

MAX_NUMBERINGS = 64
"""Numberings of one UIDVALIDITY that are distinguished."""


@dataclass(frozen=True, slots=True)
class CatchUpPlan:
    """The UIDs to look at: those above `after`; without a cursor, those of the day `since` and later."""

    uid_validity: int
    after: int | None = None
    since: date | None = None

    @property
    def by_date(self) -> bool:
        """Whether there is no cursor, so that the date decides."""
        return self.after is None


def plan_catch_up(
    cursor: Cursor, selected: Selected, *, connected_at: datetime, now: datetime, restarted: bool = False
) -> CatchUpPlan:
    """Plan by UID from the cursor on, however old it is, or by date where there is no cursor.

    There is none on the first visit, and after a UIDVALIDITY change, when all known UIDs are void (RFC 9051
    section 2.3.1.1). `restarted` says that the server's UIDs begin again under the same UIDVALIDITY: the plan is
    by date and has a numbering of our own. One day of margin: SEARCH SINCE disregards time and time zone (RFC 9051
    section 6.4.4).
    """
    known = count_restarts(cursor.uid_validity, selected.uid_validity)
    if known is not None and cursor.uid_validity is not None and not restarted:
        validity = cursor.uid_validity
        if cursor.last_uid is not None:
            return CatchUpPlan(validity, after=cursor.last_uid)
    else:
        validity = recorded_uid_validity(selected.uid_validity, 0 if known is None else known + 1)
    start = connected_at
    if cursor.last_internal_date is not None:  # a date in the future would hide all mail until then
        start = max(connected_at, min(cursor.last_internal_date, now) - timedelta(days=1))
    return CatchUpPlan(validity, since=(start - timedelta(days=1)).date())


def recorded_uid_validity(uid_validity: int, restarts: int) -> int:
    """Return the UIDVALIDITY to record: the server's, or one of our own after it has restarted its UIDs.

    A server that restarts its UIDs must change UIDVALIDITY. Some do not, and then a UID means another mail.
    """
    return zlib.crc32(b"%d %d" % (uid_validity, restarts)) or 1 if restarts else uid_validity


def count_restarts(recorded: int | None, uid_validity: int) -> int | None:
    """Return the restarts from which `recorded` was made of `uid_validity`; None if it was made of another one."""
    return next(
        (count for count in range(MAX_NUMBERINGS) if recorded == recorded_uid_validity(uid_validity, count)),
        None,
    )


def are_complete(uids: list[int], *, after: int, announced: int) -> bool:
    """Return whether a fast fetch has found all new mails: as many as were announced, with UIDs without a gap.

    UIDs ascend (RFC 9051 section 2.3.1.1), so no other mail can lie between. Where mails are deleted or moved
    there are gaps, and a search is needed.
    """
    return bool(uids) and uids == list(range(after + 1, after + 1 + announced))


def split_batches(uids: Iterable[int], size: int) -> Iterator[list[int]]:
    """Yield `uids` in pieces of at most `size`, without expanding them all."""
    remaining = iter(uids)
    while piece := list(islice(remaining, size)):
        yield piece
