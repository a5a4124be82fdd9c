"""Reading of one mail: judge it by its metadata, read it if it may need a webhook, and build its row."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from superimap.db.watching.intake import MailRow
from superimap.domain.envelope import Envelope
from superimap.domain.folders import OWN_MAIL_USES
from superimap.domain.mail_stages import MailOrigin
from superimap.domain.mails import FORGOTTEN_TOLERANCE, GivenUp, MailFacts, MailOutcome, judge
from superimap.idler import big_mails, mailbox_queries
from superimap.idler.deferred_mails import MailDeferral
from superimap.idler.mail_rows import MailRows, find_twin, parse
from superimap.idler.scope import ConnectionScope
from superimap.imap.errors import ImapError, Refused
from superimap.imap.types import MessageMeta, Uid
from superimap.mail.headers import MAX_HEADER_BYTES
from superimap.mail.message import read_envelope


class ReadableMailbox(Protocol):
    """A mailbox whose mails are read into batches; implemented by `WatchedMailbox` and `SweptMailbox`."""

    @property
    def uid_validity(self) -> int: ...
    @property
    def pending(self) -> Sequence[MailRow]: ...
    def date_tolerance(self, connected_at: datetime) -> timedelta: ...
    async def make_room(self, size: int) -> None: ...


class ReadMail(NamedTuple):
    """The row of a mail; `read_bytes` is the size of its content in memory, None if it was not read."""

    row: MailRow
    read_bytes: int | None = None


class MailReader:
    """Reads the mails of one user on one connection. It records nothing."""

    __slots__ = ("_rows", "_scope")

    def __init__(self, scope: ConnectionScope) -> None:
        self._scope = scope
        self._rows = MailRows(scope.context, scope.watched)

    @property
    def max_size(self) -> int:
        """MAX_EMAIL_SIZE, in bytes."""
        return self._scope.context.settings.max_email_size

    @property
    def max_literal(self) -> int:
        """The largest literal that is received, in bytes."""
        return self._scope.context.limits.literal

    async def read(
        self,
        mailbox: ReadableMailbox,
        uid: int,
        meta: MessageMeta | None,
        *,
        by_date: bool,
        raw: bytes | None = None,
        origin: MailOrigin = MailOrigin.CATCH_UP,
    ) -> ReadMail:
        """Return the row of a mail; `meta` is None if it is gone, and `raw` is given if it is read already.

        `by_date` says that it is new only by its date; `origin` is for its webhook. Raises any ImapError; Refused
        if only this mail failed.
        """
        if meta is not None and raw is not None:
            return await self._judge_content(mailbox, meta, raw, origin, by_date=by_date)
        facts = self._facts(meta, tolerance=self._tolerance(mailbox, by_date))._replace(is_gone=meta is None)
        judgement = judge(facts)
        if meta is not None and judgement[0] is MailOutcome.DELIVERED:
            size = self.max_size if meta.size is None else meta.size
            await mailbox.make_room(self._scope.memory.suspects.room_for(uid, size))
            raw = await mailbox_queries.fetch_raw(self._scope.client, uid)
            if raw is not None:
                self._scope.memory.check_body(uid, raw, meta.size)
                return await self._judge_content(mailbox, meta, raw, origin, by_date=by_date)
            facts = facts._replace(is_gone=True)
            judgement = judge(facts)
        is_announced = meta is not None and judgement[0] is MailOutcome.TOO_BIG
        envelope = await self._read_envelope(mailbox, uid) if is_announced else None
        return ReadMail(
            self._rows.row_without_webhook(
                uid, meta, facts, judgement, uid_validity=mailbox.uid_validity, envelope=envelope
            )
        )

    def deferred_row(self, uid: int, meta: MessageMeta | None, error: str, *, by_date: bool) -> MailRow:
        """Return the row of a mail that could not be read."""
        return self._rows.deferred_row(uid, meta, error, by_date=by_date)

    def given_up_row(
        self, mail: MailDeferral, literal_size: int | None, reason: str | None = None
    ) -> MailRow:
        """Return the row of a mail that could not be read for too long, or for another `reason`.

        `literal_size` is the size in bytes that the server announced, if the mail is too big.
        """
        meta = MessageMeta(Uid(mail.uid), mail.internal_date, mail.size or None, mail.message_id)
        facts = self._facts(meta)._replace(announced_size=0, given_up=GivenUp(literal_size))
        outcome, usual = judge(facts)
        return self._rows.row_without_webhook(
            mail.uid,
            meta,
            facts._replace(announced_size=mail.size),
            (outcome, reason or usual),
            uid_validity=mail.place[1],
            deferral=mail,
        )

    async def _judge_content(
        self, mailbox: ReadableMailbox, meta: MessageMeta, raw: bytes, origin: MailOrigin, *, by_date: bool
    ) -> ReadMail:
        """Judge a mail that is read, and build its row."""
        parsed = await big_mails.process(parse, raw)
        twin = find_twin(mailbox.pending, bytes.fromhex(parsed.sha1))
        facts = self._facts(
            meta,
            tolerance=self._tolerance(mailbox, by_date),
            raw=raw,
            headers=parsed.headers,
            has_twin=twin is not None,
        )
        judgement = judge(facts)
        outcome = judgement[0]
        is_sent = outcome is MailOutcome.DELIVERED or outcome is MailOutcome.DUPLICATE
        if is_sent or (outcome is MailOutcome.OWN_MAIL and self._rows.has_token(parsed)):
            row = await self._rows.row_with_webhook(
                meta,
                raw,
                parsed,
                outcome,
                uid_validity=mailbox.uid_validity,
                twin=twin,
                batch=mailbox.pending,
                origin=origin,
            )
            return ReadMail(row, len(raw))
        row = self._rows.row_without_webhook(
            int(meta.uid),
            meta,
            facts,
            judgement,
            uid_validity=mailbox.uid_validity,
            envelope=await big_mails.process(read_envelope, raw),
        )
        return ReadMail(row, 0)

    def _tolerance(self, mailbox: ReadableMailbox, by_date: bool) -> timedelta | None:
        """Return the tolerance with which the date of a mail is judged; None if the date does not matter."""
        if not by_date:
            return None
        return mailbox.date_tolerance(self._scope.watched.connected_at)

    @property
    def _forgotten_until(self) -> datetime | None:
        """The moment before which records of mails may be deleted; None if no other folder is watched."""
        if not self._scope.watched.has_other_folders:
            return None
        kept = timedelta(days=self._scope.context.settings.message_retention_days)
        return datetime.now(UTC) - kept + FORGOTTEN_TOLERANCE

    @property
    def _is_own_mail_news(self) -> bool:
        """Whether the mails are read in a folder of sent mail or drafts, which the user's list names."""
        folder = self._scope.watched.folder
        return folder is not None and folder.special_use in OWN_MAIL_USES

    def _facts(
        self,
        meta: MessageMeta | None,
        *,
        tolerance: timedelta | None = None,
        raw: bytes | None = None,
        headers: Mapping[str, Sequence[bytes]] | None = None,
        has_twin: bool = False,
    ) -> MailFacts:
        """Collect what is known of a mail without the tables; `tolerance` is None if its UID shows it new."""
        return MailFacts(
            connected_at=self._scope.watched.connected_at,
            max_size=self.max_size,
            internal_date=meta.internal_date if meta else None,
            announced_size=(meta.size or 0) if meta else 0,
            labels=meta.labels if meta and not self._is_own_mail_news else (),
            by_date=tolerance is not None,
            tolerance=tolerance or timedelta(),
            forgotten_until=self._forgotten_until,
            raw=raw,
            headers=headers,
            has_twin=has_twin,
            has_tracers=self._scope.watched.has_tracers,
        )

    async def _read_envelope(self, mailbox: ReadableMailbox, uid: int) -> Envelope | None:
        """Read the envelope of a mail that is too big to be read; None if the server fails to send its headers.

        If that ends the session, the next one does without them.
        """
        if self._scope.memory.has_broken_header(uid):
            return None
        await mailbox.make_room(MAX_HEADER_BYTES)
        try:
            header = await self._scope.client.fetch_header(uid)
        except Refused:
            return None
        except ImapError:
            self._scope.memory.record_broken_header(uid)
            raise
        return None if header is None else await big_mails.process(read_envelope, header)
