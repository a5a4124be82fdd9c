"""Mails that the server has announced on a connection, and how many of them were looked for."""

from superimap.imap.client import ImapClient


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
        return has_news

    def record_density(self, is_dense: bool) -> None:
        """Note whether the last new mails had UIDs without a gap."""
        self.is_dense = is_dense
