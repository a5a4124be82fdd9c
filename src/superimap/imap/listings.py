"""Ways to list UIDs by FETCH, and tests of the dates that it answers."""

from collections.abc import Callable
from datetime import date
from typing import NamedTuple

from superimap.imap.responses import internal_date


class Listing(NamedTuple):
    """A way to list UIDs by FETCH: its name, the end of the UID set (None: by sequence numbers), and the item."""

    name: str
    end: str | None = "*"
    item: str = "UID"


# In the order in which they are tried. By sequence numbers it shows if the server leaves a message out.
LISTINGS = (
    Listing("FETCH", None),
    Listing("UID FETCH n:*"),
    Listing("UID FETCH n:4294967295", "4294967295"),  # some servers do not know the star
    Listing("UID FETCH n:* FLAGS", item="FLAGS"),  # what most clients send
)


def is_since(day: date | None) -> Callable[[object], bool]:
    """Return the test whether an INTERNALDATE is of `day`, by the server's calendar, or later; or unknown."""

    def test(value: object) -> bool:
        moment = internal_date(value)
        return day is None or moment is None or moment.date() >= day

    return test


def is_after(day: date | None) -> Callable[[object], bool]:
    """Return the test whether an INTERNALDATE is certainly after `day`, whatever the time zone. None: always."""

    def test(value: object) -> bool:
        moment = internal_date(value)
        return day is None or (moment is not None and moment.date() > day)

    return test
