"""Catch-up of a mailbox: find and judge new mails, read those that need a webhook, record all in batches."""

import logging
from collections.abc import Collection, Iterable

from superimap.db.watching.intake import MailRow
from superimap.domain.deferrals import MAX_UNPROVEN_FAILURES
from superimap.domain.mail_stages import ORIGINS, FoundBy, Sighting
from superimap.domain.mails import MailOutcome
from superimap.idler import mailbox_queries, server_pauses
from superimap.idler.arrivals import Arrivals
from superimap.idler.batch import MAX_BATCH_MAILS
from superimap.idler.catch_up_plan import CatchUpPlan, are_complete
from superimap.idler.control_reads import read_control
from superimap.idler.mail_reader import MailReader
from superimap.idler.mailbox import WatchedMailbox
from superimap.idler.mailbox_queries import FAST_FETCH_BYTES, MAX_FAST_FETCH_MAILS
from superimap.idler.read_errors import UNUSABLE_UIDS, NothingReadable, TooManyDeferred, Withheld
from superimap.idler.scope import ConnectionScope
from superimap.idler.suspects import Pieces, ReadFailure
from superimap.imap.errors import ImapError
from superimap.imap.types import MessageMeta

log = logging.getLogger(__name__)


class CatchUp:
    """The procedure that brings a mailbox up to date on one connection.

    A mail that cannot be read is deferred, and the mails behind it are read. Until one of them proves that the
    server is well, rows from the first such mail on are kept apart from the batch (`_unproven`). If no mail can
    be read, they are dropped, and the cursor stays before them.
    """

    __slots__ = ("_arrivals", "_last_error", "_reader", "_scope", "_sightings", "_suspects", "_unproven")

    def __init__(self, scope: ConnectionScope, arrivals: Arrivals, reader: MailReader) -> None:
        self._scope = scope
        self._suspects = scope.memory.suspects
        self._reader = reader
        self._arrivals = arrivals
        self._sightings = arrivals.sightings(FoundBy.CATCH_UP)  # of the present run
        self._unproven: list[tuple[MailRow, MessageMeta | None, Sighting]] = []
        self._last_error = ""  # of the last mail that was deferred

    async def run(
        self,
        mailbox: WatchedMailbox,
        *,
        baseline: MessageMeta | int = 0,
        announced: int = 0,
        found_by: FoundBy = FoundBy.CATCH_UP,
    ) -> int:
        """Record everything that the mailbox' plan finds, in batches, and the cursor with it; return its number.

        `announced` is the number of mails announced since the last look, and `found_by` says how the server's news
        came. The cursor moves to `baseline` at least. If the connection ends on the way, what was seen until then
        is recorded: each attempt gets further.
        """
        plan, seen = mailbox.plan, mailbox.seen
        self._sightings = self._arrivals.sightings(found_by)
        self._scope.status.begin_catch_up()
        try:
            try:
                if not await self._fetch_fast(mailbox, plan, announced):
                    await self._search(mailbox, plan)
                await self._prove(mailbox)
            except ImapError:
                await mailbox.record_batch()
                raise
            await mailbox.finish(baseline=baseline)
        finally:
            self._unproven.clear()
            mailbox.discard()
        return mailbox.seen - seen

    async def _fetch_fast(self, mailbox: WatchedMailbox, plan: CatchUpPlan, announced: int) -> bool:
        """Read the mails just announced in one command; return False, with nothing seen, if a search is needed."""
        after, arrivals = plan.after, self._arrivals
        if after is None or not 0 < announced <= MAX_FAST_FETCH_MAILS or self._suspects:
            return False
        if not arrivals.is_dense or self._suspects.is_fast_fetch_disabled:
            return False
        await mailbox.make_room(FAST_FETCH_BYTES)
        found: list[tuple[MessageMeta, bytes | None]] = []
        with self._suspects.fast_fetch(range(after + 1, after + 2 + announced)):
            found = await mailbox_queries.fetch_announced(
                self._scope.client, after=after, announced=announced
            )
        total = arrivals.announced  # mails announced meanwhile may be among those found
        uids = [int(meta.uid) for meta, _ in found]
        is_complete = are_complete(uids, after=after, announced=arrivals.pending)
        arrivals.record_density(is_complete)
        is_whole = all(raw is not None for _, raw in found)
        if not is_complete or not is_whole:
            mailbox.discard()  # a session that waits for more room must hold none
        if not is_complete:
            return False
        for meta, raw in found:
            await self._see(mailbox, int(meta.uid), meta, raw=raw if is_whole else None)
        arrivals.account_for(total)
        return True

    async def _search(self, mailbox: WatchedMailbox, plan: CatchUpPlan) -> None:
        """Search for the UIDs of the plan and see each mail, with the metadata of many in one command."""
        after = plan.above if plan.by_date else plan.after
        uids = await self._scope.client.search_uids(after=after, since=plan.since, in_full=True)
        await self._scope.status.note("uids", UNUSABLE_UIDS if self._scope.client.unusable_uids else None)
        if uids and plan.after is not None:
            self._arrivals.record_density(uids.first == plan.after + 1)
        await self._walk(mailbox, uids, most=len(uids))

    async def see_below(self, mailbox: WatchedMailbox, uids: Collection[int]) -> None:
        """See mails at or below the cursor, and record them; a UID without a mail makes no row."""
        self._sightings = self._arrivals.sightings(FoundBy.CATCH_UP)
        try:
            try:
                await self._walk(mailbox, uids, most=0, passes_gone=True)
                await self._prove(mailbox)
            finally:
                await mailbox.record_batch()
        finally:
            self._unproven.clear()

    async def _walk(
        self, mailbox: WatchedMailbox, uids: Iterable[int], *, most: int, passes_gone: bool = False
    ) -> None:
        """See each mail; `most` is their number, for the status."""
        pieces = Pieces(uids, self._suspects)
        for piece in pieces:
            await self._scope.status.report_if_lagging(most)
            if len(piece) == 1 and await self._passes(mailbox, piece[0]):
                continue
            await self._see_piece(mailbox, pieces, piece, passes_gone=passes_gone)

    async def _passes(self, mailbox: WatchedMailbox, uid: int) -> bool:
        """Return whether a single mail is passed over, because it failed on an earlier connection."""
        failed = self._suspects.get(uid)
        if failed is None:
            return False
        await self._defer(mailbox, uid, failed)
        return True

    async def _see_piece(
        self, mailbox: WatchedMailbox, pieces: Pieces, piece: list[int], *, passes_gone: bool
    ) -> None:
        """See mails whose metadata is fetched at once; if it is refused, put them back to be fetched in parts."""
        wanted = [uid for uid in piece if not mailbox.is_deferred(uid)]
        try:
            found = await mailbox_queries.fetch_metas(self._scope.client, wanted) if wanted else {}
        except ImapError as error:
            self._suspects.add_batch(wanted, error)
            if not server_pauses.is_about_mail(error):
                raise
            if len(wanted) > 1:
                pieces.put_back(wanted)
            else:
                await self._defer(mailbox, wanted[0], self._suspects.add(wanted[0], error))
            return
        missing = [uid for uid in wanted if uid not in found]
        if len(missing) > 1:  # perhaps one of them has spoiled the answer for the others
            self._suspects.add_batch(missing, Withheld())
            at = wanted.index(missing[0])
            pieces.put_back(wanted[at:])
            wanted = wanted[:at]
        for uid in wanted:
            if uid in found:
                self._suspects.clear(uid)
                if found[uid] is None and passes_gone:
                    continue
                await self._see(mailbox, uid, found[uid])
            else:
                await self._defer(mailbox, uid, self._suspects.add(uid, Withheld()))
            if mailbox.is_full:
                await mailbox.record_batch()

    async def _see(
        self, mailbox: WatchedMailbox, uid: int, meta: MessageMeta | None, *, raw: bytes | None = None
    ) -> None:
        """Judge one mail, read it if it may need a webhook and is not read yet, and add its row to the batch."""
        if meta is not None and mailbox.by_date and mailbox.pass_if_recorded(meta):
            return
        by_date, sighting = self._judges_by_date(mailbox, meta), self._sightings.next()
        try:
            origin = ORIGINS[sighting.found_by]
            read = await self._reader.read(mailbox, uid, meta, by_date=by_date, raw=raw, origin=origin)
        except ImapError as error:
            if self._scope.memory.has_broken_header(uid):  # the mail itself is not at fault
                self._suspects.note_progress()
                raise
            log.info(
                "mail %d could not be read: %s", uid, error, extra={"user_id": self._scope.watched.user_id}
            )
            failed = self._suspects.add(uid, error, meta, max_room=self._reader.max_literal)
            if not server_pauses.is_about_mail(error):
                raise
            await self._defer(mailbox, uid, failed, sighting)
            return
        if read.read_bytes is not None:
            self._suspects.record_read(uid)
            self._add_proven(mailbox)
        if self._unproven:
            self._unproven.append((read.row, meta, sighting))
        else:
            mailbox.add(read.row, meta, sighting, read_bytes=read.read_bytes or 0)

    async def _defer(
        self, mailbox: WatchedMailbox, uid: int, failed: ReadFailure, sighting: Sighting | None = None
    ) -> None:
        """Put the row of a mail that could not be read behind the batch. After some of them, ask for a proof."""
        if mailbox.has_too_many_deferred(len(self._unproven)):
            self._suspects.blame_server()
            raise TooManyDeferred
        self._last_error = failed.error
        is_dated = (
            failed.meta is not None and failed.meta.internal_date is not None
        )  # and was judged new by it
        by_date = self._judges_by_date(mailbox, failed.meta) and not is_dated
        row = self._reader.deferred_row(uid, failed.meta, failed.error, by_date=by_date)
        self._unproven.append((row, failed.meta, sighting or self._sightings.next()))
        if self._failed_mails() >= MAX_UNPROVEN_FAILURES or len(self._unproven) >= MAX_BATCH_MAILS:
            await self._prove(mailbox)

    def _judges_by_date(self, mailbox: WatchedMailbox, meta: MessageMeta | None) -> bool:
        """Return whether a mail is new only by its date."""
        return mailbox.judges_by_date and not mailbox.is_new_without_date(meta)

    def _failed_mails(self) -> int:
        """Return the number of mails that failed since a mail was read."""
        return sum(row.outcome == MailOutcome.DEFERRED for row, _, _ in self._unproven)

    async def _prove(self, mailbox: WatchedMailbox) -> None:
        """Add the unproven rows to the batch if another mail can be read, else raise NothingReadable.

        If the mailbox has no other mail, a few mails are deferred without a proof.
        """
        if not self._unproven:
            return
        is_well = await read_control(
            self._scope.client, mailbox, self._suspects, max_size=self._reader.max_size
        )
        if is_well is None:
            is_well = self._failed_mails() < MAX_UNPROVEN_FAILURES
        if not is_well:
            self._suspects.forget_mails()
            raise NothingReadable(self._last_error)
        self._add_proven(mailbox)

    def _add_proven(self, mailbox: WatchedMailbox) -> None:
        """Add the unproven rows to the batch: another mail was read."""
        for row, meta, sighting in self._unproven:
            mailbox.add(row, meta, sighting)
        self._unproven.clear()
