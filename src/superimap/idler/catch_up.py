"""Catch-up of a mailbox: find and judge new mails, read those that need a webhook, record all in batches."""

import logging
from collections.abc import Mapping, Sequence

from superimap.db.watching.sessions import WatchedUser
from superimap.domain.envelope import Envelope
from superimap.domain.mails import MailFacts, MailOutcome, judge
from superimap.idler import big_mails, mailbox_queries
from superimap.idler.catch_up_plan import CatchUpPlan, are_complete, split_batches
from superimap.idler.context import IdlerContext
from superimap.idler.mail_rows import MailRows, find_twin, parse
from superimap.idler.mailbox import MailboxMemory, WatchedMailbox
from superimap.idler.mailbox_queries import FAST_FETCH_BYTES, MAX_FAST_FETCH_MAILS
from superimap.idler.status_reports import ConnectionStatus
from superimap.imap.client import ImapClient
from superimap.imap.errors import ImapError, Refused
from superimap.imap.types import MessageMeta
from superimap.mail.headers import MAX_HEADER_BYTES
from superimap.mail.message import read_envelope

log = logging.getLogger(__name__)

_UNUSABLE_UIDS = (
    "the mail server numbers mails above 9223372036854775807; those mails cannot be recorded or delivered"
)


class Arrivals:
    """Mails that the server has announced on one connection, and how many of them were looked for.

    `is_dense` says that the UIDs of new mails have had no gaps so far: a fast fetch is likely to find all of them.
    """

    __slots__ = ("_client", "_looked_for", "is_dense")

    def __init__(self, client: ImapClient) -> None:
        self._client = client
        self._looked_for = 0
        self.is_dense = True

    @property
    def announced(self) -> int:
        """Mails announced so far."""
        return self._client.arrivals

    @property
    def pending(self) -> int:
        """Mails announced since the last look."""
        return self._client.arrivals - self._looked_for

    def account_for(self, announced: int) -> bool:
        """Count the first `announced` mails as looked for; return whether some were new."""
        has_news = announced > self._looked_for
        self._looked_for = max(announced, self._looked_for)
        return has_news

    def record_density(self, is_dense: bool) -> None:
        """Note whether the last new mails had UIDs without a gap."""
        self.is_dense = is_dense


class CatchUp:
    """The procedure that brings a mailbox up to date on one connection."""

    __slots__ = (
        "_arrivals", "_client", "_context", "_failures", "_memory", "_rows", "_status", "_watched",
    )  # fmt: skip

    def __init__(
        self,
        context: IdlerContext,
        client: ImapClient,
        watched: WatchedUser,
        memory: MailboxMemory,
        status: ConnectionStatus,
        arrivals: Arrivals,
    ) -> None:
        self._context = context
        self._client = client
        self._watched = watched
        self._memory = memory
        self._failures = memory.failures
        self._rows = MailRows(context, watched)
        self._status = status
        self._arrivals = arrivals

    async def run(
        self, mailbox: WatchedMailbox, *, baseline: MessageMeta | int = 0, announced: int = 0
    ) -> int:
        """Record everything that the mailbox' plan finds, in batches, and the cursor with it; return its number.

        `announced` is the number of mails announced since the last look. The cursor moves to `baseline` at least.
        If the connection ends on the way, what was seen until then is recorded: each attempt gets further.
        """
        plan, seen = mailbox.plan, mailbox.seen
        self._status.begin_catch_up()
        try:
            try:
                if not await self._fetch_fast(mailbox, plan, announced):
                    await self._search(mailbox, plan)
            except ImapError:
                await mailbox.record_batch()
                raise
            await mailbox.finish(baseline=baseline)
        finally:
            mailbox.discard()
        return mailbox.seen - seen

    async def _fetch_fast(self, mailbox: WatchedMailbox, plan: CatchUpPlan, announced: int) -> bool:
        """Read the mails just announced in one command; return False, with nothing seen, if a search is needed."""
        after, arrivals = plan.after, self._arrivals
        if after is None or not 0 < announced <= MAX_FAST_FETCH_MAILS:
            return False
        if not arrivals.is_dense or self._failures.is_fast_fetch_disabled:
            return False
        await mailbox.make_room(FAST_FETCH_BYTES)
        found: list[tuple[MessageMeta, bytes | None]] = []
        with self._failures.fast_fetch():
            found = await mailbox_queries.fetch_announced(self._client, after=after, announced=announced)
        total = arrivals.announced  # mails announced meanwhile may be among those found
        uids = [int(meta.uid) for meta, _ in found]
        is_complete = are_complete(uids, after=after, announced=arrivals.pending)
        arrivals.record_density(is_complete)
        is_whole = all(raw is not None for _, raw in found)
        if not is_complete or not is_whole:
            mailbox.discard()  # a session that waits for more room must hold none
        if not is_complete:
            return False
        for meta, raw in found:
            await self.add_mail(mailbox, int(meta.uid), meta, raw=raw if is_whole else None)
        arrivals.account_for(total)
        return True

    async def _search(self, mailbox: WatchedMailbox, plan: CatchUpPlan) -> None:
        """Search for the UIDs of the plan and see each mail, with the metadata of many in one command."""
        uids = await self._client.search_uids(after=plan.after, since=plan.since)
        await self._status.note("uids", _UNUSABLE_UIDS if self._client.unusable_uids else None)
        if uids and plan.after is not None:
            self._arrivals.record_density(uids.first == plan.after + 1)
        for piece in split_batches(uids, self._failures.batch_size):
            for uid, meta in await self._fetch_metas(piece):
                await self._status.report_if_lagging(len(uids))
                await self.add_mail(mailbox, uid, meta)
                if mailbox.is_full:
                    await mailbox.record_batch()

    async def _fetch_metas(self, uids: list[int]) -> list[tuple[int, MessageMeta | None]]:
        """Return the metadata of each mail. The server is not asked for that of a single mail that is given up."""
        if len(uids) == 1 and self._failures.given_up(uids[0]):
            return [(uids[0], self._failures.meta_of(uids[0]))]
        try:
            return await mailbox_queries.fetch_metas(self._client, uids)
        except ImapError as error:
            self._failures.record_batch(uids, error)
            raise

    async def add_mail(
        self, mailbox: WatchedMailbox, uid: int, meta: MessageMeta | None, *, raw: bytes | None = None
    ) -> None:
        """Judge one mail, read it if it may need a webhook and is not read yet, and add its row to the batch."""
        if meta is not None:
            if mailbox.by_date and mailbox.pass_if_recorded(meta):
                return
            if raw is not None:
                await self._see_content(mailbox, meta, raw)
                return
        facts = self._facts(mailbox, uid, meta, is_gone=meta is None)
        judgement = judge(facts)
        if meta is not None and judgement[0] is MailOutcome.DELIVERED:
            max_size = self._context.settings.max_email_size
            await mailbox.make_room(max_size if meta.size is None else meta.size)
            raw = await self._read(meta)
            if raw is not None:
                await self._see_content(mailbox, meta, raw)
                return
            facts = self._facts(mailbox, uid, meta, is_gone=True)
            judgement = judge(facts)
        is_announced = meta is not None and judgement[0] is MailOutcome.TOO_BIG
        envelope = await self._read_envelope(mailbox, uid) if is_announced else None
        row = self._rows.row_without_webhook(
            uid, meta, facts, judgement, uid_validity=mailbox.uid_validity, envelope=envelope
        )
        mailbox.add(row, meta)

    async def _see_content(self, mailbox: WatchedMailbox, meta: MessageMeta, raw: bytes) -> None:
        """Judge a mail that is read, and add its row to the batch."""
        uid = int(meta.uid)
        parsed = await big_mails.process(parse, raw)
        twin = find_twin(mailbox.pending, bytes.fromhex(parsed.sha1))
        facts = self._facts(mailbox, uid, meta, raw=raw, headers=parsed.headers, has_twin=twin is not None)
        judgement = judge(facts)
        outcome = judgement[0]
        if outcome is MailOutcome.DELIVERED or outcome is MailOutcome.DUPLICATE:
            row = await self._rows.row_with_webhook(
                meta,
                raw,
                parsed,
                outcome,
                uid_validity=mailbox.uid_validity,
                twin=twin,
                batch=mailbox.pending,
            )
            mailbox.add(row, meta, read_bytes=len(raw))
        else:
            row = self._rows.row_without_webhook(
                uid,
                meta,
                facts,
                judgement,
                uid_validity=mailbox.uid_validity,
                envelope=await big_mails.process(read_envelope, raw),
            )
            mailbox.add(row, meta)

    def _facts(
        self,
        mailbox: WatchedMailbox,
        uid: int,
        meta: MessageMeta | None,
        *,
        is_gone: bool = False,
        raw: bytes | None = None,
        headers: Mapping[str, Sequence[bytes]] | None = None,
        has_twin: bool = False,
    ) -> MailFacts:
        """Collect what is known of a mail without the tables."""
        return MailFacts(
            connected_at=self._watched.connected_at,
            max_size=self._context.settings.max_email_size,
            internal_date=meta.internal_date if meta else None,
            announced_size=(meta.size or 0) if meta else 0,
            labels=meta.labels if meta else (),
            by_date=mailbox.judges_by_date and not mailbox.is_new_without_date(meta),
            given_up=self._failures.given_up(uid),
            is_gone=is_gone,
            raw=raw,
            headers=headers,
            has_twin=has_twin,
        )

    async def _read_envelope(self, mailbox: WatchedMailbox, uid: int) -> Envelope | None:
        """Read the envelope of a mail that is too big to be read; None if the server fails to send its headers.

        If that ends the session, the next one does without them.
        """
        if self._memory.has_broken_header(uid):
            return None
        await mailbox.make_room(MAX_HEADER_BYTES)
        try:
            header = await self._client.fetch_header(uid)
        except Refused:
            return None
        except ImapError:
            self._memory.record_broken_header(uid)
            raise
        return None if header is None else await big_mails.process(read_envelope, header)

    async def _read(self, meta: MessageMeta) -> bytes | None:
        """Return the bytes of a mail; None if it is gone. Failures are counted, so that attempts end."""
        uid = int(meta.uid)
        try:
            return await mailbox_queries.fetch_raw(self._client, uid)
        except ImapError as error:
            self._failures.record(uid, error, meta)
            log.info("mail %d could not be read: %s", uid, error, extra={"user_id": self._watched.user_id})
            raise
