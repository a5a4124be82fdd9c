"""Reading of what a mailbox shows of the mails that are compared: their flags, and which of them are absent."""

from collections.abc import Mapping, Sequence

from superimap.db.watching.changes import KnownState
from superimap.domain.mail_changes import Flags, TrackedMail, clean_flags
from superimap.idler import server_pauses
from superimap.imap.client import ImapClient
from superimap.imap.errors import Refused
from superimap.imap.types import Folder


class ChangeReader:
    """Reader of one connection. Once the server has refused CHANGEDSINCE, all flags are read.

    `is_first` says that the session waits in the mailbox that is read, so that its changes are announced.
    """

    __slots__ = ("_client", "_is_first", "_is_refused")

    def __init__(self, client: ImapClient, *, is_first: bool) -> None:
        self._client = client
        self._is_first = is_first
        self._is_refused = False

    @property
    def reports_all_changes(self) -> bool:
        """Whether HIGHESTMODSEQ changes with each change and each expunge (RFC 7162)."""
        return "QRESYNC" in self._client.capabilities and self.tells_changes

    @property
    def tells_changes(self) -> bool:
        """Whether the server tells which flags have changed."""
        return not self._is_refused and self._client.tells_changed_flags

    def mark_seen(self) -> None:
        """Count all changes that were reported so far as looked at."""
        if self._is_first:
            self._client.mailbox.changes_seen = self._client.mailbox.changes

    async def highest_modseq(self, folder: Folder) -> int | None:
        """Return the folder's HIGHESTMODSEQ; None if it has none. Raises any ImapError but Refused."""
        if not self.tells_changes:
            return None
        try:
            counts = await self._client.status(folder, "HIGHESTMODSEQ")
        except Refused as error:
            self._pass_over(error)
            return None
        return counts.get("HIGHESTMODSEQ") or None

    async def read(self, known: KnownState, modseq: int | None) -> dict[int, Flags | None]:
        """Return the flags of each mail by UID; None for one that is proven to be absent.

        A mail of which nothing can be said is left out. `modseq` was read before. Raises any ImapError.
        """
        await self._client.noop()  # brings the open mailbox up to date
        since = None if modseq is None or known.modseq is None or known.modseq > modseq else known.modseq
        expunged = self._client.mailbox.expunged
        flags, is_partial = await self._flags(known.mails, since, is_unchanged=since == modseq)
        if self._client.mailbox.expunged == expunged:
            self.mark_seen()  # the flags themselves were counted
        missing = [each.uid for each in known.mails if each.uid not in flags]
        absent, doubted = await self._client.absent(missing) if missing else (set(), set())
        shown: dict[int, Flags | None] = {}
        for mail in known.mails:
            if mail.uid in flags:
                shown[mail.uid] = clean_flags(flags[mail.uid])
            elif mail.uid in absent:
                shown[mail.uid] = None
            elif is_partial and mail.is_stored and mail.uid not in doubted:
                shown[mail.uid] = mail.flags  # unchanged
        return shown

    async def _flags(
        self, mails: Sequence[TrackedMail], since: int | None, *, is_unchanged: bool
    ) -> tuple[Mapping[int, Flags], bool]:
        """Return flags by UID, and whether those that have not changed since are left out."""
        if since is not None:
            try:
                stored = [] if is_unchanged else [each.uid for each in mails if each.is_stored]
                changed = await self._client.fetch_flags(stored, since=since)
            except Refused as error:
                self._pass_over(error)
            else:
                others = await self._client.fetch_flags([each.uid for each in mails if not each.is_stored])
                return changed | others, True
        return await self._client.fetch_flags([each.uid for each in mails]), False

    def _pass_over(self, error: Refused) -> None:
        if not server_pauses.is_about_mail(error):
            raise error
        self._is_refused = True
