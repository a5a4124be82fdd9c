"""One run of a sweep: a connection on which it goes on where the last one ended, until it is done or waits."""

import asyncio
import logging
import time
from collections import Counter
from dataclasses import replace

from superimap.core import metrics
from superimap.core.crypto import VaultError
from superimap.db.postgres import UNAVAILABLE
from superimap.db.watching import sessions as watching
from superimap.db.watching import sweeps as queries
from superimap.db.watching.intake import Fence, Fenced
from superimap.db.watching.sessions import WatchedUser
from superimap.db.watching.sweep_records import DueSweep, SweepPlace, SweepProgress, SweepView
from superimap.domain import sweeps as pace
from superimap.domain.sweeps import Proceed, Step, Stop, SweepDirection, SweepState, Wait
from superimap.idler import server_pauses
from superimap.idler.context import IdlerContext
from superimap.idler.folder_matches import mail_folder
from superimap.idler.mailbox_memory import MailboxMemory
from superimap.idler.opening import MailboxOpener
from superimap.idler.scope import ConnectionScope
from superimap.idler.second_connection import connected
from superimap.idler.status_reports import ConnectionStatus
from superimap.idler.suspects import Pieces
from superimap.idler.sweep_reader import SweepReader
from superimap.idler.sweep_retries import SweepRetries
from superimap.idler.swept_mailbox import NotRecorded, SweptMailbox
from superimap.imap.errors import AuthenticationFailed, ImapError
from superimap.imap.types import Folder
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable

log = logging.getLogger(__name__)

_FAILURES = (ImapError, TokenRefused, TokenUnavailable, VaultError)
_REFUSALS = (AuthenticationFailed, TokenRefused)
INTERNAL = "internal"
"""Cause of a failure that is a fault in SuperIMAP, as metrics name it."""
ADMISSION_INTERVAL_SECONDS = 0.2
"""Time between two looks at what the endpoint owes."""
REPEAT_SECONDS = 5.0
"""Wait after a batch that was not recorded: the cursor, the user or the shard has changed."""
CATCH_UP_WAIT_SECONDS = 5.0


class Halted(Exception):
    """The sweep is not to go on now; `step` says why."""

    def __init__(self, step: Wait | Stop) -> None:
        super().__init__(step)
        self.step = step


def _cause(error: BaseException) -> str:
    if isinstance(error, (*_REFUSALS, TokenUnavailable, VaultError)):
        return "sign_in"
    return "server" if isinstance(error, ImapError) else INTERNAL


class SweepRun:
    """Runs one sweep. `memory` outlives it, and `gate` is passed by one batch of the partner at a time.

    `servers` counts the sweeps that run by mail server, and by partner and mail server.
    """

    def __init__(
        self,
        context: IdlerContext,
        sweep: DueSweep,
        memory: MailboxMemory,
        gate: asyncio.Lock,
        servers: "Counter[str]",
    ) -> None:
        self._context = context
        self._sweep = sweep
        self._memory = memory
        self._gate = gate
        self._servers = servers

    async def run(self) -> None:
        """Go on with the sweep until it ends or waits. Raises nothing: its row says what is next."""
        try:
            await self._run(await self._look())
        except Halted as halted:
            await self._apply(halted.step)
        except (NotRecorded, Fenced):
            await self._apply(Wait(REPEAT_SECONDS, "the mailbox has changed"))
        except _FAILURES as error:
            await self._failed(error)
        except UNAVAILABLE as error:
            log.debug("sweep waits for PostgreSQL: %s", type(error).__name__)
            await asyncio.sleep(REPEAT_SECONDS)
        except Exception as error:  # of one mailbox; the others go on
            log.exception("sweep failed", extra={"user_id": self._sweep.user_id})
            await self._failed(error)

    async def _look(self) -> SweepView:
        """Return the sweep if it may go on. Raises Halted."""
        view = await queries.look_at(self._context.pool, self._sweep.id)
        if view is None:
            raise Halted(Stop(SweepState.CANCELLED))
        step: Step = pace.next_step(view.facts)
        if not isinstance(step, Proceed):
            raise Halted(step)
        return view

    async def _run(self, view: SweepView) -> None:
        watched = await watching.load(self._context.pool, self._sweep.user_id)
        fence = self._context.fence(self._sweep.shard)
        if watched is None or fence is None:
            raise Fenced
        if watched.wait:
            raise Halted(Wait(watched.wait, "the next login of the mailbox waits"))
        host, of_partner = watched.imap_host, f"{self._sweep.partner_id} {watched.imap_host}"
        if (
            self._servers[host] >= pace.MAX_SERVER_SWEEPS
            or self._servers[of_partner] >= pace.MAX_PARTNER_SERVER_SWEEPS
        ):
            raise Halted(Wait(pace.SERVER_WAIT_SECONDS, "other sweeps of the mail server run"))
        self._servers.update((host, of_partner))
        try:
            await self._run_on_connection(view, watched, fence)
        finally:
            self._servers.subtract((host, of_partner))

    async def _run_on_connection(self, view: SweepView, watched: WatchedUser, fence: Fence) -> None:
        room = self._context.peers.room(watched)
        async with connected(self._context, watched, limits=self._context.limits, room=room) as client:
            self._memory.begin_connection(room)
            status = ConnectionStatus(self._context, watched, client)
            scope = ConnectionScope(self._context, client, watched, self._memory, fence, status)
            place, folder = await self._open(scope, view)
            if watched.listed_folders:
                scope = scope._replace(watched=replace(watched, folder=mail_folder(folder)))
            progress = await queries.begin(self._context.pool, place)
            if progress is None:
                raise Fenced
            self._memory.begin_numbering((place.mailbox_id, place.uid_validity))
            mailbox = SweptMailbox(
                self._context,
                place,
                progress,
                room,
                unread=await queries.find_unread(self._context.pool, place.sweep_id),
                gate=self._gate,
                admit=self._wait_for_room,
            )
            try:
                is_over = await self._sweep_mails(scope, view, mailbox, progress)
            except ImapError:
                await mailbox.record()  # so that each connection gets further
                raise
            finally:
                mailbox.discard()
            await self._finish(is_full=mailbox.has_too_many_unread, is_over=is_over or view.dry_run)

    async def _open(self, scope: ConnectionScope, view: SweepView) -> tuple[SweepPlace, Folder]:
        """Open the folder read-only. Raises Halted if it does not exist, or is not caught up."""
        pool, watched, fence, client = self._context.pool, scope.watched, scope.fence, scope.client
        current = await queries.find_folder(pool, watched, fence, None)
        if current is None or current.last_uid is None:
            raise Halted(Wait(CATCH_UP_WAIT_SECONDS, "the mailbox is being caught up"))
        wanted = view.folder or current.name
        opener = MailboxOpener(scope)
        folder = await opener.find(wanted)
        if folder is None:
            raise Halted(Stop(SweepState.FAILED, f"the mailbox has no folder {wanted!r}"))
        swept = current
        if folder.name != current.name:
            swept = await queries.find_folder(pool, watched, fence, folder.name) or current
        selected = await opener.select(folder)
        numbering = swept.numbering_of(selected.uid_validity)
        if swept.is_watched and (numbering != swept.numbering or swept.last_uid is None):
            raise Halted(Wait(CATCH_UP_WAIT_SECONDS, "the mail server has renumbered the mailbox"))
        up_to = swept.last_uid if swept.is_watched else await client.highest_uid()
        place = SweepPlace(
            self._sweep.id,
            watched,
            fence,
            swept.id,
            numbering.recorded,
            up_to or 0,
            is_watched=swept.is_watched,
        )
        return place, folder

    async def _sweep_mails(
        self, scope: ConnectionScope, view: SweepView, mailbox: SweptMailbox, progress: SweepProgress
    ) -> bool:
        """Read the mails that are left, then those that could not be read; return whether `limit` is reached."""
        found = await scope.client.search_uids(since=pace.search_day(view.since), in_full=True)
        above, below = pace.remaining_bounds(view.direction, up_to=progress.up_to_uid, done=progress.done_uid)
        left = found.above(above).below(below)  # expanded lazily: a server may claim any number of UIDs
        if len(left) > pace.MAX_SWEPT_UIDS:
            raise Halted(Stop(SweepState.FAILED, f"the mail server claims {len(left):,} mails"))
        await queries.set_total(self._context.pool, self._sweep.id, left=len(left))
        uids = left if view.direction is SweepDirection.OLDEST else reversed(left)
        reader, pieces = SweepReader(scope, view), Pieces(uids, self._memory.suspects)
        ends_at = time.monotonic() + pace.SLICE_SECONDS
        for piece in pieces:
            if self._context.fence(self._sweep.shard) != scope.fence:
                raise Fenced
            if mailbox.has_too_many_unread or await reader.has_sent_all(mailbox):
                break
            await reader.read(mailbox, pieces, piece)
            await mailbox.record()
            if time.monotonic() >= ends_at:
                raise Halted(Wait(0.0, "other sweeps have their turn"))
        await SweepRetries(scope, reader).run(mailbox)
        return await reader.has_sent_all(mailbox)

    async def _wait_for_room(self) -> None:
        """Wait until the endpoint owes few webhooks, for a while. Raises Halted."""
        until = time.monotonic() + pace.BACKLOG_WAIT_SECONDS
        while True:
            try:
                await self._look()
            except Halted as halted:
                if not isinstance(halted.step, Wait) or not halted.step.is_brief or time.monotonic() >= until:
                    raise
            else:
                return
            await asyncio.sleep(ADMISSION_INTERVAL_SECONDS)

    async def _finish(self, *, is_full: bool, is_over: bool) -> None:
        """End the sweep if it `is_over` or no mail is to be tried again. Raises Halted."""
        unread = await queries.find_unread(self._context.pool, self._sweep.id)
        waits = [] if is_over else [mail.retry_in for mail in unread if not mail.is_given_up]
        retry_in = min(waits, default=None)
        raise Halted(pace.after_last_mail(retry_in=retry_in, unread=len(unread), is_full=is_full))

    async def _failed(self, error: BaseException) -> None:
        """Postpone the sweep, longer after each failure in a row; end it if it has failed for too long."""
        log.info("sweep interrupted: %s", type(error).__name__, extra={"user_id": self._sweep.user_id})
        metrics.MAILBOX_SWEEP_FAILURES.labels(_cause(error)).inc()
        reason = str(error) if isinstance(error, _FAILURES) else "a fault in SuperIMAP; see the idler's log"
        try:
            failed = await queries.record_failure(self._context.pool, self._sweep.id)
        except UNAVAILABLE:
            return
        if failed is None:
            return
        if failed.seconds >= pace.GIVE_UP_SECONDS:
            await self._apply(Stop(SweepState.FAILED, f"no progress within two days of attempts: {reason}"))
            return
        requested = server_pauses.requested_pause(error, ordinary=self._context.timing.throttled)
        seconds = pace.retry_delay(failed.failures) + (requested or 0.0)
        if isinstance(error, _REFUSALS):
            seconds = max(seconds, pace.REFUSED_WAIT_SECONDS)
        await self._apply(Wait(seconds, reason))

    async def _apply(self, step: Wait | Stop) -> None:
        """Write what comes next; if PostgreSQL is unreachable, the next round finds the sweep as it was."""
        pool, sweep = self._context.pool, self._sweep.id
        try:
            if isinstance(step, Wait):
                await queries.postpone(pool, sweep, seconds=step.seconds, reason=step.reason)
            elif step.state not in pace.ACTIVE:
                await queries.end(pool, sweep, step.state, step.reason)
                if step.state is not SweepState.CANCELLED:
                    metrics.MAILBOX_SWEEPS_ENDED.labels(step.state.value).inc()
        except UNAVAILABLE as error:
            log.debug("sweep waits for PostgreSQL: %s", type(error).__name__)
