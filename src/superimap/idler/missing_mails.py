"""Schedule of looks for mails that were announced and not found. A pure state machine without a clock."""

import math
from enum import Enum

FIRST_LOOK_SECONDS = 0.1
LONGEST_LOOK_PAUSE_SECONDS = 60.0
LOOKS_PER_SEARCH_BELOW = 3


class Look(Enum):
    """What to do about missing mails now."""

    NONE = "none"
    BELOW = "below"  # search below the cursor as well
    LAST = "last"  # open the mailbox again and search below the cursor: what is not found then does not exist


class MissingMails:
    """Pauses between looks for missing mails: 0.1 s, doubling to a minute, and a last look after that.

    The server's other announcements are handled meanwhile. The pauses begin at 0.1 s again only once all announced
    mails are found: a server whose counts change all the time causes one look a minute.
    """

    __slots__ = ("_looks", "_pause", "due")

    def __init__(self) -> None:
        self._pause = FIRST_LOOK_SECONDS
        self._looks = 0
        self.due = math.inf
        """The event loop's time of the next look; infinite if no mail is missing."""

    def note(self, missing: int, *, found: int, now: float) -> Look:
        """Take note of a search after which `missing` mails are announced and not found; `found` were new."""
        if not missing:
            if found:
                self._pause = FIRST_LOOK_SECONDS
            self.due = math.inf
            return Look.NONE
        if self.due == math.inf:
            self._looks, self.due = 0, now + self._pause
            return Look.NONE
        if now < self.due:
            return Look.NONE
        return self._next_look(now)

    def _next_look(self, now: float) -> Look:
        if self._pause >= LONGEST_LOOK_PAUSE_SECONDS:
            self.due = math.inf
            return Look.LAST
        self._looks += 1
        self._pause = min(2 * self._pause, LONGEST_LOOK_PAUSE_SECONDS)
        self.due = now + self._pause
        return Look.BELOW if self._looks % LOOKS_PER_SEARCH_BELOW == 2 else Look.NONE
