"""Questions to the mail server about an open mailbox: its new mails, and whether its UIDs have begun again."""

from datetime import datetime

from superimap.db.watching.intake import Cursor
from superimap.idler.catch_up_plan import count_restarts
from superimap.imap.client import PEEK_BYTES, ImapClient
from superimap.imap.errors import ProtocolError
from superimap.imap.types import MessageMeta, Selected

MAX_FAST_FETCH_MAILS = 4
"""Mails that may be announced at once for a fast fetch; more are searched for."""
FAST_FETCH_BYTES = (MAX_FAST_FETCH_MAILS + 1) * PEEK_BYTES
"""Bytes of mail that a fast fetch reads at most."""


async def fetch_announced(
    client: ImapClient, *, after: int, announced: int
) -> list[tuple[MessageMeta, bytes | None]]:
    """Read the `announced` mails (MAX_FAST_FETCH_MAILS at most) right above `after` in one command, not three.

    One UID more is requested, so that `catch_up_plan.are_complete` notices a server that announced too few mails.
    Raises any ImapError.
    """
    return await client.fetch_next(after, announced + 1)


async def fetch_metas(client: ImapClient, uids: list[int]) -> list[tuple[int, MessageMeta | None]]:
    """Return each UID with its metadata; None if the mail is deleted or moved.

    Raises ProtocolError if the server leaves out a mail that it still holds: such an answer is faulty.
    """
    known = {int(meta.uid): meta for meta in await client.fetch_meta(uids)}
    await verify_gone(client, [uid for uid in uids if uid not in known])
    return [(uid, known.get(uid)) for uid in uids]


async def fetch_raw(client: ImapClient, uid: int) -> bytes | None:
    """Return the bytes of a mail; None if it is deleted or moved. Raises ProtocolError as `fetch_metas` does."""
    raw = await client.fetch_raw(uid)
    if raw is None:
        await verify_gone(client, [uid])
    return raw


async def verify_gone(client: ImapClient, uids: list[int]) -> None:
    """Raise ProtocolError if the mailbox still holds one of these mails, which the answer left out."""
    if uids and await client.still_there(uids):
        raise ProtocolError("an answer without a mail that is there")


async def has_restarted(client: ImapClient, cursor: Cursor, selected: Selected) -> bool:
    """Return whether the server has restarted its UIDs under the same UIDVALIDITY.

    UIDNEXT below the cursor says so, unless it is wrong: then the mailbox still holds a UID that high.
    """
    last, uid_next = cursor.last_uid, selected.uid_next
    if last is None or uid_next is None or uid_next > last:
        return False
    if count_restarts(cursor.uid_validity, selected.uid_validity) is None:
        return False
    return not await client.search_uids(after=last - 1)


async def is_reused(
    client: ImapClient, *, last: int, latest: datetime, last_seen: tuple[int, int] | None
) -> bool:
    """Return whether an old UID means another mail now, after mail was announced and no UID is above `last`.

    Usually not: the mail arrived and was moved away at once. `latest` is the INTERNALDATE of the latest mail seen.
    `last_seen` is the UID and the `mail_identity` of the last mail seen, if this process has seen one.
    """
    highest = await client.highest_uid()
    metas = await client.fetch_meta([highest]) if 0 < highest <= last else []
    if not metas:
        return False
    if last_seen is not None and last_seen[0] == highest:
        return last_seen[1] != mail_identity(metas[0])
    date = metas[0].internal_date
    if date is None:
        return False
    return date > latest or (highest < last and date == latest.replace(microsecond=0))


def mail_identity(meta: MessageMeta) -> int:
    """Return a number that is equal for the same mail, and hardly for another, within this process."""
    return hash((meta.internal_date, meta.size, meta.message_id))
