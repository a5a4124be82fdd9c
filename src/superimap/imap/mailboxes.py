"""Commands about whole mailboxes: which there are, opening one, and its counts."""

import contextlib

from superimap.imap import encoding, folders, pacing, responses, statuses
from superimap.imap.command_memory import CommandMemory
from superimap.imap.errors import Refused
from superimap.imap.protocol import Protocol
from superimap.imap.response import Response
from superimap.imap.status_names import folder_key, status_name
from superimap.imap.statuses import CommandResult
from superimap.imap.throttling import asks_for_pause
from superimap.imap.types import Folder, Selected, Timeouts, UidValidity

_MAX_FOLDERS = 10_000  # of one account; more are not listed


async def list_folders(protocol: Protocol, memory: CommandMemory, timeouts: Timeouts) -> list[Folder]:
    """List all mailboxes of the account, with their special uses where the server knows them."""
    capabilities = protocol.capabilities
    listed: list[Folder] | None = None
    if {"LIST-EXTENDED", "SPECIAL-USE"} <= capabilities:
        listed = await _list_if_borne(protocol, memory, timeouts, "LIST", "RETURN (SPECIAL-USE)")
    listed = listed or await _list_if_borne(protocol, memory, timeouts, "LIST")
    if listed is None:  # some servers walk through a whole file system for the star
        listed = await _list(protocol, timeouts, "LIST", pattern='"%"')
    if "XLIST" in capabilities and "SPECIAL-USE" not in capabilities:
        special = await _list_if_borne(protocol, memory, timeouts, "XLIST")
        listed = folders.add_attributes(listed, special or [])
    return listed


async def _list_if_borne(
    protocol: Protocol, memory: CommandMemory, timeouts: Timeouts, command: str, *options: str
) -> list[Folder] | None:
    """Return what LIST or an extension answers; None if the server refuses it, or does not bear it."""
    name = " ".join((command, *options))
    if not memory.is_usable(name, protocol.loop.time()):
        return None
    try:
        with memory.attempt(name, protocol):
            return await _list(protocol, timeouts, command, *options)
    except Refused as error:
        memory.tolerate(name, error, protocol.loop.time())
        return None


async def _list(
    protocol: Protocol, timeouts: Timeouts, command: str, *options: str, pattern: str = '"*"'
) -> list[Folder]:
    answer = await protocol.run(
        command, '""', pattern, *options, wanted="LIST XLIST", within=timeouts.command
    )
    listed: list[Folder] = []

    def read(response: Response) -> None:
        if folder := folders.parse_folder(response):
            listed.append(folder)

    await pacing.each(read, answer.responses[:_MAX_FOLDERS], protocol)
    protocol.keep()
    return listed


async def examine(
    protocol: Protocol, memory: CommandMemory, timeouts: Timeouts, folder: Folder, *, by_select: bool
) -> Selected:
    """Open a mailbox, by EXAMINE unless `by_select`. Raises Refused if it does not exist.

    A listed Folder is opened by the bytes that were listed; if these are refused, by its encoded name. Where the
    server does not bear or take EXAMINE, SELECT is used.
    """
    mailbox = protocol.mailbox
    mailbox.reset()
    if by_select or not memory.is_usable("EXAMINE", protocol.loop.time()):
        answer = await _open(protocol, timeouts, "SELECT", folder)
    else:
        answer = await _examine(protocol, memory, timeouts, folder)
    uid_next = mailbox.uid_next
    if answer.status.code == "UIDNEXT":
        uid_next = statuses.parse_uid(answer.status.value)
    mailbox.mark_searched()
    if mailbox.uid_validity is None:
        with contextlib.suppress(Refused):
            counts = await status(protocol, memory, timeouts, folder, "UIDVALIDITY", "UIDNEXT")
            mailbox.uid_validity = counts.get("UIDVALIDITY")
            uid_next = uid_next or counts.get("UIDNEXT")
    return Selected(folder.name, UidValidity(mailbox.uid_validity or 0), uid_next, mailbox.exists)


async def _examine(
    protocol: Protocol, memory: CommandMemory, timeouts: Timeouts, folder: Folder
) -> CommandResult:
    try:
        with memory.attempt("EXAMINE", protocol):
            return await _open(protocol, timeouts, "EXAMINE", folder)
    except Refused as error:
        if error.code == "NONEXISTENT" or asks_for_pause(error.code, error.text):
            raise
        refused = error
    protocol.mailbox.reset()
    try:
        return await _open(protocol, timeouts, "SELECT", folder)
    except Refused:
        raise refused from None


async def _open(protocol: Protocol, timeouts: Timeouts, command: str, folder: Folder) -> CommandResult:
    try:
        return await protocol.run(command, encoding.quote_raw(folder.raw), within=timeouts.command)
    except Refused:
        encoded = folders.named(folder.name).raw
        if encoded == folder.raw:
            raise
    return await protocol.run(command, encoding.quote_raw(encoded), within=timeouts.command)


async def status(
    protocol: Protocol, memory: CommandMemory, timeouts: Timeouts, folder: Folder, *names: str
) -> dict[str, int]:
    """Return counts of a mailbox, such as MESSAGES, UIDNEXT, UIDVALIDITY; unanswered ones are absent.

    There are none while STATUS is left out, because the server does not bear it: some end the session if it is of
    the open mailbox. Opening the mailbox again tells as much.
    """
    if not memory.is_usable("STATUS", protocol.loop.time()):
        return {}
    items = f"({' '.join(names)})"
    with memory.attempt("STATUS", protocol, most=1):
        answer = await protocol.run(
            "STATUS", encoding.quote_raw(folder.raw), items, wanted="STATUS", within=timeouts.command
        )
    counts: dict[str, int] = {}
    key = folder_key(folder.raw)
    ours = [each for each in answer.responses if folder_key(status_name(each) or b"") == key]
    if protocol.news is not None:  # of others, announced meanwhile
        for response in answer.responses:
            if folder_key(status_name(response) or b"") != key:
                protocol.news.read(b"STATUS", response)
    await pacing.each(
        lambda each: counts.update(responses.mailbox_status(each)), ours or answer.responses, protocol
    )
    return {name: counts[name] for name in names if name in counts}


async def noop(protocol: Protocol, memory: CommandMemory, timeouts: Timeouts, *, silent: float = 0.0) -> None:
    """Let the server report changes, and prove that it is alive; left out where the server does not bear it.

    `silent` is the silence before it, in seconds.
    """
    if not memory.is_usable("NOOP", protocol.loop.time()):
        return
    try:
        with memory.attempt("NOOP", protocol, silent=silent):
            await protocol.run("NOOP", within=timeouts.command)
    except Refused as error:
        memory.tolerate("NOOP", error, protocol.loop.time())
