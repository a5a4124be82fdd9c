"""Commands about whole mailboxes: which there are, opening one, and its counts."""

import contextlib

from superimap.imap import encoding, folders, pacing, responses, statuses
from superimap.imap.errors import Refused
from superimap.imap.framing import Response
from superimap.imap.protocol import Protocol
from superimap.imap.statuses import CommandResult
from superimap.imap.types import Folder, Selected, Timeouts, UidValidity

_MAX_FOLDERS = 10_000  # of one account; more are not listed


async def list_folders(protocol: Protocol, timeouts: Timeouts) -> list[Folder]:
    """List all mailboxes of the account, with their special uses where the server knows them."""
    capabilities, listed = protocol.capabilities, []
    if {"LIST-EXTENDED", "SPECIAL-USE"} <= capabilities:
        with contextlib.suppress(Refused):
            listed = await _list(protocol, timeouts, "LIST", "RETURN (SPECIAL-USE)")
    if not listed:
        listed = await _list(protocol, timeouts, "LIST")
    if "XLIST" in capabilities and "SPECIAL-USE" not in capabilities:
        with contextlib.suppress(Refused):
            listed = folders.add_attributes(listed, await _list(protocol, timeouts, "XLIST"))
    return listed


async def _list(protocol: Protocol, timeouts: Timeouts, command: str, *options: str) -> list[Folder]:
    answer = await protocol.run(command, '""', '"*"', *options, wanted="LIST XLIST", within=timeouts.command)
    listed: list[Folder] = []

    def read(response: Response) -> None:
        if folder := folders.parse_folder(response):
            listed.append(folder)

    await pacing.each(read, answer.responses[:_MAX_FOLDERS], protocol)
    protocol.keep()
    return listed


async def examine(protocol: Protocol, timeouts: Timeouts, folder: Folder, *, by_select: bool) -> Selected:
    """Open a mailbox, by EXAMINE unless `by_select`. Raises Refused if it does not exist.

    A listed Folder is opened by the bytes that were listed; if these are refused, by its encoded name.
    """
    mailbox = protocol.mailbox
    mailbox.reset()
    answer = await _open(protocol, timeouts, "SELECT" if by_select else "EXAMINE", folder)
    uid_next = mailbox.uid_next
    if answer.status.code == "UIDNEXT":
        uid_next = statuses.parse_uid(answer.status.value)
    mailbox.mark_searched()
    if mailbox.uid_validity is None:
        with contextlib.suppress(Refused):
            counts = await status(protocol, timeouts, folder, "UIDVALIDITY", "UIDNEXT")
            mailbox.uid_validity = counts.get("UIDVALIDITY")
            uid_next = uid_next or counts.get("UIDNEXT")
    return Selected(folder.name, UidValidity(mailbox.uid_validity or 0), uid_next, mailbox.exists)


async def _open(protocol: Protocol, timeouts: Timeouts, command: str, folder: Folder) -> CommandResult:
    try:
        return await protocol.run(command, encoding.quote_raw(folder.raw), within=timeouts.command)
    except Refused:
        encoded = folders.named(folder.name).raw
        if encoded == folder.raw:
            raise
    return await protocol.run(command, encoding.quote_raw(encoded), within=timeouts.command)


async def status(protocol: Protocol, timeouts: Timeouts, folder: Folder, *names: str) -> dict[str, int]:
    """Return counts of a mailbox, such as MESSAGES, UIDNEXT, UIDVALIDITY; unanswered ones are absent."""
    items = f"({' '.join(names)})"
    answer = await protocol.run(
        "STATUS", encoding.quote_raw(folder.raw), items, wanted="STATUS", within=timeouts.command
    )
    counts: dict[str, int] = {}
    await pacing.each(lambda each: counts.update(responses.mailbox_status(each)), answer.responses, protocol)
    return {name: counts[name] for name in names if name in counts}
