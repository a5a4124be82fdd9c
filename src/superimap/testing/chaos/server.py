"""How is an IMAP server made to go wrong, by name, and the same way again from a seed?"""

from __future__ import annotations

import inspect
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import Any, Self

import superimap.testing.chaos.cases  # noqa: F401 - importing it registers the cases
from superimap.testing.chaos.case import CASES, ArmedCase, Case, ChaosEvent
from superimap.testing.imap.server import ImapServer
from superimap.testing.imap.session import FakeSession

MANY = 1000


class UnknownCase(ValueError):
    """There is no case of that name."""


def find(name: str) -> list[Case]:
    """The case of this name, or all of a group (`C07`, `seed`). Raises UnknownCase."""
    wanted = name.strip().lower()
    exact = [each for each in CASES.values() if each.name.lower() == wanted]
    found = exact or [each for each in CASES.values() if each.group.lower() == wanted]
    if not found:
        raise UnknownCase(f"there is no case {name!r}; see Chaos.names()")
    return found


class Chaos:
    """Misbehaviours of an `ImapServer`, put together by name: `Chaos(server, seed=1).add("C05 bye in idle")`.

    `rate` is the chance at each opportunity (always, if None), `only` the users it hits, `times` how often it
    hits each of them at most, `after` and `until` the seconds since this was made between which it does.
    Other keywords are the case's own options. Without a case, or after `clear`, the server is lawful.
    As a context manager it clears itself at the end.
    """

    def __init__(self, server: ImapServer, *, seed: int = 1, log_size: int | None = None) -> None:
        self.server = server
        self.seed = seed
        self.began = time.monotonic()
        self.log: deque[ChaosEvent] = deque(maxlen=log_size)
        self.arms: list[ArmedCase] = []
        self.pushers: list[Callable[[FakeSession, bytes], bytes | None]] = []
        self.greeters: list[Callable[[FakeSession], tuple[bool, bytes | Awaitable[bytes | None] | None]]] = []
        self.claims: dict[int, str] = {}
        self._ordinals: dict[int, tuple[str | None, int]] = {}
        self._connections: dict[str | None, itertools.count[int]] = {}
        self._lawful = (server.on_push, server.greeting)
        server.on_push, server.greeting = self._push, self._greet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def names() -> list[str]:
        """Every case there is."""
        return sorted(CASES)

    @staticmethod
    def describe() -> dict[str, str]:
        """Every case with what it does."""
        return {name: CASES[name].doc for name in sorted(CASES)}

    def add(
        self,
        name: str,
        *,
        rate: float | None = None,
        only: str | Collection[str] | None = None,
        times: int | None = None,
        after: float = 0.0,
        until: float | None = None,
        **options: Any,
    ) -> Self:
        """Let the case of this name, or each of its group, strike from now on. Raises UnknownCase, ValueError."""
        if rate is not None and not 0 <= rate <= 1:
            raise ValueError(f"a rate is between 0 and 1, not {rate}")
        users = [only] if isinstance(only, str) else only
        for named in find(name):
            arm = ArmedCase(
                self, named, rate=rate, only=users, times=times, after=after, until=until, options=options
            )
            self.arms.append(arm)
            named.arm(arm)
            arm.check_options()
        return self

    def remove(self, name: str) -> None:
        """Take a case, or a group, away again."""
        gone = {named.name for named in find(name)}
        for arm in [arm for arm in self.arms if arm.case.name in gone]:
            arm.off()
            self.arms.remove(arm)

    def clear(self) -> None:
        """Be lawful again, in all that comes; what was spoilt stays spoilt."""
        while self.arms:
            self.arms.pop().off()

    def close(self) -> None:
        """Leave the server as it was found."""
        self.clear()
        self.server.on_push, self.server.greeting = self._lawful

    def struck(self, name: str, *, username: str | None = None) -> int:
        """How often a case, or a group, has struck, by the log."""
        named = {each.name for each in find(name)}
        return sum(
            line.case in named and (username is None or line.username == username) for line in self.log
        )

    def ordinal(self, session: FakeSession) -> int:
        """Which of its user's connections this is, from 1."""
        known, who = self._ordinals.get(session.id), self.who(session)
        if known is None or known[0] != who:
            numbers = self._connections.setdefault(who, itertools.count(1))
            self.prune(self._ordinals)
            self.prune(self.claims)
            known = self._ordinals[session.id] = (who, next(numbers))
        return known[1]

    def who(self, session: FakeSession) -> str | None:
        """Whose connection this is, or says it is while it logs in."""
        return session.username or self.claims.get(session.id)

    def prune(self, known: dict[int, Any]) -> None:
        """Forget what was kept for connections that are gone, now and then."""
        if len(known) > MANY + 2 * len(self.server.sessions):
            living = {session.id for session in self.server.sessions}
            for gone in known.keys() - living:
                del known[gone]

    def _push(self, session: FakeSession, data: bytes) -> bytes | None:
        changed: bytes | None = data
        for change in self.pushers:
            changed = change(session, changed or b"")
            if not changed:
                return None
        lawful = self._lawful[0]
        return lawful(session, changed or b"") if lawful else changed

    async def _greet(self, session: FakeSession) -> bytes | None:
        for greeter in tuple(self.greeters):
            is_struck, greeting = greeter(session)
            if is_struck:
                return await greeting if inspect.isawaitable(greeting) else greeting
        lawful = self._lawful[1]
        if not callable(lawful):
            return lawful
        answer = lawful(session)
        return await answer if inspect.isawaitable(answer) else answer
