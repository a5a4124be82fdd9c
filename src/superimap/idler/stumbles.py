"""On which mails does a server fail? Counted over connections, so that no mail stops its mailbox for ever."""

from superimap.idler.sync import META_BATCH
from superimap.imap.errors import Gibberish, ImapError, LimitExceeded, OutOfStep, Refused

# What the server answered about a mail, rather than what became of the connection.
POISON = (Gibberish, LimitExceeded, Refused)
# Three answers that will not do, or twelve connections that broke as it was read: over a quarter of an hour.
ENOUGH = 12
ANSWERED = 4
BROKE = 1


class Stumbles:
    """How often each mail has ended its session, and how many mails to ask about at once."""

    __slots__ = ("_counts", "batch")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.batch = META_BATCH

    def note(self, uid: int, error: ImapError) -> None:
        """This mail has ended its session."""
        is_answer = isinstance(error, POISON) and not isinstance(error, OutOfStep)
        self._counts[uid] = self._counts.get(uid, 0) + (ANSWERED if is_answer else BROKE)

    def blame(self, uids: list[int], error: ImapError) -> None:
        """One of these has: ask about fewer at once, until it is known which."""
        if len(uids) == 1:
            self.note(uids[0], error)
        else:
            self.batch = max(1, min(self.batch, len(uids)) // 10)

    def too_many(self, uid: int) -> bool:
        """Whether to pass this mail over."""
        return self._counts.get(uid, 0) >= ENOUGH

    def forget(self) -> None:
        """All is recorded; past mails do not matter."""
        self._counts.clear()
        self.batch = META_BATCH
