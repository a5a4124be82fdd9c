"""Numbering of an open mailbox: whether its UIDs still mean the mails that are recorded."""

from asyncpg import Pool

from superimap.db.watching import recorded_mails
from superimap.db.watching.intake import Cursor, MailboxRow
from superimap.domain.numbering import (
    KnownMail,
    Numbering,
    first_numbering,
    is_same_numbering,
    next_numbering,
)
from superimap.idler.mailbox_queries import known_mail
from superimap.imap.client import ImapClient
from superimap.imap.errors import Refused
from superimap.imap.statuses import UID_MAX
from superimap.imap.types import Selected


async def find_numbering(
    pool: Pool, client: ImapClient, row: MailboxRow, selected: Selected, *, is_trusted: bool = False
) -> Numbering:
    """Return the numbering of the mailbox that was just opened; that of its cursor if UIDs mean the same mails.

    A server that numbers its mails again must report another UIDVALIDITY (RFC 9051 section 2.3.1.1). Some do not,
    and some report one that they had before. With `is_trusted` the mails are not compared.
    """
    known = row.cursor.numbering
    if known is None:
        return first_numbering(selected.uid_validity)
    if known.server_value != selected.uid_validity:
        return await _changed_numbering(pool, client, row, selected.uid_validity, restarts=known.restarts)
    if await has_restarted(client, row.cursor, selected):
        return next_numbering(known.server_value, restarts=known.restarts)
    if is_trusted or not await is_reused(pool, client, row):
        return known
    return next_numbering(known.server_value, restarts=known.restarts)


async def _changed_numbering(
    pool: Pool, client: ImapClient, row: MailboxRow, server_value: int, *, restarts: int
) -> Numbering:
    """Return the numbering of a UIDVALIDITY that is not that of the cursor, but may have been reported earlier."""
    numbering = first_numbering(server_value, restarts=restarts)
    earlier = await recorded_mails.known_mails(pool, row.id, uid_validity=numbering.recorded, up_to=UID_MAX)
    if not earlier or await _means_the_same(client, earlier):
        return numbering
    return next_numbering(server_value, restarts=restarts)


async def has_restarted(client: ImapClient, cursor: Cursor, selected: Selected) -> bool:
    """Return whether the server has restarted its UIDs under the same UIDVALIDITY.

    UIDNEXT below the cursor says so, unless it is wrong: then the mailbox still holds a UID that high.
    """
    last, uid_next = cursor.last_uid, selected.uid_next
    if last is None or not uid_next or uid_next > last:
        return False
    return not await client.search_uids(after=last - 1)


async def is_reused(pool: Pool, client: ImapClient, row: MailboxRow) -> bool:
    """Return whether a UID up to the cursor means another mail now.

    The last known mail decides. If it is deleted or moved, the recorded mails at the end of the mailbox do.
    """
    last_mail, last_uid = row.cursor.last_mail, row.cursor.last_uid
    if last_mail is not None and (same := await _means_the_same(client, [last_mail])) is not None:
        return not same
    highest = min(await client.highest_uid(), last_uid) if last_uid else 0
    if not highest:
        return False
    earlier = await recorded_mails.known_mails(
        pool, row.id, uid_validity=row.cursor.uid_validity or 0, up_to=highest
    )
    return bool(earlier) and await _means_the_same(client, earlier) is False


async def is_last_mail_replaced(client: ImapClient, last_mail: KnownMail | None) -> bool:
    """Return whether the UID of the last known mail means another mail now; False if no mail has it."""
    return last_mail is not None and await _means_the_same(client, [last_mail]) is False


async def _means_the_same(client: ImapClient, known: list[KnownMail]) -> bool | None:
    """Return whether the UIDs of these mails mean the same mails; None if none of them decides."""
    try:
        metas = await client.fetch_meta([mail.uid for mail in known])
    except Refused:
        return None
    return is_same_numbering(known, map(known_mail, metas))
