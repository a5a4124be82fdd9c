"""Search for mails at or below the cursor that are not recorded, on servers that show mails out of order."""

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile

from superimap.db.watching import recorded_mails
from superimap.db.watching.intake import Cursor
from superimap.db.watching.sessions import WatchedUser
from superimap.idler.catch_up import CatchUp
from superimap.idler.catch_up_plan import search_start
from superimap.idler.context import IdlerContext
from superimap.idler.mailbox import WatchedMailbox
from superimap.imap.client import ImapClient
from superimap.imap.errors import Refused

MAX_BELOW_UIDS = 10_000
"""UIDs up to the cursor among which mails are searched for."""
MAX_COMPARED_MAILS = 100
"""The last of the mails found whose dates are compared with that of the cursor's."""


async def find_below(
    context: IdlerContext, client: ImapClient, watched: WatchedUser, mailbox: WatchedMailbox
) -> list[int]:
    """Return the UIDs at or below the cursor for which there is no message yet, ascending.

    They are searched by date, no further back than messages are certainly kept.
    """
    now = datetime.now(UTC)
    kept = (now - timedelta(days=context.settings.message_retention_days)).date() + timedelta(days=1)
    since = max(kept, search_start(mailbox.latest_date, connected_at=watched.connected_at, now=now))
    first = max(0, mailbox.last_uid - MAX_BELOW_UIDS)
    found = await client.search_uids(after=first, since=since, in_full=True)
    below = list(takewhile(lambda uid: uid <= mailbox.last_uid, islice(found, MAX_BELOW_UIDS)))
    return await recorded_mails.unrecorded_uids(
        context.pool, mailbox.row.id, below, uid_validity=mailbox.uid_validity
    )


async def find_returned(client: ImapClient, gone: tuple[int, ...]) -> list[int]:
    """Return those of these UIDs that have a mail again: a replica that lags behind denies mails for a while."""
    try:
        return [int(meta.uid) for meta in await client.fetch_meta(list(gone))]
    except Refused:
        return []


async def record_below(catch_up: CatchUp, mailbox: WatchedMailbox, uids: list[int]) -> int:
    """Record mails at or below the cursor, judged by date; return their number.

    A UID without a mail is passed: only what the server sends makes a row.
    """
    seen = mailbox.seen
    try:
        with mailbox.below_cursor():
            await catch_up.see_below(mailbox, uids)
    finally:
        mailbox.discard()
    return mailbox.seen - seen


async def are_newer(client: ImapClient, uids: list[int], cursor: Cursor) -> bool:
    """Return whether one of these mails is newer than all mails that the cursor covers."""
    dates = [cursor.last_internal_date, cursor.last_mail and cursor.last_mail.identity.internal_date]
    latest = max(filter(None, dates), default=None)
    try:
        metas = await client.fetch_meta(uids[-MAX_COMPARED_MAILS:])
    except Refused:
        return False
    if latest is None:
        return bool(metas)
    return any(meta.internal_date is not None and meta.internal_date > latest for meta in metas)
