"""Entry into a mailbox: open it, find its numbering, and catch up; again when what is known of it is outdated."""

import math
from collections.abc import Callable
from datetime import UTC, datetime

from superimap.db.watching.intake import MailboxRow
from superimap.domain.mail_stages import FoundBy
from superimap.domain.numbering import KnownMail, Numbering
from superimap.idler.arrivals import Arrivals
from superimap.idler.catch_up import CatchUp
from superimap.idler.catch_up_plan import plan_catch_up
from superimap.idler.deferred_reads import DeferredReads
from superimap.idler.mail_reader import MailReader
from superimap.idler.mailbox import WatchedMailbox
from superimap.idler.mailbox_queries import highest_mail
from superimap.idler.mails_below import are_newer, find_below, find_returned, record_below
from superimap.idler.moved_mails import MovedMails
from superimap.idler.numberings import Found, compare, recognised, restarted
from superimap.idler.opening import MailboxOpener, OpenMailbox
from superimap.idler.scope import ConnectionScope
from superimap.imap.errors import Refused

HELD_BACK = (
    "the mail server gives numbers of earlier mails to other ones too often; mail is looked for by date"
)


class MailboxEntry:
    """The open mailbox of one connection, in its present numbering.

    `mailbox` and `opened` exist once `enter` has returned.
    """

    __slots__ = ("_opener", "_reader", "_scope", "arrivals", "catch_up", "mailbox", "opened")

    mailbox: WatchedMailbox
    opened: OpenMailbox

    def __init__(self, scope: ConnectionScope, opener: MailboxOpener | None = None) -> None:
        self._scope = scope
        self._opener = opener or MailboxOpener(scope)
        self.arrivals = Arrivals(scope.client)
        self._reader = MailReader(scope)
        self.catch_up = CatchUp(scope, self.arrivals, self._reader)

    async def enter(self, *, found_by: FoundBy = FoundBy.CATCH_UP) -> None:
        """Choose and open the mailbox, and catch up from the cursor that PostgreSQL has.

        `found_by` says how the mails above the cursor are found.

        Raises Fenced, any ImapError, and what an unreachable database raises.
        """
        self.opened = opened = await self._opener.open()
        await self._begin(opened.found, found_by)
        wanted = ", ".join(self._opener.wanted)
        note = f"INBOX is watched: no folder {wanted}" if opened.is_substitute else None
        await self._scope.status.note("folder", note)

    async def reopen(self) -> int:
        """Open the mailbox again and catch up; return the number of new mails. Choose another if it is gone."""
        try:
            selected = await self._opener.select(self.opened.folder)
        except Refused:
            await self.enter()
            return 0
        found = await self._opener.find_numbering(self.mailbox.row, selected)
        if found.numbering != self.mailbox.numbering:
            await self._begin(found)
            return 0
        mailbox = self.mailbox
        mailbox.recognise(found.row.cursor.last_mail)
        self._settle()
        await self._doubt(found)
        if self.mailbox is not mailbox:
            return 0
        return await self.catch_up.run(mailbox, found_by=FoundBy.POLLED)

    async def start_over(self) -> None:
        """Look for mail by date in a new numbering, or below the cursor while none may begin."""
        found = await restarted(self._opener.identities, self.mailbox.row)
        if found.is_held_back:
            await self._doubt(found)
        else:
            await self._begin(found)

    async def is_replaced(self, last_mail: KnownMail | None) -> bool:
        """Return whether the UID of this mail, the last known one, means another now; False if no mail has it."""
        mailbox = self.mailbox
        if last_mail is None:
            return False
        is_same, shown = await self._opener.identities.compare(
            mailbox.row, [last_mail], uid_validity=mailbox.uid_validity
        )
        if shown is not None and last_mail == mailbox.last_mail:
            mailbox.recognise(shown)
        return is_same is False

    async def is_reused(self) -> bool:
        """Compare all that is known of the mails up to the cursor; start over if UIDs mean other mails now."""
        mailbox = self.mailbox
        is_same, shown = await compare(self._opener.identities, mailbox.row)
        mailbox.recognise(recognised(mailbox.row, shown).cursor.last_mail)
        if is_same is False:
            await self.start_over()
        elif is_same is None:
            await self._doubt(Found(mailbox.numbering, mailbox.row, is_proven=False))
        return self.mailbox is not mailbox

    async def look_below(self) -> int:
        """Record mails at or below the cursor that have no message yet; return their number."""
        uids = await find_below(self._scope.context, self._scope.client, self._scope.watched, self.mailbox)
        return await record_below(self.catch_up, self.mailbox, uids)

    async def choose_again(self) -> None:
        """Enter another mailbox if this one is a substitute and a wanted one exists now."""
        if self.opened.is_substitute and await self._opener.choose() != self.opened.folder:
            await self.enter()

    @property
    def deferred_due(self) -> float:
        """Seconds until a deferred mail is due; infinity if there is none."""
        seconds = self._scope.memory.deferred.seconds_until_due(self.mailbox.place)
        return math.inf if seconds is None else seconds

    async def try_deferred(self, *, is_urgent: Callable[[], bool]) -> None:
        """Try the deferred mails that are due, unless `is_urgent`, and tell how many are left."""
        deferred = self._scope.memory.deferred
        if deferred:
            await self._deferred_reads().run(self.mailbox, is_urgent=is_urgent)
        await self._scope.status.note("deferred", deferred.status_reason())

    def _planned(self, row: MailboxRow, numbering: Numbering) -> WatchedMailbox:
        """Return the mailbox as it is to be caught up in this numbering."""
        plan = plan_catch_up(
            row.cursor, numbering, connected_at=self._scope.watched.connected_at, now=datetime.now(UTC)
        )
        plan = plan.reaching_back_to(
            each.internal_date or self._scope.watched.connected_at
            for each in self._scope.memory.deferred.elsewhere((row.id, numbering.recorded))
        )
        return WatchedMailbox(self._scope, row, plan)

    async def _begin(self, found: Found, found_by: FoundBy = FoundBy.CATCH_UP) -> None:
        """Catch up for the first time since the mailbox was opened; by date if there is no cursor."""
        self.mailbox = mailbox = self._planned(found.row, found.numbering)
        self._settle()
        if mailbox.by_date:
            if mailbox.row.cursor.numbering not in (None, mailbox.numbering):
                await mailbox.void_cursor()
            # Read before the search that it has to cover. UIDNEXT is not used: some servers report a wrong one.
            baseline = await highest_mail(self._scope.client, self._scope.memory.suspects)
            if mailbox.row.cursor.numbering and not isinstance(baseline, int) and not baseline.internal_date:
                mailbox.disregard_dates(int(baseline.uid))
            await self.catch_up.run(mailbox, baseline=baseline)
        else:
            if self._scope.memory.deferred.is_full:
                await self._deferred_reads().run(mailbox)
            await self._doubt(found)
            if self.mailbox is not mailbox:
                return
            if not await self.catch_up.run(mailbox, found_by=found_by) and self._scope.memory.expects_mail:
                await self.look_below()
            await self._look_for_gone(found.row.gone)
        self._scope.memory.expect_mail(False)
        await self._settle_moved()
        await self._scope.status.note("deferred", self._scope.memory.deferred.status_reason())

    async def _doubt(self, found: Found) -> None:
        """Record mails below the cursor of an unproven numbering; start over if one is newer than the cursor's."""
        if found.is_held_back or found.is_proven:
            await self._scope.status.note("numbering", HELD_BACK if found.is_held_back else None)
        if found.is_proven:
            return
        if found.is_held_back:
            self.mailbox.keep_last_mail()
        uids: list[int] = []
        with self._scope.memory.identity_check() as is_trusted:
            if not is_trusted:
                uids = await find_below(
                    self._scope.context, self._scope.client, self._scope.watched, self.mailbox
                )
            if (
                uids
                and not found.is_held_back
                and await are_newer(self._scope.client, uids, found.row.cursor)
            ):
                found = await restarted(self._opener.identities, self.mailbox.row)
        if found.numbering != self.mailbox.numbering:
            await self._begin(found)
        elif uids:
            await record_below(self.catch_up, self.mailbox, uids)

    async def _look_for_gone(self, gone: tuple[int, ...]) -> None:
        """Record the mails that were gone when they were to be read, and are there again."""
        with self._scope.memory.identity_check() as is_trusted:
            returned = await find_returned(self._scope.client, gone) if gone and not is_trusted else []
        if returned:
            await record_below(self.catch_up, self.mailbox, returned)

    def _deferred_reads(self) -> DeferredReads:
        return DeferredReads(self._scope, self._reader)

    async def _settle_moved(self) -> None:
        """Find deferred mails of other mailboxes and numberings again, or close them."""
        if self._scope.memory.deferred.elsewhere(self.mailbox.place):
            moved = MovedMails(self._scope, self._reader)
            await moved.settle(self.mailbox, self.catch_up.see_below, is_temporary=self.opened.is_substitute)

    def _settle(self) -> None:
        """Count all mails announced so far as known: the catch-up that follows finds them."""
        self.arrivals.account_for(self.arrivals.announced)
        self._scope.client.mailbox.settle()
