"""FETCH of messages in the open mailbox: their metadata, headers and bytes."""

from collections.abc import Container, Sequence
from typing import Any

from superimap.imap import encoding, pacing, responses, statuses
from superimap.imap.errors import ProtocolError, Refused
from superimap.imap.protocol import Protocol
from superimap.imap.responses import FetchAnswer
from superimap.imap.statuses import CommandResult
from superimap.imap.types import MessageMeta, Timeouts
from superimap.mail.headers import MAX_HEADER_BYTES

PEEK_BYTES = 32 * 1024
"""Bytes of each new mail that `fetch_next` reads along with its metadata: nearly all mails are smaller."""
_META = "UID INTERNALDATE RFC822.SIZE"
_MESSAGE_ID = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"
_MAX_UIDS_PER_COMMAND = 500  # keeps the command line below 8 KiB (RFC 7162 section 4)


async def fetch_meta(protocol: Protocol, timeouts: Timeouts, uids: Sequence[int]) -> list[MessageMeta]:
    """Fetch what is known of these messages without their bodies, ascending; expunged ones are absent.

    What the server refuses, or answers in a way that cannot be parsed, is asked for again with fewer items, at
    last by the UID alone. An item that is missing then is None. If it refuses several messages, one of them
    may be the cause, and no less than all dates and sizes is asked for.
    """
    metas: dict[int, MessageMeta] = {}
    for start in range(0, len(uids), _MAX_UIDS_PER_COMMAND):
        await _fetch_meta(protocol, timeouts, set(uids[start : start + _MAX_UIDS_PER_COMMAND]), metas)
    return [metas[uid] for uid in sorted(metas)]


async def _fetch_meta(
    protocol: Protocol, timeouts: Timeouts, uids: set[int], metas: dict[int, MessageMeta]
) -> None:
    """Add to `metas` what the server answers. Raises Refused if it refuses all that is asked for."""
    everything = _all_meta(protocol)
    least = "UID" if len(uids) == 1 else everything
    for items in dict.fromkeys((f"{everything} {_MESSAGE_ID}", everything, _META, "UID")):
        uid_set = encoding.format_uid_set(uids)
        try:
            answer = await protocol.run(
                "FETCH", uid_set, f"({items})", prefix="UID", wanted="FETCH", within=timeouts.command
            )
        except Refused:
            if items == least:
                raise
            continue
        messages, broken = await _items(protocol, answer, uids)
        for uid in messages:
            if meta := responses.message_meta(uid, messages[uid], is_barest=items == "UID"):
                metas[uid] = meta
        uids = uids - metas.keys()
        if not uids or (not broken and uids.isdisjoint(messages)):
            return
    if broken:
        raise _broken(protocol, "FETCH responses that cannot be parsed")


def _all_meta(protocol: Protocol) -> str:
    return f"{_META} X-GM-LABELS" if "X-GM-EXT-1" in protocol.capabilities else _META


async def fetch_next(
    protocol: Protocol, timeouts: Timeouts, after: int, most: int
) -> list[tuple[MessageMeta, bytes | None]]:
    """Fetch messages with one of the `most` UIDs after `after`, ascending, in one command without a search.

    Each comes with its bytes if these are known to be complete (at most PEEK_BYTES), else with None. A message
    whose response cannot be parsed is absent. A Message-ID beyond the first PEEK_BYTES is not seen.
    """
    last = after + most
    if last > statuses.UINT32_MAX:  # a server that has no such UIDs rejects them; a search does not
        return []
    protocol.mailbox.mark_searched()
    items = f"({_all_meta(protocol)} BODY.PEEK[]<0.{PEEK_BYTES}>)"
    answer = await _fetch(protocol, timeouts, f"{after + 1}:{last}", items)
    messages, _ = await _items(protocol, answer, range(after + 1, last + 1))
    found: list[tuple[MessageMeta, bytes | None]] = []
    for uid in sorted(messages):
        meta = responses.message_meta(uid, messages[uid])
        if meta is not None:
            raw = responses.message_content(messages[uid])
            # RFC822.SIZE is an estimate on some servers, and some cut partial answers wrongly.
            is_whole = raw and len(raw) < PEEK_BYTES and len(raw) == meta.size
            found.append((meta, raw if is_whole else None))
    return found


async def fetch_raw(protocol: Protocol, timeouts: Timeouts, uid: int) -> bytes | None:
    """Fetch the exact bytes of a message, or None if it no longer exists. Does not set \\Seen."""
    answer = await _fetch(protocol, timeouts, str(uid), "(UID BODY.PEEK[])")
    messages, broken = await _items(protocol, answer, (uid,))
    raw = responses.message_content(messages.get(uid, {}))
    if raw is None and broken:
        raise _broken(protocol, "a FETCH response that cannot be parsed")
    return raw


async def fetch_header(protocol: Protocol, timeouts: Timeouts, uid: int) -> bytes | None:
    """Fetch the first MAX_HEADER_BYTES of a message's headers; None if it no longer exists."""
    answer = await _fetch(protocol, timeouts, str(uid), f"(UID BODY.PEEK[HEADER]<0.{MAX_HEADER_BYTES}>)")
    messages, _ = await _items(protocol, answer, (uid,))
    return responses.message_content(messages.get(uid, {}), "HEADER")


async def _fetch(protocol: Protocol, timeouts: Timeouts, uid_set: str, items: str) -> CommandResult:
    """Fetch mail content, which gets the longer `Timeouts.fetch`."""
    return await protocol.run("FETCH", uid_set, items, prefix="UID", wanted="FETCH", within=timeouts.fetch)


async def _items(
    protocol: Protocol, answer: CommandResult, wanted: Container[int]
) -> tuple[dict[int, dict[str, Any]], int]:
    """Return the items of the wanted messages, and the number of responses that cannot be parsed."""
    found = FetchAnswer(wanted)
    await pacing.each(found.read, answer.responses, protocol)
    protocol.keep()
    return found.messages, found.broken


def _broken(protocol: Protocol, what: str) -> ProtocolError:
    """End a session that may be out of sync; return the error for the caller to raise."""
    error = ProtocolError(what)
    protocol.fail(error)
    return error
