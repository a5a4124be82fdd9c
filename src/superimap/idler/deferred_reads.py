"""Further attempts at deferred mails, by the session that holds their mailbox."""

import logging
import random
import time
from collections.abc import Callable

from superimap.core import metrics
from superimap.db.watching import deferrals as deferral_queries
from superimap.db.watching import intake as queries
from superimap.db.watching.deferrals import FailedAttempt
from superimap.db.watching.intake import MailRow
from superimap.domain.deferrals import (
    LONGEST_UNPROVEN_RETRY_SECONDS,
    failure_credit,
    retry_delay,
    silence_limit,
)
from superimap.domain.mails import MailOutcome
from superimap.idler import mailbox_queries, server_pauses
from superimap.idler.control_reads import read_control
from superimap.idler.deferred_mails import MailDeferral
from superimap.idler.mail_reader import MailReader, ReadMail
from superimap.idler.mailbox import WatchedMailbox
from superimap.idler.outages import until_answered
from superimap.idler.read_errors import Undated
from superimap.idler.scope import ConnectionScope
from superimap.imap.errors import ImapError, LimitExceeded
from superimap.imap.types import MessageMeta, Uid

log = logging.getLogger(__name__)


class DeferredReads:
    """The procedure that tries the deferred mails of one mailbox on one connection, when they are due.

    Nothing is pending in the mailbox meanwhile. Each result is recorded before the next mail is tried.
    """

    __slots__ = ("_reader", "_scope")

    def __init__(self, scope: ConnectionScope, reader: MailReader) -> None:
        self._scope = scope
        self._reader = reader

    async def run(self, mailbox: WatchedMailbox, *, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """Try the mails that are due, until `is_urgent`: then something else is to be done first."""
        suspects = self._scope.memory.suspects
        try:
            for mail in self._scope.memory.deferred.due(mailbox.place):
                if is_urgent():
                    return
                if suspects.last_read_at <= mail.last_attempt and not await self._is_server_well(mailbox):
                    self._postpone(mailbox)
                    return
                await self._try(mailbox, mail)
        finally:
            mailbox.discard()

    async def _is_server_well(self, mailbox: WatchedMailbox) -> bool:
        """Return whether another mail can be read, or there is no other mail."""
        try:
            return (
                await read_control(
                    self._scope.client, mailbox, self._scope.memory.suspects, max_size=self._reader.max_size
                )
                is not False
            )
        finally:
            mailbox.discard()

    def _postpone(self, mailbox: WatchedMailbox) -> None:
        """Try the mails that are due later: the server is at fault, which counts against none of them."""
        for mail in self._scope.memory.deferred.due(mailbox.place):
            mail.due = time.monotonic() + self._delay(mail.attempts, is_proven=False)

    async def _try(self, mailbox: WatchedMailbox, mail: MailDeferral) -> None:
        """Read a mail once more and record what becomes of it. Raises the error if it ends the session."""
        try:
            with self._scope.client.limited_silence(self._silence_limit(mail)):
                read = await self._read(mailbox, mail)
        except ImapError as error:
            await self._failed(mailbox, mail, error)
            return
        if read.read_bytes is not None:
            self._scope.memory.suspects.record_read(mail.uid)
        await self._record(mailbox, mail, read.row)

    def _silence_limit(self, mail: MailDeferral) -> float:
        gap = time.monotonic() - mail.last_attempt
        return silence_limit(gap, fetch=self._scope.context.timing.timeouts.fetch)

    async def _read(self, mailbox: WatchedMailbox, mail: MailDeferral) -> ReadMail:
        """Read a mail once more. If that is refused, look whether the mail is still there."""
        try:
            bare = MessageMeta(Uid(mail.uid), mail.internal_date, None, mail.message_id)
            meta = await self._meta(mail, bare)
            self._scope.memory.suspects.reserve(
                mail.uid, min(mail.announced_size or 0, self._reader.max_literal)
            )
            read = await self._reader.read(mailbox, mail.uid, meta, by_date=mail.found_by_date)
            if meta is bare and bare.internal_date is None and read.row.outcome == MailOutcome.BEFORE_CONNECT:
                raise Undated
            return read
        except ImapError as error:
            if not server_pauses.is_about_mail(error) or not await self._is_gone(mail):
                raise
        return await self._reader.read(mailbox, mail.uid, None, by_date=False)

    async def _is_gone(self, mail: MailDeferral) -> bool:
        """Return whether a mail is deleted or moved: that is proven, or the server has denied it for long."""
        denied, is_proven = await self._scope.client.denied([mail.uid])
        if not denied:
            mail.absent_since = None
            return False
        now = time.monotonic()
        if mail.absent_since is None:
            mail.absent_since = now
        is_well = self._scope.memory.suspects.last_read_at > mail.last_attempt
        return is_proven or (is_well and now - mail.absent_since >= self._scope.context.timing.gone_after)

    async def _failed(self, mailbox: WatchedMailbox, mail: MailDeferral, error: ImapError) -> None:
        """Record an attempt that failed. Raises the error if it has ended the session."""
        user = {"user_id": mailbox.row.user_id}
        log.info("mail %d could not be read again: %s", mail.uid, error, extra=user)
        await self._record_failure(mailbox, mail, error)
        if not server_pauses.is_about_mail(error):
            self._scope.memory.suspects.note_progress()
            raise error

    async def _meta(self, mail: MailDeferral, bare: MessageMeta) -> MessageMeta | None:
        """Return the metadata of a mail; None if it is gone.

        If it is refused, or has ended the session at the attempt before, return `bare`: what was known before.
        """
        if mail.is_meta_fatal:
            mail.is_meta_fatal = False
            return bare
        try:
            return (await mailbox_queries.fetch_metas(self._scope.client, [mail.uid])).get(mail.uid, bare)
        except ImapError as error:
            if server_pauses.is_about_mail(error):
                return bare
            mail.is_meta_fatal = True
            raise

    async def _record_failure(self, mailbox: WatchedMailbox, mail: MailDeferral, error: ImapError) -> None:
        """Record a failed attempt, or that the mail is given up."""
        mailbox.discard()
        now, timing = time.monotonic(), self._scope.context.timing
        is_proven = self._scope.memory.suspects.last_read_at > mail.last_attempt
        mail.failing_seconds += failure_credit(
            now - mail.last_attempt, is_proven=is_proven, longest_retry=timing.retry_longest
        )
        mail.attempts += 1
        if isinstance(error, LimitExceeded):
            mail.announced_size = error.announced
        if mail.failing_seconds >= timing.give_up:
            await self._give_up(mailbox, mail)
            return
        delay = self._delay(mail.attempts, is_proven=is_proven)
        failed = FailedAttempt(
            uid_validity=mail.place[1],
            uid=mail.uid,
            attempts=mail.attempts,
            failing_seconds=mail.failing_seconds,
            retry_in=delay,
            error=str(error) or type(error).__name__,
            announced_size=mail.announced_size,
        )
        mail.last_attempt, mail.due = now, now + delay
        mail.message = await until_answered(
            lambda: deferral_queries.record_failed_read(
                self._scope.context.pool, mailbox.row, self._scope.fence, failed
            ),
            user_id=mailbox.row.user_id,
        )

    async def _give_up(self, mailbox: WatchedMailbox, mail: MailDeferral) -> None:
        """Record that a mail is given up: too big, if the server announced it so, else unreadable."""
        announced = mail.announced_size
        is_too_big = announced is not None and announced > self._reader.max_size
        await self._record(mailbox, mail, self._reader.given_up_row(mail, announced if is_too_big else None))

    async def _record(self, mailbox: WatchedMailbox, mail: MailDeferral, row: MailRow) -> None:
        """Record the final outcome of a mail, with its webhook or event, and leave the cursor alone."""
        recorded = await until_answered(
            lambda: queries.record(
                self._scope.context.pool,
                mailbox.row,
                self._scope.fence,
                mailbox.row.cursor,
                [row],
                uid_validity=mail.place[1],
            ),
            user_id=mailbox.row.user_id,
        )
        self._scope.memory.deferred.remove(mail)
        mailbox.discard()
        for outcome in recorded.outcomes:
            metrics.MESSAGES.labels(outcome).inc()
        for endpoint_id in recorded.endpoints:
            await self._scope.context.queue.ring(endpoint_id)

    def _delay(self, attempts: int, *, is_proven: bool) -> float:
        timing = self._scope.context.timing
        longest = (
            timing.retry_longest if is_proven else min(timing.retry_longest, LONGEST_UNPROVEN_RETRY_SECONDS)
        )
        return retry_delay(
            attempts,
            first=timing.retry_first,
            longest=longest,
            chance=random.random(),  # noqa: S311 - no secret
        )
