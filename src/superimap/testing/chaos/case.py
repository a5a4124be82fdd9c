"""What is a case of chaos, and when does it strike? The register of names, and one case armed at one server."""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
import re
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from superimap.testing.imap.commands import COMMANDS
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import ClientCommand

if TYPE_CHECKING:
    from superimap.testing.chaos.server import Chaos


class Case(NamedTuple):
    """A way in which a server goes wrong. `arm` puts its hooks in place."""

    name: str
    arm: Callable[[ArmedCase], None]
    doc: str
    group: str


class ChaosEvent(NamedTuple):
    """A line of the log: at `at` (monotonic clock), `case` did `what` to a session."""

    at: float
    case: str
    session: int
    username: str | None
    what: str


Act: TypeAlias = Callable[[FakeSession, ClientCommand], Awaitable["bytes | None"]]
"""Answers a command in the server's place, as a hook does; asked only when the case strikes."""

CASES: dict[str, Case] = {}
_SASL_USER = re.compile(rb"\A(?:user=([^\x01]*)\x01|[^\0]*\0([^\0]*)\0|n,a=([^,]*),)")


def case(name: str) -> Callable[[Callable[[ArmedCase], None]], Callable[[ArmedCase], None]]:
    """Register what the function arms under `name`; its first word (`C05`) is the group."""

    def register(arm: Callable[[ArmedCase], None]) -> Callable[[ArmedCase], None]:
        doc = " ".join((arm.__doc__ or "").split())
        CASES[name] = Case(name, arm, doc, name.partition(" ")[0])
        return arm

    return register


class ArmedCase:
    """One case at one server: whom it hits, how often, and how it is taken away again.

    Every decision comes from a `random.Random` of the seed, the case, the user and which of the user's
    connections it is; before a login, of the server's connection number. So each of them repeats by itself,
    whatever the others do meanwhile.
    """

    def __init__(
        self,
        chaos: Chaos,
        named: Case,
        *,
        rate: float | None,
        only: Collection[str] | None,
        times: int | None,
        after: float,
        until: float | None,
        options: dict[str, Any],
    ) -> None:
        self.chaos = chaos
        self.server = chaos.server
        self.case = named
        self.rate = 1.0 if rate is None else rate
        self.rate_given = rate is not None
        self.only = None if only is None else frozenset(only)
        self.times = times
        self._window = (after, until)
        self._options = options
        self._used: set[str] = set()
        self._struck_of: dict[str | None, int] = {}
        self._chances: dict[int, tuple[str | None, random.Random]] = {}
        self._undo: list[Callable[[], None]] = []

    def option(self, name: str, default: Any) -> Any:
        """A value that `add` was given by name."""
        self._used.add(name)
        return self._options.get(name, default)

    def check_options(self) -> None:
        """ValueError if an option was given that the case does not know."""
        if unknown := self._options.keys() - self._used:
            raise ValueError(f"{self.case.name!r} has no option {', '.join(sorted(unknown))}")

    # Whether.

    def chance(self, session: FakeSession) -> random.Random:
        """The source of every decision about this connection."""
        known, who = self._chances.get(session.id), self.chaos.who(session)
        if known is None or known[0] != who:
            which = session.id if who is None else self.chaos.ordinal(session)
            self.chaos.prune(self._chances)
            seed = f"{self.chaos.seed}/{self.case.name}/{who}/{which}"
            known = self._chances[session.id] = (who, random.Random(seed))  # noqa: S311 - to be repeated
        return known[1]

    def fires(self, session: FakeSession, what: str = "") -> bool:
        """Decide whether the case strikes now, and write it down if so."""
        if not self.may(session) or (self.rate < 1 and self.chance(session).random() >= self.rate):
            return False
        self.did(session, what)
        return True

    def may(self, session: FakeSession) -> bool:
        """Whether the case could strike: the right user, not too often, the right time."""
        who = self.chaos.who(session)
        if self.only is not None and who not in self.only:
            return False
        if self.times is not None and self._struck_of.get(who, 0) >= self.times:
            return False
        now = time.monotonic() - self.chaos.began
        after, until = self._window
        return now >= after and (until is None or now < until)

    def did(self, session: FakeSession, what: str) -> None:
        """Write down that the case has struck."""
        who = self.chaos.who(session)
        self._struck_of[who] = self._struck_of.get(who, 0) + 1
        self.chaos.log.append(ChaosEvent(time.monotonic(), self.case.name, session.id, who, what))
        self.server.changed()

    # Where.

    def on(self, names: str, act: Act) -> None:
        """Strike at these commands, parted by commas."""
        for name in names.split(","):
            self.hook(name, act)

    def hook(self, name: str, act: Act) -> None:
        """Strike at this command (`*` is every one)."""

        async def hook(session: FakeSession, command: ClientCommand) -> bytes | None:
            return await act(session, command) if self.fires(session, command.name) else None

        self.always(name, hook)

    def always(self, name: str, act: Act) -> None:
        """Be asked at this command (`*` is every one) without a decision; `act` decides for itself.

        Cases are asked in the order in which they were added, and the first that answers is the answer.
        """

        async def hook(session: FakeSession, command: ClientCommand) -> bytes | None:
            if session.username is None and (name := claimed(command)) is not None:
                self.chaos.claims[session.id] = name
            return await act(session, command)

        for each in (*COMMANDS, "DONE") if name == "*" else (name,):  # the server's own `*` would come last
            self.undo(self.server.on(each, hook))

    def in_idle(self, act: Callable[[FakeSession], None], *, delay: float = 0.0) -> None:
        """Strike at an IDLE that stands since `delay` seconds."""

        def strike(session: FakeSession) -> None:
            if session.idling and not session.transport.is_closing() and self.may(session):
                self.did(session, "IDLE")
                act(session)

        async def hook(session: FakeSession, _command: ClientCommand) -> None:
            if self.may(session) and (self.rate >= 1 or self.chance(session).random() < self.rate):
                asyncio.get_running_loop().call_later(delay, strike, session)

        self.undo(self.server.on("IDLE", hook))

    def pushing(self, change: Callable[[FakeSession, bytes], bytes | None]) -> None:
        """Change what is pushed to an idling session; None swallows it."""
        self.chaos.pushers.append(change)
        self.undo(lambda: self.chaos.pushers.remove(change))

    def greeting(self, greet: Callable[[FakeSession], bytes | Awaitable[bytes | None] | None]) -> None:
        """Greet in the server's place when the case strikes."""

        def greeter(session: FakeSession) -> tuple[bool, bytes | Awaitable[bytes | None] | None]:
            return (True, greet(session)) if self.fires(session, "greeting") else (False, None)

        self.chaos.greeters.append(greeter)
        self.undo(lambda: self.chaos.greeters.remove(greeter))

    # Ending.

    def undo(self, back: Callable[[], None]) -> None:
        """Call this when the case is taken away."""
        self._undo.append(back)

    def off(self) -> None:
        """Take the case away; the server is lawful again, as far as this case is concerned."""
        while self._undo:
            self._undo.pop()()


def claimed(command: ClientCommand) -> str | None:
    """Who a LOGIN, or an AUTHENTICATE with its initial response, says it is."""
    words = [word for word in command.arguments if isinstance(word, bytes)]
    if command.name == "LOGIN" and words:
        return words[0].decode("utf-8", "replace")
    if command.name != "AUTHENTICATE" or len(words) < 2:
        return None
    try:
        match = _SASL_USER.match(base64.b64decode(words[1], validate=True))
    except (binascii.Error, ValueError):
        return None
    return next((name.decode("utf-8", "replace") for name in match.groups() if name), None) if match else None
