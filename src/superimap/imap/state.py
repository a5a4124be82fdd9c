"""State of an IMAP session: the protocol state (RFC 9051 section 3) and the open mailbox."""

import math
import time

from superimap.imap.statuses import parse_number

STARTED, NONAUTH, AUTH, SELECTED = "STARTED", "NONAUTH", "AUTH", "SELECTED"
"""Protocol states, by the names that aioimaplib gives them."""
REPEAT_SECONDS = 60.0
"""Seconds between searches because of an EXISTS that announces no new count, while they find nothing."""
MAX_ANNOUNCEMENTS = 100
"""Announcements whose times are kept until their mails are looked for; later mails count with the last one."""
_MAX_MESSAGES = (1 << 32) - 1  # RFC 9051 section 9; a count above it is not believed


class MailboxState:
    """Message count, arrivals and UIDVALIDITY of the open mailbox. Any response may change them."""

    __slots__ = (
        "_announcements", "_quiet_until", "arrivals", "arrivals_searched", "changes", "changes_from",
        "changes_seen", "exists", "expunged", "repeat_at", "settled", "uid_next", "uid_validity",
    )  # fmt: skip

    def __init__(self) -> None:
        self.exists = 0
        self.arrivals = 0
        """Messages that arrived since the connection was opened; never decreases."""
        self._announcements: tuple[tuple[int, float], ...] = ()  # arrivals after each, and its time
        self.arrivals_searched = 0
        """The arrivals that the caller's latest search covers."""
        self.settled = 0
        """Messages of the mailbox that the caller knows; those above are announced and not found yet."""
        self.repeat_at = math.inf
        """The monotonic time at which to search because the count was repeated; infinite if it was not.

        One mail came while another was deleted, and the server did not report the latter.
        """
        self._quiet_until = 0.0
        self.expunged = 0
        """Messages that were reported as expunged since the mailbox was opened."""
        self.changes = self.changes_seen = 0
        """Reports of expunges and of flags, and those that the caller has looked at."""
        self.changes_from = math.inf
        """The monotonic time from which such a report is news; infinite where it never is."""
        self.uid_validity: int | None = None
        """None if the server did not report it when the mailbox was opened."""
        self.uid_next: int | None = None
        """UIDNEXT when the mailbox was opened, if the server reported it."""

    @property
    def has_news(self) -> bool:
        """Whether messages arrived, or may have, that no search covers, or changes were reported that are news."""
        return (
            self.arrivals > self.arrivals_searched
            or (self.repeat_at != math.inf and time.monotonic() >= self.repeat_at)
            or self.has_changes
        )

    @property
    def has_changes(self) -> bool:
        """Whether changes were reported that are news, and that the caller has not looked at."""
        return (
            self.changes != self.changes_seen
            and self.changes_from != math.inf
            and time.monotonic() >= self.changes_from
        )

    @property
    def missing(self) -> int:
        """Messages that were announced, are not expunged, and that the caller has not found."""
        return max(0, self.exists - self.settled)

    def settle(self, found: int | None = None) -> None:
        """Count `found` more messages as known to the caller; None: all that there are.

        A search may find messages before they are announced.
        """
        self.settled = self.exists if found is None else self.settled + found
        if found:
            self._quiet_until = 0.0

    def announced_at(self, number: int) -> float | None:
        """Return the monotonic time at which an arrival was announced; None if it was not, or is forgotten.

        `number` is its number since the connection was opened, from 1.
        """
        return next((at for arrivals, at in self._announcements if number <= arrivals), None)

    def forget_announcements(self, number: int) -> None:
        """Forget when the arrivals up to this number were announced."""
        if self._announcements:
            self._announcements = tuple(each for each in self._announcements if each[0] > number)

    def mark_searched(self) -> None:
        """Count all arrivals so far as covered by the search that is about to be sent."""
        self.arrivals_searched = self.arrivals
        if self.repeat_at != math.inf:
            self.repeat_at, self._quiet_until = math.inf, time.monotonic() + REPEAT_SECONDS

    def reset(self) -> None:
        """Forget the mailbox, because another one is about to be opened."""
        self.exists, self.settled, self.expunged, self.uid_validity, self.uid_next = 0, 0, 0, None, None

    def record_count(self, name: bytes, digits: bytes, *, opening: bool, idling: bool = False) -> None:
        """Apply an untagged response such as `* 23 EXISTS`.

        Only messages above the current count have arrived, and EXPUNGE lowers that count. While a mailbox is
        `opening`, EXISTS announces no arrivals. While `idling`, an EXISTS that announces none is a
        reason to search.
        """
        count = parse_number(digits)
        if name == b"EXISTS" and count is not None and count <= _MAX_MESSAGES:
            if count > self.exists and not opening:
                self._announce(count - self.exists)
            if idling and count <= self.exists:
                self.repeat_at = min(self.repeat_at, max(time.monotonic(), self._quiet_until))
            if count < self.exists:
                self.settled = min(self.settled, count)
            self.exists = count
        elif name == b"EXPUNGE":
            self.exists = max(0, self.exists - 1)
            self.expunged += 1
            self.changes += 1
            if count is not None and count <= self.settled:  # otherwise it was one of those not found yet
                self.settled -= 1

    def _announce(self, arrivals: int) -> None:
        """Count arrivals, and note when they were announced."""
        self.arrivals += arrivals
        kept = self._announcements
        if len(kept) < MAX_ANNOUNCEMENTS:
            self._announcements = (*kept, (self.arrivals, time.monotonic()))
        else:
            self._announcements = (*kept[:-1], (self.arrivals, kept[-1][1]))

    def record_flags(self) -> None:
        """Count flags that the server reports, if they may be news."""
        self.changes += 1

    def record_vanished(self, uids: bytes) -> None:
        """Apply the set of a VANISHED without EARLIER (RFC 7162 section 3.2.10): these mails are expunged."""
        gone = 0
        for part in uids.split(b","):
            first, _, last = part.strip().partition(b":")
            low, high = parse_number(first), parse_number(last or first)
            if low is not None and high is not None:
                gone += abs(high - low) + 1
        self.exists = max(0, self.exists - gone)
        self.expunged += gone
        self.changes += 1
        self.settled = max(0, self.settled - gone)


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
