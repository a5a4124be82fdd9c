"""How does a found mail become a webhook owed? Judged, sealed, gathered, and recorded at once."""

import asyncio
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from superimap.core import metrics
from superimap.core.backoff import Backoff
from superimap.core.crypto import Place
from superimap.core.ids import time_ordered
from superimap.db.postgres import UNAVAILABLE
from superimap.db.watching import intake as queries
from superimap.db.watching.intake import Cursor, Fence, MailboxRow, Recorded, Seen
from superimap.db.watching.sessions import WatchedUser
from superimap.domain.mails import MailOutcome
from superimap.idler import big_mails, sync
from superimap.idler.context import IdlerContext
from superimap.idler.read_failures import Known
from superimap.imap.types import MessageMeta
from superimap.mail import envelope as envelopes
from superimap.mail import message as mail
from superimap.mail import tracer
from superimap.webhooks import payload

log = logging.getLogger(__name__)

MOST_MAILS = 100
MOST_BYTES = 4 * 1024 * 1024


class Intake:
    """What was seen of one mailbox and is not recorded yet."""

    def __init__(
        self,
        context: IdlerContext,
        watched: WatchedUser,
        box: MailboxRow,
        fence: Fence,
        uid_validity: int,
        recorded: set[Known] | None = None,
    ) -> None:
        self.uid_validity = uid_validity
        self.last_uid = 0
        self.last_seen = 0
        self.latest = box.cursor.last_internal_date
        self.by_date = False
        self.seen: list[Seen] = []
        self._context = context
        self._watched = watched
        self.box = box
        self._fence = fence
        self._room = context.byte_limits.for_host(watched.imap_host, is_named=watched.has_own_server)
        self._bytes = 0
        self._held = 0
        self._unsettled: datetime | None = None
        self._recorded = set() if recorded is None else recorded  # by earlier tries of this look by date
        self._known: list[Known] = []  # what was seen by date and is not recorded yet

    @property
    def is_full(self) -> bool:
        """Whether it is time to flush."""
        return len(self.seen) >= MOST_MAILS or self._bytes >= MOST_BYTES

    @property
    def cursor(self) -> Cursor:
        """Where the mailbox stands."""
        return Cursor(self.uid_validity, self.last_uid, self.latest)

    def close(self) -> None:
        """Drop what is not recorded, and give its room back. It will be found again from the cursor."""
        self.seen, self._known, self._bytes = [], [], 0
        self._room.release(self._held)
        self._held = 0

    async def make_room(self, size: int) -> None:
        """Wait until `size` more bytes may be read; what is held is recorded first rather than waited with."""
        if self.seen and not self._room.has_room(size):
            await self.flush_part()
        self._held += await self._room.acquire(size)

    def is_recorded(self, meta: MessageMeta) -> bool:
        """Whether an earlier try has recorded this mail, which is then accounted for."""
        if self._know(meta) not in self._recorded:
            return False
        self.last_seen = max(self.last_seen, meta.uid)
        self._unsettled = max(filter(None, (self._unsettled, min(meta.internal_date, datetime.now(UTC)))))
        return True

    def _know(self, meta: MessageMeta) -> Known:
        return self.uid_validity, int(meta.uid), sync.identity(meta)

    def _see(self, uid: int, meta: MessageMeta | None) -> None:
        self.last_seen = max(self.last_seen, uid)
        if self.by_date and meta is not None:
            self._known.append(self._know(meta))

    def skip(
        self, uid: int, meta: MessageMeta | None, outcome: MailOutcome, detail: str, size: int | None = None
    ) -> None:
        """Record a mail that is not sent, and why; `size` is what it truly has, if that is not what was said.

        Of one that is too big an event tells.
        """
        message_id = meta.envelope.message_id if meta and meta.envelope else None
        self._see(uid, meta)
        seen = Seen(
            uid=uid,
            internal_date=meta.internal_date if meta else None,
            size=size or (meta.size if meta else 0),
            outcome=outcome,
            detail=detail,
            message_id=message_id[:255] if message_id else None,
        )
        if meta is not None and outcome == MailOutcome.TOO_BIG:
            delivery_id = time_ordered()
            content = self._seal(self._oversized(meta, seen.size), delivery_id)
            seen = replace(seen, delivery_id=delivery_id, content=content)
        self.seen.append(seen)

    async def take(self, meta: MessageMeta, raw: bytes) -> None:
        """Record a mail with the webhook that it is owed; the second of two in one batch is a duplicate.

        Whether it is a copy of an earlier mail, or a tracer of ours, is for PostgreSQL to say: if so it drops
        the content.
        """
        read = await big_mails.process(_read, raw)
        sha1 = bytes.fromhex(read.sha1)
        twin = self._twin(sha1)
        delivery_id = time_ordered()
        content = (
            None if twin else await big_mails.process(self._sealed_content, raw, meta, read, delivery_id)
        )
        self._see(meta.uid, meta)
        self.seen.append(
            Seen(
                uid=int(meta.uid),
                internal_date=meta.internal_date,
                size=len(raw),
                outcome=MailOutcome.DUPLICATE if twin else MailOutcome.DELIVERED,
                sha1=sha1,
                fingerprint=read.fingerprint,
                message_id=read.message_id,
                delivery_id=delivery_id,
                content=content,
                twin_uid=twin.uid if twin else None,
                token_digest=None if twin else self._token_digest(read),
            )
        )
        self._bytes += len(raw)

    async def flush_part(self) -> None:
        """Record what was seen so far.

        Where mails are looked for by date their UIDs are in no order that matters, so that there is a cursor
        only once all are recorded: until then they are looked for by the same date again.
        """
        if self.seen:
            await self._record(None if self.by_date else self.last_seen)

    async def flush(self, *, last_uid: int) -> None:
        """Record everything and move the cursor to `last_uid`: all up to there is accounted for."""
        await self._record(last_uid)

    async def begin_anew(self) -> None:
        """UIDs mean other mails now: write down that there is no cursor, before anything can break off."""
        cursor = Cursor(self.uid_validity, None, self.latest)
        await self._until_recorded(cursor)
        self.box = replace(self.box, cursor=cursor)

    async def _record(self, last_uid: int | None) -> None:
        """Record everything and move the cursor, in one statement; then ring. None leaves the cursor alone.

        While PostgreSQL is away this waits, and the connection with it: nothing is lost or read meanwhile.
        Raises Fenced if the user's shard is another's by now, or the cursor is elsewhere: nothing is written.
        """
        latest = self._latest()
        cursor = self.box.cursor if last_uid is None else Cursor(self.uid_validity, last_uid, latest)
        recorded = await self._until_recorded(cursor)
        for outcome in recorded.outcomes:
            metrics.MESSAGES.labels(outcome).inc()
        self.box = replace(self.box, cursor=cursor)
        if last_uid is None:
            self._unsettled = latest
            self._recorded.update(self._known)
        else:
            self.last_uid, self.latest, self._unsettled = last_uid, latest, None
        self.close()
        for endpoint_id in recorded.endpoints:
            await self._context.queue.ring(endpoint_id)

    async def _until_recorded(self, cursor: Cursor) -> Recorded:
        """Try until PostgreSQL answers. A try whose answer got lost is repeated safely."""
        backoff = Backoff(first=0.5, longest=10.0)
        while True:
            try:
                return await queries.record(
                    self._context.pool,
                    self.box,
                    self._fence,
                    cursor,
                    self.seen,
                    uid_validity=self.uid_validity,
                )
            except UNAVAILABLE as error:
                log.warning("waiting for PostgreSQL: %s", error, extra={"user_id": self._watched.user_id})
                await asyncio.sleep(backoff.next())

    def _latest(self) -> datetime | None:
        """The latest INTERNALDATE known; a mail from the future counts as of now, or it would hide others."""
        now = datetime.now(UTC)
        dates = [min(each.internal_date, now) for each in self.seen if each.internal_date]
        return max([*dates, *filter(None, (self.latest, self._unsettled))], default=None)

    def _twin(self, sha1: bytes) -> Seen | None:
        """The same bytes in this batch. The same headers are not enough: all here are in one numbering."""
        return next((other for other in self.seen if other.sha1 == sha1 and other.content), None)

    def _token_digest(self, read: mail.ParsedMail) -> bytes | None:
        """What a tracer of ours is known by; None for any other mail. A token counts once in a batch."""
        token = tracer.token_in(read.headers)
        if token is None or not tracer.is_valid(
            token, self._watched.user_id, self._context.tracer_keys, now=time.time()
        ):
            return None
        found = tracer.digest(token)
        return None if any(other.token_digest == found for other in self.seen) else found

    def _sealed_content(
        self, raw: bytes, meta: MessageMeta, read: mail.ParsedMail, delivery_id: UUID
    ) -> bytes:
        text, was_scrubbed = mail.decode_text(raw)
        content = payload.new_mail(
            raw,
            read,
            text=text,
            is_exact=not was_scrubbed,
            envelope=envelopes.as_json(meta.envelope or read.envelope),
            user_tag=self._watched.tag,
            imap_provider_code=self._watched.provider_code,
        )
        return self._seal(content, delivery_id)

    def _oversized(self, meta: MessageMeta, size: int) -> bytes:
        return payload.mail_oversized(
            user_tag=self._watched.tag,
            imap_provider_code=self._watched.provider_code,
            happened_at=datetime.now(UTC),
            uid_validity=self.uid_validity,
            uid=int(meta.uid),
            internal_date=meta.internal_date,
            size=size,
            limit=self._context.settings.max_email_size,
            envelope=envelopes.as_json(meta.envelope) if meta.envelope else None,
        )

    def _seal(self, content: bytes, delivery_id: UUID) -> bytes:
        place = Place("deliveries", "content", self._watched.partner_id, str(delivery_id))
        return self._context.vault.seal(content, place)


def _read(raw: bytes) -> mail.ParsedMail:
    read = mail.parse(raw)
    _ = read.fingerprint  # made here, where there is time
    return read
