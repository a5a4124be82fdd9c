"""Chaos cases: the register of all cases, and one case armed on one server."""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
import re
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any, NamedTuple, TypeAlias

from superimap.testing.chaos.state import ChaosEvent, ChaosState, Pusher
from superimap.testing.imap.commands import COMMANDS
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import ClientCommand


class Case(NamedTuple):
    """One kind of misbehaviour. `arm` installs its hooks; `group` is the first word of the name."""

    name: str
    arm: Callable[[ArmedCase], None]
    doc: str
    group: str


Act: TypeAlias = Callable[[FakeSession, ClientCommand], Awaitable["bytes | None"]]
"""Answers a command in the server's place, as a hook does; called only when the case strikes."""

CASES: dict[str, Case] = {}
_SASL_USER = re.compile(rb"\A(?:user=([^\x01]*)\x01|[^\0]*\0([^\0]*)\0|n,a=([^,]*),)")


def case(name: str) -> Callable[[Callable[[ArmedCase], None]], Callable[[ArmedCase], None]]:
    """Register a function that arms the case `name`; the first word of the name (`C05`) is the group."""

    def register(arm: Callable[[ArmedCase], None]) -> Callable[[ArmedCase], None]:
        doc = " ".join((arm.__doc__ or "").split())
        CASES[name] = Case(name, arm, doc, name.partition(" ")[0])
        return arm

    return register


class ArmedCase:
    """One case on one server: which users it hits, how often, and how its hooks are removed.

    Every decision comes from a `random.Random` seeded with the seed, the case, the user and the number of the
    connection among those of its user (before a login: the server's connection number). So each connection
    repeats independently of the others.
    """

    def __init__(
        self,
        chaos: ChaosState,
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
        """Return an option that was passed to `Chaos.add`, or `default`."""
        self._used.add(name)
        return self._options.get(name, default)

    def check_options(self) -> None:
        """Raise ValueError if an option was passed that the case does not have."""
        if unknown := self._options.keys() - self._used:
            raise ValueError(f"{self.case.name!r} has no option {', '.join(sorted(unknown))}")

    # Decisions.

    def chance(self, session: FakeSession) -> random.Random:
        """Return the source of all random decisions about this connection."""
        known, who = self._chances.get(session.id), self.chaos.username_of(session)
        if known is None or known[0] != who:
            which = session.id if who is None else self.chaos.connection_number(session)
            self.chaos.prune(self._chances)
            seed = f"{self.chaos.seed}/{self.case.name}/{who}/{which}"
            known = self._chances[session.id] = (who, random.Random(seed))  # noqa: S311 - must be repeatable
        return known[1]

    def strikes(self, session: FakeSession, what: str = "") -> bool:
        """Decide whether the case strikes now; if so, record it."""
        if not self.may_strike(session) or (self.rate < 1 and self.chance(session).random() >= self.rate):
            return False
        self.record_strike(session, what)
        return True

    def may_strike(self, session: FakeSession) -> bool:
        """Whether the case may strike: user, number of times and period fit."""
        who = self.chaos.username_of(session)
        if self.only is not None and who not in self.only:
            return False
        if self.times is not None and self._struck_of.get(who, 0) >= self.times:
            return False
        now = time.monotonic() - self.chaos.began
        after, until = self._window
        return now >= after and (until is None or now < until)

    def record_strike(self, session: FakeSession, what: str) -> None:
        """Record that the case has struck."""
        who = self.chaos.username_of(session)
        self._struck_of[who] = self._struck_of.get(who, 0) + 1
        self.chaos.log.append(ChaosEvent(time.monotonic(), self.case.name, session.id, who, what))
        self.server.changed()

    # Hooks.

    def on(self, names: str, act: Act) -> None:
        """Strike at these commands, separated by commas."""
        for name in names.split(","):
            self.hook(name, act)

    def hook(self, name: str, act: Act) -> None:
        """Strike at this command (`*`: at every command)."""

        async def hook(session: FakeSession, command: ClientCommand) -> bytes | None:
            return await act(session, command) if self.strikes(session, command.name) else None

        self.always(name, hook)

    def always(self, name: str, act: Act) -> None:
        """Call `act` at this command (`*`: at every command); `act` itself decides whether to strike.

        Cases are called in the order in which they were added, until one answers.
        """

        async def hook(session: FakeSession, command: ClientCommand) -> bytes | None:
            if session.username is None and (name := claimed(command)) is not None:
                self.chaos.claim(session, name)
            return await act(session, command)

        for each in (
            (*COMMANDS, "DONE") if name == "*" else (name,)
        ):  # hooks of the server's `*` would be called last
            self.undo(self.server.on(each, hook))

    def in_idle(self, act: Callable[[FakeSession], None], *, delay: float = 0.0) -> None:
        """Strike at an IDLE that has run for `delay` seconds."""

        def strike(session: FakeSession) -> None:
            if session.idling and not session.transport.is_closing() and self.may_strike(session):
                self.record_strike(session, "IDLE")
                act(session)

        async def hook(session: FakeSession, _command: ClientCommand) -> None:
            if self.may_strike(session) and (self.rate >= 1 or self.chance(session).random() < self.rate):
                asyncio.get_running_loop().call_later(delay, strike, session)

        self.undo(self.server.on("IDLE", hook))

    def pushing(self, change: Pusher) -> None:
        """Change what is pushed to an idling session; None sends nothing."""
        self.chaos.pushers.append(change)
        self.undo(lambda: self.chaos.pushers.remove(change))

    def greeting(self, greet: Callable[[FakeSession], bytes | Awaitable[bytes | None] | None]) -> None:
        """Greet in the server's place when the case strikes."""

        def greeter(session: FakeSession) -> tuple[bool, bytes | Awaitable[bytes | None] | None]:
            return (True, greet(session)) if self.strikes(session, "greeting") else (False, None)

        self.chaos.greeters.append(greeter)
        self.undo(lambda: self.chaos.greeters.remove(greeter))

    # Removal.

    def undo(self, back: Callable[[], None]) -> None:
        """Call `back` when the case is disarmed."""
        self._undo.append(back)

    def disarm(self) -> None:
        """Disarm the case: remove its hooks from the server."""
        while self._undo:
            self._undo.pop()()


def claimed(command: ClientCommand) -> str | None:
    """Return the user that a LOGIN, or an AUTHENTICATE with initial response, names."""
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
