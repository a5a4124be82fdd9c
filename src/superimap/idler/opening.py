"""Opening of the mailbox to watch: which folder, by which command, at which cursor, in which numbering."""

from typing import NamedTuple

from superimap.db.watching import intake as queries
from superimap.db.watching.intake import Fence, MailboxRow
from superimap.db.watching.sessions import WatchedUser
from superimap.idler.context import IdlerContext
from superimap.idler.folder_choice import ALL_MAIL, choose_folder
from superimap.idler.identities import Identities
from superimap.idler.mailbox_memory import MailboxMemory
from superimap.idler.numberings import Found, find_numbering
from superimap.imap.client import ImapClient
from superimap.imap.types import INBOX, Folder, Selected


class OpenMailbox(NamedTuple):
    """A mailbox that is open on a connection. `is_substitute` says that none of the wanted folders exists."""

    folder: Folder
    found: Found
    is_substitute: bool


class MailboxOpener:
    """Opener of the mailbox of one user on one connection."""

    __slots__ = ("_client", "_context", "_fence", "_memory", "_watched")

    def __init__(
        self,
        context: IdlerContext,
        client: ImapClient,
        watched: WatchedUser,
        memory: MailboxMemory,
        fence: Fence,
    ) -> None:
        self._context = context
        self._client = client
        self._watched = watched
        self._memory = memory
        self._fence = fence

    @property
    def wanted(self) -> tuple[str, ...]:
        """The folders to watch, the first that exists: the provider's, on Gmail that of all mail, else INBOX."""
        if not self._watched.folders and "X-GM-EXT-1" in self._client.capabilities:
            return (ALL_MAIL,)
        return self._watched.folders or (INBOX.name,)

    async def open(self) -> OpenMailbox:
        """Choose the folder, open it and read its cursor. Raises Fenced and any ImapError."""
        folder = await self.choose()
        selected = await self.select(folder)
        row = await queries.visit_mailbox(
            self._context.pool,
            user_id=self._watched.user_id,
            partner_id=self._watched.partner_id,
            version=self._watched.version,
            account=self._watched.account,
            name=folder.name,
            fence=self._fence,
        )
        self._memory.deferred.load(row.deferred)
        found = await self.find_numbering(row, selected)
        is_substitute = folder is INBOX and all(name.upper() != INBOX.name for name in self.wanted)
        return OpenMailbox(folder, found, is_substitute)

    async def choose(self) -> Folder:
        """Return the folder to watch."""
        wanted = self.wanted
        if wanted[0].upper() == INBOX.name:
            return INBOX
        return choose_folder(await self._client.list_folders(), wanted)

    async def select(self, folder: Folder) -> Selected:
        """Open the folder by the provider's command, or by the one that the server is known to need."""
        open_by = self._watched.open_by
        by_select = self._client.needs_select if open_by is None else open_by == "select"
        return await self._client.examine(folder, by_select=by_select)

    async def find_numbering(self, row: MailboxRow, selected: Selected) -> Found:
        """Return the numbering of the open mailbox, and compare mails unless that ended the last session."""
        with self._memory.identity_check() as is_trusted:
            return await find_numbering(self.identities, row, selected, is_trusted=is_trusted)

    @property
    def identities(self) -> Identities:
        """Means to compare mails with those that are recorded."""
        context = self._context
        return Identities(context.pool, self._client, self._memory.room, context.settings.max_email_size)
