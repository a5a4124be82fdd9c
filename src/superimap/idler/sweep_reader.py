"""Reading of a sweep's mails: which are in its range and need a webhook, and their rows."""

import time
from dataclasses import replace

from superimap.db.watching import sweeps as queries
from superimap.db.watching.sweep_records import SweepView
from superimap.domain import sweeps as pace
from superimap.domain.mail_stages import MailOrigin
from superimap.domain.mails import MailFacts, MailOutcome, judge
from superimap.idler import mailbox_queries, server_pauses
from superimap.idler.control_reads import read_control
from superimap.idler.mail_reader import MailReader
from superimap.idler.read_errors import NothingReadable, Withheld
from superimap.idler.scope import ConnectionScope
from superimap.idler.suspects import Pieces
from superimap.idler.swept_mailbox import SweptMailbox
from superimap.imap.errors import ImapError
from superimap.imap.types import MessageMeta

READ_AGAIN = frozenset(
    {
        MailOutcome.BEFORE_CONNECT,
        MailOutcome.NO_WEBHOOK,
        MailOutcome.TOO_BIG,
        MailOutcome.UNREADABLE,
        MailOutcome.GONE,
    }
)
"""Outcomes of recorded mails that a sweep judges once more; all others are known."""
SENT = frozenset({MailOutcome.DELIVERED, MailOutcome.DUPLICATE})
"""Outcomes of mails that had their webhook; they are read with `again`."""


class SweepReader:
    """Reader of one sweep on one connection.

    As in a catch-up, a mail is passed over as unread only if another mail can be read after its failure.
    """

    def __init__(self, scope: ConnectionScope, view: SweepView) -> None:
        self._scope = scope
        self._view = view
        self._reader = MailReader(scope)
        self._suspects = scope.memory.suspects

    async def read(self, mailbox: SweptMailbox, pieces: Pieces, piece: list[int]) -> None:
        """Look at these mails, and add those to send to the batch. Returns early when `limit` is reached.

        Raises any ImapError, and what the record of a batch raises.
        """
        failed = self._suspects.get(piece[0]) if len(piece) == 1 else None
        if failed is not None:  # it ended an earlier connection
            await self._pass_over(mailbox, piece[0], failed.error)
            return
        found = await self._fetch_metas(mailbox, pieces, piece)
        known = await queries.find_known(self._scope.context.pool, mailbox.place, list(found))
        for uid, meta in found.items():
            if mailbox.has_too_many_unread or await self.has_sent_all(mailbox):
                return
            if isinstance(meta, Withheld):
                await self._pass_over(mailbox, uid, str(meta))
                continue
            self._suspects.clear(uid)
            await self._look_at(mailbox, uid, meta, known.get(uid))
            if mailbox.is_full:
                await mailbox.record()

    async def has_sent_all(self, mailbox: SweptMailbox) -> bool:
        """Return whether as many mails are sent as were asked for."""
        if self._view.max_mails is None or mailbox.may_send < self._view.max_mails:
            return False
        await mailbox.record()  # some may have been sent before
        return mailbox.sent >= self._view.max_mails

    async def is_server_well(self, mailbox: SweptMailbox) -> bool:
        """Return whether another mail can be read, or there is no other mail. Raises any ImapError."""
        control = await read_control(
            self._scope.client, mailbox, self._suspects, max_size=self._reader.max_size
        )
        return control is not False

    async def see(self, mailbox: SweptMailbox, uid: int, meta: MessageMeta, outcome: str | None) -> None:
        """Count a mail of the range, or read it. Raises any ImapError, Refused if only this mail failed."""
        is_sent = outcome in SENT
        if outcome is not None and outcome not in READ_AGAIN and not (is_sent and self._view.again):
            mailbox.batch.known += 1
        elif self._judge(meta) is not MailOutcome.DELIVERED:
            mailbox.batch.skipped += 1
        elif self._view.dry_run:
            mailbox.batch.would_send += 1
        else:
            await self._read(mailbox, uid, meta)

    async def _fetch_metas(
        self, mailbox: SweptMailbox, pieces: Pieces, piece: list[int]
    ) -> dict[int, MessageMeta | Withheld | None]:
        """Return the metadata of mails; those of which it is refused are put back, to be fetched in parts."""
        try:
            found = await mailbox_queries.fetch_metas(self._scope.client, piece)
        except ImapError as error:
            self._suspects.add_batch(piece, error)
            if not server_pauses.is_about_mail(error):
                raise
            if len(piece) > 1:
                pieces.put_back(piece)
            else:
                await self._pass_over(mailbox, piece[0], str(error))
            return {}
        missing = [uid for uid in piece if uid not in found]
        if len(missing) > 1:  # perhaps one of them has spoiled the answer for the others
            self._suspects.add_batch(missing, Withheld())
            at = piece.index(missing[0])
            pieces.put_back(piece[at:])
            piece = piece[:at]
        return {uid: found.get(uid, Withheld()) for uid in piece}

    async def _look_at(
        self, mailbox: SweptMailbox, uid: int, meta: MessageMeta | None, outcome: str | None
    ) -> None:
        """See a mail if it is there and in the range, and pass over it if only this mail cannot be read."""
        try:
            if meta is not None:
                await self.see_in_range(mailbox, uid, meta, outcome)
        except ImapError as error:
            if not self._scope.memory.has_broken_header(uid):  # else the mail itself is not at fault
                self._suspects.add(uid, error, meta, max_room=self._reader.max_literal)
            if not server_pauses.is_about_mail(error):
                raise
            await self._pass_over(mailbox, uid, str(error))
            return
        mailbox.pass_uid(uid)

    async def see_in_range(
        self, mailbox: SweptMailbox, uid: int, meta: MessageMeta, outcome: str | None
    ) -> None:
        """See a mail whose date is in the range. Raises any ImapError."""
        if pace.is_in_range(meta.internal_date, since=self._view.since, until=self._view.until):
            await self.see(mailbox, uid, meta, outcome)

    async def _pass_over(self, mailbox: SweptMailbox, uid: int, error: str) -> None:
        """Pass over a mail that could not be read, if another one can. Raises NothingReadable otherwise."""
        if not await self.is_server_well(mailbox):
            self._suspects.forget_mails()
            raise NothingReadable(error)
        self._suspects.forget(uid)
        mailbox.add_unread(uid, error)
        mailbox.pass_uid(uid)

    async def _read(self, mailbox: SweptMailbox, uid: int, meta: MessageMeta) -> None:
        found_at = time.monotonic()
        read = await self._reader.read(mailbox, uid, meta, by_date=False, origin=MailOrigin.SWEEP)
        if read.read_bytes is not None:
            self._suspects.record_read(uid)
        row = read.row
        if row.outcome == MailOutcome.GONE:
            return
        if row.token_digest is not None or row.outcome not in SENT:  # a tracer of ours, or none by a rule
            mailbox.batch.skipped += 1
            return
        mailbox.add(replace(row, token_digest=None), at=found_at, read_bytes=read.read_bytes or 0)

    def _judge(self, meta: MessageMeta) -> MailOutcome:
        """Judge a mail by its metadata; DELIVERED means that it is to be read."""
        watched = self._scope.watched
        outcome, _ = judge(
            MailFacts(
                connected_at=watched.connected_at,
                max_size=self._reader.max_size,
                internal_date=meta.internal_date,
                announced_size=meta.size or 0,
                labels=meta.labels,
                has_tracers=watched.has_tracers,
            )
        )
        return outcome
