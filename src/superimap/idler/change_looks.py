"""Looks for changes of mails after their webhook, in one mailbox of one connection."""

import asyncio
import math
from collections.abc import Mapping
from datetime import timedelta

from superimap.db.watching import changes as queries
from superimap.db.watching.changes import KnownState, MailCopy, MailState
from superimap.domain import mail_changes
from superimap.domain.mail_changes import Flags, MailChange, TrackedMail
from superimap.idler import server_pauses
from superimap.idler.change_events import event_delivery
from superimap.idler.change_reading import ChangeReader
from superimap.idler.entry import MailboxEntry
from superimap.idler.outages import until_answered
from superimap.idler.scope import ConnectionScope
from superimap.imap.errors import Refused

PAUSE_SECONDS_PER_CHANGE = 0.6
"""Part of the pause after a look, for each change that it has recorded."""
RELOOK_SECONDS = 10.0
"""Interval of looks while a mail is absent that may be in another folder."""
RELOOK_BY_COMPARISON_SECONDS = 30.0
"""Time from visits of other folders to a look at the first one, where the server does not tell of changes."""


class ChangeLooks:
    """When the mailbox is to be looked at, and the looks.

    `due` is the event loop's time of the next look apart from checks and announcements. `modseq` is the
    HIGHESTMODSEQ up to which all changes are recorded; None if that is not known. `is_first` says that the session
    waits in this mailbox, so that changes are announced, and `is_waiting` that a mail is absent that may be in
    another folder.
    """

    __slots__ = ("_doubted_at", "_is_first", "_reader", "_scope", "_wake_at", "due", "is_waiting", "modseq")

    def __init__(self, scope: ConnectionScope, *, is_first: bool) -> None:
        self._scope = scope
        self._is_first = is_first
        self._reader = ChangeReader(scope.client, is_first=is_first)
        self._doubted_at: float | None = None  # mails that were never looked at were absent, and most of them
        self._wake_at = math.inf
        self.due = _now()
        self.is_waiting = False
        self.modseq: int | None = None

    @property
    def wake_at(self) -> float:
        """The event loop's time at which a round has to end: a look is due, or a pause is over."""
        return min(self.due, self._wake_at)

    @property
    def is_due(self) -> bool:
        """Whether to look now."""
        now = _now()
        if now >= self._wake_at:
            self._wake_at = math.inf
        return now >= self.due or self._scope.client.mailbox.has_changes

    def look_after_visits(self) -> None:
        """Have the mailbox looked at, because nothing is announced of it while another is open."""
        wait = 0.0 if self._reader.tells_changes else RELOOK_BY_COMPARISON_SECONDS
        self.due = min(self.due, max(_now() + wait, self._wake_at if self._wake_at != math.inf else 0.0))

    def look_within(self, seconds: float) -> None:
        """Have the next look within `seconds`, if the server does not tell that something has changed."""
        if self.modseq is None:
            self.due = min(self.due, _now() + seconds)

    async def look(self, entry: MailboxEntry) -> None:
        """Record and report what has changed since the last look.

        A refusal of the server leaves the look to the next check. Raises Fenced, any other ImapError, and what an
        unreachable database raises.
        """
        state, timing = self._scope.client.mailbox, self._scope.context.timing
        self._reader.mark_seen()
        state.changes_from = min(state.changes_from, _now())  # what is reported from here on is news
        self.due, self.is_waiting, found = math.inf, False, 0
        is_held = self._scope.context.holds.is_held(self._scope.watched.partner_id)
        if not is_held and self._scope.client.tells_flags:
            try:
                found = await self._look(entry)
            except Refused as error:
                if not server_pauses.is_about_mail(error):
                    raise
        pause = max(timing.change_pause, PAUSE_SECONDS_PER_CHANGE * found)
        if self._is_first:
            self._wake_at = state.changes_from = _now() + pause
        self.due = max(self.due, _now() + pause)

    async def _look(self, entry: MailboxEntry) -> int:
        """Return the number of changes that were recorded."""
        modseq = await self._reader.highest_modseq(entry.opened.folder)
        if modseq is not None and modseq == self.modseq and self._reader.reports_all_changes:
            return 0
        self.modseq = None
        scope, mailbox = self._scope, entry.mailbox
        if (since := scope.watched.change_events_since) is None:
            return 0
        known = await until_answered(
            lambda: queries.load_tracked(
                scope.context.pool, mailbox.row, uid_validity=mailbox.uid_validity, since=since
            ),
            user_id=scope.watched.user_id,
        )
        if known is None:
            return 0
        if self._reader.reports_all_changes and known.is_unchanged(modseq):
            self.modseq = modseq
            return 0
        shown = await self._reader.read(known, modseq)
        return await self._compare(entry, known, shown, modseq)

    async def _compare(
        self, entry: MailboxEntry, known: KnownState, shown: dict[int, Flags | None], modseq: int | None
    ) -> int:
        absent = [each for each in known.mails if shown.get(each.uid, ()) is None]
        is_doubtful = self._doubts(known, len(absent))
        if is_doubtful and not self._has_doubted_long():
            shown = {uid: flags for uid, flags in shown.items() if uid not in _never_seen(absent)}
        copies = await self._find_copies(entry, [each for each in absent if each.flags is not None])
        wait = self._wait(is_doubtful=is_doubtful)
        found = mail_changes.compare(known.mails, shown, now=known.now, wait=wait, moved=copies)
        kept = mail_changes.limited(found)
        is_complete = len(kept) == len(found) and all(
            each.is_stored or each.uid in shown for each in known.mails
        )
        await self._record(entry, known, kept, copies, modseq=modseq, is_complete=is_complete)
        gone = {each.mail.uid for each in found if each.is_gone}
        waiting = [each for each in absent if each.uid not in gone]
        self.is_waiting = bool(waiting) and bool(self._scope.watched.listed_folders)
        if len(kept) < len(found):
            self.due = _now()
        elif waiting:
            left = min((each.absent_since or known.now) for each in waiting) + wait - known.now
            most = math.inf if is_doubtful else RELOOK_SECONDS
            self.due = _now() + min(left.total_seconds(), most)
        elif is_complete:
            self.modseq = modseq
        return sum(each.is_event for each in kept)

    def _doubts(self, known: KnownState, absent: int) -> bool:
        state = self._scope.client.mailbox
        is_doubtful = mail_changes.is_doubtful(
            absent=absent, tracked=len(known.mails), exists=state.exists, expunged=state.expunged
        )
        if not is_doubtful:
            self._doubted_at = None
        return is_doubtful

    def _has_doubted_long(self) -> bool:
        self._doubted_at = self._doubted_at or _now()
        return _now() - self._doubted_at >= self._scope.context.timing.change_doubt

    def _wait(self, *, is_doubtful: bool) -> timedelta:
        timing = self._scope.context.timing
        seconds = timing.change_wait if self._scope.watched.listed_folders else 0.0
        return timedelta(seconds=max(seconds, timing.change_doubt) if is_doubtful else seconds)

    async def _find_copies(self, entry: MailboxEntry, absent: list[TrackedMail]) -> dict[int, MailCopy]:
        if not absent:
            return {}
        return await until_answered(
            lambda: queries.find_copies(self._scope.context.pool, entry.mailbox.row, absent),
            user_id=self._scope.watched.user_id,
        )

    async def _record(
        self,
        entry: MailboxEntry,
        known: KnownState,
        kept: list[MailChange],
        copies: Mapping[int, MailCopy],
        *,
        modseq: int | None,
        is_complete: bool,
    ) -> None:
        """Record the changes. After a look that is not complete, the next one begins where it began."""
        scope, mailbox = self._scope, entry.mailbox
        if not kept and known.seen_at is not None and (modseq == known.modseq or not is_complete):
            return
        states = {each.mail.message: _state(each) for each in kept}
        for each in kept:
            if each.is_gone and (copy := copies.get(each.mail.message)) is not None:
                states[copy.message] = MailState(copy.message, each.flags)
        events = [
            event_delivery(
                scope,
                each,
                copies.get(each.mail.message),
                mailbox=entry.opened.folder.name,
                uid_validity=mailbox.uid_validity,
                happened_at=known.now,
            )
            for each in kept
            if each.is_event
        ]
        endpoints = await until_answered(
            lambda: queries.record_changes(
                scope.context.pool,
                mailbox.row,
                scope.fence,
                list(states.values()),
                events,
                uid_validity=mailbox.uid_validity,
                looked_at=known.now if is_complete or known.seen_at is None else known.seen_at,
                modseq=modseq if is_complete else known.modseq,
                lowest_uid=known.lowest_uid,
            ),
            user_id=scope.watched.user_id,
        )
        for endpoint_id in endpoints:
            await scope.context.queue.ring(endpoint_id)


def _never_seen(mails: list[TrackedMail]) -> frozenset[int]:
    return frozenset(each.uid for each in mails if each.flags is None)


def _state(change: MailChange) -> MailState:
    return MailState(change.mail.message, change.flags, change.absent_since, change.is_gone)


def _now() -> float:
    return asyncio.get_running_loop().time()
