"""Control reads: another mail of the mailbox is read, to prove that the server is well and one mail is not."""

from typing import Protocol

from superimap.idler.read_errors import Withheld
from superimap.idler.server_pauses import is_about_mail
from superimap.idler.suspects import Suspects
from superimap.imap.client import ImapClient
from superimap.imap.errors import ImapError, Refused

CHOICE_MAILS = 20
"""Mails from which one is chosen: the latest so many, and if none of them will do, the oldest."""


class ControlMailbox(Protocol):
    """A mailbox of which a mail is read as a proof; implemented by `WatchedMailbox` and `SweptMailbox`."""

    def is_deferred(self, uid: int) -> bool: ...
    async def make_room(self, size: int) -> None: ...


async def read_control(
    client: ImapClient, mailbox: ControlMailbox, suspects: Suspects, *, max_size: int
) -> bool | None:
    """Return whether another mail could be read; None if there is none to read, of at most `max_size` bytes.

    Raises any ImapError that ends the session. A mail that failed as a control is chosen again
    only after all others.
    """
    exists = client.mailbox.exists
    for first in {max(1, exists - CHOICE_MAILS + 1): None, 1: None}:
        try:
            uids = await client.uids_at(first, min(exists, first + CHOICE_MAILS - 1)) if exists else []
        except Refused:
            suspects.blame_server()
            return False
        for uid in reversed(uids):
            if not suspects.is_control(uid) or mailbox.is_deferred(uid):
                continue
            try:
                if await _is_read(client, mailbox, uid, max_size):
                    suspects.record_read(uid)
                    return True
            except ImapError as error:
                is_server_at_fault = suspects.add_bad_control(uid)
                if not is_about_mail(error):
                    raise
                if is_server_at_fault:
                    return False
    return False if suspects.forget_bad_controls() else None


async def _is_read(client: ImapClient, mailbox: ControlMailbox, uid: int, max_size: int) -> bool:
    """Read a mail with its metadata; False if it is gone or too large. Raises any ImapError."""
    metas = await client.fetch_meta([uid])
    size = max_size if not metas or metas[0].size is None else metas[0].size
    if not metas or size > max_size:
        return False
    await mailbox.make_room(size)
    raw = await client.fetch_raw(uid)
    if raw == b"" and metas[0].size != 0:
        raise Withheld
    return raw is not None
