"""Reading of a sweep's mails: which are in its range and need a webhook, and their rows."""

import time
from collections import Counter
from dataclasses import replace

from superimap.db.watching import sweeps as queries
from superimap.db.watching.sweeps import SweepView
from superimap.domain import sweeps as pace
from superimap.domain.mail_stages import MailOrigin
from superimap.domain.mails import MailFacts, MailOutcome, judge
from superimap.idler import mailbox_queries, server_pauses
from superimap.idler.mail_reader import MailReader
from superimap.idler.scope import ConnectionScope
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
    """Reader of one sweep on one connection. `failures` counts the connections that single UIDs have ended."""

    def __init__(self, scope: ConnectionScope, view: SweepView, failures: "Counter[int]") -> None:
        self._scope = scope
        self._view = view
        self._reader = MailReader(scope)
        self._failures = failures

    async def read(self, mailbox: SweptMailbox, uids: list[int]) -> None:
        """Look at these mails, and add those to send to the batch. Returns early when `limit` is reached.

        Raises any ImapError, and what the record of a batch raises.
        """
        metas = await mailbox_queries.fetch_metas(self._scope.client, uids)
        known = await queries.find_known(self._scope.context.pool, mailbox.place, uids)
        for uid in uids:
            if self._view.max_mails is not None and mailbox.may_send >= self._view.max_mails:
                await mailbox.record()  # some may have been sent before
                if mailbox.sent >= self._view.max_mails:
                    return
            if uid not in metas:
                mailbox.batch.unreadable += 1
            elif (meta := metas[uid]) is not None and pace.is_in_range(
                meta.internal_date, since=self._view.since, until=self._view.until
            ):
                await self._see(mailbox, uid, meta, known.get(uid))
            mailbox.pass_uid(uid)
            if mailbox.is_full:
                await mailbox.record()

    async def _see(self, mailbox: SweptMailbox, uid: int, meta: MessageMeta, outcome: str | None) -> None:
        """Count a mail of the range, or read it."""
        is_sent = outcome in SENT
        if outcome is not None and outcome not in READ_AGAIN and not (is_sent and self._view.again):
            mailbox.batch.known += 1
        elif self._judge(meta) is not MailOutcome.DELIVERED:
            mailbox.batch.skipped += 1
        elif self._failures[uid] >= pace.MAX_READ_FAILURES:
            mailbox.batch.unreadable += 1
        elif self._view.dry_run:
            mailbox.batch.would_send += 1
        else:
            await self._read(mailbox, uid, meta)

    async def _read(self, mailbox: SweptMailbox, uid: int, meta: MessageMeta) -> None:
        found_at = time.monotonic()
        try:
            read = await self._reader.read(mailbox, uid, meta, by_date=False, origin=MailOrigin.SWEEP)
        except ImapError as error:
            if not server_pauses.is_about_mail(error):
                self._failures[uid] += 1
                raise
            mailbox.batch.unreadable += 1
            return
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
