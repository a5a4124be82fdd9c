"""How does a mailbox get from its cursor to now? A plan, made of facts alone, and what carries it out."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from superimap.db.watching.intake import Cursor
from superimap.imap.client import PEEK_BYTES, ImapClient
from superimap.imap.errors import ProtocolError
from superimap.imap.types import Folder, MessageMeta, Selected

META_BATCH = 100
FEW = 4  # mails that came at once and are read at a glance
GLANCE = (FEW + 1) * PEEK_BYTES
"""Bytes of mail that a glance reads at most."""
ALL_MAIL = "\\All"
UNUSABLE = {"\\noselect", "\\nonexistent"}
NUMBERINGS = 64


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


def plan(
    cursor: Cursor, selected: Selected, *, connected_at: datetime, now: datetime, restarted: bool = False
) -> Plan:
    """By UID from the cursor on, however long ago that was; by date on the first visit and after a
    UIDVALIDITY change, when all UIDs known so far are void (RFC 9051 section 2.3.1.1).

    `restarted` says that UIDs begin again though UIDVALIDITY is the same: a new numbering of ours, by date.
    A day of slack: SEARCH SINCE disregards time and time zone (RFC 9051 section 6.4.4).
    """
    known = numbering_of(cursor.uid_validity, selected.uid_validity)
    if known is not None and cursor.uid_validity is not None and not restarted:
        validity = cursor.uid_validity
        if cursor.last_uid is not None:
            return Plan(validity, after=cursor.last_uid)
    else:
        validity = numbering(selected.uid_validity, 0 if known is None else known + 1)
    start = connected_at
    if cursor.last_internal_date is not None:  # a date in the future would hide what comes until then
        start = max(connected_at, min(cursor.last_internal_date, now) - timedelta(days=1))
    return Plan(validity, since=(start - timedelta(days=1)).date())


def numbering(uid_validity: int, count: int) -> int:
    """The UIDVALIDITY that we keep: the server's, or one of our own once it gave UIDs out again `count` times.

    A server that begins its UIDs anew must change UIDVALIDITY; some do not, and a UID means another mail then.
    """
    return zlib.crc32(b"%d %d" % (uid_validity, count)) or 1 if count else uid_validity


def numbering_of(kept: int | None, uid_validity: int) -> int | None:
    """How often the UIDs had begun again when `kept` was made of `uid_validity`; None if it was not."""
    return next((count for count in range(NUMBERINGS) if kept == numbering(uid_validity, count)), None)


async def has_restarted(client: ImapClient, cursor: Cursor, selected: Selected) -> bool:
    """Whether the server begins its UIDs anew under the same UIDVALIDITY.

    UIDNEXT below the cursor says so, unless it lies: then the mailbox still holds a UID that high.
    """
    last, coming = cursor.last_uid, selected.uid_next
    if last is None or coming is None or coming > last:
        return False
    if numbering_of(cursor.uid_validity, selected.uid_validity) is None:
        return False
    return not await client.search_uids(after=last - 1)


async def is_reused(client: ImapClient, *, last: int, latest: datetime, top: tuple[int, int] | None) -> bool:
    """Mail was told to have come, and yet no UID is above `last`: does an old UID mean another mail now?

    Usually not: the mail came and was moved away at once. `latest` is the INTERNALDATE of the latest mail seen,
    `top` the UID and the identity of the last one, where it was seen in this session.
    """
    highest = await client.highest_uid()
    metas = await client.fetch_meta([highest]) if 0 < highest <= last else []
    if not metas:
        return False
    if top is not None and top[0] == highest:
        return top[1] != identity(metas[0])
    return metas[0].internal_date > latest or (
        highest < last and metas[0].internal_date == latest.replace(microsecond=0)
    )


def identity(meta: MessageMeta) -> int:
    """The same for the same mail, and hardly for another; in this process."""
    return hash((meta.internal_date, meta.size, meta.envelope))


async def find(client: ImapClient, looking: Plan) -> list[int]:
    """The UIDs that the plan speaks of, ascending."""
    return await client.search_uids(after=looking.after, since=looking.since)


async def must_be_gone(client: ImapClient, uids: list[int]) -> None:
    """A server that gives no answer about a mail may be at fault: raises ProtocolError if one is still there."""
    if uids and await client.still_there(uids):
        raise ProtocolError("an answer without a mail that is there")


async def glance(client: ImapClient, *, after: int, coming: int) -> list[tuple[MessageMeta, bytes | None]]:
    """The `coming` mails (FEW at most) that the server has just told of, in one command instead of three.

    One UID more is asked for. Whether they are all that is new is for `are_all` to say. Raises any ImapError.
    """
    return await client.fetch_next(after, coming + 1)


def are_all(uids: list[int], *, after: int, coming: int) -> bool:
    """Whether nothing else can be new: as many as were told of, and their UIDs go on without a gap.

    UIDs ascend (RFC 9051 section 2.3.1.1), so none can lie between. Where somebody deletes or moves mails
    there are gaps, and a search has to tell.
    """
    return bool(uids) and uids == list(range(after + 1, after + 1 + coming))


def folder_to_watch(folders: list[Folder], wanted: Iterable[str]) -> str:
    """The first wanted one that exists, else INBOX.

    Special uses, as `\\All`, are told from names by their backslash: the user may call that folder anything.
    """
    there = [folder for folder in folders if not UNUSABLE & {each.lower() for each in folder.attributes}]
    for want in wanted:
        for folder in there:
            if want == folder.name or want.lower() in {each.lower() for each in folder.attributes}:
                return folder.name
    return "INBOX"


def batches(uids: list[int], size: int = META_BATCH) -> Iterator[list[int]]:
    """`uids` in pieces of at most `size`."""
    for start in range(0, len(uids), size):
        yield uids[start : start + size]


async def metas(client: ImapClient, uids: list[int]) -> list[tuple[int, MessageMeta | None]]:
    """Each UID with what is known of it; None if the mail is gone meanwhile."""
    known = {int(meta.uid): meta for meta in await client.fetch_meta(uids)}
    return [(uid, known.get(uid)) for uid in uids]
