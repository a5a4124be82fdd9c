"""State that all armed cases of one `Chaos` share: the log, and which user each connection belongs to."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias

from superimap.testing.imap.server import ImapServer
from superimap.testing.imap.session import FakeSession

Pusher: TypeAlias = Callable[[FakeSession, bytes], "bytes | None"]
"""Changes what is pushed to an idling session; None sends nothing."""

Greeter: TypeAlias = Callable[[FakeSession], "tuple[bool, bytes | Awaitable[bytes | None] | None]"]
"""Returns whether the case strikes at this greeting, and the greeting to send in that case."""

_MAX_STALE_CONNECTIONS = 1000


class ChaosEvent(NamedTuple):
    """A line of the log: at `at` (seconds of the monotonic clock), `case` did `what` to a session."""

    at: float
    case: str
    session: int
    username: str | None
    what: str


class ChaosState:
    """The server, the seed, the log, and the changes that cases make to pushes and greetings."""

    def __init__(self, server: ImapServer, *, seed: int, log_size: int | None) -> None:
        self.server = server
        self.seed = seed
        self.began = time.monotonic()
        self.log: deque[ChaosEvent] = deque(maxlen=log_size)
        self.pushers: list[Pusher] = []
        self.greeters: list[Greeter] = []
        self._claims: dict[int, str] = {}
        self._ordinals: dict[int, tuple[str | None, int]] = {}
        self._connections: dict[str | None, itertools.count[int]] = {}

    def username_of(self, session: FakeSession) -> str | None:
        """Return the user of a connection, or the user that its login names."""
        return session.username or self._claims.get(session.id)

    def claim(self, session: FakeSession, username: str) -> None:
        """Note that a connection is logging in as `username`."""
        self._claims[session.id] = username

    def connection_number(self, session: FakeSession) -> int:
        """Return the number of this connection among those of its user, from 1."""
        known, who = self._ordinals.get(session.id), self.username_of(session)
        if known is None or known[0] != who:
            numbers = self._connections.setdefault(who, itertools.count(1))
            self.prune(self._ordinals)
            self.prune(self._claims)
            known = self._ordinals[session.id] = (who, next(numbers))
        return known[1]

    def prune(self, known: dict[int, Any]) -> None:
        """Now and then, remove entries of connections that have ended."""
        if len(known) > _MAX_STALE_CONNECTIONS + 2 * len(self.server.sessions):
            living = {session.id for session in self.server.sessions}
            for ended in known.keys() - living:
                del known[ended]
