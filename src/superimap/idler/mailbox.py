"""State of a watched mailbox: its cursor, the mails seen and not recorded yet, and what outlives a connection."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from superimap.core import metrics
from superimap.db.watching import intake as queries
from superimap.db.watching.deferrals import deferred_among
from superimap.db.watching.intake import Cursor, MailboxRow, MailRow, Recorded, cursor_at
from superimap.domain.deferrals import MAX_DEFERRED_MAILS, is_found_again
from superimap.domain.mail_stages import Sighting
from superimap.domain.mails import MailOutcome
from superimap.domain.numbering import KnownMail
from superimap.idler.batch import MailBatch
from superimap.idler.catch_up_plan import CatchUpPlan, date_tolerance
from superimap.idler.deferred_mails import Place, first_retry
from superimap.idler.mailbox_memory import RecordedMail
from superimap.idler.mailbox_queries import identity_of, known_mail
from superimap.idler.outages import until_answered
from superimap.idler.scope import ConnectionScope
from superimap.idler.stage_times import STAGE_TIMES
from superimap.imap.types import MessageMeta

MAX_UNDATED_UIDS = 10_000
"""The last UIDs that are looked at in a new numbering where the server knows no INTERNALDATE."""
_NOT_NEW = frozenset({MailOutcome.BEFORE_CONNECT, MailOutcome.DEFERRED, MailOutcome.GONE})


class WatchedMailbox:
    """An open mailbox in one numbering of its UIDs: the cursor, and a batch of rows that is not recorded yet.

    The mails of the batch occupy room in the byte limit of the host until they are recorded or discarded.

    While `by_date`, there is no cursor: mails are looked for by date, in any order of UIDs, and the cursor is set
    once all are recorded. An interrupted catch-up looks for them by the same date again.

    `last_mail` is the last mail up to the cursor whose identity is known. `was_empty` says that the numbering
    began with an empty mailbox, and that no new mail has been seen in it: some servers report no mail while they
    load it.
    """

    __slots__ = (
        "_above", "_batch", "_is_below", "_is_last_mail_kept", "_last_seen", "_last_seen_uid",
        "_latest_without_cursor", "_scope", "_since", "by_date", "has_duplicates", "last_mail",
        "last_uid", "latest_date", "numbering", "row", "seen", "was_empty",
    )  # fmt: skip

    def __init__(self, scope: ConnectionScope, row: MailboxRow, plan: CatchUpPlan) -> None:
        self.row = row
        self.numbering = plan.numbering
        self.last_uid = plan.after or 0
        self.last_mail = row.cursor.last_mail if plan.after is not None else None
        self.was_empty = row.cursor.was_empty and plan.after is not None
        self.has_duplicates = False  # since `forget_duplicates`
        self.latest_date: datetime | None = row.cursor.last_internal_date
        self.by_date = plan.by_date
        self._scope = scope
        self._since, self._above = plan.since, plan.above
        self._last_seen_uid = 0
        self._last_seen: MessageMeta | None = None  # the highest of the mails seen that have metadata
        self._is_below = False
        self._is_last_mail_kept = False
        self.seen = 0
        """Mails seen since this object was made."""
        room = scope.memory.room or scope.context.byte_limits.for_host(
            scope.watched.imap_host, is_named=scope.watched.has_own_server
        )
        self._batch = MailBatch(room)
        self._latest_without_cursor: datetime | None = None  # of mails recorded with the cursor left alone
        scope.memory.begin_numbering((row.id, plan.numbering.recorded))

    @property
    def uid_validity(self) -> int:
        """The number under which mails of this numbering are recorded."""
        return self.numbering.recorded

    @property
    def place(self) -> Place:
        """The mailbox in this numbering."""
        return self.row.id, self.numbering.recorded

    @property
    def judges_by_date(self) -> bool:
        """Whether a mail is new only by its date, because its UID does not say so."""
        return self.by_date or self.was_empty or self._is_below

    def is_new_without_date(self, meta: MessageMeta | None) -> bool:
        """Return whether a mail is new although its date may not say so.

        Above a cursor one without a date is, also if nothing of it can be read. So is a deferred mail of another
        place, where its UID was new; it may be any of which nothing can be read here either.
        """
        if not self.by_date and (not self._is_below if meta is None else meta.internal_date is None):
            return True
        elsewhere = self._scope.memory.deferred.elsewhere(self.place)
        if meta is None or (meta.internal_date is None and meta.message_id is None):
            return any(each.is_new_unknown for each in elsewhere)
        return any(
            not each.found_by_date
            and each.internal_date in (None, meta.internal_date)
            and is_found_again(each.identity, identity_of(meta))
            for each in elsewhere
        )

    def date_tolerance(self, connected_at: datetime) -> timedelta:
        """Return the tolerance with which the date of a mail is judged: none for one that was found by date."""
        if not self.judges_by_date:
            return timedelta()
        return date_tolerance(self.row.cursor, by_date=self.by_date, connected_at=connected_at)

    @property
    def plan(self) -> CatchUpPlan:
        """The plan of the next catch-up."""
        if self.by_date:
            return CatchUpPlan(self.numbering, since=self._since, above=self._above)
        return CatchUpPlan(self.numbering, after=self.last_uid)

    @property
    def pending(self) -> Sequence[MailRow]:
        """The rows that are not recorded yet."""
        return self._batch.rows

    @property
    def is_full(self) -> bool:
        """Whether the batch is large enough to be recorded."""
        return self._batch.is_full

    def is_deferred(self, uid: int) -> bool:
        """Return whether a mail of this numbering is deferred."""
        return self._scope.memory.deferred.holds(self.place, uid)

    def has_too_many_deferred(self, more: int) -> bool:
        """Return whether no mail may be deferred in addition to `more` of them."""
        pending = sum(row.outcome == MailOutcome.DEFERRED for row in self.pending)
        return len(self._scope.memory.deferred) + pending + more >= MAX_DEFERRED_MAILS

    async def make_room(self, size: int) -> None:
        """Wait until `size` more bytes may be read. Record the batch first, so that it holds no room."""
        if self.pending and not self._batch.has_room(size):
            await self.record_batch()
        await self._batch.acquire(size)

    @contextmanager
    def below_cursor(self) -> Iterator[None]:
        """Inside the block, mails below the cursor are seen."""
        self._is_below = True
        try:
            yield
        finally:
            self._is_below = False

    def disregard_dates(self, highest_uid: int) -> None:
        """Look at the last mails, whatever their INTERNALDATE: the server does not know it. Their Date decides."""
        self._since, self._above = None, max(0, highest_uid - MAX_UNDATED_UIDS)

    def recognise(self, mail: KnownMail | None) -> None:
        """Know the last mail by this identity from now on: its server shows it so."""
        self.last_mail = mail
        self.row = replace(self.row, cursor=replace(self.row.cursor, last_mail=mail))

    def keep_last_mail(self) -> None:
        """Keep the last known mail as the cursor moves: it proves that the numbering must be changed later."""
        self._is_last_mail_kept = True

    def forget_duplicates(self) -> None:
        """Start to watch for duplicates again."""
        self.has_duplicates = False

    def discard(self) -> None:
        """Drop the batch and give its room back. Its mails are found again from the cursor."""
        self._batch.clear()

    def pass_if_recorded(self, meta: MessageMeta) -> bool:
        """Return whether an earlier attempt has recorded this mail, and account for it if so."""
        if not self._scope.memory.is_recorded(self._known(meta)):
            return False
        self._see(int(meta.uid), meta)
        now = datetime.now(UTC)
        date = min(meta.internal_date or now, now)
        self._latest_without_cursor = max(filter(None, (self._latest_without_cursor, date)))
        return True

    def add(
        self, row: MailRow, meta: MessageMeta | None, sighting: Sighting | None = None, *, read_bytes: int = 0
    ) -> None:
        """Add the row of a mail to the batch. `read_bytes` is the size of its content in memory."""
        self.seen += row.outcome != MailOutcome.GONE  # it is not among those that the server counts
        self._see(row.uid, meta)
        if row.outcome not in _NOT_NEW:
            self.was_empty = False
        known = self._known(meta) if self.by_date and meta is not None else None
        # By UID above the cursor, so that no row is there already that waits for its own outcome.
        is_gap = row.outcome == MailOutcome.GONE and not self.by_date and row.uid > self.last_uid
        self._batch.add(row, sighting, known, read_bytes=read_bytes, is_gap=is_gap)

    async def record_batch(self) -> None:
        """Record the batch and move the cursor to its last mail; by date, leave the cursor alone."""
        if self.pending:
            await self._record(None if self.by_date else max(self._last_seen_uid, self.last_uid))

    async def finish(self, *, baseline: MessageMeta | int = 0) -> None:
        """Record the rest of a catch-up and move the cursor past all mails seen, and to `baseline` at least.

        `baseline` is a mail or, if its metadata are not known, a UID. Nothing is written if nothing is new.
        """
        if not isinstance(baseline, int):
            self._see(int(baseline.uid), baseline)
            baseline = int(baseline.uid)
        last_uid = max(self._last_seen_uid, baseline, self.last_uid)
        if self.by_date:
            self.was_empty = last_uid == 0
        if self.pending or last_uid > self.last_uid or self.by_date:
            await self._record(last_uid)
        self._scope.memory.finish_catch_up()

    async def void_cursor(self) -> None:
        """Record that there is no cursor, as the first act of a new numbering: anything may break off after it."""
        cursor = cursor_at(self.numbering, None, self.latest_date)
        await self._until_recorded(cursor)
        self.row = replace(self.row, cursor=cursor)

    async def _record(self, last_uid: int | None) -> None:
        """Record the batch and move the cursor in one statement, then ring. None leaves the cursor alone.

        While PostgreSQL is unreachable this waits, and the connection with it: nothing is lost or read meanwhile.
        Raises Fenced if another idler owns the user's shard, or the cursor was moved, and BacklogFull if the
        partner is held: then nothing is written.
        """
        if self.pending:
            self._scope.context.holds.check(self.row.partner_id)
        latest = self._latest()
        cursor = self.row.cursor if last_uid is None else self._cursor(last_uid, latest)
        retry_in = first_retry(self.pending, self._scope.context.timing)
        recorded = await self._until_recorded(cursor, retry_in)
        for outcome in recorded.outcomes:
            metrics.MESSAGES.labels(outcome).inc()
            self.has_duplicates |= outcome == MailOutcome.DUPLICATE
        if recorded.outcomes:
            STAGE_TIMES.observe(self._scope.watched.provider_code, self.pending, self._batch.sightings)
        self.row = replace(self.row, cursor=cursor)
        if retry_in:
            await self._keep_deferred(retry_in)
        if last_uid is None:
            self._latest_without_cursor = latest
            self._scope.memory.add_recorded(self._batch.known)
        else:
            self.last_uid, self.latest_date, self._latest_without_cursor = last_uid, latest, None
            self.last_mail, self._last_seen = cursor.last_mail, None
            self.by_date = False
        self.discard()
        for endpoint_id in recorded.endpoints:
            await self._scope.context.queue.ring(endpoint_id)
        self._scope.memory.count_intake(recorded.outcomes)

    async def _keep_deferred(self, retry_in: float) -> None:
        """Remember the mails that were recorded as deferred: not those that were read before in this numbering."""
        uids = [row.uid for row in self.pending if row.outcome == MailOutcome.DEFERRED]
        known = await until_answered(
            lambda: deferred_among(
                self._scope.context.pool, self.row.id, uids, uid_validity=self.uid_validity
            ),
            user_id=self._scope.watched.user_id,
        )
        self._scope.memory.deferred.add_rows(self.pending, self.place, known, retry_in=retry_in)
        for row in self.pending:
            self._scope.memory.suspects.forget(row.uid)

    def _cursor(self, last_uid: int, latest: datetime | None) -> Cursor:
        """Return the cursor after the mails seen."""
        last_mail = self.last_mail
        if self._is_last_mail_kept:
            return cursor_at(self.numbering, last_uid, latest, last_mail=last_mail, was_empty=self.was_empty)
        if self._last_seen is not None and (last_mail is None or self._last_seen.uid >= last_mail.uid):
            last_mail = known_mail(self._last_seen)
        return cursor_at(self.numbering, last_uid, latest, last_mail=last_mail, was_empty=self.was_empty)

    def _see(self, uid: int, meta: MessageMeta | None) -> None:
        self._last_seen_uid = max(self._last_seen_uid, uid)
        if meta is not None and (self._last_seen is None or meta.uid >= self._last_seen.uid):
            self._last_seen = meta

    async def _until_recorded(self, cursor: Cursor, retry_in: float = 0.0) -> Recorded:
        """Try until PostgreSQL answers."""
        recorded = await until_answered(
            lambda: queries.record(
                self._scope.context.pool,
                self.row,
                self._scope.fence,
                cursor,
                self.pending,
                sightings=self._batch.sightings,
                uid_validity=self.uid_validity,
                retry_in=retry_in,
            ),
            user_id=self._scope.watched.user_id,
        )
        self._scope.memory.recorded_at = asyncio.get_running_loop().time()
        return recorded

    def _latest(self) -> datetime | None:
        """Return the latest INTERNALDATE known. A date in the future counts as now: it would hide other mails."""
        now = datetime.now(UTC)
        dates = [min(each.internal_date, now) for each in self.pending if each.internal_date]
        known = filter(None, (self.latest_date, self._latest_without_cursor))
        return max([*dates, *known], default=None)

    def _known(self, meta: MessageMeta) -> RecordedMail:
        return self.uid_validity, int(meta.uid), identity_of(meta)
