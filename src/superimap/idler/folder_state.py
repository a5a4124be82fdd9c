"""Watched folders beside the open one: whether their counts tell of news. Pure decisions."""

from collections.abc import Mapping
from typing import NamedTuple

from superimap.db.watching.folders import FolderRow
from superimap.idler.change_looks import ChangeLooks
from superimap.idler.mailbox import WatchedMailbox
from superimap.imap.types import Folder


class Counts(NamedTuple):
    """What a STATUS tells of a folder, by the names of its items; None where it does not."""

    MESSAGES: int | None
    UIDNEXT: int | None
    UIDVALIDITY: int | None


class FolderState:
    """One watched folder. `is_changed`: it is to be visited.

    The counts of a STATUS that were accepted, because the folder was visited since or has no news, are no news
    until they change: after the last mails of a folder were deleted, UIDNEXT stays above the cursor.

    `looks` are for changes of mails; None if these are not reported.
    """

    __slots__ = ("_accepted", "_counts", "_last_uid", "_server_value", "folder", "is_changed", "looks", "row")

    def __init__(self, folder: Folder, row: FolderRow, looks: ChangeLooks | None = None) -> None:
        self.folder = folder
        self.row = row
        self.looks = looks
        self.is_changed = False
        self._last_uid = row.last_uid
        self._server_value = row.server_value
        self._accepted: Counts | None = None
        self._counts: Counts | None = None  # those that made it `is_changed`

    @property
    def is_known(self) -> bool:
        """Whether the folder was visited before."""
        return self._last_uid is not None

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.name

    def take(self, counts: Mapping[str, int] | None) -> None:
        """Look at the counts of a STATUS; None if the server does not tell any, so that only a visit can."""
        known = None if counts is None else Counts(*map(counts.get, Counts._fields))
        if known is not None and self._accepted is not None:
            both = zip(known, self._accepted, strict=True)
            known = Counts(*(old if new is None else new for new, old in both))
        if self._differs(known) or (
            self.looks is not None
            and counts is not None
            and known is not None
            and self._has_changes(self.looks, known, counts.get("HIGHESTMODSEQ"))
        ):
            self.is_changed, self._counts = True, known
        elif not self.is_changed:
            self._accepted = known

    def accept_visit(self, mailbox: WatchedMailbox) -> None:
        """Note that the folder was read up to its cursor."""
        self.is_changed = False
        self._last_uid, self._server_value = mailbox.last_uid, mailbox.numbering.server_value
        self._accepted, self._counts = self._counts, None

    def _differs(self, counts: "Counts | None") -> bool:
        """Return whether these counts tell of mail that is not recorded, or do not tell enough.

        Without UIDNEXT nothing shows that one mail came while another was deleted.
        """
        if counts is None or self._last_uid is None or self._server_value is None:
            return True
        if counts.UIDNEXT and counts == self._accepted:
            return False
        if counts.UIDVALIDITY not in (None, self._server_value):
            return True
        if self._last_uid + 1 != counts.UIDNEXT:
            return True
        before = None if self._accepted is None else self._accepted.MESSAGES
        return counts.MESSAGES is not None and before is not None and before < counts.MESSAGES

    def _has_changes(self, looks: ChangeLooks, counts: Counts, modseq: int | None) -> bool:
        """Return whether mails were changed or deleted since the last look."""
        if modseq is not None and looks.modseq is not None:
            return modseq != looks.modseq
        before = None if self._accepted is None else self._accepted.MESSAGES
        return None not in (counts.MESSAGES, before) and before != counts.MESSAGES
