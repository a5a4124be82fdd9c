"""Misbehaviour of an `ImapServer`, chosen by name and repeatable from a seed."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from types import TracebackType
from typing import Any, Self

import superimap.testing.chaos.cases  # noqa: F401 - importing it registers the cases
from superimap.testing.chaos.case import CASES, ArmedCase, Case
from superimap.testing.chaos.state import ChaosState
from superimap.testing.imap.server import ImapServer
from superimap.testing.imap.session import FakeSession


class UnknownCase(ValueError):
    """No case or group has this name."""


def find(name: str) -> list[Case]:
    """Return the case of this name, or all cases of a group (`C07`, `seed`). Raises UnknownCase."""
    wanted = name.strip().lower()
    exact = [each for each in CASES.values() if each.name.lower() == wanted]
    found = exact or [each for each in CASES.values() if each.group.lower() == wanted]
    if not found:
        raise UnknownCase(f"there is no case {name!r}; see Chaos.names()")
    return found


class Chaos(ChaosState):
    """Makes an `ImapServer` misbehave: `Chaos(server, seed=1).add("C05 bye in idle", rate=0.1)`.

    Without a case, or after `clear`, the server obeys the protocol. Used as a context manager, it restores the
    server at the end.
    """

    def __init__(self, server: ImapServer, *, seed: int = 1, log_size: int | None = None) -> None:
        super().__init__(server, seed=seed, log_size=log_size)
        self.arms: list[ArmedCase] = []
        self._without_chaos = (server.on_push, server.greeting)
        server.on_push, server.greeting = self._push, self._greet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def names() -> list[str]:
        """Return the names of all cases."""
        return sorted(CASES)

    @staticmethod
    def describe() -> dict[str, str]:
        """Return a description of each case, by name."""
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
        """Arm the case of this name, or each case of a group. Raises UnknownCase, ValueError.

        `rate` is the probability at each opportunity (None: always). `only` names the users that it hits, `times`
        how often it hits each of them at most. `after` and `until` limit it to a period, in seconds since this
        object was made. Other keywords are options of the case.
        """
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
        """Disarm a case, or a group."""
        removed = {named.name for named in find(name)}
        for arm in [arm for arm in self.arms if arm.case.name in removed]:
            arm.disarm()
            self.arms.remove(arm)

    def clear(self) -> None:
        """Disarm all cases. What they have already damaged stays damaged."""
        while self.arms:
            self.arms.pop().disarm()

    def close(self) -> None:
        """Disarm all cases, and restore the server's own hooks."""
        self.clear()
        self.server.on_push, self.server.greeting = self._without_chaos

    def struck(self, name: str, *, username: str | None = None) -> int:
        """Return how often a case, or a group, has struck, according to the log."""
        named = {each.name for each in find(name)}
        return sum(
            line.case in named and (username is None or line.username == username) for line in self.log
        )

    def _push(self, session: FakeSession, data: bytes) -> bytes | None:
        changed: bytes | None = data
        for change in self.pushers:
            changed = change(session, changed or b"")
            if not changed:
                return None
        unchanged = self._without_chaos[0]
        return unchanged(session, changed or b"") if unchanged else changed

    async def _greet(self, session: FakeSession) -> bytes | None:
        for greeter in tuple(self.greeters):
            is_struck, greeting = greeter(session)
            if is_struck:
                return await greeting if inspect.isawaitable(greeting) else greeting
        unchanged = self._without_chaos[1]
        if not callable(unchanged):
            return unchanged
        answer = unchanged(session)
        return await answer if inspect.isawaitable(answer) else answer
