"""The watch of one open mailbox on one connection: catch up, wait for news, catch up again."""

import asyncio
from typing import Self

from superimap.core import metrics
from superimap.core.metric_labels import PROVIDERS
from superimap.db.watching.intake import Fenced
from superimap.db.watching.sessions import WatchedUser
from superimap.domain import watch_notes
from superimap.idler import server_pauses
from superimap.idler.change_looks import ChangeLooks
from superimap.idler.context import IdlerContext
from superimap.idler.entry import MailboxEntry
from superimap.idler.folder_watch import FolderWatch
from superimap.idler.mailbox_memory import MailboxMemory
from superimap.idler.missing_mails import Look, MissingMails
from superimap.idler.rounds import Rounds
from superimap.idler.scope import ConnectionScope
from superimap.idler.status_check import STATUS_ITEMS, StatusCheck
from superimap.idler.status_reports import ConnectionStatus
from superimap.imap.client import ImapClient
from superimap.imap.errors import Refused


class MailboxWatch:
    """One open mailbox on one connection. Made by `open`."""

    __slots__ = (
        "_arrivals", "_changes", "_check", "_entry", "_false_alarms", "_folders", "_is_blind", "_is_outdated",
        "_losses", "_missing", "_rounds", "_scope",
    )  # fmt: skip

    def __init__(self, scope: ConnectionScope) -> None:
        self._scope = scope
        self._entry = MailboxEntry(scope)
        self._arrivals = self._entry.arrivals
        self._folders = FolderWatch(scope) if scope.watched.listed_folders else None
        self._changes: ChangeLooks | None = None
        self._check = StatusCheck()
        self._missing = MissingMails()
        self._rounds = Rounds(scope.context, scope.watched)
        self._false_alarms = 0  # in a row
        self._is_blind = False  # the server does not announce all mail to this session
        self._is_outdated = False  # the cursor is to be read again
        self._losses = 0

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
        status = ConnectionStatus(context, watched, client)
        watch = cls(ConnectionScope(context, client, watched, memory, fence, status))
        await watch._enter()
        await status.report_established()
        return watch

    async def follow(self) -> None:
        """Wait for news and record it, until the connection ends or `stop` is called."""
        watching = metrics.SESSIONS_WATCHING.labels(PROVIDERS.of(self._scope.watched.provider_code))
        watching.inc()
        self._is_outdated |= self._losses != self._scope.context.watches.losses
        try:
            await self._follow()
        finally:
            watching.dec()
            if self._is_blind:
                metrics.SESSIONS_BLIND.dec()

    async def _follow(self) -> None:
        rounds = self._rounds
        rounds.finish_check()
        await self._look_at_changes()
        each = rounds.begin(self._scope.client, self._due)
        await self._end_turn()
        while not rounds.is_stopping:
            if not self._is_outdated and not await rounds.wait(each):
                continue  # interrupted
            if self._is_outdated:
                await self._enter()
                each = rounds.begin(self._scope.client, self._due)
            await self._look_around()
            if rounds.is_check_due:
                await self._check_mailbox()
                rounds.finish_check()
                await self._look_at_changes(is_check=True)
            else:
                await self._look_at_changes()
            self._scope.memory.expect_mail(self._scope.client.mailbox.missing > 0)
            await self._scope.status.report_caught_up()
            await self._end_turn()

    def stop(self) -> None:
        """Have `follow` return once what is in progress is recorded."""
        self._rounds.stop()

    @property
    def recorded_at(self) -> float:
        """The event loop's time of the last record; 0 if there was none."""
        return self._scope.memory.recorded_at

    def reread_cursor(self) -> None:
        """Have `follow` open the mailbox again, at the cursor that PostgreSQL has now."""
        self._is_outdated = True
        self._rounds.interrupt()

    async def _end_turn(self) -> None:
        """Tell how the next news will be found, and try the deferred mails that are due."""
        await self._scope.status.note("server", self._rounds.describe(self._scope.client))
        await self._entry.try_deferred(
            is_urgent=lambda: self._rounds.is_stopping or self._arrivals.pending > 0
        )

    def _due(self) -> float:
        """Return the event loop's time at which a look or a deferred mail is due."""
        due = min(self._missing.due, _now() + self._entry.deferred_due)
        if self._changes is not None:
            due = min(due, self._changes.wake_at)
        return due if self._folders is None else min(due, self._folders.due)

    async def _enter(self) -> None:
        self._is_outdated = False
        self._losses = self._scope.context.watches.losses
        if self._scope.watched.change_events_since is not None:
            self._changes = ChangeLooks(self._scope, is_first=True)
        if self._folders is None:
            await self._entry.enter()
            return
        self._entry = await self._folders.enter()
        self._arrivals, self._check, self._missing = self._entry.arrivals, StatusCheck(), MissingMails()
        await self._folders.subscribe()
        await self._folders.count()
        await self._visit_folders()

    async def _visit_folders(self) -> bool:
        """Catch up in the other folders that have changed; return whether there was one."""
        if self._folders is None or not await self._folders.visit():
            return False
        await self._entry.reopen()
        await self._folders.end_visits()
        if self._changes is not None:
            self._changes.look_after_visits()
        return True

    async def _look_around(self) -> None:
        """Search for new mails in the open mailbox, and in the other folders that have some."""
        if self._folders is None:
            await self._look()
            return
        is_urgent = self._arrivals.pending > 0
        if is_urgent:
            await self._look()
        await self._folders.look()
        self._is_outdated |= self._folders.is_outdated
        if not await self._visit_folders() and not is_urgent:
            await self._look()

    async def _look_at_changes(self, *, is_check: bool = False) -> None:
        """Look for changes of mails that are recorded, if that is wanted and due."""
        if self._changes is not None and (self._changes.is_due or is_check) and not self._is_outdated:
            await self._changes.look(self._entry)
            if self._folders is not None and self._changes.is_waiting:
                self._folders.count_soon()

    async def _look(self) -> None:
        """Search for new mails, and for announced ones that were not found before."""
        entry, arrivals, state = self._entry, self._arrivals, self._scope.client.mailbox
        mailbox = entry.mailbox
        announced, pending, last_mail = arrivals.announced, arrivals.pending, mailbox.last_mail
        self._scope.memory.expect_mail(pending > 0 or state.missing > 0)
        found_by = self._rounds.found_by(self._scope.client)
        found = await entry.catch_up.run(mailbox, announced=pending, found_by=found_by)
        is_false_alarm = arrivals.account_for(announced) and not found
        state.settle(found)
        self._false_alarms = self._false_alarms + 1 if is_false_alarm else 0
        if mailbox.has_duplicates:
            mailbox.forget_duplicates()
            if await entry.is_replaced(last_mail):
                await entry.start_over()
                return
        if is_false_alarm:
            if await entry.is_reused():
                return
            await asyncio.sleep(server_pauses.false_alarm_pause(self._false_alarms))
        match self._missing.note(state.missing, found=found, now=_now()):
            case Look.BELOW:
                state.settle(await entry.look_below())
            case Look.LAST:
                await entry.reopen()
                await entry.look_below()
                state.settle()

    async def _check_mailbox(self) -> None:
        """Compare the mailbox with what STATUS says of it. If the session has missed a change, open it again."""
        counts = await self._counts()
        if counts is not None and self._differs(counts):
            await self._scope.client.noop()  # the server may be about to tell
            if self._arrivals.pending:
                return
            counts = await self._counts()
        if counts is None or self._differs(counts):
            if await self._entry.reopen():
                await self._become_blind()
        elif await self._entry.is_replaced(self._entry.mailbox.last_mail):
            await self._entry.start_over()
        else:
            await self._entry.choose_again()
        if counts is not None:
            self._check.accept(counts, arrivals=self._arrivals.announced)

    async def _counts(self) -> dict[str, int] | None:
        """Return what STATUS says; None if it says nothing, is refused, or is left out."""
        try:
            return await self._scope.client.status(self._entry.opened.folder, *STATUS_ITEMS) or None
        except Refused:
            return None

    def _differs(self, counts: dict[str, int]) -> bool:
        mailbox = self._entry.mailbox
        return self._check.differs(
            counts,
            exists=self._scope.client.mailbox.exists,
            uid_validity=mailbox.numbering.server_value,
            last_uid=mailbox.last_uid,
            arrivals=self._arrivals.announced,
        )

    async def _become_blind(self) -> None:
        """Check the mailbox often from now on, because the server did not tell the open session of new mail."""
        if self._is_blind or self._scope.watched.poll_by == "status":
            return
        self._is_blind = True
        self._rounds.check_often()
        metrics.SESSIONS_BLIND.inc()
        await self._scope.status.note("blind", watch_notes.checked(self._rounds.poll))


def _now() -> float:
    return asyncio.get_running_loop().time()
