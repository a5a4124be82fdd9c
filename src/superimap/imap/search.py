"""UIDs of the open mailbox: by SEARCH, or by FETCH where the server's SEARCH is of no use."""

from collections.abc import Callable, Sequence
from datetime import date, datetime

from superimap.imap import encoding, pacing
from superimap.imap.errors import LimitExceeded, ProtocolError, Refused
from superimap.imap.protocol import SELECTED, Protocol
from superimap.imap.responses import FetchAnswer, internal_date
from superimap.imap.statuses import MAX_DIGITS, UID_MAX, UINT32_MAX
from superimap.imap.throttling import asks_for_pause
from superimap.imap.types import Timeouts
from superimap.imap.uid_ranges import SearchAnswer, UidRanges

FETCH_MESSAGES = 5_000
"""Messages in the answer to one FETCH; a larger mailbox is asked in slices of its sequence numbers."""

MAX_MESSAGES = 2_000_000
"""Messages of a mailbox that is asked by FETCH: a server may claim any number."""
_UID_BYTES = 64  # of memory for a UID in a list, and in its copies
_ANY_UID = range(1, 10**MAX_DIGITS)


class UidSearch:
    """Searches of one connection.

    Some servers refuse UID SEARCH, or answer nothing. FETCH gives the same UIDs, for more bytes: `UID FETCH n:*
    (UID)`. What SEARCH does not find is asked for by FETCH, except where the answer proves that the server has
    searched: `n:*` always matches the last message (RFC 9051 section 6.4.8).
    """

    __slots__ = ("_is_refused", "_protocol", "_timeouts", "unusable")

    def __init__(self, protocol: Protocol, timeouts: Timeouts) -> None:
        self._protocol = protocol
        self._timeouts = timeouts
        self._is_refused = False
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

    async def _finds_last(self) -> bool:
        """Return whether SEARCH finds the last message, as any that works does."""
        return self._protocol.mailbox.exists == 0 or bool(await self._search("UID *"))

    async def all(self) -> UidRanges:
        """Return the UIDs of all messages."""
        return await self._search("ALL") or await self._fetched()

    async def at(self, first: int, last: int) -> UidRanges:
        """Return the UIDs of the messages with these sequence numbers."""
        return await self._search(f"{first}:{last}") or UidRanges(await self._fetch("", f"{first}:{last}"))

    async def among(self, uids: Sequence[int]) -> UidRanges:
        """Return those of these UIDs that the mailbox holds."""
        found = await self._search(f"UID {encoding.format_uid_set(uids)}")
        if found is None:  # only a complete list proves that a message is not there
            everything = await self._fetched()
            return UidRanges(uid for uid in uids if uid in everything)
        missing = [uid for uid in uids if uid not in found]
        if not missing:
            return found
        return UidRanges([*found, *await self._fetch("UID", encoding.format_uid_set(missing))])

    async def highest(self) -> int:
        """Return the UID of the last message, or 0 if there is none."""
        if self._protocol.mailbox.exists == 0:
            return 0
        if found := await self._search("UID *"):
            return found.last
        if found := UidRanges(await self._fetch("", "*")):
            return found.last
        return (await self.all()).last

    async def _search(self, criteria: str) -> UidRanges | None:
        """Return what SEARCH finds; None if the server refuses it, answers nothing, or cannot be understood."""
        self.unusable = 0
        if self._is_refused:
            return None
        try:
            answer = await self._protocol.run(
                "SEARCH", criteria, prefix="UID", wanted="SEARCH ESEARCH", within=self._timeouts.command
            )
        except Refused as error:
            if self._protocol.state != SELECTED or asks_for_pause(error.code, error.text):
                raise
            self._is_refused = True
            return None
        found = SearchAnswer()
        try:
            for response in answer.responses:
                await pacing.through(found.read(response), self._protocol)
        except ProtocolError:
            return None
        self.unusable = found.unusable
        self._protocol.keep()
        return found.result() if answer.responses else None

    async def _fetched(self, *, after: int = 0, day: date | None = None) -> UidRanges:
        """Return the UIDs above `after` by FETCH, of the messages of `day` or later, or of unknown date."""
        exists = self._protocol.mailbox.exists
        items = "(UID)" if day is None else "(UID INTERNALDATE)"
        is_wanted = _is_since(day)
        if exists == 0:
            return UidRanges()
        if exists > MAX_MESSAGES:
            raise LimitExceeded(f"a mailbox of more than {MAX_MESSAGES} messages without a search")
        found: list[int] = []
        # By sequence numbers, so that a UID is missed if the server leaves one out.
        # Downwards: a message that is expunged meanwhile moves others into slices that are still to come.
        for last in range(exists, 0, -FETCH_MESSAGES):
            first = max(1, last - FETCH_MESSAGES + 1)
            uids = await self._fetch("", f"{first}:{last}", items, is_wanted, least=last - first + 1)
            found += uids
            self._protocol.keep(_UID_BYTES * len(found))
            if day is None and uids and min(uids) <= after:
                break
        return UidRanges(found)

    async def _fetch(
        self,
        prefix: str,
        numbers: str,
        items: str = "(UID)",
        is_wanted: Callable[[object], bool] = lambda _date: True,
        *,
        least: int = 0,
    ) -> list[int]:
        """Return the wanted UIDs. Raises ProtocolError if fewer than `least` messages that are there are reported.

        What is left out would never be found: the cursor moves past it.
        """
        mailbox = self._protocol.mailbox
        exists = mailbox.exists
        answer = await self._protocol.run(
            "FETCH", numbers, items, prefix=prefix, wanted="FETCH", within=self._timeouts.command
        )
        found = FetchAnswer(_ANY_UID)
        await pacing.each(found.read, answer.responses, self._protocol)
        self._protocol.keep()
        if len(answer.responses) < least - max(0, exists - mailbox.exists):
            error = ProtocolError("a FETCH answer leaves messages out")
            self._protocol.fail(error)
            raise error
        self.unusable = max(self.unusable, sum(uid > UID_MAX for uid in found.messages))
        return [
            uid
            for uid, named in found.messages.items()
            if uid <= UID_MAX and is_wanted(named.get("INTERNALDATE"))
        ]


def _is_since(day: date | None) -> Callable[[object], bool]:
    """Return the test whether an INTERNALDATE is of `day`, by the server's calendar, or later; or unknown."""

    def test(value: object) -> bool:
        moment: datetime | None = internal_date(value)
        return day is None or moment is None or moment.date() >= day

    return test
