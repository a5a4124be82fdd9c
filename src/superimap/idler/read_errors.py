"""Errors of reading mail that the idler finds, beyond those of `imap.errors`."""

from superimap.domain.deferrals import MAX_DEFERRED_MAILS
from superimap.imap.errors import ImapError, Refused

UNUSABLE_UIDS = (
    "the mail server numbers mails above 9223372036854775807; those mails cannot be recorded or delivered"
)
"""What the status of a user says of such mails."""


class Withheld(Refused):
    """The server answered OK, and left out a mail that it still holds, or still counts. The session goes on."""

    def __init__(self) -> None:
        super().__init__("FETCH", "OK", "an answer without a mail that is there or still counted")


class Undated(Refused):
    """Only the body of a mail could be had. Its Date says that it is old, which only INTERNALDATE can confirm."""

    def __init__(self) -> None:
        super().__init__(
            "FETCH", "OK", "a mail without the time at which it arrived, which decides if it is new"
        )


class NothingReadable(ImapError):
    """Several mails could not be read, and no other mail either: the server is at fault."""

    def __init__(self, error: str) -> None:
        super().__init__(f"no mail can be read: {error}")


class TooManyDeferred(ImapError):
    """The mailbox has MAX_DEFERRED_MAILS deferred mails, and is not read any further."""

    def __init__(self) -> None:
        super().__init__(f"{MAX_DEFERRED_MAILS} mails could not be read; the mailbox is not read any further")
