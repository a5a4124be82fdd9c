"""The watch of one open mailbox on one connection: catch up, wait for news, catch up again."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Self

from superimap.core import metrics
from superimap.db.watching import intake as queries
from superimap.db.watching.intake import Fence, Fenced, MailboxRow
from superimap.db.watching.sessions import WatchedUser
from superimap.domain.numbering import Numbering, next_numbering
from superimap.idler import server_pauses
from superimap.idler.catch_up import Arrivals, CatchUp
from superimap.idler.catch_up_plan import plan_catch_up
from superimap.idler.context import IdlerContext
from superimap.idler.folder_choice import ALL_MAIL, choose_folder
from superimap.idler.mailbox import MailboxMemory, WatchedMailbox
from superimap.idler.mailbox_queries import highest_mail
from superimap.idler.numberings import find_numbering, is_reused
from superimap.idler.status_reports import ConnectionStatus
from superimap.imap.client import ImapClient
from superimap.imap.types import INBOX, Folder

SHORTEST_ROUND_SHARE = 0.8
"""The shortest round of a session, as a part of the longest: rounds differ, so that they drift apart."""


class MailboxWatch:
    """One open mailbox on one connection. Made by `open`."""

    __slots__ = (
        "_arrivals", "_catch_up", "_client", "_context", "_fence", "_is_stopping", "_mailbox", "_memory",
        "_status", "_waiting", "_watched",
    )  # fmt: skip

    def __init__(
        self,
        context: IdlerContext,
        client: ImapClient,
        watched: WatchedUser,
        memory: MailboxMemory,
        *,
        fence: Fence,
        row: MailboxRow,
        numbering: Numbering,
    ) -> None:
        self._context = context
        self._client = client
        self._watched = watched
        self._memory = memory
        self._fence = fence
        self._status = ConnectionStatus(context, watched)
        self._arrivals = Arrivals(client)
        self._catch_up = CatchUp(context, client, watched, memory, self._status, self._arrivals)
        self._mailbox = self._planned(row, numbering)
        self._is_stopping = False
        self._waiting: asyncio.Timeout | None = None  # while nothing is in progress

    @classmethod
    async def open(
        cls, context: IdlerContext, client: ImapClient, watched: WatchedUser, memory: MailboxMemory
    ) -> Self:
        """Open the mailbox, catch up from its cursor, and report that the session is established.

        Raises Fenced, any ImapError, and what an unreachable database raises.
        """
        fence = context.fence(watched.shard)
        if fence is None:
            raise Fenced
        folder = await _choose_folder(client, watched)
        selected = await client.examine(folder)
        row = await queries.visit_mailbox(
            context.pool,
            user_id=watched.user_id,
            partner_id=watched.partner_id,
            version=watched.version,
            account=watched.account,
            name=folder.name,
            fence=fence,
        )
        with memory.identity_check() as is_trusted:
            numbering = await find_numbering(context.pool, client, row, selected, is_trusted=is_trusted)
        watch = cls(context, client, watched, memory, fence=fence, row=row, numbering=numbering)
        await watch._catch_up_first()
        await watch._status.report_established()
        return watch

    async def follow(self) -> None:
        """Wait for news and record it, until the connection ends or `stop` is called."""
        metrics.SESSIONS_WATCHING.inc()
        false_alarms = 0
        try:
            rounds = self._rounds()
            while await self._has_news(rounds):
                mailbox, arrivals = self._mailbox, self._arrivals
                last_uid, announced = mailbox.last_uid, arrivals.announced
                pending = arrivals.pending
                self._memory.expect_mail(pending > 0)
                await self._catch_up.run(mailbox, announced=pending)
                is_false_alarm = arrivals.account_for(announced) and mailbox.last_uid == last_uid
                false_alarms = false_alarms + 1 if is_false_alarm else 0
                if is_false_alarm and not await self._start_over_if_reused():
                    await asyncio.sleep(server_pauses.false_alarm_pause(false_alarms))
                self._memory.expect_mail(False)
                await self._status.report_caught_up()
        finally:
            metrics.SESSIONS_WATCHING.dec()

    def stop(self) -> None:
        """Have `follow` return once what is in progress is recorded."""
        self._is_stopping = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def _has_news(self, rounds: AsyncIterator[None]) -> bool:
        """Wait for the end of a round; False if it is time to stop. LOGOUT ends an IDLE in progress."""
        if self._is_stopping:
            return False
        try:
            async with asyncio.timeout(None) as self._waiting:
                await anext(rounds)
                return True
        except TimeoutError:
            if not self._is_stopping:
                raise
            return False
        finally:
            self._waiting = None

    def _rounds(self) -> AsyncIterator[None]:
        """Return the rounds of IDLE. Each session has a length of its own, so that sessions drift apart."""
        settings, watched = self._context.settings, self._watched
        renew = min(watched.idle_renew or settings.idle_renew, settings.idle_renew)
        return self._client.idle(
            renew=renew * random.uniform(SHORTEST_ROUND_SHARE, 1.0),  # noqa: S311 - no secret
            poll=watched.poll_seconds or self._context.timing.poll,
            poll_by=watched.poll_by,
        )

    def _planned(self, row: MailboxRow, numbering: Numbering) -> WatchedMailbox:
        """Return the mailbox as it is to be caught up in this numbering."""
        plan = plan_catch_up(
            row.cursor, numbering, connected_at=self._watched.connected_at, now=datetime.now(UTC)
        )
        return WatchedMailbox(self._context, self._watched, row, self._fence, plan, self._memory)

    async def _catch_up_first(self) -> None:
        """Catch up for the first time on this connection; by date if there is no cursor in this numbering."""
        mailbox = self._mailbox
        self._arrivals.account_for(self._arrivals.announced)
        if mailbox.by_date:
            if mailbox.row.cursor.numbering not in (None, mailbox.numbering):
                await mailbox.void_cursor()
            # Read before the search that it has to cover. UIDNEXT is not used: some servers report a wrong one.
            await self._catch_up.run(mailbox, baseline=await highest_mail(self._client))
        else:
            last_uid = mailbox.last_uid
            await self._catch_up.run(mailbox)
            if self._memory.expects_mail and mailbox.last_uid == last_uid:
                await self._start_over_if_reused()
        self._memory.expect_mail(False)

    async def _start_over_if_reused(self) -> bool:
        """Start a new numbering if a UID means another mail than before; return whether one does."""
        mailbox = self._mailbox
        if not await is_reused(self._context.pool, self._client, mailbox.row):
            return False
        await self._start_over()
        return True

    async def _start_over(self) -> None:
        """Look for mail by date, in a new numbering."""
        row, known = self._mailbox.row, self._mailbox.numbering
        self._mailbox = self._planned(row, next_numbering(known.server_value, restarts=known.restarts))
        await self._catch_up_first()


async def _choose_folder(client: ImapClient, watched: WatchedUser) -> Folder:
    """Return the folder to watch: the provider's, on Gmail that of all mail, else INBOX."""
    wanted = watched.folders
    if not wanted and "X-GM-EXT-1" in client.capabilities:
        wanted = (ALL_MAIL,)
    if not wanted or wanted[0].upper() == "INBOX":
        return INBOX
    return choose_folder(await client.list_folders(), wanted)
