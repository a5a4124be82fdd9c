"""Faults of the simulated mail server: which commands fail, in which way, and when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from superimap.testing.imap.mailbox import FakeMailbox
from superimap.testing.imap.session import FakeSession, Hook
from superimap.testing.imap.syntax import ClientCommand

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
Act = Callable[[FakeSession, ClientCommand], bytes]


def _no(_session: FakeSession, command: ClientCommand) -> bytes:
    return command.tag + b" NO [SERVERBUG] Please try again later\r\n"


def _bad(_session: FakeSession, command: ClientCommand) -> bytes:
    return command.tag + b" BAD internal error\r\n"


def _empty(_session: FakeSession, command: ClientCommand) -> bytes:
    return command.tag + b" OK completed\r\n"


def _bye(session: FakeSession, _command: ClientCommand) -> bytes:
    session.send(b"* BYE Server shutting down\r\n")
    session.close()
    return b""


def _close(session: FakeSession, _command: ClientCommand) -> bytes:
    session.close()
    return b""


def _out_of_step(_session: FakeSession, _command: ClientCommand) -> bytes:
    return b"xyzzy OK for somebody else\r\n"


def _garbage(_session: FakeSession, command: ClientCommand) -> bytes:
    return b'* 1 FETCH (UID "\r\n* 99 FETCH ))((\r\n' + command.tag + b" OK done\r\n"


def _other_uid(_session: FakeSession, command: ClientCommand) -> bytes:
    return (
        b'* 1 FETCH (UID 4000000000 INTERNALDATE "01-Mar-2026 00:00:00 +0000" RFC822.SIZE 2 BODY[] {2}\r\nhi)\r\n'
        + command.tag
        + b" OK done\r\n"
    )


def _huge(_session: FakeSession, _command: ClientCommand) -> bytes:
    return b"* 1 FETCH (UID 1 BODY[] {99999999999}\r\n"


def _long_line(_session: FakeSession, _command: ClientCommand) -> bytes:
    return b"* 1 FETCH (" + b"x" * (1_100_000)


def _stall(_session: FakeSession, _command: ClientCommand) -> bytes:
    return b""


ANY_COMMAND: tuple[Act, ...] = (_no, _bad, _bye, _close, _out_of_step, _stall)
"""Failures of any command."""
ANY_FETCH: tuple[Act, ...] = (*ANY_COMMAND, _empty, _garbage, _other_uid, _huge, _long_line)
"""Failures of a FETCH."""


_KINDS = {
    "LOGIN": "login", "AUTHENTICATE": "login", "EXAMINE": "open", "SELECT": "open",
    "SEARCH": "search", "UID SEARCH": "search",
}  # fmt: skip


def kinds_of(command: ClientCommand) -> frozenset[str]:
    """Sort a command: login, open, search, metadata, body or another. A FETCH may ask for metadata and a body."""
    if command.name != "UID FETCH":
        return frozenset({_KINDS.get(command.name, "other")})
    items = repr(command.arguments).encode()
    kinds = {"body"} if b"BODY.PEEK[]" in items else set()
    return frozenset(kinds | {"metadata"} if b"INTERNALDATE" in items or not kinds else kinds)


def covers(uid_set: bytes, uid: int, largest: int) -> bool:
    """Whether a sequence set contains `uid`; `largest` is the meaning of `*`."""
    for part in uid_set.split(b","):
        first, _, last = part.partition(b":")
        ends = [largest if end == b"*" else int(end) for end in (first, last or first)]
        if min(ends) <= uid <= max(ends):
            return True
    return False


@dataclass(frozen=True)
class Outage:
    """Commands of some kinds fail for everybody from `begins` to `ends`, in seconds of the loop."""

    begins: float
    ends: float
    kinds: frozenset[str]
    acts: tuple[Act, ...]


@dataclass(frozen=True)
class BadMail:
    """A mail that fails whenever a FETCH of some kinds includes it, until `readable_at`."""

    raw: bytes
    kinds: frozenset[str]
    acts: tuple[Act, ...]
    readable_at: float


class ServerFaults:
    """The faults of one server. `rng` chooses among the ways in which a mail or an outage fails."""

    def __init__(self, mailbox: FakeMailbox, rng: random.Random) -> None:
        self.outages: list[Outage] = []
        self.bad_mails: list[BadMail] = []
        self._mailbox = mailbox
        self._rng = rng

    @property
    def hook(self) -> Hook:
        """The hook to install for every command."""

        async def fail(session: FakeSession, command: ClientCommand) -> bytes | None:
            acts = self._acts(command, asyncio.get_running_loop().time())
            if not acts:
                return None
            act = self._rng.choice(acts)
            if act is _stall:
                await asyncio.get_running_loop().create_future()
            return act(session, command)

        return fail

    def _acts(self, command: ClientCommand, now: float) -> tuple[Act, ...]:
        kinds = kinds_of(command)
        for outage in self.outages:
            if outage.begins <= now < outage.ends and kinds & outage.kinds:
                return outage.acts
        for bad in self.bad_mails:
            if now < bad.readable_at and kinds & bad.kinds:
                uids: Any = command.arguments[0]
                if self._is_asked_for(bad, uids):
                    return bad.acts
        return ()

    def _is_asked_for(self, bad: BadMail, uids: bytes) -> bool:
        messages = self._mailbox.messages
        largest = messages[-1].uid if messages else 0
        return any(each.raw == bad.raw and covers(uids, each.uid, largest) for each in messages)
