"""Notes on how an open session learns of new mail, where it is not told at once. Part of a status's reason."""

import re

_EVERY = re.compile(r"\b(?:polled|checked) every (\d{1,9}) s\b")


def polled(seconds: float) -> str:
    """Return the note that the mail server is asked for new mail at this interval."""
    return f"polled every {seconds:.0f} s"


def checked(seconds: float) -> str:
    """Return the note that the mailbox is checked at this interval, beside what the mail server announces."""
    return f"the mail server does not announce all mail; checked every {seconds:.0f} s"


def seconds_between_rounds(reason: str | None) -> int | None:
    """Return the longest interval that the reason of a status names; None if mail is announced at once."""
    return max((int(seconds) for seconds in _EVERY.findall(reason or "")), default=None)
