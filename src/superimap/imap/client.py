"""Typed IMAP commands on an authenticated session."""

import contextlib
import math
from collections.abc import AsyncIterator, Callable, Container, Sequence
from datetime import date
from itertools import islice
from typing import Any, Literal

from superimap.imap import encoding, folders, idle, pacing, responses, statuses
from superimap.imap.errors import ProtocolError, Refused
from superimap.imap.framing import Response
from superimap.imap.protocol import Protocol
from superimap.imap.responses import FetchAnswer
from superimap.imap.search import UidSearch
from superimap.imap.state import MailboxState
from superimap.imap.statuses import CommandResult
from superimap.imap.types import Folder, MessageMeta, Selected, Timeouts, UidValidity
from superimap.imap.uid_ranges import UidRanges
from superimap.mail.headers import MAX_HEADER_BYTES

PEEK_BYTES = 32 * 1024
"""Bytes of each new mail that `fetch_next` reads along with its metadata: nearly all mails are smaller."""
_META = "UID INTERNALDATE RFC822.SIZE"
_MESSAGE_ID = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"
_MAX_FOLDERS = 10_000  # of one account; more are not listed
_MAX_UIDS_PER_COMMAND = 500  # keeps the command line below 8 KiB (RFC 7162 section 4)


class ImapClient:
    """An authenticated session. Commands run one at a time; a timeout or a cancellation in one closes it."""

    def __init__(self, protocol: Protocol, timeouts: Timeouts) -> None:
        self._protocol = protocol
        self._mailbox = protocol.mailbox
        self._timeouts = timeouts
        self._search = UidSearch(protocol, timeouts)

    @property
    def capabilities(self) -> frozenset[str]:
        """The capabilities after login, in capitals."""
        return frozenset(self._protocol.capabilities)

    @property
    def last_proven_alive(self) -> float:
        """The event loop's time at which the last bytes were received."""
        return self._protocol.last_proven_alive

    @property
    def arrivals(self) -> int:
        """The number of messages announced since the connection was opened."""
        return self._mailbox.arrivals

    @property
    def mailbox(self) -> MailboxState:
        """The state of the open mailbox. The caller may `settle` it."""
        return self._mailbox

    @property
    def needs_select(self) -> bool:
        """Whether the server is known to show new mail, or to store UIDs, only in a mailbox opened by SELECT."""
        return self._protocol.needs_select or "XCOURIEROUTBOX" in " ".join(self._protocol.capabilities)

    async def list_folders(self) -> list[Folder]:
        """List all mailboxes of the account, with their special uses where the server knows them."""
        listed: list[Folder] = []
        if {"LIST-EXTENDED", "SPECIAL-USE"} <= self.capabilities:
            with contextlib.suppress(Refused):
                listed = await self._list("LIST", "RETURN (SPECIAL-USE)")
        if not listed:
            listed = await self._list("LIST")
        if "XLIST" in self.capabilities and "SPECIAL-USE" not in self.capabilities:
            with contextlib.suppress(Refused):
                listed = folders.add_attributes(listed, await self._list("XLIST"))
        return listed

    async def _list(self, command: str, *options: str) -> list[Folder]:
        answer = await self._run(command, '""', '"*"', *options, wanted="LIST XLIST")
        listed: list[Folder] = []

        def read(response: Response) -> None:
            if folder := folders.parse_folder(response):
                listed.append(folder)

        await pacing.each(read, answer.responses[:_MAX_FOLDERS], self._protocol)
        self._protocol.keep()
        return listed

    async def examine(self, folder: Folder | str, *, by_select: bool = False) -> Selected:
        """Open a mailbox read-only: nothing is ever marked as read. Raises Refused if it does not exist.

        `by_select` opens it by SELECT, for servers that show or store nothing otherwise. No command here marks a
        mail as read then either; only \\Recent is lost.
        A listed Folder is opened by the bytes that were listed; if these are refused, by its encoded name.
        """
        mailbox = self._mailbox
        mailbox.reset()
        folder = folders.named(folder) if isinstance(folder, str) else folder
        answer = await self._open("SELECT" if by_select else "EXAMINE", folder)
        uid_next = mailbox.uid_next
        if answer.status.code == "UIDNEXT":
            uid_next = statuses.parse_uid(answer.status.value)
        mailbox.mark_searched()
        if mailbox.uid_validity is None:
            with contextlib.suppress(Refused):
                counts = await self.status(folder, "UIDVALIDITY", "UIDNEXT")
                mailbox.uid_validity = counts.get("UIDVALIDITY")
                uid_next = uid_next or counts.get("UIDNEXT")
        return Selected(folder.name, UidValidity(mailbox.uid_validity or 0), uid_next, mailbox.exists)

    async def _open(self, command: str, folder: Folder) -> CommandResult:
        try:
            return await self._run(command, encoding.quote_raw(folder.raw))
        except Refused:
            encoded = folders.named(folder.name).raw
            if encoded == folder.raw:
                raise
        return await self._run(command, encoding.quote_raw(encoded))

    async def status(self, folder: Folder | str, *names: str) -> dict[str, int]:
        """Return counts of a mailbox, such as MESSAGES, UIDNEXT, UIDVALIDITY; unanswered ones are absent."""
        folder = folders.named(folder) if isinstance(folder, str) else folder
        answer = await self._run(
            "STATUS", encoding.quote_raw(folder.raw), f"({' '.join(names)})", wanted="STATUS"
        )
        counts: dict[str, int] = {}
        await pacing.each(
            lambda each: counts.update(responses.mailbox_status(each)),
            answer.responses,
            self._protocol,
        )
        return {name: counts[name] for name in names if name in counts}

    async def noop(self) -> None:
        """Let the server report changes, and prove that it is alive."""
        await self._run("NOOP")

    async def search_uids(self, *, after: int | None = None, since: date | None = None) -> UidRanges:
        """Return the UIDs above `after` with internal date `since` (the server's day) or later, ascending."""
        self._mailbox.mark_searched()  # the answer may lack messages that arrive from here on
        found = await self._find(after, since)
        self._protocol.keep(found.weight)
        return found

    async def _find(self, after: int | None, since: date | None) -> UidRanges:
        if since is not None:
            return await self._search.since(since, after=after or 0)
        return await (self._search.all() if after is None else self._search.above(after))

    @property
    def unusable_uids(self) -> int:
        """How many UIDs in the latest search are larger than any that can be recorded."""
        return self._search.unusable

    async def highest_uid(self) -> int:
        """Return the UID of the last message, or 0 if there is none. Some servers report a wrong UIDNEXT."""
        return await self._search.highest()

    async def still_there(self, uids: Sequence[int]) -> set[int]:
        """Return those of these UIDs that are not expunged; a NOOP first lets the server report expunges."""
        await self.noop()
        found = await self._search.among(uids)
        return {uid for uid in uids if uid in found}

    async def uids_at(self, first: int, last: int) -> list[int]:
        """Return the UIDs of the messages with these sequence numbers, ascending."""
        return [*islice(await self._search.at(first, last), last - first + 1)]

    async def fetch_meta(self, uids: Sequence[int]) -> list[MessageMeta]:
        """Fetch what is known of these messages without their bodies, ascending; expunged ones are absent.

        What the server refuses, or answers in a way that cannot be parsed, is asked for again with fewer items, at
        last by the UID alone. An item that is missing then is None. If it refuses several messages, one of them
        may be the cause, and no less than all dates and sizes is asked for.
        """
        metas: dict[int, MessageMeta] = {}
        for start in range(0, len(uids), _MAX_UIDS_PER_COMMAND):
            await self._fetch_meta(set(uids[start : start + _MAX_UIDS_PER_COMMAND]), metas)
        return [metas[uid] for uid in sorted(metas)]

    @property
    def _all_meta(self) -> str:
        labels = " X-GM-LABELS" if "X-GM-EXT-1" in self._protocol.capabilities else ""
        return f"{_META}{labels}"

    async def _fetch_meta(self, uids: set[int], metas: dict[int, MessageMeta]) -> None:
        """Add to `metas` what the server answers. Raises Refused if it refuses all that is asked for."""
        least = "UID" if len(uids) == 1 else self._all_meta
        for items in dict.fromkeys((f"{self._all_meta} {_MESSAGE_ID}", self._all_meta, _META, "UID")):
            try:
                answer = await self._run(
                    "FETCH", encoding.format_uid_set(uids), f"({items})", prefix="UID", wanted="FETCH"
                )
            except Refused:
                if items == least:
                    raise
                continue
            messages, broken = await self._items(answer, uids)
            for uid in messages:
                if meta := responses.message_meta(uid, messages[uid], is_barest=items == "UID"):
                    metas[uid] = meta
            uids = uids - metas.keys()
            if not uids or (not broken and uids.isdisjoint(messages)):
                return
        if broken:
            raise self._broken("FETCH responses that cannot be parsed")

    async def fetch_next(self, after: int, most: int) -> list[tuple[MessageMeta, bytes | None]]:
        """Fetch messages with one of the `most` UIDs after `after`, ascending, in one command without a search.

        Each comes with its bytes if these are known to be complete (at most PEEK_BYTES), else with None. A
        message whose response cannot be parsed is absent. A Message-ID beyond the first PEEK_BYTES is not seen.
        """
        if (
            after + most > statuses.UINT32_MAX
        ):  # a server that has no such UIDs rejects them; a search does not
            return []
        self._mailbox.mark_searched()
        last = after + most
        answer = await self._fetch(f"{after + 1}:{last}", f"({self._all_meta} BODY.PEEK[]<0.{PEEK_BYTES}>)")
        messages, _ = await self._items(answer, range(after + 1, last + 1))
        found: list[tuple[MessageMeta, bytes | None]] = []
        for uid in sorted(messages):
            meta = responses.message_meta(uid, messages[uid])
            if meta is not None:
                raw = responses.message_content(messages[uid])
                # RFC822.SIZE is an estimate on some servers, and some cut partial answers wrongly.
                is_whole = raw is not None and len(raw) < PEEK_BYTES and len(raw) == meta.size
                found.append((meta, raw if is_whole else None))
        return found

    async def fetch_raw(self, uid: int) -> bytes | None:
        """Fetch the exact bytes of a message, or None if it no longer exists. Does not set \\Seen."""
        answer = await self._fetch(str(uid), "(UID BODY.PEEK[])")
        messages, broken = await self._items(answer, (uid,))
        raw = responses.message_content(messages.get(uid, {}))
        if raw is None and broken:
            raise self._broken("a FETCH response that cannot be parsed")
        return raw

    async def fetch_header(self, uid: int) -> bytes | None:
        """Fetch the first MAX_HEADER_BYTES of a message's headers; None if it no longer exists."""
        answer = await self._fetch(str(uid), f"(UID BODY.PEEK[HEADER]<0.{MAX_HEADER_BYTES}>)")
        messages, _ = await self._items(answer, (uid,))
        return responses.message_content(messages.get(uid, {}), "HEADER")

    async def idle(
        self,
        *,
        renew: float = 300.0,
        poll: float = 60.0,
        poll_by: Literal["noop", "status"] | None = None,
        due: Callable[[], float] = lambda: math.inf,
        memory: idle.IdleMemory | None = None,
    ) -> AsyncIterator[None]:
        """Yield when mail has arrived since the last search was sent, and at the end of each round.

        A round ends after `renew` seconds of IDLE, or when the server ends the IDLE. Where there is no IDLE, or it
        fails each time (`memory` says so, across connections), or `poll_by` forbids it, a round is `poll` seconds
        and ends with a NOOP, unless the caller polls by STATUS. No round lasts beyond the event loop's time
        `due()`. The caller's search at the end of a round finds mail on servers that never push. EXPUNGE and FETCH
        do not end a round. No IDLE is running during a yield.
        """
        protocol, mailbox = self._protocol, self._mailbox
        memory = memory or idle.IdleMemory()
        while True:
            protocol.keep(0)
            now = protocol.loop.time()
            left = due() - now
            if not mailbox.has_news and left > 0:
                if poll_by is None and "IDLE" in protocol.capabilities and memory.is_usable(now):
                    await idle.wait_in_idle(protocol, memory, renew=min(renew, left), timeouts=self._timeouts)
                else:
                    await idle.wait_without_idle(protocol, min(poll, left))
                    if poll_by != "status":
                        await self.noop()
            protocol.check()
            mailbox.mark_searched()
            yield

    async def _run(
        self, name: str, *args: encoding.Argument, prefix: str = "", wanted: str = ""
    ) -> CommandResult:
        return await self._protocol.run(
            name, *args, prefix=prefix, wanted=wanted, within=self._timeouts.command
        )

    async def _fetch(self, uid_set: str, items: str) -> CommandResult:
        """Fetch mail content, which gets the longer `Timeouts.fetch`."""
        return await self._protocol.run(
            "FETCH", uid_set, items, prefix="UID", wanted="FETCH", within=self._timeouts.fetch
        )

    async def _items(
        self, answer: CommandResult, wanted: Container[int]
    ) -> tuple[dict[int, dict[str, Any]], int]:
        """Return the items of the wanted messages, and the number of responses that cannot be parsed."""
        found = FetchAnswer(wanted)
        await pacing.each(found.read, answer.responses, self._protocol)
        self._protocol.keep()
        return found.messages, found.broken

    def _broken(self, what: str) -> ProtocolError:
        """End a session that may be out of sync; return the error for the caller to raise."""
        error = ProtocolError(what)
        self._protocol.fail(error)
        return error
