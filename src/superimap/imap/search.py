"""UIDs of the open mailbox: by SEARCH, or by FETCH where the server's SEARCH is of no use."""

from collections.abc import Callable, Sequence
from datetime import date
from itertools import islice

from superimap.imap import encoding, pacing
from superimap.imap.command_memory import CommandMemory
from superimap.imap.errors import LimitExceeded, ProtocolError, Refused
from superimap.imap.listings import LISTINGS, Listing, is_after, is_since
from superimap.imap.protocol import Protocol
from superimap.imap.responses import FetchAnswer
from superimap.imap.search_answers import SearchAnswer
from superimap.imap.state import SELECTED
from superimap.imap.statuses import MAX_DIGITS, UID_MAX, UINT32_MAX
from superimap.imap.types import Timeouts
from superimap.imap.uid_ranges import UidRanges

FETCH_MESSAGES = 5_000
"""Messages in the answer to one FETCH; a larger mailbox is asked in slices of its sequence numbers."""

FIRST_MESSAGES = 100
"""Those of the first slice, if only messages behind a known UID are wanted; each further slice is larger."""
MAX_MESSAGES = 2_000_000
"""Messages of a mailbox that is asked by FETCH: a server may claim any number."""
_UID_BYTES = 64  # of memory for a UID in a list, and in its copies
_ANY_UID = range(1, 10**MAX_DIGITS)
_SEARCH = "UID SEARCH"


class UidSearch:
    """Searches of one connection.

    Some servers refuse UID SEARCH, or answer nothing, or end the session with it. FETCH gives the same UIDs, for
    more bytes. Of the ways to ask, the first that the server takes is used for the rest of the connection. What
    SEARCH does not find is asked for by FETCH, except where the answer proves that the server has searched: `n:*`
    always matches the last message (RFC 9051 section 6.4.8).
    """

    __slots__ = ("_is_refused", "_listing", "_memory", "_protocol", "_timeouts", "unusable")

    def __init__(self, protocol: Protocol, memory: CommandMemory, timeouts: Timeouts) -> None:
        self._protocol = protocol
        self._memory = memory
        self._timeouts = timeouts
        self._is_refused = False
        self._listing = 0  # how many ways to list UIDs were refused
        self.unusable = 0
        """UIDs and ranges in the latest answer above the largest UID that can be recorded."""

    async def above(self, after: int) -> UidRanges:
        """Return the UIDs above `after`.

        `n:*` matches the last message even if its UID is below n; such UIDs are dropped here.
        """
        if after >= UID_MAX:
            return UidRanges()
        found = None if after == UINT32_MAX else await self._search(f"UID {after + 1}:*")
        return (found or await self._fetched(after=after)).above(after)

    async def since(self, day: date, *, after: int = 0) -> UidRanges:
        """Return the UIDs above `after` of the messages with internal date `day` (the server's) or later."""
        criteria = f"SINCE {encoding.format_date(day)}"
        found = await self._search(f"UID {after + 1}:* {criteria}" if after else criteria)
        if not found and (found is None or not await self._finds_last()):
            found = await self._fetched(after=after, day=day)
        return found.above(after)

    async def completed(self, found: UidRanges, after: int, day: date | None) -> UidRanges:
        """Return `found`, or all that FETCH lists if SEARCH has left messages out.

        Some servers name only the first or the last so many. Then the last message, or that in front of the last
        so many, is not among them. If as many were announced as were found, none is left out.
        """
        mailbox = self._protocol.mailbox
        last, before = mailbox.exists, mailbox.exists - len(found)
        if self._is_refused or not found or not last or (day is None and len(found) == mailbox.missing):
            return found
        numbers = f"{before},{last}" if before > 0 else str(last)
        items = "(UID)" if day is None else "(UID INTERNALDATE)"
        listed = await self._fetch("FETCH", "", numbers, items, is_after(day))
        if all(uid <= after or uid in found for uid in listed or ()):
            return found
        self._is_refused = True
        return (await self._fetched(after=after, day=day)).above(after)

    async def _finds_last(self) -> bool:
        """Return whether SEARCH finds the last message, as any that works does."""
        return self._protocol.mailbox.exists == 0 or bool(await self._search("UID *"))

    async def all(self) -> UidRanges:
        """Return the UIDs of all messages."""
        return await self._search("ALL") or await self._fetched()

    async def at(self, first: int, last: int) -> UidRanges:
        """Return the UIDs of the messages with these sequence numbers."""
        if found := await self._search(f"{first}:{last}"):
            return found
        if (listed := await self._fetch("FETCH", "", f"{first}:{last}")) is not None:
            return UidRanges(listed)
        return UidRanges(islice(await self._fetched(), first - 1, last))

    async def among(self, uids: Sequence[int]) -> UidRanges:
        """Return those of these UIDs that the mailbox holds."""
        wanted = encoding.format_uid_set(uids)
        found = await self._search(f"UID {wanted}")
        if found is not None:
            missing = [uid for uid in uids if uid not in found]
            if not missing:
                return found
            listed = await self._fetch("UID FETCH", "UID", encoding.format_uid_set(missing))
            if listed is not None:
                return UidRanges([*found, *listed])
        everything = await self._fetched()  # only a complete list proves that a message is not there
        return UidRanges(uid for uid in uids if uid in everything)

    async def highest(self) -> int:
        """Return the UID of the last message, or 0 if there is none."""
        if self._protocol.mailbox.exists == 0:
            return 0
        if found := await self._search("UID *"):
            return found.last
        if listed := await self._fetch("FETCH", "", "*"):
            return max(listed)
        return (await self.all()).last

    async def _search(self, criteria: str) -> UidRanges | None:
        """Return what SEARCH finds; None if the server refuses it, answers nothing, or cannot be understood."""
        self.unusable = 0
        protocol, memory = self._protocol, self._memory
        if self._is_refused or not memory.is_usable(_SEARCH, protocol.loop.time()):
            return None
        try:
            with memory.attempt(_SEARCH, protocol):
                answer = await protocol.run(
                    "SEARCH", criteria, prefix="UID", wanted="SEARCH ESEARCH", within=self._timeouts.command
                )
        except Refused as error:
            if protocol.state != SELECTED:
                raise
            memory.tolerate(_SEARCH, error, protocol.loop.time())
            self._is_refused = True
            return None
        found = SearchAnswer(answer.tag)
        try:
            for response in answer.responses:
                await pacing.through(found.read(response), protocol)
        except ProtocolError:
            return None
        self.unusable = found.unusable
        protocol.keep()
        return found.result() if answer.responses else None

    async def _fetched(self, *, after: int = 0, day: date | None = None) -> UidRanges:
        """Return the UIDs above `after` by FETCH, of the messages of `day` or later, or of unknown date."""
        exists = self._protocol.mailbox.exists
        if exists == 0:
            return UidRanges()
        if exists > MAX_MESSAGES:
            raise LimitExceeded(f"a mailbox of more than {MAX_MESSAGES} messages without a search")
        while self._listing < len(LISTINGS):
            listing = LISTINGS[self._listing]
            found = await self._listed(listing, after, day)
            if found is None and day is not None:  # without dates, the caller judges by each mail
                found = await self._listed(listing, after, None)
            if found is not None:
                return UidRanges(found)
            self._listing += 1
        raise Refused("FETCH", "NO", "the server lists the messages neither by SEARCH nor by FETCH")

    async def _listed(self, listing: Listing, after: int, day: date | None) -> list[int] | None:
        """Return the UIDs above `after`, at least, in one way; None if the server refuses it."""
        mailbox = self._protocol.mailbox
        items = f"({listing.item})" if day is None else f"({listing.item} INTERNALDATE)"
        if listing.end is None:
            return await self._listed_by_number(items, after, day)
        numbers, least = f"{after + 1}:{listing.end}", 0 if after else mailbox.exists
        found = await self._fetch(listing.name, "UID", numbers, items, is_since(day), least=least)
        if (
            not found and listing.end == "*" and day is None
        ):  # the star matches the last message, whatever n is
            return None
        return found

    async def _listed_by_number(self, items: str, after: int, day: date | None) -> list[int] | None:
        found: list[int] = []
        last = self._protocol.mailbox.exists
        size = FIRST_MESSAGES if after and day is None else FETCH_MESSAGES
        # Downwards: a message that is expunged meanwhile moves others into slices that are still to come.
        while last > 0:
            first = max(1, last - size + 1)
            numbers, least = f"{first}:{last}", last - first + 1
            uids = await self._fetch("FETCH", "", numbers, items, is_since(day), least=least)
            if uids is None:
                return None
            found += uids
            self._protocol.keep(_UID_BYTES * len(found))
            if day is None and uids and min(uids) <= after:
                break
            last, size = first - 1, min(size * 5, FETCH_MESSAGES)
        return found

    async def _fetch(
        self,
        name: str,
        prefix: str,
        numbers: str,
        items: str = "(UID)",
        is_wanted: Callable[[object], bool] = lambda _date: True,
        *,
        least: int = 0,
    ) -> list[int] | None:
        """Return the wanted UIDs; None if the server refuses the command, or does not bear it.

        Raises ProtocolError if fewer than `least` messages that are there are reported. What is left out would
        never be found: the cursor moves past it.
        """
        protocol, memory, mailbox = self._protocol, self._memory, self._protocol.mailbox
        exists, within = mailbox.exists, self._timeouts.command
        if not memory.is_usable(name, protocol.loop.time()):
            return None
        try:
            with memory.attempt(name, protocol):
                run = protocol.run("FETCH", numbers, items, prefix=prefix, wanted="FETCH", within=within)
                answer = await run
        except Refused as error:
            memory.tolerate(name, error, protocol.loop.time())
            return None
        found = FetchAnswer(_ANY_UID)
        await pacing.each(found.read, answer.responses, protocol)
        protocol.keep()
        if len(answer.responses) < least - max(0, exists - mailbox.exists):
            incomplete = ProtocolError("a FETCH answer leaves messages out")
            protocol.fail(incomplete)
            raise incomplete
        self.unusable = max(self.unusable, sum(uid > UID_MAX for uid in found.messages))
        return [
            uid
            for uid, named in found.messages.items()
            if uid <= UID_MAX and is_wanted(named.get("INTERNALDATE"))
        ]
