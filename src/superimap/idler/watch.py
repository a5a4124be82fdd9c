"""One connection's work: catch up from the cursor, then again whenever something may be new."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from superimap.core import metrics
from superimap.db.postgres import UNAVAILABLE
from superimap.db.watching import intake as queries
from superimap.db.watching import sessions as watching
from superimap.db.watching.intake import Cursor, Fence, Fenced, MailboxRow
from superimap.db.watching.sessions import WatchedUser
from superimap.domain.mails import MailOutcome
from superimap.idler import server_pauses, sync
from superimap.idler.context import IdlerContext
from superimap.idler.filters import skip_reason
from superimap.idler.intake import MOST_MAILS, Intake
from superimap.idler.read_failures import ReadFailures
from superimap.imap.client import ImapClient
from superimap.imap.errors import ImapError
from superimap.imap.types import MessageMeta, Selected

log = logging.getLogger(__name__)

SPREAD = 0.8  # of what a round may last: the shortest that a session has


class Watch:
    """One open mailbox on one connection."""

    def __init__(
        self, context: IdlerContext, client: ImapClient, watched: WatchedUser, stumbles: ReadFailures
    ) -> None:
        self._context = context
        self._client = client
        self._watched = watched
        self._stumbles = stumbles
        self._fence: Fence
        self._box: MailboxRow
        self._selected: Selected
        self._intake: Intake
        self._told = 0  # arrivals that were looked for
        self._began = 0.0  # the event loop's time when this catch-up began
        self._lags = False  # and was told to take long
        self._is_new = True  # that it stands was not told yet
        self._is_leaving = False
        self._waiting: asyncio.Timeout | None = None  # while nothing is under way
        self._is_dense = True  # UIDs have no gaps here, as far as is known

    async def begin(self) -> None:
        """Open the mailbox and catch up with everything since its cursor."""
        watched = self._watched
        fence = self._context.fence(watched.shard)
        if fence is None:
            raise Fenced
        folder = await self._folder()
        self._selected = await self._client.examine(folder)
        self._fence = fence
        self._box = await queries.mailbox(
            self._context.pool,
            user_id=watched.user_id,
            partner_id=watched.partner_id,
            version=watched.version,
            account=watched.account,
            name=folder,
            fence=fence,
        )
        restarted = await sync.has_restarted(self._client, self._box.cursor, self._selected)
        await self._start(self._box.cursor, restarted=restarted)
        await self._tell()

    async def follow(self) -> None:
        """Wait for news and see it, for as long as the connection lasts, or until it is told to `leave`."""
        metrics.WATCHING.inc()
        false_alarms = 0
        try:
            rounds = self._rounds()
            while await self._has_news(rounds):
                before, told = self._intake.last_uid, self._client.arrivals
                self._stumbles.owes = told > self._told
                await self._catch_up(
                    sync.Plan(self._intake.uid_validity, after=before), coming=told - self._told
                )
                is_false = self._intake.last_uid == before and told > self._told
                self._told = max(told, self._told)
                false_alarms = false_alarms + 1 if is_false else 0
                if is_false and not await self._start_anew_if_reused():
                    await asyncio.sleep(server_pauses.false_alarm_pause(false_alarms))
                self._stumbles.owes = False
                if self._lags:
                    with contextlib.suppress(*UNAVAILABLE):
                        await self._tell()
        finally:
            metrics.WATCHING.dec()

    def leave(self) -> None:
        """Have `follow` return, once what is under way has been seen."""
        self._is_leaving = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def _has_news(self, rounds: AsyncIterator[None]) -> bool:
        """Wait for the end of a round; False if it is time to leave. An IDLE that stands is ended by LOGOUT."""
        if self._is_leaving:
            return False
        try:
            async with asyncio.timeout(None) as self._waiting:
                await anext(rounds)
                return True
        except TimeoutError:
            if not self._is_leaving:
                raise
            return False
        finally:
            self._waiting = None

    async def _start(self, cursor: Cursor, *, restarted: bool) -> None:
        """Catch up from `cursor`; by date if it is void."""
        looking = sync.plan(
            cursor,
            self._selected,
            connected_at=self._watched.connected_at,
            now=datetime.now(UTC),
            restarted=restarted,
        )
        self._told = self._client.arrivals
        recorded, numbering = self._stumbles.recorded, looking.uid_validity
        self._stumbles.begin(numbering)
        self._intake = Intake(self._context, self._watched, self._box, self._fence, numbering, recorded)
        self._intake.latest = cursor.last_internal_date
        if restarted:
            await self._intake.begin_anew()
        if looking.by_date:
            # Asked for before the search that it must cover, and never taken from UIDNEXT: some servers lie.
            await self._catch_up(looking, baseline=await self._client.highest_uid())
        else:
            self._intake.last_uid = before = looking.after or 0
            await self._catch_up(looking)
            if self._stumbles.owes and self._intake.last_uid == before:
                await self._start_anew_if_reused()
        self._stumbles.owes = False

    async def _start_anew_if_reused(self) -> bool:
        """Mail was told of and there is none: the server may give its UIDs out again."""
        intake, top = self._intake, self._stumbles.top
        latest = intake.latest or self._watched.connected_at
        if not await sync.is_reused(self._client, last=intake.last_uid, latest=latest, top=top):
            return False
        self._box = intake.box
        await self._start(intake.cursor, restarted=True)
        return True

    def _rounds(self) -> AsyncIterator[None]:
        """Each session has rounds of its own length, so that those begun together drift apart."""
        settings, watched = self._context.settings, self._watched
        renew = min(watched.idle_renew or settings.idle_renew, settings.idle_renew)
        return self._client.idle(
            renew=renew * random.uniform(SPREAD, 1.0),  # noqa: S311 - no secret
            poll=watched.poll_seconds or self._context.timing.poll,
            poll_by=watched.poll_by,
        )

    async def _tell(self, *, lags: bool = False) -> None:
        """That the session stands and has caught up, or `lags`."""
        watched, is_new = self._watched, self._is_new
        self._is_new, self._lags = False, lags
        await watching.stands(
            self._context.pool, watched.user_id, version=watched.version, is_new=is_new, lags=lags
        )

    async def _tell_if_it_lags(self, mails: int) -> None:
        """Once per catch-up, and only of those that last: the ordinary one costs no statement."""
        if self._lags:
            return
        lasts = asyncio.get_running_loop().time() - self._began
        if mails > MOST_MAILS or lasts > self._context.timing.lag:
            with contextlib.suppress(*UNAVAILABLE):
                await self._tell(lags=True)

    async def _folder(self) -> str:
        wanted = self._watched.folders
        if not wanted and "X-GM-EXT-1" in self._client.capabilities:
            wanted = (sync.ALL_MAIL,)
        if not wanted or wanted[0].upper() == "INBOX":
            return "INBOX"
        return sync.folder_to_watch(await self._client.list_folders(), wanted)

    async def _catch_up(self, looking: sync.Plan, *, baseline: int = 0, coming: int = 0) -> None:
        """See all that the plan finds; what is seen is recorded in batches, the cursor with it.

        `coming` mails were told of since the last look.

        If the connection ends on the way, what was seen until then is recorded: each try gets further.
        """
        intake = self._intake
        intake.by_date = looking.by_date
        self._began = asyncio.get_running_loop().time()
        with contextlib.closing(intake):
            try:
                await self._see_new(looking, coming)
            except ImapError:
                await intake.flush_part()
                raise
            last = max(intake.last_seen, baseline, intake.last_uid)
            if intake.seen or last > intake.last_uid or looking.by_date:
                await intake.flush(last_uid=last)
        intake.by_date = False
        self._stumbles.forget()

    async def _see_new(self, looking: sync.Plan, coming: int) -> None:
        if await self._glance(looking, coming):
            return
        uids = await sync.find(self._client, looking)
        if uids and looking.after is not None:
            self._is_dense = uids[0] == looking.after + 1
        await self._see_all(uids, by_date=looking.by_date)

    async def _glance(self, looking: sync.Plan, coming: int) -> bool:
        """Read what has just come in one command; False, and nothing is seen, if a search must tell."""
        after = looking.after
        if after is None or not 0 < coming <= sync.FEW or not self._is_dense or self._stumbles.blinded:
            return False
        await self._intake.make_room(sync.GLANCE)
        found: list[tuple[MessageMeta, bytes | None]] = []
        with self._stumbles.glancing():
            found = await sync.glance(self._client, after=after, coming=coming)
        told = self._client.arrivals  # what has come meanwhile may be among them
        uids = [int(meta.uid) for meta, _ in found]
        self._is_dense = sync.are_all(uids, after=after, coming=told - self._told)
        is_whole = all(raw is not None for _, raw in found)
        if not self._is_dense or not is_whole:
            self._intake.close()  # who waits for room for more holds none
        if not self._is_dense:
            return False
        for meta, raw in found:
            await self._see(int(meta.uid), meta, raw=raw if is_whole else None)
        self._told = told
        return True

    async def _see_all(self, uids: list[int], *, by_date: bool) -> None:
        for piece in sync.batches(uids, self._stumbles.batch):
            for uid, meta in await self._metas(piece):
                await self._tell_if_it_lags(len(uids))
                await self._see(uid, meta, by_date=by_date)
                if self._intake.is_full:
                    await self._intake.flush_part()

    async def _metas(self, piece: list[int]) -> list[tuple[int, MessageMeta | None]]:
        """What is known of each; a mail on which the server failed again and again is not asked about."""
        if len(piece) == 1 and self._stumbles.given_up(piece[0]):
            return [(piece[0], self._stumbles.meta_of(piece[0]))]
        try:
            found = await sync.metas(self._client, piece)
            await sync.must_be_gone(self._client, [uid for uid, meta in found if meta is None])
            return found
        except ImapError as error:
            self._stumbles.blame(piece, error)
            raise

    async def _see(
        self, uid: int, meta: MessageMeta | None, *, by_date: bool = False, raw: bytes | None = None
    ) -> None:
        """Judge one mail, and read it if a webhook is owed and it is not read yet."""
        intake, given_up = self._intake, self._stumbles.given_up(uid)
        gone = MailOutcome.GONE, "deleted or moved before it could be read"
        if meta is None:
            intake.skip(uid, None, *(given_up or gone))
            return
        self._stumbles.top = (uid, sync.identity(meta))
        if by_date and intake.is_recorded(meta):
            return
        most = self._context.settings.max_email_size
        reason = skip_reason(meta, by_date=by_date, connected_at=self._watched.connected_at, max_size=most)
        if (skip := reason or given_up) is not None:
            intake.skip(uid, meta, *skip)
            return
        if raw is None:
            await intake.make_room(meta.size)
            raw = await self._read(meta)
        if raw is None:
            intake.skip(uid, meta, *gone)
        elif len(raw) > most:
            detail = f"{len(raw)} bytes; MAX_EMAIL_SIZE is {most}"
            intake.skip(uid, meta, MailOutcome.TOO_BIG, detail, size=len(raw))
        else:
            await intake.take(meta, raw)

    async def _read(self, meta: MessageMeta) -> bytes | None:
        """The mail's bytes. Who fails to hand one over is asked a few times, but not for ever."""
        uid = int(meta.uid)
        try:
            raw = await self._client.fetch_raw(uid)
            await sync.must_be_gone(self._client, [uid] if raw is None else [])
            return raw
        except ImapError as error:
            self._stumbles.note(uid, error, meta)
            log.info("mail %d could not be read: %s", uid, error, extra={"user_id": self._watched.user_id})
            raise
