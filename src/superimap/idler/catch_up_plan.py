"""Plans for a catch-up: by UID or by date, and which numbering. Pure decisions, without a connection."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Self

from superimap.db.watching.intake import Cursor
from superimap.domain.numbering import Numbering

CLOCK_TOLERANCE = timedelta(days=1)
"""Time by which a server's clock may be slow, or the time zone of its dates wrong."""


@dataclass(frozen=True, slots=True)
class CatchUpPlan:
    """The UIDs to look at: those above `after`; without a cursor, those of the day `since` and later.

    Where the server does not know dates there is no `since`, and those above `above` are looked at.
    """

    numbering: Numbering
    after: int | None = None
    since: date | None = None
    above: int = 0

    @property
    def by_date(self) -> bool:
        """Whether there is no cursor, so that the date decides."""
        return self.after is None

    def reaching_back_to(self, dates: Iterable[datetime]) -> Self:
        """Return the plan that also finds mails of these INTERNALDATEs, if it is by date."""
        if self.since is None:
            return self
        days = [(each - timedelta(days=1)).date() for each in dates]
        return replace(self, since=min([self.since, *days]))


def plan_catch_up(
    cursor: Cursor, numbering: Numbering, *, connected_at: datetime, now: datetime
) -> CatchUpPlan:
    """Plan by UID from the cursor on, however old it is, or by date if the cursor is not of this numbering.

    There is no cursor on the first visit, and in a new numbering, when all known UIDs are void (RFC 9051 section
    2.3.1.1).
    """
    if cursor.numbering == numbering and cursor.last_uid is not None:
        return CatchUpPlan(numbering, after=cursor.last_uid)
    latest = cursor.last_internal_date
    if cursor.numbering is not None and latest is not None:
        connected_at = min(
            connected_at, latest - timedelta(days=1)
        )  # by the server's clock, which may be slow
    return CatchUpPlan(numbering, since=search_start(latest, connected_at=connected_at, now=now))


def search_start(latest: datetime | None, *, connected_at: datetime, now: datetime) -> date:
    """Return the day from which on a search by date finds all mail after the `latest` mail.

    A latest date in the future would hide all mail until then. One day of margin: SEARCH SINCE disregards time and
    time zone (RFC 9051 section 6.4.4).
    """
    start = connected_at
    if latest is not None:
        start = max(connected_at, min(latest, now) - timedelta(days=1))
    return (start - timedelta(days=1)).date()


def date_tolerance(cursor: Cursor, *, by_date: bool, connected_at: datetime) -> timedelta:
    """Return by how much a mail that is found without a cursor may be older than the connection, and yet be new.

    At the first visit by nothing: who is connected has mail from before. In a later numbering, mail is new that is
    newer than all that was seen: the server's own clock says so. A mailbox that was empty at first holds no other
    mail of the last day, and below the cursor all of it is recorded, so that a clock or a time zone may be wrong.
    """
    if not by_date:
        return CLOCK_TOLERANCE
    latest = cursor.last_internal_date
    if cursor.numbering is None or latest is None:
        return timedelta()
    return max(timedelta(), connected_at.replace(microsecond=0) - latest - timedelta(seconds=1))


def are_complete(uids: list[int], *, after: int, announced: int) -> bool:
    """Return whether a fast fetch has found all new mails: as many as were announced, with UIDs without a gap.

    UIDs ascend (RFC 9051 section 2.3.1.1), so no other mail can lie between. Where mails are deleted or moved
    there are gaps, and a search is needed.
    """
    return bool(uids) and uids == list(range(after + 1, after + 1 + announced))
