"""What can be asked of a mail server? `connect` opens a session, `Client` has the dozen commands, typed."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime
from typing import Literal, TypeVar

from superimap.imap import connection, encoding, idle, responses
from superimap.imap.errors import Disconnected, ProtocolError, Refused
from superimap.imap.framing import Response
from superimap.imap.protocol import Protocol
from superimap.imap.responses import CommandResult
from superimap.imap.transport import Guard
from superimap.imap.types import (
    Credentials,
    Folder,
    Limits,
    MessageMeta,
    Selected,
    ServerAddress,
    Timeouts,
    UidValidity,
)

T = TypeVar("T")
_META = "UID INTERNALDATE RFC822.SIZE"
PEEK_BYTES = 32 * 1024
"""Bytes of a new mail that `fetch_next` reads unasked: nearly all mails are smaller than that."""
_QUICK = 256 * 1024  # bytes of text that are parsed on the event loop, in some milliseconds
_CHUNK = 500  # UIDs per command, to keep its line below 8 KiB (RFC 7162 section 4)


@contextlib.asynccontextmanager
async def connect(
    server: ServerAddress,
    credentials: Credentials,
    *,
    timeouts: Timeouts | None = None,
    limits: Limits | None = None,
    tls_context: ssl.SSLContext | None = None,
    guard: Guard | None = None,
) -> AsyncIterator["ImapClient"]:
    """An authenticated session; on the way out it is logged out (bounded), and its socket is always closed.

    `guard` is given each concrete socket address before it is dialled and may raise to forbid it.
    `tls_context` replaces the verifying one that all sessions share. Raises any ImapError; ValueError if CR,
    LF or NUL are in the credentials.
    """
    timeouts = timeouts or Timeouts()
    protocol = Protocol(limits or Limits())
    try:
        await connection.reach(protocol, server, timeouts, tls_context, guard)
        if protocol.greeting == "OK":
            await connection.log_in(protocol, credentials, timeouts)
        yield ImapClient(protocol, timeouts)
    finally:
        await connection.leave(protocol, timeouts)


class ImapClient:
    """An authenticated session. A second command waits; a time-out or a cancellation in one closes it."""

    def __init__(self, protocol: Protocol, timeouts: Timeouts) -> None:
        self._protocol = protocol
        self._timeouts = timeouts
        self._mark = 0  # arrivals that a search was started after
        self._folder = ""  # the open mailbox, and its counts when STATUS last told of them
        self._counts: dict[str, int] = {}

    @property
    def capabilities(self) -> frozenset[str]:
        """In capitals, as asked after login."""
        return frozenset(self._protocol.capabilities)

    @property
    def last_proven_alive(self) -> float:
        """The event loop's time of the last bytes received."""
        return self._protocol.last_proven_alive

    @property
    def arrivals(self) -> int:
        """How many messages were told to have come since the connection was opened."""
        return self._protocol.view.arrivals

    async def list_folders(self) -> list[Folder]:
        """All mailboxes of the account; those that cannot be understood are left out."""
        uses = {"LIST-EXTENDED", "SPECIAL-USE"} <= self.capabilities
        arguments = ('""', '"*"', "RETURN (SPECIAL-USE)") if uses else ('""', '"*"')
        answer = await self._run("LIST", *arguments, wanted="LIST")
        return [folder for response in answer.responses if (folder := responses.folder(response))]

    async def examine(self, folder: str) -> Selected:
        """Open a mailbox read-only: nothing is ever marked as read. Raises Refused if there is none."""
        view = self._protocol.view
        view.forget()
        answer = await self._run("EXAMINE", encoding.quote_mailbox(folder), wanted="OK")
        codes = {
            said.code: said.value for said in (responses.status(each.line[5:]) for each in answer.responses)
        }
        uid_next = responses.number(codes.get("UIDNEXT", b""))
        self._mark = view.arrivals
        if view.uid_validity is None:
            counts = await self.status(folder, "UIDVALIDITY", "UIDNEXT")
            view.uid_validity = counts.get("UIDVALIDITY")
            uid_next = uid_next or counts.get("UIDNEXT")
        if not view.uid_validity:
            raise self._broken("no UIDVALIDITY")
        self._folder = folder
        return Selected(folder, UidValidity(view.uid_validity), uid_next, view.exists)

    async def status(self, folder: str, *names: str) -> dict[str, int]:
        """Numbers of a mailbox, as MESSAGES, UIDNEXT, UIDVALIDITY; those that are not told are absent."""
        answer = await self._run(
            "STATUS", encoding.quote_mailbox(folder), f"({' '.join(names)})", wanted="STATUS"
        )
        return {
            name: count for each in answer.responses for name, count in responses.mailbox_status(each).items()
        }

    async def noop(self) -> None:
        """Let the server tell what is new, and prove that it is there."""
        await self._run("NOOP")

    async def search_uids(self, *, after: int | None = None, since: date | None = None) -> list[int]:
        """The UIDs above `after`, of internal date `since` (the server's day) or later; ascending.

        `n:*` always brings the last message, even if its UID is below n: such UIDs are dropped here.
        """
        if after is not None and after >= responses.UID_MAX:
            return []
        criteria = [f"UID {after + 1}:*"] if after is not None else []
        if since is not None:
            criteria.append(f"SINCE {encoding.format_date(since)}")
        self._mark = self._protocol.view.arrivals  # what arrives from now on, the answer may lack
        return sorted(uid for uid in await self._search(*(criteria or ["ALL"])) if uid > (after or 0))

    async def _search(self, *criteria: str) -> set[int]:
        answer = await self._run("SEARCH", *criteria, prefix="UID", wanted="SEARCH ESEARCH")
        try:
            return await _parsed(responses.found_uids, answer.responses)
        except ProtocolError as error:
            raise self._broken(str(error)) from error

    async def highest_uid(self) -> int:
        """The UID of the last message, 0 if there is none. (UIDNEXT says less: some servers lie about it.)"""
        if self._protocol.view.exists == 0:
            return 0
        with contextlib.suppress(Refused):
            if found := await self._search("UID *"):
                return max(found)
        return max(await self._search("ALL"), default=0)

    async def still_there(self, uids: Sequence[int]) -> set[int]:
        """Those of these messages that are not expunged (the server is given the chance to tell of it)."""
        await self.noop()
        return set(uids) & await self._search(f"UID {encoding.format_uid_set(uids)}")

    async def fetch_meta(self, uids: Sequence[int]) -> list[MessageMeta]:
        """What is known of these messages without their bodies, ascending; those that are gone are absent.

        If the server's answer cannot be parsed, it is asked again without the ENVELOPE, whose metas then have
        None there.
        """
        metas: dict[int, MessageMeta] = {}
        for start in range(0, len(uids), _CHUNK):
            chunk = set(uids[start : start + _CHUNK])
            broken = await self._fetch_meta(chunk, f"({self._all_meta})", metas)
            missing = chunk - metas.keys() if broken else set()
            if missing and await self._fetch_meta(missing, f"({_META})", metas):
                raise self._broken("FETCH responses that cannot be parsed")
        return [metas[uid] for uid in sorted(metas)]

    @property
    def _all_meta(self) -> str:
        labels = " X-GM-LABELS" if "X-GM-EXT-1" in self._protocol.capabilities else ""
        return f"{_META}{labels} ENVELOPE"

    async def _fetch_meta(self, uids: set[int], items: str, metas: dict[int, MessageMeta]) -> int:
        answer = await self._run("FETCH", encoding.format_uid_set(uids), items, prefix="UID", wanted="FETCH")
        messages, broken = await _parsed(responses.fetched, answer.responses)
        for uid in uids & messages.keys():
            if meta := responses.message_meta(uid, messages[uid], now=datetime.now(UTC)):
                metas[uid] = meta
        return broken

    async def fetch_next(self, after: int, most: int) -> list[tuple[MessageMeta, bytes | None]]:
        """What has one of the `most` UIDs after `after`, ascending, in one command; PEEKED bytes of each at most.

        The bytes of a mail are None unless it is known that these are all of it. What cannot be parsed is absent.
        """
        if after >= responses.UID_MAX:
            return []
        self._mark = self._protocol.view.arrivals
        last = min(after + most, responses.UID_MAX)
        answer = await self._fetch(f"{after + 1}:{last}", f"({self._all_meta} BODY.PEEK[]<0.{PEEK_BYTES}>)")
        messages, _ = await _parsed(responses.fetched, answer.responses)
        found: list[tuple[MessageMeta, bytes | None]] = []
        for uid in sorted(messages):
            meta = responses.message_meta(uid, messages[uid], now=datetime.now(UTC))
            if meta is not None and after < uid <= last:
                raw = messages[uid].get("BODY[]<0>")
                # RFC822.SIZE is an estimate on some servers, and some cut partial answers wrongly.
                is_whole = isinstance(raw, bytes) and len(raw) == meta.size < PEEK_BYTES
                found.append((meta, raw if is_whole else None))
        return found

    async def fetch_raw(self, uid: int) -> bytes | None:
        """The exact bytes of a message, or None if it is gone. \\Seen is not set."""
        answer = await self._fetch(str(uid), "(UID BODY.PEEK[])")
        messages, broken = await _parsed(responses.fetched, answer.responses)
        raw = messages.get(uid, {}).get("BODY[]")
        if raw is None and broken:
            raise self._broken("a FETCH response that cannot be parsed")
        return raw if isinstance(raw, bytes) else None

    async def idle(
        self, *, renew: float = 300.0, poll: float = 60.0, poll_by: Literal["noop", "status"] | None = None
    ) -> AsyncIterator[None]:
        """Yield whenever something may be new: mail came after the last search was sent, or a round is over.

        A round lasts `renew` seconds of IDLE, or `poll` seconds where there is none or `poll_by` says that it is
        not to be used, or until the server ends its IDLE; the search that the caller then does catches servers
        that never push. EXPUNGE and FETCH wake nobody. When it yields, no IDLE stands.
        """
        protocol = self._protocol
        while True:
            if protocol.view.arrivals <= self._mark:
                if poll_by is None and "IDLE" in protocol.capabilities:
                    await idle.wait_for_news(protocol, self._mark, renew=renew, timeouts=self._timeouts)
                else:
                    await idle.sit(protocol, self._mark, poll)
                    await (self._look_anew() if poll_by == "status" else self.noop())
            protocol.check()
            self._mark = protocol.view.arrivals
            yield

    async def _look_anew(self) -> None:
        """Ask by STATUS, and open the mailbox again if it says anything else than before.

        For servers that tell an open mailbox nothing (163.com). Raises Disconnected on a new UIDVALIDITY.
        """
        counts = await self.status(self._folder, "MESSAGES", "UIDNEXT", "UIDVALIDITY")
        if counts == self._counts:
            return
        before = self._protocol.view.uid_validity
        selected = await self.examine(self._folder)
        if selected.uid_validity != before:
            self._protocol.fail(Disconnected("UIDVALIDITY changed under the open mailbox"))
        self._counts = counts

    async def _run(
        self, name: str, *args: encoding.Argument, prefix: str = "", wanted: str = ""
    ) -> CommandResult:
        return await self._protocol.run(
            name, *args, prefix=prefix, wanted=wanted, within=self._timeouts.command
        )

    async def _fetch(self, uid_set: str, items: str) -> CommandResult:
        """Mail itself, which may take its time."""
        return await self._protocol.run(
            "FETCH", uid_set, items, prefix="UID", wanted="FETCH", within=self._timeouts.fetch
        )

    def _broken(self, what: str) -> ProtocolError:
        """End a session that cannot be trusted to be in step."""
        error = ProtocolError(what)
        self._protocol.fail(error)
        return error


async def _parsed(work: Callable[[list[Response]], T], answers: list[Response]) -> T:
    """What `work` makes of the answers; beside the event loop if they are unusually many, or long."""
    if sum(len(text) + 100 for each in answers for text in each.texts) <= _QUICK:
        return work(answers)
    return await asyncio.to_thread(work, answers)
