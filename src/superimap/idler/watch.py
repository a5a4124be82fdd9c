"""The watch of one open mailbox on one connection: catch up, wait for news, catch up again."""

import asyncio
import math
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Self

from superimap.core import metrics
from superimap.db.watching.intake import Fence, Fenced, MailboxRow
from superimap.db.watching.sessions import WatchedUser
from superimap.domain.numbering import Numbering, next_numbering
from superimap.idler import server_pauses
from superimap.idler.catch_up import Arrivals, CatchUp
from superimap.idler.catch_up_plan import plan_catch_up
from superimap.idler.context import IdlerContext
from superimap.idler.deferred_reads import DeferredReads
from superimap.idler.mail_reader import MailReader
from superimap.idler.mailbox import WatchedMailbox
from superimap.idler.mailbox_memory import MailboxMemory
from superimap.idler.mailbox_queries import highest_mail
from superimap.idler.mails_below import look_below
from superimap.idler.missing_mails import Look, MissingMails
from superimap.idler.numberings import is_last_mail_replaced, is_reused
from superimap.idler.opening import MailboxOpener
from superimap.idler.status_check import STATUS_ITEMS, StatusCheck
from superimap.idler.status_reports import ConnectionStatus
from superimap.imap.client import ImapClient
from superimap.imap.errors import Refused

SHORTEST_ROUND_SHARE = 0.8
"""The shortest round of a session, as a part of the longest: rounds differ, so that they drift apart."""


CLOCK_TOLERANCE_SECONDS = 0.01
"""Time by which a timer may fire too early."""


class MailboxWatch:
    """One open mailbox on one connection. Made by `open`."""

    __slots__ = (
        "_arrivals", "_catch_up", "_check", "_check_due", "_client", "_context", "_deferred_reads",
        "_false_alarms", "_fence", "_is_blind", "_is_outdated", "_is_stopping", "_losses", "_mailbox",
        "_memory", "_missing", "_opened", "_opener", "_renew", "_status", "_waiting", "_watched",
    )  # fmt: skip

    def __init__(
        self,
        context: IdlerContext,
        client: ImapClient,
        watched: WatchedUser,
        memory: MailboxMemory,
        fence: Fence,
    ) -> None:
        self._context = context
        self._client = client
        self._watched = watched
        self._memory = memory
        self._fence = fence
        self._opener = MailboxOpener(context, client, watched, memory, fence)
        self._status = ConnectionStatus(context, watched)
        self._arrivals = Arrivals(client)
        reader = MailReader(context, client, watched, memory)
        self._catch_up = CatchUp(client, watched, memory, self._status, self._arrivals, reader)
        self._deferred_reads = DeferredReads(context, client, memory, reader, fence)
        settings = context.settings
        longest = min(settings.idle_renew, context.timing.longest_round)
        renew = min(watched.idle_renew or longest, longest)
        # Each session has a length of its own, so that sessions drift apart.
        self._renew = renew * random.uniform(SHORTEST_ROUND_SHARE, 1.0)  # noqa: S311 - no secret
        self._check = StatusCheck()
        self._check_due = 0.0  # by the event loop's clock
        self._missing = MissingMails()
        self._false_alarms = 0  # in a row
        self._is_blind = False  # the server does not announce all mail to this session
        self._is_outdated = False  # the cursor is to be read again
        self._losses = 0
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
        watch = cls(context, client, watched, memory, fence)
        await watch._enter()
        await watch._status.report_established()
        return watch

    async def follow(self) -> None:
        """Wait for news and record it, until the connection ends or `stop` is called."""
        metrics.SESSIONS_WATCHING.inc()
        self._is_outdated |= self._losses != self._context.watches.losses
        self._check_due = self._now() + self._check_interval
        try:
            rounds = self._rounds()
            await self._try_deferred()
            while await self._has_news(rounds):
                if self._is_outdated:
                    await self._enter()
                    rounds = self._rounds()
                await self._look()
                if self._now() >= self._check_due - CLOCK_TOLERANCE_SECONDS:
                    await self._check_status()
                    self._check_due = self._now() + self._check_interval
                self._memory.expect_mail(self._client.mailbox.missing > 0)
                await self._status.report_caught_up()
                await self._try_deferred()
        finally:
            metrics.SESSIONS_WATCHING.dec()
            if self._is_blind:
                metrics.SESSIONS_BLIND.dec()

    async def _try_deferred(self) -> None:
        """Try the deferred mails that are due, unless there is news, and tell how many are left."""
        deferred = self._memory.deferred
        if deferred:
            await self._deferred_reads.run(
                self._mailbox, is_urgent=lambda: self._is_stopping or self._arrivals.pending > 0
            )
        await self._status.note("deferred", deferred.status_reason())

    def stop(self) -> None:
        """Have `follow` return once what is in progress is recorded."""
        self._is_stopping = True
        self._end_round()

    @property
    def recorded_at(self) -> float:
        """The event loop's time of the last record; 0 if there was none."""
        return self._memory.recorded_at

    def reread_cursor(self) -> None:
        """Have `follow` open the mailbox again, at the cursor that PostgreSQL has now."""
        self._is_outdated = True
        self._end_round()

    def _end_round(self) -> None:
        if self._waiting is not None:
            self._waiting.reschedule(self._now())

    async def _has_news(self, rounds: AsyncIterator[None]) -> bool:
        """Wait for the end of a round; False if it is time to stop. The next command ends an IDLE in progress."""
        if self._is_stopping or self._is_outdated:
            return not self._is_stopping
        try:
            async with asyncio.timeout(None) as self._waiting:
                await anext(rounds)
                return True
        except TimeoutError:
            if not (self._is_stopping or self._is_outdated):
                raise
            return not self._is_stopping
        finally:
            self._waiting = None

    def _rounds(self) -> AsyncIterator[None]:
        """Return the rounds of IDLE, which also end when a look or a check is due."""
        return self._client.idle(
            renew=self._renew,
            poll=self._poll,
            poll_by=self._watched.poll_by,
            due=lambda: min(self._missing.due, self._check_due, self._deferred_due()),
            memory=self._memory.idle,
        )

    def _deferred_due(self) -> float:
        """Return the event loop's time at which a deferred mail is due; infinity if there is none."""
        seconds = self._memory.deferred.seconds_until_due(self._mailbox.uid_validity)
        return math.inf if seconds is None else self._now() + seconds

    @property
    def _poll(self) -> float:
        return self._watched.poll_seconds or self._context.timing.poll

    @property
    def _check_interval(self) -> float:
        """Seconds between two checks by STATUS."""
        if self._watched.poll_by == "status":
            return self._poll
        return min(self._poll, self._renew) if self._is_blind else self._renew

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _enter(self) -> None:
        """Choose and open the mailbox, and catch up from the cursor that PostgreSQL has."""
        self._is_outdated = False
        self._losses = self._context.watches.losses
        self._opened = opened = await self._opener.open()
        self._mailbox = self._planned(opened.row, opened.numbering)
        await self._catch_up_first()
        wanted = ", ".join(self._opener.wanted)
        note = f"INBOX is watched: no folder {wanted}" if opened.is_substitute else None
        await self._status.note("folder", note)

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
        mailbox = self._mailbox
        self._arrivals.account_for(self._arrivals.announced)
        self._client.mailbox.settle()
        if mailbox.by_date:
            if mailbox.row.cursor.numbering not in (None, mailbox.numbering):
                await mailbox.void_cursor()
            # Read before the search that it has to cover. UIDNEXT is not used: some servers report a wrong one.
            baseline = await highest_mail(self._client, self._memory.suspects)
            await self._catch_up.run(mailbox, baseline=baseline)
        else:
            if self._memory.deferred.is_full:
                await self._deferred_reads.run(mailbox)
            if not await self._catch_up.run(mailbox) and self._memory.expects_mail:
                await self._look_below()
        self._memory.expect_mail(False)
        await self._deferred_reads.close_renumbered(mailbox)
        await self._status.note("deferred", self._memory.deferred.status_reason())

    async def _look(self) -> None:
        """Search for new mails, and for announced ones that were not found before."""
        mailbox, arrivals = self._mailbox, self._arrivals
        announced, pending, last_mail = arrivals.announced, arrivals.pending, mailbox.last_mail
        self._memory.expect_mail(pending > 0 or self._client.mailbox.missing > 0)
        found = await self._catch_up.run(mailbox, announced=pending)
        is_false_alarm = arrivals.account_for(announced) and not found
        self._client.mailbox.settle(found)
        self._false_alarms = self._false_alarms + 1 if is_false_alarm else 0
        if mailbox.has_duplicates:
            mailbox.forget_duplicates()
            if await is_last_mail_replaced(self._client, last_mail):
                await self._start_over()
                return
        if is_false_alarm:
            if await is_reused(self._context.pool, self._client, mailbox.row):
                await self._start_over()
                return
            await asyncio.sleep(server_pauses.false_alarm_pause(self._false_alarms))
        match self._missing.note(self._client.mailbox.missing, found=found, now=self._now()):
            case Look.BELOW:
                self._client.mailbox.settle(await self._look_below())
            case Look.LAST:
                await self._reopen()
                await self._look_below()
                self._client.mailbox.settle()

    async def _look_below(self) -> int:
        return await look_below(self._context, self._client, self._watched, self._catch_up, self._mailbox)

    async def _check_status(self) -> None:
        """Compare the mailbox with what STATUS says of it. If the session has missed a change, open it again."""
        counts = await self._counts()
        if counts is not None and self._differs(counts):
            await self._client.noop()  # the server may be about to tell
            if self._arrivals.pending:
                return
            counts = await self._counts()
        if counts is None or self._differs(counts):
            if await self._reopen() and counts is not None:
                await self._become_blind()
        elif await is_last_mail_replaced(self._client, self._mailbox.last_mail):
            await self._start_over()
        elif self._opened.is_substitute and await self._opener.choose() != self._opened.folder:
            await self._enter()
        if counts is not None:
            self._check.accept(counts, arrivals=self._arrivals.announced)

    async def _counts(self) -> dict[str, int] | None:
        try:
            return await self._client.status(self._opened.folder, *STATUS_ITEMS)
        except Refused:
            return None

    def _differs(self, counts: dict[str, int]) -> bool:
        mailbox = self._mailbox
        return self._check.differs(
            counts,
            exists=self._client.mailbox.exists,
            uid_validity=mailbox.numbering.server_value,
            last_uid=mailbox.last_uid,
            arrivals=self._arrivals.announced,
        )

    async def _reopen(self) -> int:
        """Open the mailbox again and catch up; return the number of new mails. Choose another if it is gone."""
        opened = self._opened
        try:
            selected = await self._opener.select(opened.folder)
        except Refused:
            await self._enter()
            return 0
        numbering = await self._opener.find_numbering(self._mailbox.row, selected)
        if numbering != self._mailbox.numbering:
            self._mailbox = self._planned(self._mailbox.row, numbering)
            await self._catch_up_first()
            return 0
        self._arrivals.account_for(self._arrivals.announced)
        self._client.mailbox.settle()
        return await self._catch_up.run(self._mailbox)

    async def _become_blind(self) -> None:
        """Poll by STATUS from now on, because the server did not tell the open session of new mail."""
        if self._is_blind or self._watched.poll_by == "status":
            return
        self._is_blind = True
        metrics.SESSIONS_BLIND.inc()
        text = f"the mail server does not announce all mail; polled by STATUS every {self._poll:.0f} s"
        await self._status.note("blind", text)

    async def _start_over(self) -> None:
        """Look for mail by date, in a new numbering."""
        row, known = self._mailbox.row, self._mailbox.numbering
        self._mailbox = self._planned(row, next_numbering(known.server_value, restarts=known.restarts))
        await self._catch_up_first()
