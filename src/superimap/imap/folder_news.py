"""News of mailboxes that are not open, which the server announces after NOTIFY (RFC 5465)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from superimap.imap import responses
from superimap.imap.response import Response
from superimap.imap.status_names import folder_key, status_name
from superimap.imap.types import Folder


class NewsTaken(NamedTuple):
    """What was announced since the last look: counts by `folder_key`, and two facts.

    `has_new_names`: mailboxes were created, renamed or deleted. `is_over`: the server announces nothing any more.
    """

    counts: Mapping[str, Mapping[str, int]]
    has_new_names: bool
    is_over: bool


class FolderNews:
    """Announcements for the mailboxes of one subscription. It holds one count for each, whatever the server sends.

    Only a changed UIDNEXT is news: flags and deletions in other mailboxes wake nobody.
    """

    __slots__ = ("_counts", "_has_new_names", "_is_over", "_uid_next", "is_pending")

    def __init__(self, folders: Sequence[Folder]) -> None:
        self._uid_next: dict[str, int | None] = {
            each.name if each.name == (key := folder_key(each.raw)) else key: None for each in folders
        }
        self._counts: dict[str, Mapping[str, int]] = {}
        self._has_new_names = self._is_over = False
        self.is_pending = False
        """Whether there is anything to take."""

    def read(self, name: bytes, response: Response) -> None:
        """Read an untagged STATUS or LIST that no command asked for."""
        if name == b"LIST":
            self._has_new_names = self.is_pending = True
            return
        key = folder_key(status_name(response) or b"")
        if key not in self._uid_next:
            return
        counts = responses.mailbox_status(response)
        uid_next = counts.get("UIDNEXT")
        if uid_next is None or uid_next != self._uid_next[key]:
            self._uid_next[key], self._counts[key], self.is_pending = uid_next, counts, True

    def end(self) -> None:
        """Note that the server announces nothing any more."""
        self._is_over = self.is_pending = True

    def take(self) -> NewsTaken:
        """Return what was announced, and forget it."""
        taken = NewsTaken(self._counts, self._has_new_names, self._is_over)
        self._counts, self._has_new_names, self.is_pending = {}, False, False
        return taken
