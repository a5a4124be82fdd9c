"""Comparison of what STATUS reports with what an open mailbox has shown. Pure decisions, without a connection."""

from collections.abc import Mapping

STATUS_ITEMS = ("MESSAGES", "UIDNEXT", "UIDVALIDITY")


class StatusCheck:
    """Whether a mailbox has changed without telling the open session.

    Some servers always report other counts than an open mailbox has. Counts that were accepted, because the
    mailbox was opened again since, are no difference until they change.
    """

    __slots__ = ("_accepted", "_arrivals", "_uid_next")

    def __init__(self) -> None:
        self._accepted: tuple[int | None, ...] | None = None
        self._arrivals = 0  # announced when `_uid_next` was reported
        self._uid_next: int | None = None

    def accept(self, counts: Mapping[str, int], *, arrivals: int) -> None:
        """Remember that these counts are accounted for; `arrivals` mails are announced on this connection."""
        self._accepted = tuple(map(counts.get, STATUS_ITEMS))
        self._arrivals, self._uid_next = arrivals, counts.get("UIDNEXT")

    def differs(
        self, counts: Mapping[str, int], *, exists: int, uid_validity: int, last_uid: int, arrivals: int
    ) -> bool:
        """Return whether the counts tell of a change that the session has not seen, or do not tell enough.

        The session knows of `exists` messages under the server's `uid_validity`, and of all mails up to the UID
        `last_uid`. Without UIDNEXT nothing shows that one mail came while another was deleted.
        """
        messages, uid_next = counts.get("MESSAGES"), counts.get("UIDNEXT")
        if not uid_next or (messages is None and self._uid_next is None):
            return True
        if tuple(map(counts.get, STATUS_ITEMS)) == self._accepted:
            return False
        if counts.get("UIDVALIDITY", uid_validity) != uid_validity:
            return True
        if messages is not None and messages != exists:
            return True
        is_silent = self._uid_next is not None and uid_next > self._uid_next and arrivals == self._arrivals
        return uid_next <= last_uid or is_silent
