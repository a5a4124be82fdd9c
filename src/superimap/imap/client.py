"""Typed IMAP commands on an authenticated session."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import date
from itertools import islice
from typing import Literal

from superimap.imap import fetching, flags, folder_counts, folders, idle, mailboxes, notify, writing
from superimap.imap.command_memory import CommandMemory
from superimap.imap.folder_news import NewsTaken
from superimap.imap.protocol import Protocol
from superimap.imap.search import UidSearch
from superimap.imap.silence import limited_silence
from superimap.imap.state import MailboxState
from superimap.imap.transcript import Sink
from superimap.imap.types import Folder, MessageMeta, Selected, Timeouts
from superimap.imap.uid_ranges import UidRanges


class ImapClient:
    """An authenticated session. Commands run one at a time; a timeout or a cancellation in one closes it."""

    __slots__ = ("__weakref__", "_mailbox", "_memory", "_protocol", "_search", "_timeouts")

    def __init__(self, protocol: Protocol, memory: CommandMemory, timeouts: Timeouts) -> None:
        self._protocol = protocol
        self._mailbox = protocol.mailbox
        self._memory = memory
        self._timeouts = timeouts
        self._search = UidSearch(protocol, memory, timeouts)

    @property
    def capabilities(self) -> frozenset[str]:
        """The capabilities after login, in capitals."""
        return frozenset(self._protocol.capabilities)

    @property
    def last_proven_alive(self) -> float:
        """The event loop's time at which the last bytes were received."""
        return self._protocol.last_proven_alive

    def trace(self, sink: Sink | None) -> None:
        """Hand the lines of the connection to `sink` from now on, without secrets and mails; None: to nobody."""
        self._protocol.trace(sink)

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

    @property
    def takes_idle(self) -> bool:
        """Whether the server offers IDLE and bears it."""
        return "IDLE" in self._protocol.capabilities and self._memory.is_usable(
            idle.IDLE, self._protocol.loop.time()
        )

    @property
    def left_out(self) -> list[str]:
        """The names of the commands that are not used for now, because the server does not bear them."""
        return self._memory.left_out(self._protocol.loop.time())

    def longest_wait(self, seconds: float) -> float:
        """Return `seconds`, or less if the server ends connections that are silent for so long."""
        return self._memory.longest_wait(seconds, self._protocol.loop.time())

    async def list_folders(self) -> list[Folder]:
        """List all mailboxes of the account, with their special uses where the server knows them."""
        return await mailboxes.list_folders(self._protocol, self._memory, self._timeouts)

    async def examine(self, folder: Folder | str, *, by_select: bool = False) -> Selected:
        """Open a mailbox read-only: nothing is ever marked as read. Raises Refused if it does not exist.

        `by_select` opens it by SELECT, for servers that show or store nothing otherwise. No command here marks a
        mail as read then either; only \\Recent is lost.
        A listed Folder is opened by the bytes that were listed; if these are refused, by its encoded name.
        """
        folder = folders.named(folder) if isinstance(folder, str) else folder
        return await mailboxes.examine(
            self._protocol, self._memory, self._timeouts, folder, by_select=by_select
        )

    async def status(self, folder: Folder | str, *names: str) -> dict[str, int]:
        """Return counts of a mailbox, such as MESSAGES, UIDNEXT, UIDVALIDITY; unanswered ones are absent."""
        folder = folders.named(folder) if isinstance(folder, str) else folder
        return await mailboxes.status(self._protocol, self._memory, self._timeouts, folder, *names)

    async def folder_counts(self, wanted: Sequence[Folder], *names: str) -> dict[bytes, Mapping[str, int]]:
        """Return counts of mailboxes by the bytes of their names, as `status` does; some may be absent.

        Raises Refused only if the server asks for a pause.
        """
        return await folder_counts.folder_counts(self._protocol, self._memory, self._timeouts, wanted, names)

    async def announce(self, wanted: Sequence[Folder], *, with_flags: bool = False) -> bool:
        """Have the server announce new mail in these mailboxes (NOTIFY); return whether it will.

        Announcements end a round of `idle`, and are taken by `take_news`. Raises Refused only if the server asks
        for a pause. Changed flags of the open mailbox are reported from then on only `with_flags`.
        """
        return await notify.subscribe(
            self._protocol, self._memory, self._timeouts, wanted, with_flags=with_flags
        )

    def take_news(self) -> NewsTaken | None:
        """Return what was announced of other mailboxes since the last call; None if nothing was."""
        news = self._protocol.news
        return None if news is None or not news.is_pending else news.take()

    async def noop(self) -> None:
        """Let the server report changes, and prove that it is alive."""
        await mailboxes.noop(self._protocol, self._memory, self._timeouts)

    async def search_uids(
        self, *, after: int | None = None, since: date | None = None, in_full: bool = False
    ) -> UidRanges:
        """Return the UIDs above `after` with internal date `since` (the server's day) or later, ascending.

        With `in_full`, UIDs are listed by FETCH if the server turns out to have named only some of many.
        """
        self._mailbox.mark_searched()  # the answer may lack messages that arrive from here on
        found = await self._find(after, since)
        if in_full:
            found = await self._search.completed(found, after or 0, since)
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

    async def denied(self, uids: Sequence[int]) -> tuple[set[int], bool]:
        """Return those of these UIDs that the server denies to have, and whether that proves them expunged.

        It does if EXISTS counts no message that a search does not find: parts of a server may lag behind others.
        """
        absent = set(uids) - await self.still_there(uids)
        exists = self._mailbox.exists
        if not absent or len(absent) > exists:  # more than there can be
            return absent, True
        listed = await self._search.all()
        absent = {uid for uid in absent if uid not in listed}
        return absent, len(listed) + self._search.unusable >= max(exists, self._mailbox.exists)

    async def absent(self, uids: Sequence[int]) -> tuple[set[int], set[int]]:
        """Return which of these UIDs are proven to be expunged, and which are denied without a proof."""
        proven: set[int] = set()
        doubted: set[int] = set()
        for start in range(0, len(uids), flags.UIDS_PER_COMMAND):
            denied, is_proven = await self.denied(uids[start : start + flags.UIDS_PER_COMMAND])
            (proven if is_proven else doubted).update(denied)
        return proven, doubted

    async def fetch_flags(
        self, uids: Sequence[int], *, since: int | None = None
    ) -> dict[int, tuple[str, ...]]:
        """Return the flags of these messages by UID; of those alone that changed after the mod-sequence `since`.

        Messages that are absent, or whose answer cannot be read, are left out. Raises Refused.
        """
        return await flags.fetch_flags(self._protocol, self._memory, self._timeouts, uids, since=since)

    @property
    def tells_flags(self) -> bool:
        """Whether the server bears to be asked for flags."""
        return self._memory.is_usable(flags.FLAGS, self._protocol.loop.time())

    @property
    def tells_changed_flags(self) -> bool:
        """Whether the server offers CONDSTORE (RFC 7162) and bears it."""
        offered = not self._protocol.capabilities.isdisjoint(("CONDSTORE", "QRESYNC"))
        return offered and self._memory.is_usable(flags.CHANGED, self._protocol.loop.time())

    @contextlib.contextmanager
    def limited_silence(self, seconds: float) -> Iterator[None]:
        """End the session if the server sends nothing for so long during a command inside the block."""
        with limited_silence(self._protocol, seconds):
            yield

    async def pay_for(self, seconds: float) -> None:
        """Charge the server for work that its claims have caused, and wait until it may cause more."""
        if (pause := self._protocol.charge(seconds)) > 0:
            await asyncio.sleep(pause)

    async def uids_at(self, first: int, last: int) -> list[int]:
        """Return the UIDs of the messages with these sequence numbers, ascending."""
        return [*islice(await self._search.at(first, last), last - first + 1)]

    async def fetch_meta(self, uids: Sequence[int]) -> list[MessageMeta]:
        """Fetch what is known of these messages without their bodies, ascending; expunged ones are absent.

        An item is None where the server does not tell it.
        """
        return await fetching.fetch_meta(self._protocol, self._timeouts, uids)

    async def fetch_next(self, after: int, most: int) -> list[tuple[MessageMeta, bytes | None]]:
        """Fetch messages with one of the `most` UIDs after `after`, ascending, in one command without a search.

        Each comes with its bytes if these are known to be complete (at most PEEK_BYTES), else with None. A
        message whose response cannot be parsed is absent. A Message-ID beyond the first PEEK_BYTES is not seen.
        """
        return await fetching.fetch_next(self._protocol, self._timeouts, after, most)

    async def fetch_raw(self, uid: int) -> bytes | None:
        """Fetch the exact bytes of a message, or None if it no longer exists. Does not set \\Seen."""
        return await fetching.fetch_raw(self._protocol, self._timeouts, uid)

    async def fetch_header(self, uid: int) -> bytes | None:
        """Fetch the first MAX_HEADER_BYTES of a message's headers; None if it no longer exists."""
        return await fetching.fetch_header(self._protocol, self._timeouts, uid)

    async def append(self, raw: bytes, folder: Folder | str = "INBOX") -> None:
        """Append a mail to a mailbox, unread. Only tracers are appended."""
        folder = folders.named(folder) if isinstance(folder, str) else folder
        await writing.append(self._protocol, self._timeouts, folder, raw)

    async def expunge(self, uids: Sequence[int]) -> None:
        """Delete these messages, and no others, from the mailbox that is open by SELECT. Only tracers are deleted.

        Raises Refused where the server has no UID EXPUNGE (RFC 4315).
        """
        await writing.expunge(self._protocol, self._timeouts, uids)

    async def idle(
        self,
        *,
        renew: float = 300.0,
        poll: float = 60.0,
        poll_by: Literal["noop", "status"] | None = None,
        due: Callable[[], float] = lambda: math.inf,
    ) -> AsyncIterator[None]:
        """Yield when mail has arrived since the last search was sent, also in a mailbox that is announced, and at
        the end of each round.

        A round ends after `renew` seconds of IDLE, or when the server ends the IDLE. Where there is no IDLE, or it
        fails each time, or `poll_by` forbids it, a round is `poll` seconds and ends with a NOOP, unless the caller
        polls by STATUS. Rounds are shorter where the server ends silent connections. No round lasts beyond the
        event loop's time `due()`. The caller's search at the end of a round finds mail on servers that never push.
        EXPUNGE and FETCH end a round only from `mailbox.changes_from` on. No IDLE is running during a yield.
        """
        protocol, mailbox, memory = self._protocol, self._mailbox, self._memory
        while True:
            protocol.keep(0)
            now = protocol.loop.time()
            left = min(due(), mailbox.repeat_at) - now
            if not protocol.has_news and left > 0:
                if poll_by is None and self.takes_idle:
                    seconds = min(self.longest_wait(renew), left)
                    await idle.wait_in_idle(protocol, memory, renew=seconds, timeouts=self._timeouts)
                else:
                    seconds, by_noop = min(self.longest_wait(poll), left), poll_by != "status"
                    await idle.poll(protocol, memory, seconds, timeouts=self._timeouts, by_noop=by_noop)
            protocol.check()
            mailbox.mark_searched()
            yield
