"""Which state is the session in, and what was told about the open mailbox?"""

from superimap.imap.responses import number


class MailboxState:
    """The count of messages and whether any arrived; the server may change it beside any command."""

    __slots__ = ("arrivals", "exists", "uid_validity")

    def __init__(self) -> None:
        self.exists = 0
        self.arrivals = 0
        """How many messages arrived since the connection was opened; it never falls."""
        self.uid_validity: int | None = None

    def forget(self) -> None:
        """Another mailbox is about to be opened."""
        self.exists, self.uid_validity = 0, None

    def told(self, name: bytes, digits: bytes, *, opening: bool) -> None:
        """`* 23 EXISTS` and the like. Only what is above the count has arrived: EXPUNGE lowers it."""
        count = number(digits)
        if name == b"EXISTS" and count is not None:
            self.arrivals += 0 if opening else max(0, count - self.exists)
            self.exists = count
        elif name == b"EXPUNGE":
            self.exists = max(0, self.exists - 1)


def next_state(state: str, command: str, result: str) -> str:
    """The state after a command (RFC 9051 section 3); a failed EXAMINE leaves no mailbox open."""
    match command, result:
        case "LOGIN" | "AUTHENTICATE", "OK":
            return "AUTH"
        case "EXAMINE", "OK":
            return "SELECTED"
        case "EXAMINE", "NO":
            return "AUTH"
        case "LOGOUT", "OK":
            return "LOGOUT"
    return state
