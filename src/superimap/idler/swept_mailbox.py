"""A mailbox that a sweep reads: the batch that is not recorded yet, and the place of the sweep in it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta

from superimap.core import metrics
from superimap.db.watching import sweeps as queries
from superimap.db.watching.intake import MailRow
from superimap.db.watching.sweep_records import FailedRead, SweepBatch, SweepPlace, SweepProgress, UnreadMail
from superimap.domain import sweeps as pace
from superimap.domain.mail_stages import FoundBy, Sighting
from superimap.idler.batch import MailBatch
from superimap.idler.context import IdlerContext
from superimap.idler.rooms import SessionRoom


class NotRecorded(Exception):
    """Nothing was written: the sweep, the user, the shard or the numbering is not what this run expects."""


class SweptMailbox:
    """An open mailbox of a sweep. Its mails occupy room in the byte limit of the host until they are recorded.

    `gate` is passed by one batch of the partner at a time. `admit` waits until a batch may be recorded, and raises
    if the sweep is not to go on. `unread` are the mails that could not be read.
    """

    def __init__(
        self,
        context: IdlerContext,
        place: SweepPlace,
        progress: SweepProgress,
        room: SessionRoom,
        *,
        unread: Iterable[UnreadMail],
        gate: asyncio.Lock,
        admit: Callable[[], Awaitable[None]],
    ) -> None:
        self.place = place
        self.sent = progress.sent
        self._context = context
        self._done_uid = progress.done_uid
        self._gate = gate
        self._admit = admit
        self._unread = {mail.uid: mail for mail in unread}
        self._held = MailBatch(room)
        self._bytes = 0
        self._paced_at = time.monotonic()
        self.batch = SweepBatch([], [])

    @property
    def uid_validity(self) -> int:
        """The number under which mails of this numbering are recorded."""
        return self.place.uid_validity

    @property
    def pending(self) -> Sequence[MailRow]:
        """The rows that are not recorded yet."""
        return self.batch.rows

    @property
    def may_send(self) -> int:
        """Mails that are sent so far, and those that this batch may send."""
        return self.sent + len(self.batch.rows) + self.batch.would_send

    @property
    def is_full(self) -> bool:
        """Whether the batch is large enough to be recorded."""
        return len(self.batch.rows) >= pace.MAX_BATCH_MAILS or self._bytes >= pace.MAX_BATCH_BYTES

    @property
    def has_too_many_unread(self) -> bool:
        """Whether no further mail is to be read until some could be read that could not before."""
        return len(self._unread) >= pace.MAX_UNREAD_MAILS

    def due_unread(self) -> list[int]:
        """Return the UIDs of the mails that are to be tried again now."""
        return [uid for uid, mail in self._unread.items() if not mail.is_given_up and mail.retry_in <= 0]

    def is_deferred(self, uid: int) -> bool:
        """Return whether a mail could not be read: it proves nothing of the server."""
        return uid in self._unread

    def add_unread(self, uid: int, reason: str) -> None:
        """Note that a mail could not be read."""
        before = self._unread.get(uid)
        attempts = before.attempts + 1 if before else 1
        delay = pace.mail_retry_delay(attempts)
        self._unread[uid] = UnreadMail(uid, attempts, is_given_up=False, retry_in=delay)
        self.batch.failed.append(FailedRead(uid, reason, delay))
        self.batch.unreadable += before is None

    def clear_unread(self, uid: int) -> None:
        """Note that a mail was read, is gone, or needs no webhook."""
        del self._unread[uid]
        self.batch.cleared.append(uid)

    def date_tolerance(self, _connected_at: datetime) -> timedelta:
        """Return no tolerance: the range of a sweep is judged, and not whether a mail is new."""
        return timedelta()

    async def make_room(self, size: int) -> None:
        """Wait until `size` more bytes may be read. Record the batch first, so that it holds no room."""
        if self.batch.rows and not self._held.has_room(size):
            await self.record()
        await self._held.acquire(size)

    def add(self, row: MailRow, *, at: float, read_bytes: int) -> None:
        """Add the row of a mail that was found `at` (monotonic)."""
        self.batch.rows.append(row)
        self.batch.sightings.append(Sighting(at, FoundBy.SWEEP))
        self._bytes += read_bytes

    def pass_uid(self, uid: int) -> None:
        """Note that everything up to this UID, in the direction of the sweep, was looked at."""
        self.batch.last_uid = uid
        self.batch.looked_at += 1

    async def record(self) -> None:
        """Record the batch and the progress in one statement, ring, and keep the pace. Raises NotRecorded."""
        batch = self.batch
        if batch.is_empty:
            return
        if batch.rows:
            async with self._gate:  # of the partner: two batches at once would exceed what may be owed
                await self._admit()
                recorded = await queries.record(
                    self._context.pool, self.place, batch, done_uid=self._done_uid
                )
        else:
            recorded = await queries.record(self._context.pool, self.place, batch, done_uid=self._done_uid)
        if recorded is None:
            raise NotRecorded
        self._count(batch, sent=recorded.sent - self.sent - batch.would_send)
        self.sent = recorded.sent
        self._done_uid = self._done_uid if batch.last_uid is None else batch.last_uid
        mails, looked_at = len(batch.rows), batch.looked_at
        self.discard()
        for outcome in recorded.outcomes:
            metrics.MESSAGES.labels(outcome).inc()
        for endpoint_id in recorded.endpoints:
            await self._context.queue.ring(endpoint_id)
        seconds = time.monotonic() - self._paced_at
        await asyncio.sleep(pace.pause_after(mails, looked_at=looked_at, seconds=seconds))
        self._paced_at = time.monotonic()

    def _count(self, batch: SweepBatch, *, sent: int) -> None:
        numbers = {
            "looked_at": batch.looked_at,
            "read": len(batch.rows),
            "sent": sent,
            "unreadable": batch.unreadable,
        }
        for result, number in numbers.items():
            metrics.MAILBOX_SWEEP_MAILS.labels(result).inc(number)

    def discard(self) -> None:
        """Drop the batch and give its room back."""
        self.batch, self._bytes = SweepBatch([], []), 0
        self._held.clear()
