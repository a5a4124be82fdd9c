"""Deferred mails of other places: the mailbox was renumbered or renamed, or another folder is watched now."""

import logging
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from itertools import islice
from typing import NamedTuple

from superimap.core import metrics
from superimap.db.watching import deferrals as queries
from superimap.db.watching import recorded_mails
from superimap.db.watching.deferrals import ClosedMail
from superimap.domain.deferrals import UNKNOWN, UNWATCHED, is_found_again
from superimap.domain.mails import MailOutcome
from superimap.idler.deferred_mails import MailDeferral, MailKey
from superimap.idler.mail_reader import MailReader
from superimap.idler.mailbox import WatchedMailbox
from superimap.idler.mailbox_queries import identity_of
from superimap.idler.outages import until_answered
from superimap.idler.scope import ConnectionScope
from superimap.imap.errors import Refused
from superimap.imap.uid_ranges import UidRanges

log = logging.getLogger(__name__)

MAX_LOOKED_AT = 10_000
"""UIDs among which mails without a message are looked for."""

MOVED = "renumbered or moved: the mail was found again under UID {uid} of the watched mailbox"
DELETED = "the mail server has renumbered the mailbox, and the mail is not there under any new UID"

SeeBelow = Callable[[WatchedMailbox, Collection[int]], Awaitable[None]]


class SimilarMails(NamedTuple):
    """The UIDs of mails without a message that may be those that are looked for; whether all were looked at."""

    uids: list[int]
    is_complete: bool


class MovedMails:
    """The procedure that finds deferred mails of other places again in the open mailbox, or closes them.

    The open mailbox is caught up, by date as far back as these mails if it had no cursor.
    """

    __slots__ = ("_reader", "_scope")

    def __init__(self, scope: ConnectionScope, reader: MailReader) -> None:
        self._scope = scope
        self._reader = reader

    async def settle(self, mailbox: WatchedMailbox, see_below: SeeBelow, *, is_temporary: bool) -> None:
        """Find the mails, read those that were not seen here by `see_below`, and record what became of each.

        Those of another mailbox that are not found are kept while the open mailbox `is_temporary`.
        """
        moved = self._scope.memory.deferred.elsewhere(mailbox.place)
        if not moved:
            return
        found = await self._recorded(mailbox, moved)
        missing = [mail for mail in moved if mail.key not in found]
        look = await self._look(mailbox, missing)
        if below := [uid for uid in look.uids if uid <= mailbox.last_uid]:
            try:
                with mailbox.below_cursor():
                    await see_below(mailbox, below)
            finally:
                mailbox.discard()
            found = await self._recorded(mailbox, moved)
        closed = [
            (mail, end)
            for mail in moved
            if (end := self._end(mailbox, mail, found, look, is_temporary=is_temporary)) is not None
        ]
        await self._record(mailbox, closed)

    async def _recorded(self, mailbox: WatchedMailbox, moved: list[MailDeferral]) -> dict[MailKey, int]:
        """Return the new UIDs of the mails that have a message in the open mailbox.

        A mail that is known by its date only is not one of which there is an earlier copy.
        """
        recorded = await queries.mails_like(
            self._scope.context.pool,
            mailbox.row.id,
            uid_validity=mailbox.uid_validity,
            message_ids=[mail.message_id for mail in moved if mail.message_id],
            dates=[mail.internal_date for mail in moved if mail.internal_date],
        )
        found = {
            mail.key: each.uid
            for mail in moved
            for each in recorded
            if is_found_again(mail.identity, each.identity)
            and (mail.message_id or each.outcome != MailOutcome.DUPLICATE)
        }
        return found | await self._unknown(mailbox, moved, set(found.values()))

    async def _unknown(
        self, mailbox: WatchedMailbox, moved: list[MailDeferral], taken: set[int]
    ) -> dict[MailKey, int]:
        """Return the new UIDs of mails of which nothing is known, but that the other mails were seen before."""
        unknown = {
            mail.message: mail.key
            for mail in moved
            if mail.message and not mail.message_id and not mail.internal_date
            and mail.place[0] == mailbox.row.id
        }  # fmt: skip
        found: dict[MailKey, int] = {}
        if not unknown:
            return found
        pairs = await queries.unseen_before(
            self._scope.context.pool, mailbox.row.id, list(unknown), uid_validity=mailbox.uid_validity
        )
        for message, uid in pairs:
            if uid not in taken and unknown[message] not in found:
                found[unknown[message]] = uid
                taken.add(uid)
        return found

    async def _look(self, mailbox: WatchedMailbox, missing: list[MailDeferral]) -> SimilarMails:
        """Look for mails among those of the open mailbox that have no message."""
        missing = [mail for mail in missing if mail.internal_date or mail.message_id]
        if not missing:
            return SimilarMails([], is_complete=False)
        with self._scope.memory.deferred.look() as has_failed:
            if has_failed:
                return SimilarMails([], is_complete=False)
            try:
                listed = await self._list(missing)
                uids = list(islice(listed, MAX_LOOKED_AT))
                unseen = await recorded_mails.unrecorded_uids(
                    self._scope.context.pool, mailbox.row.id, uids, uid_validity=mailbox.uid_validity
                )
                metas = await self._scope.client.fetch_meta(unseen) if unseen else []
            except Refused:
                return SimilarMails([], is_complete=False)
        similar = [
            int(meta.uid)
            for meta in metas
            if any(is_found_again(mail.identity, identity_of(meta)) for mail in missing)
        ]
        is_complete = len(listed) == len(uids) and len(metas) == len(unseen)
        return SimilarMails(similar, is_complete and all(mail.internal_date for mail in missing))

    async def _list(self, missing: list[MailDeferral]) -> UidRanges:
        """Return the UIDs from the date of the mails on; the last ones if the date of one is not known."""
        client = self._scope.client
        dates = [mail.internal_date for mail in missing if mail.internal_date]
        if len(dates) == len(missing):
            return await client.search_uids(since=(min(dates) - timedelta(days=1)).date())
        return await client.search_uids(after=max(0, await client.highest_uid() - MAX_LOOKED_AT))

    def _end(
        self,
        mailbox: WatchedMailbox,
        mail: MailDeferral,
        found: dict[MailKey, int],
        look: SimilarMails,
        *,
        is_temporary: bool,
    ) -> ClosedMail | None:
        """Return the final outcome of a mail; None if it is kept."""
        if (uid := found.get(mail.key)) is not None:
            return ClosedMail(mail.message, MailOutcome.GONE, MOVED.format(uid=uid))
        if any(uid > mailbox.last_uid for uid in look.uids):
            return None  # perhaps one of those, which are read next
        if mail.place[0] == mailbox.row.id:
            if mail.internal_date is not None and look.is_complete:
                return ClosedMail(mail.message, MailOutcome.GONE, DELETED)
            return self._unreadable(mail, UNKNOWN)
        return None if is_temporary else self._unreadable(mail, UNWATCHED)

    def _unreadable(self, mail: MailDeferral, reason: str) -> ClosedMail:
        """Return the outcome of a mail that may exist and cannot be read, with its event."""
        row = self._reader.given_up_row(mail, None, reason)
        return ClosedMail(mail.message, row.outcome, reason, row.fingerprint, row.delivery_id, row.content)

    async def _record(self, mailbox: WatchedMailbox, closed: list[tuple[MailDeferral, ClosedMail]]) -> None:
        """Record final outcomes, and ring for their events."""
        if not closed:
            return
        endpoints = await until_answered(
            lambda: queries.close_moved(
                self._scope.context.pool, mailbox.row, self._scope.fence, [end for _, end in closed]
            ),
            user_id=mailbox.row.user_id,
        )
        for mail, end in closed:
            user = {"user_id": mailbox.row.user_id}
            log.info("mail %d ends as %s: %s", mail.uid, end.outcome, end.detail, extra=user)
            self._scope.memory.deferred.remove(mail)
            metrics.MESSAGES.labels(end.outcome).inc()
        for endpoint_id in endpoints:
            await self._scope.context.queue.ring(endpoint_id)
