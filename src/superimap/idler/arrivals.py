"""Mails that the server has announced on a connection, and how many of them were looked for."""

import time

from superimap.domain.mail_stages import FoundBy, Sighting
from superimap.imap.client import ImapClient
from superimap.imap.state import MailboxState


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
        self._client.mailbox.forget_announcements(self._looked_for)
        return has_news

    def sightings(self, found_by: FoundBy) -> "Sightings":
        """Return the sightings of the mails that are found from now on, in the order of their UIDs.

        `found_by` says how mails are found that were announced; others count as polled if they are.
        """
        return Sightings(self._client.mailbox, self._looked_for, found_by)

    def record_density(self, is_dense: bool) -> None:
        """Note whether the last new mails had UIDs without a gap."""
        self.is_dense = is_dense


class Sightings:
    """Sightings of the mails of one catch-up: each announced mail at its own announcement.

    Mails above the cursor are announced in the order of their UIDs. One that was found without an announcement, or
    before it, was seen when the catch-up met its first mail.
    """

    __slots__ = ("_found_by", "_mailbox", "_number", "_unannounced")

    def __init__(self, mailbox: MailboxState, looked_for: int, found_by: FoundBy) -> None:
        self._mailbox = mailbox
        self._number = looked_for
        self._found_by = found_by
        self._unannounced: Sighting | None = None

    def next(self) -> Sighting:
        """Return the sighting of the next mail."""
        self._number += 1
        if self._found_by is not FoundBy.CATCH_UP:
            announced_at = self._mailbox.announced_at(self._number)
            if announced_at is not None:
                return Sighting(announced_at, self._found_by)
        if self._unannounced is None:
            found_by = FoundBy.POLLED if self._found_by is FoundBy.ANNOUNCED else self._found_by
            self._unannounced = Sighting(time.monotonic(), found_by)
        return self._unannounced
