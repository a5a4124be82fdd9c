"""Opening of the mailbox to watch: which folder, by which command, at which cursor, in which numbering."""

from typing import NamedTuple

from superimap.db.watching import intake as queries
from superimap.db.watching.intake import MailboxRow
from superimap.idler.folder_choice import ALL_MAIL, choose_folder
from superimap.idler.identities import Identities
from superimap.idler.numberings import Found, find_numbering
from superimap.idler.scope import ConnectionScope
from superimap.imap.types import INBOX, Folder, Selected


class OpenMailbox(NamedTuple):
    """A mailbox that is open on a connection. `is_substitute` says that none of the wanted folders exists."""

    folder: Folder
    found: Found
    is_substitute: bool


class MailboxOpener:
    """Opener of the mailbox of one user on one connection."""

    __slots__ = ("_scope",)

    def __init__(self, scope: ConnectionScope) -> None:
        self._scope = scope

    @property
    def is_first(self) -> bool:
        """Whether the session waits in the folder that is opened."""
        return True

    @property
    def wanted(self) -> tuple[str, ...]:
        """The folders to watch, the first that exists: the provider's, on Gmail that of all mail, else INBOX."""
        if not self._scope.watched.folders and "X-GM-EXT-1" in self._scope.client.capabilities:
            return (ALL_MAIL,)
        return self._scope.watched.folders or (INBOX.name,)

    async def open(self) -> OpenMailbox:
        """Choose the folder, open it and read its cursor. Raises Fenced and any ImapError."""
        folder = await self.choose()
        selected = await self.select(folder)
        row = await queries.visit_mailbox(
            self._scope.context.pool,
            user_id=self._scope.watched.user_id,
            partner_id=self._scope.watched.partner_id,
            version=self._scope.watched.version,
            account=self._scope.watched.account,
            name=folder.name,
            fence=self._scope.fence,
            is_first=self.is_first,
            is_listed=self._scope.watched.folder is not None,
        )
        self._scope.memory.deferred.load(row.deferred)
        found = await self.find_numbering(row, selected)
        is_substitute = folder is INBOX and all(name.upper() != INBOX.name for name in self.wanted)
        return OpenMailbox(folder, found, is_substitute)

    async def choose(self) -> Folder:
        """Return the folder to watch."""
        wanted = self.wanted
        if wanted[0].upper() == INBOX.name:
            return INBOX
        return choose_folder(await self._scope.client.list_folders(), wanted)

    async def find(self, name: str) -> Folder | None:
        """Return the folder of this name; None if there is none."""
        if name.upper() == INBOX.name:
            return INBOX
        found = choose_folder(await self._scope.client.list_folders(), (name,))
        return None if found is INBOX else found

    async def select(self, folder: Folder) -> Selected:
        """Open the folder by the provider's command, or by the one that the server is known to need."""
        open_by = self._scope.watched.open_by
        by_select = self._scope.client.needs_select if open_by is None else open_by == "select"
        return await self._scope.client.examine(folder, by_select=by_select)

    async def find_numbering(self, row: MailboxRow, selected: Selected) -> Found:
        """Return the numbering of the open mailbox, and compare mails unless that ended the last session."""
        with self._scope.memory.identity_check() as is_trusted:
            return await find_numbering(self.identities, row, selected, is_trusted=is_trusted)

    @property
    def identities(self) -> Identities:
        """Means to compare mails with those that are recorded."""
        context, client, _, memory, *_ = self._scope
        return Identities(context.pool, client, memory.room, context.settings.max_email_size)


class FolderOpener(MailboxOpener):
    """Opener of one of several watched folders. `is_first` says that the session waits in it."""

    __slots__ = ("_folder", "_is_first")

    def __init__(self, scope: ConnectionScope, folder: Folder, *, is_first: bool) -> None:
        super().__init__(scope)
        self._folder = folder
        self._is_first = is_first

    @property
    def is_first(self) -> bool:
        """Whether the session waits in the folder."""
        return self._is_first

    @property
    def wanted(self) -> tuple[str, ...]:
        """The name of the folder."""
        return (self._folder.name,)

    async def choose(self) -> Folder:
        """Return the folder."""
        return self._folder
