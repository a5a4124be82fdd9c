"""How does a found mail become a webhook owed? Judged, sealed, gathered, and recorded at once."""

import asyncio
import logging
from dataclasses import replace
from datetime import datetime

from superimap import metrics
from superimap.backoff import Backoff
from superimap.crypto import Place
from superimap.db.engine import UNAVAILABLE
from superimap.db.models.mail import Outcome
from superimap.db.queries import intake as queries
from superimap.db.queries.intake import Cursor, Fence, Mailbox, Recorded, Seen
from superimap.db.queries.watching import Watched
from superimap.idler.context import Context
from superimap.ids import time_ordered
from superimap.imap.types import MessageMeta
from superimap.mail import envelope as envelopes
from superimap.mail import message as mail
from superimap.webhooks import payload

log = logging.getLogger(__name__)

MOST_MAILS = 100
MOST_BYTES = 4 * 1024 * 1024


class Intake:
    """What was seen of one mailbox and is not recorded yet."""

    def __init__(
        self, context: Context, watched: Watched, box: Mailbox, fence: Fence, uid_validity: int
    ) -> None:
        self.uid_validity = uid_validity
        self.last_uid = 0
        self.seen: list[Seen] = []
        self._context = context
        self._watched = watched
        self._box = box
        self._fence = fence
        self._bytes = 0
        self._held = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time to flush."""
        return len(self.seen) >= MOST_MAILS or self._bytes >= MOST_BYTES

    def close(self) -> None:
        """Drop what is not recorded, and give its room back. It will be found again from the cursor."""
        self.seen, self._bytes = [], 0
        self._context.bytes_gate.leave(self._held)
        self._held = 0

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes may be read now; if not, what is held is recorded before waiting."""
        return not self.seen or self._context.bytes_gate.has_room(size)

    async def make_room(self, size: int) -> None:
        """Wait until `size` more bytes may be read."""
        self._held += await self._context.bytes_gate.enter(size)

    def skip(self, uid: int, meta: MessageMeta | None, outcome: Outcome, detail: str) -> None:
        """Record a mail that gets no webhook, and why."""
        message_id = meta.envelope.message_id if meta and meta.envelope else None
        self.seen.append(
            Seen(
                uid=uid,
                internal_date=meta.internal_date if meta else None,
                size=meta.size if meta else 0,
                outcome=outcome,
                detail=detail,
                message_id=message_id[:255] if message_id else None,
            )
        )

    def take(self, meta: MessageMeta, raw: bytes) -> None:
        """Record a mail with the webhook that it is owed; the second of two in one batch is a duplicate."""
        read = mail.parse(raw)
        fingerprint = envelopes.fingerprint(read.envelope)
        sha1 = bytes.fromhex(read.sha1)
        twin = self._twin(sha1, fingerprint)
        delivery_id = time_ordered()
        place = Place("deliveries", "content", self._watched.partner_id, str(delivery_id))
        self.seen.append(
            Seen(
                uid=int(meta.uid),
                internal_date=meta.internal_date,
                size=len(raw),
                outcome=Outcome.DUPLICATE if twin else Outcome.DELIVERED,
                detail=f"the same mail as UID {twin.uid}" if twin else None,
                sha1=sha1,
                fingerprint=fingerprint,
                message_id=read.message_id,
                delivery_id=delivery_id,
                content=None if twin else self._context.vault.seal(self._content(meta, read, raw), place),
            )
        )
        self._bytes += len(raw)

    async def flush(self, *, last_uid: int | None) -> None:
        """Record everything and move the cursor to `last_uid`, in one statement; then ring.

        None leaves the cursor where it is: a visit by date sees UIDs in no order that a cursor could stand
        for until its end. If it is interrupted it begins anew, and what was recorded is passed over.
        While PostgreSQL is away this waits, and the connection with it: nothing is lost or read meanwhile.
        Raises Fenced if the user's shard is another's by now, or the cursor is elsewhere: nothing is written.
        """
        cursor = self._box.cursor
        if last_uid is not None:
            cursor = Cursor(self.uid_validity, last_uid, _latest(self.seen))
        recorded = await self._record(cursor)
        for outcome in recorded.outcomes:
            metrics.MESSAGES.labels(outcome).inc()
        self._box = replace(self._box, cursor=cursor)
        self.last_uid = self.last_uid if last_uid is None else last_uid
        self.close()
        if recorded.endpoint_id is not None:
            await self._context.queue.ring(recorded.endpoint_id)

    async def _record(self, cursor: Cursor) -> Recorded:
        """Try until PostgreSQL answers. A try whose answer got lost is repeated safely."""
        backoff = Backoff(first=0.5, longest=10.0)
        while True:
            try:
                return await queries.record(
                    self._context.pool,
                    self._box,
                    self._fence,
                    cursor,
                    self.seen,
                    uid_validity=self.uid_validity,
                )
            except UNAVAILABLE as error:
                log.warning("waiting for PostgreSQL: %s", error, extra={"user_id": self._watched.user_id})
                await asyncio.sleep(backoff.next())

    def _twin(self, sha1: bytes, fingerprint: bytes | None) -> Seen | None:
        for other in self.seen:
            if other.outcome == Outcome.DELIVERED and (
                other.sha1 == sha1 or (fingerprint is not None and other.fingerprint == fingerprint)
            ):
                return other
        return None

    def _content(self, meta: MessageMeta, read: mail.Mail, raw: bytes) -> bytes:
        text, was_scrubbed = mail.text_of(raw)
        return payload.new_mail(
            raw,
            text=text,
            is_exact=not was_scrubbed,
            sha1=read.sha1,
            envelope=envelopes.as_json(meta.envelope or read.envelope),
            user_tag=self._watched.tag,
            imap_provider_code=self._watched.provider_code,
        )


def _latest(seen: list[Seen]) -> datetime | None:
    return max((each.internal_date for each in seen if each.internal_date), default=None)
