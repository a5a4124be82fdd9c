"""Counts of several mailboxes that are not open: by LIST-STATUS (RFC 5819), or by STATUS for each."""

import re
from collections.abc import Iterable, Mapping, Sequence

from superimap.imap import encoding, folders, mailboxes, pacing, responses
from superimap.imap.command_memory import CommandMemory
from superimap.imap.errors import Refused
from superimap.imap.protocol import Protocol
from superimap.imap.response import Response
from superimap.imap.status_names import folder_key, status_name
from superimap.imap.throttling import asks_for_pause
from superimap.imap.types import Folder, Timeouts

FOLDERS_PER_COMMAND = 25
"""Mailboxes that one LIST asks for."""
_LIST_STATUS = "LIST RETURN (STATUS)"
_WILDCARDS = re.compile(rb"[*%]")


async def folder_counts(
    protocol: Protocol,
    memory: CommandMemory,
    timeouts: Timeouts,
    asked: Sequence[Folder],
    names: Sequence[str],
) -> dict[bytes, Mapping[str, int]]:
    """Return the counts of each mailbox by the bytes of its name; those that the server does not tell are absent.

    Raises Refused only if the server asks for a pause.
    """
    found: dict[str, Mapping[str, int]] = {}
    if {"LIST-EXTENDED", "LIST-STATUS"} <= protocol.capabilities:
        plain = [each for each in asked if isinstance(_quoted(each), str)]
        for start in range(0, len(plain), FOLDERS_PER_COMMAND):
            found |= await _by_list(
                protocol, memory, timeouts, plain[start : start + FOLDERS_PER_COMMAND], names
            )
    for folder in asked:
        if folder_key(folder.raw) not in found:
            try:
                counts = await mailboxes.status(protocol, memory, timeouts, folder, *names)
            except Refused as error:
                if asks_for_pause(error.code, error.text):
                    raise
                continue
            if counts:
                found[folder_key(folder.raw)] = counts
    return {each.raw: found[key] for each in asked if (key := folder_key(each.raw)) in found}


async def _by_list(
    protocol: Protocol,
    memory: CommandMemory,
    timeouts: Timeouts,
    asked: Sequence[Folder],
    names: Sequence[str],
) -> dict[str, Mapping[str, int]]:
    """Return what one LIST tells; nothing if it is refused, or left out because the server does not bear it."""
    if not memory.is_usable(_LIST_STATUS, protocol.loop.time()):
        return {}
    patterns = " ".join(str(_quoted(each)) for each in asked)
    options = f"RETURN (STATUS ({' '.join(names)}))"
    try:
        with memory.attempt(_LIST_STATUS, protocol):
            answer = await protocol.run(
                "LIST", '""', f"({patterns})", options, wanted="LIST STATUS", within=timeouts.command
            )
    except Refused as error:
        memory.tolerate(_LIST_STATUS, error, protocol.loop.time())
        return {}
    found = await _read(protocol, answer.responses, {folder_key(each.raw) for each in asked})
    protocol.keep()
    return found


async def _read(
    protocol: Protocol, answers: Sequence[Response], wanted: Iterable[str]
) -> dict[str, Mapping[str, int]]:
    found: dict[str, Mapping[str, int]] = {}

    def read(response: Response) -> None:
        name = status_name(response)
        if name is not None and (key := folder_key(name)) in wanted:
            found[key] = responses.mailbox_status(response)
        elif protocol.news is not None and not _is_listed(response, wanted):
            protocol.news.read(b"LIST" if name is None else b"STATUS", response)  # announced meanwhile

    await pacing.each(read, answers, protocol)
    return found


def _is_listed(response: Response, wanted: Iterable[str]) -> bool:
    """Return whether this is a LIST of a mailbox that was asked for."""
    folder = folders.parse_folder(response)
    return folder is not None and folder_key(folder.raw) in wanted


def _quoted(folder: Folder) -> encoding.Argument | None:
    """Return the name as one pattern of a LIST; None if it would mean other mailboxes as well."""
    return None if _WILDCARDS.search(folder.raw) else encoding.quote_raw(folder.raw)
