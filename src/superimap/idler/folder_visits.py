"""Visits of the watched folders of one connection: each is opened, caught up from its own cursor, and left."""

import asyncio
from dataclasses import replace

from superimap.domain.mail_stages import FoundBy
from superimap.idler import server_pauses
from superimap.idler.entry import MailboxEntry
from superimap.idler.folder_matches import mail_folder
from superimap.idler.folder_state import FolderState
from superimap.idler.folder_troubles import FolderTroubles
from superimap.idler.mailbox_memory import MailboxMemory
from superimap.idler.opening import FolderOpener
from superimap.idler.scope import ConnectionScope
from superimap.imap.errors import ImapError, Refused


class FolderVisits:
    """Visitor of the folders of one connection. `idle` counts visits in a row that found nothing.

    A folder that the mail server refuses, or in which several sessions have ended, is left out for a time.
    """

    __slots__ = ("_scope", "idle")

    def __init__(self, scope: ConnectionScope) -> None:
        self._scope = scope
        self.idle = 0

    @property
    def troubles(self) -> FolderTroubles[MailboxMemory]:
        """The folders that failed, also on earlier connections."""
        memory = self._scope.memory
        if memory.folders is None:
            memory.folders = FolderTroubles()
        return memory.folders

    def is_usable(self, folder: FolderState) -> bool:
        """Return whether a folder is not left out now."""
        return self.troubles.left_out(folder.name, _now()) is None

    def is_due(self, folder: FolderState) -> bool:
        """Return whether a folder is to be visited now."""
        is_due = folder.is_changed or (folder.looks is not None and _now() >= folder.looks.due)
        return is_due and self.is_usable(folder)

    async def enter(self, first: FolderState, *, has_others: bool) -> MailboxEntry:
        """Enter the folder in which the session waits. Raises Fenced and any ImapError."""
        scope = self._scope_of(first, self._scope.memory, has_others=has_others)
        entry = MailboxEntry(scope, FolderOpener(scope, first.folder, is_first=True))
        try:
            await entry.enter()
        except ImapError as error:
            self._note(first, MailboxMemory(self._scope.memory), error)
            raise
        self.troubles.succeed(first.name)
        return entry

    async def visit(self, folder: FolderState) -> bool:
        """Catch up in another folder; return False if the mail server refuses it.

        Raises Fenced, any other ImapError, and what an unreachable database raises.
        """
        first = self._scope.memory
        memory = self.troubles.memory_of(folder.name) or MailboxMemory(first)
        if first.room is not None:
            memory.begin_connection(first.room)
        scope = self._scope_of(folder, memory, has_others=True)
        entry = MailboxEntry(scope, FolderOpener(scope, folder.folder, is_first=False))
        try:
            await entry.enter(found_by=FoundBy.POLLED)
            await entry.try_deferred(is_urgent=lambda: False)
            if folder.looks is not None:
                await folder.looks.look(entry)
                folder.looks.look_within(self._scope.context.settings.idle_renew)
        except ImapError as error:
            self._note(folder, memory, error)
            if not server_pauses.is_about_mail(error):
                raise
            return False
        finally:
            first.recorded_at = max(first.recorded_at, memory.recorded_at)
        self.troubles.succeed(folder.name)
        self.idle = self.idle + 1 if folder.is_known and not entry.mailbox.seen else 0
        folder.accept_visit(entry.mailbox)
        return True

    def _note(self, folder: FolderState, memory: MailboxMemory, error: ImapError) -> None:
        """Note that a folder has failed; not where the mail server asks for a pause."""
        reason = str(error) or type(error).__name__
        if server_pauses.is_about_mail(error):
            self.troubles.refuse(folder.name, memory, reason, _now())
        elif not isinstance(error, Refused):
            self.troubles.fail(folder.name, memory, reason, _now())

    def _scope_of(self, folder: FolderState, memory: MailboxMemory, *, has_others: bool) -> ConnectionScope:
        scope = self._scope
        watched = replace(
            scope.watched,
            connected_at=folder.row.since,
            folder=mail_folder(folder.folder),
            has_other_folders=has_others,
        )
        status = scope.status if memory is scope.memory else scope.status.of_folder(folder.name)
        return scope._replace(watched=watched, memory=memory, status=status)


def _now() -> float:
    return asyncio.get_running_loop().time()
