"""The other watched folders of one connection: when each is asked for news, and visits of those that have some."""

import asyncio
import math

from superimap.db.watching import folders as queries
from superimap.idler import folder_pace, server_pauses
from superimap.idler.change_looks import ChangeLooks
from superimap.idler.entry import MailboxEntry
from superimap.idler.folder_matches import Matches, match_folders
from superimap.idler.folder_state import FolderState
from superimap.idler.folder_visits import FolderVisits
from superimap.idler.scope import ConnectionScope
from superimap.idler.status_check import STATUS_ITEMS
from superimap.imap.errors import ImapError, Refused
from superimap.imap.folder_news import NewsTaken
from superimap.imap.status_names import folder_key

MATCHED_INLINE = 200
"""Listed folders up to which the matching runs on the event loop."""


class NoFolder(ImapError):
    """None of the folders of the user's list exists, so that there is nothing to watch."""

    def __init__(self, matches: Matches) -> None:
        super().__init__(f"none of the folders to watch can be opened; {matches.reason()}")


class FolderWatch:
    """The watched folders of one connection; the first one is where the session waits.

    `is_outdated` says that the list selects other folders than before, so that `enter` is due.
    """

    __slots__ = (
        "_deferred_after", "_idle_news", "_is_announced", "_list_due", "_listed_at", "_matches",
        "_others", "_scope", "_status_due", "_visited", "_visits", "is_outdated",
    )  # fmt: skip

    def __init__(self, scope: ConnectionScope) -> None:
        self._scope = scope
        self._visits = FolderVisits(scope)
        self._matches = Matches((), (), (), 0)
        self._others: list[FolderState] = []
        self._visited: list[FolderState] = []  # at the last visit
        self._status_due = self._list_due = math.inf  # by the event loop's clock
        self._listed_at = -math.inf
        self._deferred_after = -math.inf
        self._idle_news = 0  # announcements in a row after which nothing was to be done
        self._is_announced = False  # the server announces mail of the other folders
        self.is_outdated = False

    async def enter(self) -> MailboxEntry:
        """List the folders, and enter the first one that can be opened.

        Raises NoFolder, Fenced, any ImapError, and what an unreachable database raises.
        """
        while True:
            first = await self._list()
            try:
                return await self._visits.enter(first, has_others=bool(self._others))
            except Refused as error:
                if not server_pauses.is_about_mail(error) or not any(
                    map(self._visits.is_usable, self._others)
                ):
                    raise

    async def _list(self) -> FolderState:
        """List the folders; return the first one that is not left out."""
        scope = self._scope
        self.is_outdated = False
        self._matches = matches = await self._match()
        if not matches.folders:
            raise NoFolder(matches)
        names = [folder.name for folder in matches.folders]
        rows = await queries.watch_folders(scope.context.pool, scope.watched, scope.fence, names)
        self._visits.troubles.keep(frozenset(names))
        folders = [FolderState(folder, rows[folder.name]) for folder in matches.folders]
        first = next(filter(self._visits.is_usable, folders), folders[0])
        self._others = [each for each in folders if each is not first]
        if scope.watched.change_events_since is not None:
            for each in self._others:
                each.looks = ChangeLooks(scope, is_first=False)
        scope.memory.deferred.watch(row.id for row in rows.values())
        await self._describe()
        return first

    @property
    def due(self) -> float:
        """The event loop's time at which `look` is due."""
        now = _now()
        if any(map(self._visits.is_due, self._others)):
            return now
        waits = [
            wait
            for wait in (self._visits.troubles.seconds_left(now), self._deferred_wait())
            if wait is not None
        ]
        looks = [
            each.looks.due for each in self._others if each.looks is not None and self._visits.is_usable(each)
        ]
        return min(self._status_due, self._list_due, *looks, *(now + wait for wait in waits))

    async def subscribe(self) -> None:
        """Have the server announce mail of the other folders, if it offers that. Raises any ImapError."""
        self._is_announced = await self._scope.client.announce(
            [each.folder for each in self._others],
            with_flags=self._scope.watched.change_events_since is not None,
        )

    async def look(self) -> None:
        """Take what was announced; list the folders and ask for their counts if that is due."""
        if (news := self._scope.client.take_news()) is not None:
            await self._take(news)
        if _now() >= self._list_due:
            await self._list_again()
        if _now() >= self._status_due:
            await self.count()

    def count_soon(self) -> None:
        """Have the counts asked for in the next round, because a mail may have come to another folder."""
        self._status_due = _now()

    async def count(self) -> None:
        """Ask for the counts of the other folders."""
        settings, polled = self._scope.context.settings, self._scope.watched.poll_seconds
        self._status_due = _now() + folder_pace.count_interval(
            len(self._others),
            status_seconds=max(settings.folder_status_seconds, polled or 0.0),
            renewal=settings.idle_renew,
            is_announced=self._is_announced,
        )
        await self._count(self._others)

    async def _count(self, folders: list[FolderState]) -> None:
        if not folders:
            return
        names: tuple[str, ...] = STATUS_ITEMS
        if folders[0].looks is not None and self._scope.client.tells_changed_flags:
            names = (*names, "HIGHESTMODSEQ")
        counts = await self._scope.client.folder_counts([each.folder for each in folders], *names)
        for each in folders:
            each.take(counts.get(each.folder.raw))

    async def _take(self, news: NewsTaken) -> None:
        for each in self._others:
            if (counts := news.counts.get(folder_key(each.folder.raw))) is not None:
                each.take(counts)
        if news.has_new_names:
            self._list_soon()
        if news.is_over:
            self._is_announced = False
            self._status_due = _now()
        is_idle = not any(map(self._visits.is_due, self._others)) and _now() < min(
            self._list_due, self._status_due
        )
        self._idle_news = self._idle_news + 1 if is_idle else 0
        await asyncio.sleep(server_pauses.false_alarm_pause(self._idle_news))

    async def visit(self) -> bool:
        """Catch up in each folder that has changed; return whether another mailbox is open now.

        Raises Fenced, any ImapError, and what an unreachable database raises. A folder that cannot be opened, or
        that has ended several sessions, is left out for a time, and the others are visited.
        """
        if self._deferred_wait() == 0.0:
            self._mark_deferred()
        self._visited = [folder for folder in self._others if self._visits.is_due(folder)]
        for folder in self._visited:
            if not await self._visits.visit(folder):  # perhaps it was renamed or deleted
                self._list_soon()
            if folder.looks is not None and folder.looks.is_waiting:
                self.count_soon()
        if self._visited:
            await self._describe()
            await asyncio.sleep(server_pauses.false_alarm_pause(self._visits.idle))
        return bool(self._visited)

    async def end_visits(self) -> None:
        """Count the mails of the visited folders once more, now that the first one is open again.

        Mail that comes to a folder after its search, and before it is left, is announced to nobody.
        """
        if self._is_announced:
            await self._count([each for each in self._visited if not each.is_changed])

    def _list_soon(self) -> None:
        self._list_due = min(self._list_due, self._listed_at + folder_pace.SOONEST_LIST_SECONDS)

    async def _list_again(self) -> None:
        matches = await self._match()
        before, self._matches = self._matches, matches
        names, known = ({folder.raw for folder in each.folders} for each in (matches, before))
        self.is_outdated = names != known
        if not self.is_outdated:
            await self._describe()

    async def _match(self) -> Matches:
        self._listed_at = _now()
        self._list_due = self._listed_at + folder_pace.LIST_SECONDS
        listed = await self._scope.client.list_folders()
        selectors = self._scope.watched.listed_folders
        if len(listed) <= MATCHED_INLINE:
            return match_folders(listed, selectors)
        return await asyncio.to_thread(match_folders, listed, selectors)

    async def _describe(self) -> None:
        """Tell which folders of the list are not watched, and why."""
        left_out = {each.name: self._visits.troubles.left_out(each.name, _now()) for each in self._others}
        await self._scope.status.note("folders", self._matches.describe(left_out))

    def _mark_deferred(self) -> None:
        """Have the folders visited whose deferred mails are due."""
        self._deferred_after = _now() + folder_pace.DEFERRED_SECONDS
        for each in self._others:
            if self._scope.memory.deferred.seconds_until_due_in(frozenset({each.row.id})) == 0.0:
                each.is_changed = True

    def _deferred_wait(self) -> float | None:
        """Return the seconds until a deferred mail of another folder is to be tried; None if there is none."""
        deferred = self._scope.memory.deferred
        if not deferred:
            return None
        wait = deferred.seconds_until_due_in(frozenset(each.row.id for each in self._others))
        return None if wait is None else max(wait, self._deferred_after - _now())


def _now() -> float:
    return asyncio.get_running_loop().time()
