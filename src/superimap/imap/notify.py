"""Subscription to announcements of mailboxes that are not open (RFC 5465)."""

from collections.abc import Sequence

from superimap.imap import encoding
from superimap.imap.command_memory import CommandMemory
from superimap.imap.errors import Refused
from superimap.imap.folder_news import FolderNews
from superimap.imap.protocol import Protocol
from superimap.imap.types import Folder, Timeouts

NOTIFY = "NOTIFY"
_MAIL = "MessageNew MessageExpunge"


async def subscribe(
    protocol: Protocol,
    memory: CommandMemory,
    timeouts: Timeouts,
    folders: Sequence[Folder],
    *,
    with_flags: bool = False,
) -> bool:
    """Ask for announcements of new mail in these mailboxes, and of new names; return whether they will come.

    The open mailbox is announced as before, but changed flags only `with_flags`. If a name is encoded, all of the
    user's mailboxes are announced: Dovecot finds no encoded name here (2.3.19). Raises Refused only if the server
    asks for a pause.
    """
    is_subscribed, protocol.news = protocol.news is not None, None
    names = [encoding.quote_raw(each.raw) for each in folders]
    if not folders or NOTIFY not in protocol.capabilities or not all(isinstance(each, str) for each in names):
        return False
    if not memory.is_usable(NOTIFY, protocol.loop.time()):
        return False
    is_encoded = any(b"&" in each.raw or not each.raw.isascii() for each in folders)
    events = (
        f"(SELECTED-DELAYED ({_MAIL}{' FlagChange' if with_flags else ''}))"
        f" (MAILBOXES ({' '.join(map(str, names))}) ({_MAIL} MailboxName))"
        f" (PERSONAL ({f'{_MAIL} ' if is_encoded else ''}MailboxName))"
    )
    protocol.news = FolderNews(folders)
    try:
        with memory.attempt(NOTIFY, protocol):
            if is_subscribed:  # after a second SET without it, Dovecot announces nothing (2.3.19)
                await protocol.run(NOTIFY, "NONE", within=timeouts.command)
            await protocol.run(NOTIFY, "SET", events, within=timeouts.command)
    except Refused as error:
        protocol.news = None
        memory.tolerate(NOTIFY, error, protocol.loop.time())
        return False
    return True
