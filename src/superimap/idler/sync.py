"""How does a mailbox get from its cursor to now? A plan, made of facts alone, and what carries it out."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from superimap.db.queries.intake import Cursor
from superimap.imap.client import Client
from superimap.imap.types import Folder, MessageMeta, Selected

META_BATCH = 100
ALL_MAIL = "\\All"


@dataclass(frozen=True, slots=True)
class Plan:
    """Which UIDs to look at: those above `after`, or those since a day if there is no cursor to go by."""

    uid_validity: int
    after: int | None = None
    since: date | None = None

    @property
    def by_date(self) -> bool:
        """Whether there is no cursor to go by."""
        return self.after is None


def plan(cursor: Cursor, selected: Selected, *, connected_at: datetime, now: datetime) -> Plan:
    """By UID from the cursor on, however long ago that was; by date on the first visit and after a
    UIDVALIDITY change, when all UIDs known so far are void (RFC 9051 section 2.3.1.1).

    A day of slack: SEARCH SINCE disregards time and time zone (RFC 9051 section 6.4.4).
    """
    if cursor.uid_validity == selected.uid_validity and cursor.last_uid is not None:
        return Plan(selected.uid_validity, after=cursor.last_uid)
    start = connected_at
    if cursor.last_internal_date is not None:  # a date in the future would hide what comes until then
        start = max(connected_at, min(cursor.last_internal_date, now) - timedelta(days=1))
    return Plan(selected.uid_validity, since=(start - timedelta(days=1)).date())


async def find(client: Client, looking: Plan) -> list[int]:
    """The UIDs that the plan speaks of, ascending."""
    return await client.search_uids(after=looking.after, since=looking.since)


def folder_to_watch(folders: list[Folder], *, is_gmail: bool) -> str:
    """INBOX; on Gmail the mailbox with the special use All, whatever its name in the user's language."""
    if is_gmail:
        for folder in folders:
            if ALL_MAIL in folder.attributes:
                return folder.name
    return "INBOX"


def batches(uids: list[int], size: int = META_BATCH) -> Iterator[list[int]]:
    """`uids` in pieces of at most `size`."""
    for start in range(0, len(uids), size):
        yield uids[start : start + size]


async def metas(client: Client, uids: list[int]) -> AsyncIterator[tuple[int, MessageMeta | None]]:
    """Each UID with what is known of it; None if the mail is gone meanwhile."""
    for piece in batches(uids):
        known = {int(meta.uid): meta for meta in await client.fetch_meta(piece)}
        for uid in piece:
            yield uid, known.pop(uid, None)
