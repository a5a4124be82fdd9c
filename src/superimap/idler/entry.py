"""Entry into a mailbox: open it, find its numbering, and catch up; again when what is known of it is outdated."""

import math
from collections.abc import Callable
from datetime import UTC, datetime

from superimap.db.watching.intake import Fence, MailboxRow
from superimap.db.watching.sessions import WatchedUser
from superimap.domain.numbering import Numbering, next_numbering
from superimap.idler.arrivals import Arrivals
from superimap.idler.catch_up import CatchUp
from superimap.idler.catch_up_plan import plan_catch_up
from superimap.idler.context import IdlerContext
from superimap.idler.deferred_reads import DeferredReads
from superimap.idler.mail_reader import MailReader
from superimap.idler.mailbox import WatchedMailbox
from superimap.idler.mailbox_memory import MailboxMemory
from superimap.idler.mailbox_queries import highest_mail
from superimap.idler.mails_below import look_below
from superimap.idler.opening import MailboxOpener, OpenMailbox
from superimap.idler.status_reports import ConnectionStatus
from superimap.imap.client import ImapClient
from superimap.imap.errors import Refused


class MailboxEntry:
    """The open mailbox of one connection, in its present numbering.

    `mailbox` and `opened` exist once `enter` has returned.
    """

    __slots__ = (
        "_client", "_context", "_deferred_reads", "_fence", "_memory", "_opener", "_status", "_watched",
        "arrivals", "catch_up", "mailbox", "opened",
    )  # fmt: skip

    mailbox: WatchedMailbox
    opened: OpenMailbox

    def __init__(
        self,
        context: IdlerContext,
        client: ImapClient,
        watched: WatchedUser,
        memory: MailboxMemory,
        fence: Fence,
        status: ConnectionStatus,
    ) -> None:
        self._context = context
        self._client = client
        self._watched = watched
        self._memory = memory
        self._fence = fence
        self._status = status
        self._opener = MailboxOpener(context, client, watched, memory, fence)
        self.arrivals = Arrivals(client)
        reader = MailReader(context, client, watched, memory)
        self.catch_up = CatchUp(client, watched, memory, status, self.arrivals, reader)
        self._deferred_reads = DeferredReads(context, client, memory, reader, fence)

    async def enter(self) -> None:
        """Choose and open the mailbox, and catch up from the cursor that PostgreSQL has.

        Raises Fenced, any ImapError, and what an unreachable database raises.
        """
        self.opened = opened = await self._opener.open()
        self.mailbox = self._planned(opened.row, opened.numbering)
        await self._catch_up_first()
        wanted = ", ".join(self._opener.wanted)
        note = f"INBOX is watched: no folder {wanted}" if opened.is_substitute else None
        await self._status.note("folder", note)

    async def reopen(self) -> int:
        """Open the mailbox again and catch up; return the number of new mails. Choose another if it is gone."""
        try:
            selected = await self._opener.select(self.opened.folder)
        except Refused:
            await self.enter()
            return 0
        row = self.mailbox.row
        numbering = await self._opener.find_numbering(row, selected)
        if numbering != self.mailbox.numbering:
            self.mailbox = self._planned(row, numbering)
            await self._catch_up_first()
            return 0
        self._settle()
        return await self.catch_up.run(self.mailbox)

    async def start_over(self) -> None:
        """Look for mail by date, in a new numbering."""
        row, known = self.mailbox.row, self.mailbox.numbering
        self.mailbox = self._planned(row, next_numbering(known.server_value, restarts=known.restarts))
        await self._catch_up_first()

    async def look_below(self) -> int:
        """Record mails at or below the cursor that have no message yet; return their number."""
        return await look_below(self._context, self._client, self._watched, self.catch_up, self.mailbox)

    async def choose_again(self) -> None:
        """Enter another mailbox if this one is a substitute and a wanted one exists now."""
        if self.opened.is_substitute and await self._opener.choose() != self.opened.folder:
            await self.enter()

    @property
    def deferred_due(self) -> float:
        """Seconds until a deferred mail is due; infinity if there is none."""
        seconds = self._memory.deferred.seconds_until_due(self.mailbox.uid_validity)
        return math.inf if seconds is None else seconds

    async def try_deferred(self, *, is_urgent: Callable[[], bool]) -> None:
        """Try the deferred mails that are due, unless `is_urgent`, and tell how many are left."""
        deferred = self._memory.deferred
        if deferred:
            await self._deferred_reads.run(self.mailbox, is_urgent=is_urgent)
        await self._status.note("deferred", deferred.status_reason())

    def _planned(self, row: MailboxRow, numbering: Numbering) -> WatchedMailbox:
        """Return the mailbox as it is to be caught up in this numbering."""
        plan = plan_catch_up(
            row.cursor, numbering, connected_at=self._watched.connected_at, now=datetime.now(UTC)
        )
        plan = plan.reaching_back_to(
            each.internal_date or self._watched.connected_at
            for each in self._memory.deferred.others(numbering.recorded)
        )
        return WatchedMailbox(self._context, self._watched, row, self._fence, plan, self._memory)

    async def _catch_up_first(self) -> None:
        """Catch up for the first time since the mailbox was opened; by date if there is no cursor."""
        mailbox = self.mailbox
        self._settle()
        if mailbox.by_date:
            if mailbox.row.cursor.numbering not in (None, mailbox.numbering):
                await mailbox.void_cursor()
            # Read before the search that it has to cover. UIDNEXT is not used: some servers report a wrong one.
            baseline = await highest_mail(self._client, self._memory.suspects)
            await self.catch_up.run(mailbox, baseline=baseline)
        else:
            if self._memory.deferred.is_full:
                await self._deferred_reads.run(mailbox)
            if not await self.catch_up.run(mailbox) and self._memory.expects_mail:
                await self.look_below()
        self._memory.expect_mail(False)
        await self._deferred_reads.close_renumbered(mailbox)
        await self._status.note("deferred", self._memory.deferred.status_reason())

    def _settle(self) -> None:
        """Count all mails announced so far as known: the catch-up that follows finds them."""
        self.arrivals.account_for(self.arrivals.announced)
        self._client.mailbox.settle()
