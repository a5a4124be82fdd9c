"""Search for mails that appeared at or below the cursor, on servers that show mails out of order."""

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile

from superimap.db.watching import recorded_mails
from superimap.db.watching.sessions import WatchedUser
from superimap.idler.catch_up import CatchUp
from superimap.idler.catch_up_plan import search_start
from superimap.idler.context import IdlerContext
from superimap.idler.mailbox import WatchedMailbox
from superimap.imap.client import ImapClient

MAX_BELOW_UIDS = 10_000
"""UIDs up to the cursor among which mails are searched for."""


async def look_below(
    context: IdlerContext,
    client: ImapClient,
    watched: WatchedUser,
    catch_up: CatchUp,
    mailbox: WatchedMailbox,
) -> int:
    """Record mails at or below the cursor for which there is no message yet; return their number.

    They are searched by date, no further back than messages are certainly kept, and judged by date. A UID without
    a mail is passed: only what the server sends makes a row.
    """
    seen, now = mailbox.seen, datetime.now(UTC)
    kept = (now - timedelta(days=context.settings.message_retention_days)).date() + timedelta(days=1)
    since = max(kept, search_start(mailbox.latest_date, connected_at=watched.connected_at, now=now))
    found = await client.search_uids(after=max(0, mailbox.last_uid - MAX_BELOW_UIDS), since=since)
    below = list(takewhile(lambda uid: uid <= mailbox.last_uid, islice(found, MAX_BELOW_UIDS)))
    uids = await recorded_mails.unrecorded_uids(
        context.pool, mailbox.row.id, below, uid_validity=mailbox.uid_validity
    )
    try:
        with mailbox.below_cursor():
            await catch_up.see_below(mailbox, uids)
    finally:
        mailbox.discard()
    return mailbox.seen - seen
