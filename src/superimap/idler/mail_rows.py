"""Rows to record for mails, with their encrypted webhook content."""

import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from superimap.core.crypto import Place
from superimap.core.ids import derived_uuid7, uuid7
from superimap.db.watching.intake import MailRow, storable_error
from superimap.db.watching.sessions import WatchedUser
from superimap.domain.envelope import Envelope
from superimap.domain.mail_stages import MailOrigin
from superimap.domain.mails import MailFacts, MailJudgement, MailOutcome
from superimap.idler import big_mails
from superimap.idler.context import IdlerContext
from superimap.idler.deferred_mails import MailDeferral
from superimap.imap.types import MessageMeta
from superimap.mail import envelope as envelopes
from superimap.mail import message as mail
from superimap.mail import tracer
from superimap.webhooks import payload

MAX_AGE_OF_DERIVED_ID = timedelta(hours=1)
"""Time between a mail's INTERNALDATE and its record up to which its delivery has an id of the mail."""


def parse(raw: bytes) -> mail.ParsedMail:
    """Parse a mail, and compute its fingerprint at once: for a big mail this runs in a thread."""
    parsed = mail.parse(raw)
    _ = parsed.fingerprint  # a cached property
    return parsed


def find_twin(batch: Sequence[MailRow], sha1: bytes) -> MailRow | None:
    """Return the mail of the batch that has the same bytes and webhook content.

    The same headers are not enough: all mails of a batch are in one numbering. Empty mails are not the same one.
    """
    return next((other for other in batch if other.sha1 == sha1 and other.content and other.size), None)


def event_fingerprint(meta: MessageMeta) -> bytes | None:
    """Return what identifies a mail of which no content is known, so that there is one event about it.

    None if too little is known of it.
    """
    if meta.message_id is None and meta.internal_date is None:
        return None
    size = meta.size if meta.message_id is None else None  # an estimate on some servers
    known = ("event", meta.message_id, meta.internal_date and meta.internal_date.astimezone(UTC), size)
    return hashlib.sha256(repr(known).encode()).digest()


class MailRows:
    """Builder of the rows for one user's mails. It changes nothing."""

    __slots__ = ("_context", "_watched")

    def __init__(self, context: IdlerContext, watched: WatchedUser) -> None:
        self._context = context
        self._watched = watched

    def row_without_webhook(
        self,
        uid: int,
        meta: MessageMeta | None,
        facts: MailFacts,
        judgement: MailJudgement,
        *,
        uid_validity: int,
        envelope: Envelope | None = None,
        deferral: MailDeferral | None = None,
    ) -> MailRow:
        """Build the row of a mail without a webhook; with an event, if it is too big or could not be read.

        `envelope` is for the event; None if the headers could not be read. `deferral` is that of a mail that was
        deferred until now.
        """
        outcome, reason = judgement
        delivery_id = content = fingerprint = None
        if meta is not None and outcome in (MailOutcome.TOO_BIG, MailOutcome.UNREADABLE):
            fingerprint = event_fingerprint(meta)
            began = f" {deferral.began.timestamp()}" if deferral else ""  # a later one makes another event
            identity = f"{outcome} {fingerprint!r}{began}"
            delivery_id = self._delivery_id(meta, identity, uid_validity=uid_validity)
        if delivery_id is not None and meta is not None and outcome == MailOutcome.TOO_BIG:
            content = self._seal(self._oversized_event(meta, facts, uid_validity, envelope), delivery_id)
        elif delivery_id is not None and meta is not None:
            content = self._seal(self._unreadable_event(meta, uid_validity, deferral, reason), delivery_id)
        return MailRow(
            uid=uid,
            internal_date=meta.internal_date if meta else None,
            size=facts.size,
            outcome=outcome,
            detail=reason,
            fingerprint=fingerprint,
            message_id=meta.message_id if meta else None,
            delivery_id=delivery_id,
            content=content,
        )

    def deferred_row(self, uid: int, meta: MessageMeta | None, error: str, *, by_date: bool) -> MailRow:
        """Build the row of a mail that could not be read; `error` says why, for people."""
        return MailRow(
            uid=uid,
            internal_date=meta.internal_date if meta else None,
            size=(meta.size or 0) if meta else 0,
            outcome=MailOutcome.DEFERRED,
            detail=storable_error(error),
            message_id=meta.message_id if meta else None,
            found_by_date=by_date,
        )

    async def row_with_webhook(
        self,
        meta: MessageMeta,
        raw: bytes,
        parsed: mail.ParsedMail,
        outcome: MailOutcome,
        *,
        uid_validity: int,
        twin: MailRow | None,
        batch: Sequence[MailRow],
        origin: MailOrigin,
    ) -> MailRow:
        """Build the row of a mail with its webhook content; without content if the batch holds its `twin`.

        PostgreSQL decides whether the mail is a copy of an earlier one, or a tracer, and then drops the content.
        """
        is_swept = origin is MailOrigin.SWEEP  # its record says what was sent; a mail may be sent again
        delivery_id = uuid7() if is_swept else self._delivery_id(meta, parsed.sha1, uid_validity=uid_validity)
        content = token_digest = None
        if twin is None:
            sealed = await big_mails.process(
                self._sealed_content, raw, parsed, delivery_id, meta.internal_date, origin
            )
            content = await self._context.contents.put(sealed, self._place(delivery_id))
            token_digest = self._token_digest(parsed, batch)
        return MailRow(
            uid=int(meta.uid),
            internal_date=meta.internal_date,
            size=len(raw),
            outcome=outcome,
            sha1=bytes.fromhex(parsed.sha1),
            fingerprint=parsed.fingerprint,
            message_id=parsed.message_id,
            delivery_id=delivery_id,
            content=content,
            twin_uid=twin.uid if twin else None,
            token_digest=token_digest,
            fetched_at=None if token_digest is None else time.monotonic(),
        )

    def has_token(self, parsed: mail.ParsedMail) -> bool:
        """Return whether the mail carries a token that we signed for this user; it may have been used before."""
        return self._token_digest(parsed, ()) is not None

    def _delivery_id(self, meta: MessageMeta, content: str, *, uid_validity: int) -> UUID:
        """Return the id of the mail's delivery: the same if PostgreSQL loses the mail and it is read again.

        `content` is the SHA-1 of the mail, or identifies its event. A mail whose INTERNALDATE is further from now
        has a random id, because ids increase with time.
        """
        date, now = meta.internal_date, datetime.now(UTC)
        if date is None or abs(now - date) > MAX_AGE_OF_DERIVED_ID:
            return uuid7()
        watched = self._watched
        place = (
            watched.partner_id,
            watched.user_id,
            watched.tag,
            watched.account,
            uid_validity,
            int(meta.uid),
        )
        digest = hashlib.sha256(f"{place} {content}".encode()).digest()
        return derived_uuid7(date, int(meta.uid), digest)

    def _token_digest(self, parsed: mail.ParsedMail, batch: Sequence[MailRow]) -> bytes | None:
        """Return the digest by which a tracer of ours is known; None for any other mail.

        A token counts once in a batch.
        """
        token = tracer.token_in(parsed.headers)
        if token is None or not tracer.is_valid(
            token, self._watched.user_id, self._context.tracer_keys, now=time.time()
        ):
            return None
        digest = tracer.digest(token)
        return None if any(other.token_digest == digest for other in batch) else digest

    def _sealed_content(
        self,
        raw: bytes,
        parsed: mail.ParsedMail,
        delivery_id: UUID,
        received_at: datetime | None,
        origin: MailOrigin,
    ) -> bytes:
        text, was_scrubbed = mail.decode_text(raw)
        content = payload.new_mail(
            raw,
            parsed,
            text=text,
            is_exact=not was_scrubbed,
            envelope=envelopes.as_json(parsed.envelope),
            user_tag=self._watched.tag,
            imap_provider_code=self._watched.provider_code,
            received_at=received_at,
            origin=origin,
            folder=self._watched.folder,
        )
        return self._seal(content, delivery_id)

    def _oversized_event(
        self, meta: MessageMeta, facts: MailFacts, uid_validity: int, envelope: Envelope | None
    ) -> bytes:
        return payload.mail_oversized(
            user_tag=self._watched.tag,
            imap_provider_code=self._watched.provider_code,
            happened_at=datetime.now(UTC),
            uid_validity=uid_validity,
            uid=int(meta.uid),
            internal_date=meta.internal_date,
            size=facts.size,
            limit=facts.max_size,
            envelope=envelopes.as_json(envelope) if envelope else None,
        )

    def _unreadable_event(
        self, meta: MessageMeta, uid_validity: int, deferral: MailDeferral | None, reason: str | None
    ) -> bytes:
        return payload.mail_unreadable(
            user_tag=self._watched.tag,
            imap_provider_code=self._watched.provider_code,
            happened_at=datetime.now(UTC),
            uid_validity=uid_validity,
            uid=int(meta.uid),
            internal_date=meta.internal_date,
            message=deferral.message if deferral else None,
            reason=reason,
        )

    def _seal(self, content: bytes, delivery_id: UUID) -> bytes:
        return self._context.vault.seal_compressed(content, self._place(delivery_id))

    def _place(self, delivery_id: UUID) -> Place:
        return Place("deliveries", "content", self._watched.partner_id, str(delivery_id))
