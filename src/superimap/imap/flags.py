"""Flags of messages in the open mailbox: by FETCH, only changed ones with CONDSTORE (RFC 7162)."""

from collections.abc import Sequence

from superimap.imap import encoding, pacing
from superimap.imap.command_memory import CommandMemory
from superimap.imap.protocol import Protocol
from superimap.imap.response import Response
from superimap.imap.responses import named_items, number_of
from superimap.imap.types import Timeouts

UIDS_PER_COMMAND = 500
"""Messages of one command, whose line stays below 8 KiB (RFC 7162 section 4)."""
MAX_FLAGS_READ = 256
"""Flags of one message that are read."""
MAX_FLAG_BYTES = 256
FLAGS = "FETCH FLAGS"
CHANGED = "FETCH CHANGEDSINCE"


async def fetch_flags(
    protocol: Protocol,
    memory: CommandMemory,
    timeouts: Timeouts,
    uids: Sequence[int],
    *,
    since: int | None = None,
) -> dict[int, tuple[str, ...]]:
    """Return the flags of these messages by UID; of those alone that changed after the mod-sequence `since`.

    Messages that are absent, or whose answer cannot be read, are left out. Raises Refused.
    """
    name, modifier = (FLAGS, ()) if since is None else (CHANGED, (f"(CHANGEDSINCE {since})",))
    found: dict[int, tuple[str, ...]] = {}
    for start in range(0, len(uids), UIDS_PER_COMMAND):
        chunk = uids[start : start + UIDS_PER_COMMAND]
        uid_set = encoding.format_uid_set(chunk)
        with memory.attempt(name, protocol):
            answer = await protocol.run(
                "FETCH",
                uid_set,
                "(UID FLAGS)",
                *modifier,
                prefix="UID",
                wanted="FETCH",
                within=timeouts.command,
            )
        reader = _Reader(frozenset(chunk), found)
        await pacing.each(reader.read, answer.responses, protocol)
        protocol.keep()
    return found


class _Reader:
    """Reader of FETCH responses. The last one about a message counts: the server may repeat it."""

    __slots__ = ("_found", "_wanted")

    def __init__(self, wanted: frozenset[int], found: dict[int, tuple[str, ...]]) -> None:
        self._wanted, self._found = wanted, found

    def read(self, response: Response) -> None:
        items = named_items(response)
        uid, flags = number_of(items.get("UID")), items.get("FLAGS")
        if uid in self._wanted and isinstance(flags, tuple):
            self._found[uid] = tuple(map(_text, flags[:MAX_FLAGS_READ]))


def _text(flag: object) -> str:
    return (
        flag[:MAX_FLAG_BYTES].decode("utf-8", "replace")
        if isinstance(flag, bytes)
        else str(flag)[:MAX_FLAG_BYTES]
    )
