"""Numbering of an open mailbox: whether its UIDs still mean the mails that are recorded."""

from dataclasses import replace
from typing import NamedTuple

from superimap.db.watching import recorded_mails
from superimap.db.watching.intake import Cursor, MailboxRow
from superimap.domain.numbering import (
    KnownMail,
    Numbering,
    earlier_numberings,
    first_numbering,
    may_restart,
    next_numbering,
)
from superimap.idler.identities import Comparison, Identities
from superimap.imap.client import ImapClient
from superimap.imap.statuses import UID_MAX
from superimap.imap.types import Selected


class Found(NamedTuple):
    """The numbering of an open mailbox, and the row of the mailbox with the identity that its last mail has now.

    Unless it `is_proven`, UIDs up to the cursor may mean other mails than those that are recorded. `is_held_back`
    says that they do, and that no new numbering may begin yet.
    """

    numbering: Numbering
    row: MailboxRow
    is_proven: bool = True
    is_held_back: bool = False


async def find_numbering(
    identities: Identities, row: MailboxRow, selected: Selected, *, is_trusted: bool = False
) -> Found:
    """Return the numbering of the mailbox that was just opened; that of its cursor if UIDs mean the same mails.

    A server that numbers its mails again must report another UIDVALIDITY (RFC 9051 section 2.3.1.1). Some do not,
    and some report one that they had before. With `is_trusted` the mails are not compared.
    """
    known = row.cursor.numbering
    if known is None:
        return Found(first_numbering(selected.uid_validity), row)
    if known.server_value != selected.uid_validity:
        return await _changed_numbering(identities, row, selected, restarts=known.restarts)
    if await has_restarted(identities.client, row.cursor, selected):
        return await restarted(identities, row)
    if is_trusted:
        return Found(known, row)
    is_same, shown = await compare(identities, row)
    if is_same is False:
        return await restarted(identities, row)
    return Found(known, recognised(row, shown), is_proven=is_same is True)


def recognised(row: MailboxRow, shown: KnownMail | None) -> MailboxRow:
    """Return the row with the identity that the last known mail is shown with now."""
    last = row.cursor.last_mail
    if shown is None or last is None or shown.uid != last.uid:
        return row
    return replace(row, cursor=replace(row.cursor, last_mail=shown))


async def restarted(identities: Identities, row: MailboxRow) -> Found:
    """Return the next numbering under the same UIDVALIDITY; the present one if no other may begin yet."""
    known = row.cursor.numbering or first_numbering(0)
    if may_restart(await recorded_mails.restart_debt(identities.pool, row.id)):
        return Found(next_numbering(known.server_value, restarts=known.restarts), row)
    return Found(known, row, is_proven=False, is_held_back=True)


async def _changed_numbering(
    identities: Identities, row: MailboxRow, selected: Selected, *, restarts: int
) -> Found:
    """Return the numbering of a UIDVALIDITY that is not that of the cursor.

    If it was reported earlier, as by one of two servers that take turns, its latest numbering continues, unless
    its UIDs mean other mails now. Where no mail decides, UIDNEXT does.
    """
    value = selected.uid_validity
    for numbering in earlier_numberings(value, restarts=restarts):
        recorded = await recorded_mails.known_mails(
            identities.pool, row.id, uid_validity=numbering.recorded, up_to=UID_MAX
        )
        if recorded:
            comparison = await identities.compare(row, recorded, uid_validity=numbering.recorded)
            if comparison.is_same:
                return Found(numbering, row)
            is_later = (selected.uid_next or 0) > max(mail.uid for mail in recorded)
            if comparison.is_same is None and is_later:
                return Found(numbering, row, is_proven=False)
            return Found(next_numbering(value, restarts=restarts), row)
    return Found(first_numbering(value, restarts=restarts), row)


async def has_restarted(client: ImapClient, cursor: Cursor, selected: Selected) -> bool:
    """Return whether the server has restarted its UIDs under the same UIDVALIDITY.

    UIDNEXT below the cursor says so, unless it is wrong: then the mailbox still holds a UID that high.
    """
    last, uid_next = cursor.last_uid, selected.uid_next
    if last is None or not uid_next or uid_next > last:
        return False
    return not await client.search_uids(after=last - 1)


async def compare(identities: Identities, row: MailboxRow) -> Comparison:
    """Return whether the UIDs up to the cursor mean the same mails as before.

    The last known mail decides. If it is deleted or moved, the recorded mails at the end of the mailbox do.
    """
    comparison = await identities.compare_last(row)
    if comparison.is_same is not None:
        return comparison
    last_uid = row.cursor.last_uid
    highest = min(await identities.client.highest_uid(), last_uid) if last_uid else 0
    if not highest:
        return Comparison(is_same=True)  # there is no UID that could mean another mail
    uid_validity = row.cursor.uid_validity or 0
    earlier = await recorded_mails.known_mails(
        identities.pool, row.id, uid_validity=uid_validity, up_to=highest
    )
    if not earlier:
        return Comparison(None)
    return await identities.compare(row, earlier, uid_validity=uid_validity)
