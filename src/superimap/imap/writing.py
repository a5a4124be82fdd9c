"""Commands that change a mailbox, APPEND and UID EXPUNGE: for tracers in canary mailboxes, and nothing else."""

from collections.abc import Sequence

from superimap.imap import encoding
from superimap.imap.encoding import Literal
from superimap.imap.errors import Refused
from superimap.imap.protocol import Protocol
from superimap.imap.types import Folder, Timeouts


async def append(protocol: Protocol, timeouts: Timeouts, folder: Folder, raw: bytes) -> None:
    """Append a mail to a mailbox (RFC 9051 section 6.3.12), without flags: it is new and unread."""
    await protocol.run("APPEND", encoding.quote_raw(folder.raw), Literal(raw), within=timeouts.command)


async def expunge(protocol: Protocol, timeouts: Timeouts, uids: Sequence[int]) -> None:
    """Mark these messages as deleted and remove them by UID EXPUNGE (RFC 4315 section 2.1).

    Raises Refused before anything is changed if the server does not offer it: a plain EXPUNGE would remove what
    another client has marked as well.
    """
    if "UIDPLUS" not in protocol.capabilities:
        raise Refused("UID EXPUNGE", "NO", "not sent: the server does not offer UIDPLUS")
    wanted = encoding.format_uid_set(uids)
    await protocol.run("STORE", wanted, "+FLAGS.SILENT", r"(\Deleted)", prefix="UID", within=timeouts.command)
    await protocol.run("EXPUNGE", wanted, prefix="UID", within=timeouts.command)
