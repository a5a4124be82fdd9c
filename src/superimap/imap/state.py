"""State of an IMAP session: the protocol state (RFC 9051 section 3) and the open mailbox."""

from superimap.imap.statuses import parse_number

STARTED, NONAUTH, AUTH, SELECTED = "STARTED", "NONAUTH", "AUTH", "SELECTED"
"""Protocol states, by the names that aioimaplib gives them."""
_MAX_MESSAGES = (1 << 32) - 1  # RFC 9051 section 9; a count above it is not believed


class MailboxState:
    """Message count, arrivals and UIDVALIDITY of the open mailbox. Any response may change them."""

    __slots__ = ("arrivals", "arrivals_searched", "exists", "settled", "uid_next", "uid_validity")

    def __init__(self) -> None:
        self.exists = 0
        self.arrivals = 0
        """Messages that arrived since the connection was opened; never decreases."""
        self.arrivals_searched = 0
        """The arrivals that the caller's latest search covers."""
        self.settled = 0
        """Messages of the mailbox that the caller knows; those above are announced and not found yet."""
        self.uid_validity: int | None = None
        """None if the server did not report it when the mailbox was opened."""
        self.uid_next: int | None = None
        """UIDNEXT when the mailbox was opened, if the server reported it."""

    @property
    def has_news(self) -> bool:
        """Whether messages arrived that no search covers."""
        return self.arrivals > self.arrivals_searched

    @property
    def missing(self) -> int:
        """Messages that were announced, are not expunged, and that the caller has not found."""
        return max(0, self.exists - self.settled)

    def settle(self, found: int | None = None) -> None:
        """Count `found` more messages as known to the caller; None: all that there are.

        A search may find messages before they are announced.
        """
        self.settled = self.exists if found is None else self.settled + found

    def mark_searched(self) -> None:
        """Count all arrivals so far as covered by the search that is about to be sent."""
        self.arrivals_searched = self.arrivals

    def reset(self) -> None:
        """Forget the mailbox, because another one is about to be opened."""
        self.exists, self.settled, self.uid_validity, self.uid_next = 0, 0, None, None

    def record_count(self, name: bytes, digits: bytes, *, opening: bool) -> None:
        """Apply an untagged response such as `* 23 EXISTS`.

        Only messages above the current count have arrived, and EXPUNGE lowers that count. While a mailbox is
        `opening`, EXISTS announces no arrivals.
        """
        count = parse_number(digits)
        if name == b"EXISTS" and count is not None and count <= _MAX_MESSAGES:
            self.arrivals += 0 if opening else max(0, count - self.exists)
            if count < self.exists:
                self.settled = min(self.settled, count)
            self.exists = count
        elif name == b"EXPUNGE":
            self.exists = max(0, self.exists - 1)
            if count is not None and count <= self.settled:  # otherwise it was one of those not found yet
                self.settled -= 1


def next_state(state: str, command: str, result: str) -> str:
    """Return the protocol state after a command. A failed EXAMINE or SELECT leaves no mailbox open."""
    match command, result:
        case "LOGIN" | "AUTHENTICATE", "OK":
            return AUTH
        case "EXAMINE" | "SELECT", "OK":
            return SELECTED
        case "EXAMINE" | "SELECT", "NO":
            return AUTH
        case "LOGOUT", "OK":
            return "LOGOUT"
    return state
