"""One connection's work: catch up from the cursor, then again whenever something may be new."""

import contextlib
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from superimap import metrics
from superimap.db.engine import UNAVAILABLE
from superimap.db.models.mail import Outcome
from superimap.db.queries import intake as queries
from superimap.db.queries import watching
from superimap.db.queries.intake import Fenced
from superimap.db.queries.watching import Watched
from superimap.idler import sync
from superimap.idler.context import Context
from superimap.idler.filters import skip_reason
from superimap.idler.intake import Intake
from superimap.imap.client import Client
from superimap.imap.errors import (
    Disconnected,
    Gibberish,
    ImapError,
    LimitExceeded,
    Refused,
    TimedOut,
)
from superimap.imap.types import MessageMeta, Selected

log = logging.getLogger(__name__)

# The server answered, and not with the mail: another answer is not to be expected.
ANSWERED = (Gibberish, LimitExceeded, Refused)
MOST_ANSWERS = 3
# The connection was lost while this very mail was read. It may be the network, so it takes more, and a while.
LOST = (Disconnected, TimedOut)
MOST_LOSSES = 5
LOSSES_SPAN = 600.0


@dataclass(slots=True)
class Stumble:
    """How often, and since when, one mail has ended its session."""

    since: float
    answers: int = 0
    losses: int = 0


class Stumbles:
    """Mails that ended their session; kept over sessions, so that a poison mail is passed over at last."""

    __slots__ = ("_by_uid",)

    def __init__(self) -> None:
        self._by_uid: dict[int, Stumble] = {}

    def note(self, uid: int, error: ImapError, *, now: float) -> None:
        """This mail has ended its session with `error`."""
        stumble = self._by_uid.setdefault(uid, Stumble(now))
        if isinstance(error, LOST):
            stumble.losses += 1
        else:
            stumble.answers += 1

    def too_many(self, uid: int, *, now: float) -> bool:
        """Whether to pass this mail over: 3 answers that were no mail, or 5 lost connections over 10 minutes."""
        stumble = self._by_uid.get(uid)
        if stumble is None:
            return False
        is_deadly = stumble.losses >= MOST_LOSSES and now - stumble.since >= LOSSES_SPAN
        return stumble.answers >= MOST_ANSWERS or is_deadly

    def forget(self) -> None:
        """All is recorded; past mails do not matter."""
        self._by_uid.clear()


class Watch:
    """One open mailbox on one connection."""

    def __init__(self, context: Context, client: Client, watched: Watched, stumbles: Stumbles) -> None:
        self._context = context
        self._client = client
        self._watched = watched
        self._stumbles = stumbles
        self._intake: Intake

    async def begin(self) -> None:
        """Open the mailbox and catch up with everything since its cursor."""
        watched = self._watched
        fence = self._context.fence(watched.shard)
        if fence is None:
            raise Fenced
        folder = await self._folder()
        selected = await self._client.examine(folder)
        box = await queries.mailbox(
            self._context.pool,
            user_id=watched.user_id,
            partner_id=watched.partner_id,
            version=watched.version,
            account=watched.account,
            name=folder,
            fence=fence,
        )
        looking = sync.plan(box.cursor, selected, connected_at=watched.connected_at, now=datetime.now(UTC))
        self._intake = Intake(self._context, watched, box, fence, selected.uid_validity)
        if looking.by_date:
            await self._catch_up(looking, baseline=await self._baseline(selected))
        else:
            self._intake.last_uid = looking.after or 0
            await self._catch_up(looking)
        await watching.logged_in(self._context.pool, watched.user_id, version=watched.version)

    async def follow(self) -> None:
        """Wait for news and see it, for as long as the connection lasts."""
        metrics.WATCHING.inc()
        try:
            async for _ in self._client.idle(renew=self._context.settings.idle_renew):
                before = self._intake.last_uid
                await self._catch_up(sync.Plan(self._intake.uid_validity, after=before))
                if self._intake.last_uid == before:
                    await self._tell_alive()
        finally:
            metrics.WATCHING.dec()

    async def _baseline(self, selected: Selected) -> int:
        """The highest UID before any that is yet to come; asked for before the search that it must cover."""
        if selected.uid_next is not None:
            return selected.uid_next - 1
        return max(await self._client.search_uids(), default=0)

    async def _tell_alive(self) -> None:
        with contextlib.suppress(*UNAVAILABLE):
            await watching.alive(self._context.pool, self._watched.user_id)

    async def _folder(self) -> str:
        if "X-GM-EXT-1" not in self._client.capabilities:
            return "INBOX"
        return sync.folder_to_watch(await self._client.list_folders(), is_gmail=True)

    async def _catch_up(self, looking: sync.Plan, *, baseline: int = 0) -> None:
        """See all that the plan finds; what is seen is recorded in batches, the cursor with it."""
        intake = self._intake
        highest = max(baseline, intake.last_uid)
        with contextlib.closing(intake):
            async for uid, meta in sync.metas(self._client, await sync.find(self._client, looking)):
                if intake.is_full or (meta is not None and not intake.has_room(meta.size)):
                    await intake.flush(last_uid=None if looking.by_date else highest)
                await self._see(uid, meta, by_date=looking.by_date)
                highest = max(highest, uid)
            if intake.seen or looking.by_date:
                await intake.flush(last_uid=highest)
        self._stumbles.forget()

    async def _see(self, uid: int, meta: MessageMeta | None, *, by_date: bool) -> None:
        """Judge one mail, and read it if a webhook is owed."""
        intake = self._intake
        if meta is None:
            intake.skip(uid, None, Outcome.GONE, "deleted or moved before it could be read")
            return
        most = self._context.settings.max_email_size
        skip = skip_reason(meta, by_date=by_date, connected_at=self._watched.connected_at, max_size=most)
        if skip is None and self._stumbles.too_many(uid, now=time.monotonic()):
            skip = Outcome.UNREADABLE, "the mail server failed again and again to hand it over"
        if skip is not None:
            intake.skip(uid, meta, *skip)
            return
        await intake.make_room(meta.size)
        try:
            raw = await self._client.fetch_raw(uid)
        except (*ANSWERED, *LOST) as error:
            self._stumbles.note(uid, error, now=time.monotonic())
            log.warning(
                "mail could not be read: %s", error, extra={"user_id": self._watched.user_id, "uid": uid}
            )
            raise
        if raw is None:
            intake.skip(uid, meta, Outcome.GONE, "deleted or moved before it could be read")
        elif len(raw) > most:
            intake.skip(uid, meta, Outcome.TOO_BIG, f"{len(raw)} bytes; MAX_EMAIL_SIZE is {most}")
        else:
            intake.take(meta, raw)
