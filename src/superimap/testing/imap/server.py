"""Fake IMAP server in memory, for tests, demos and benchmarks: accounts, sessions, deliveries, hooks."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

from superimap.testing.imap.commands import COMMANDS
from superimap.testing.imap.login import greet
from superimap.testing.imap.mailbox import FakeAccount
from superimap.testing.imap.session import FakeSession, Handler, Hook
from superimap.testing.waiting import Waiters

CAPABILITIES = (
    "IMAP4rev1", "LITERAL+", "SASL-IR", "ID", "ENABLE", "UTF8=ACCEPT", "NAMESPACE", "IDLE", "UNSELECT",
    "UIDPLUS", "MOVE", "ESEARCH", "CHILDREN", "SPECIAL-USE", "AUTH=PLAIN", "AUTH=XOAUTH2", "AUTH=OAUTHBEARER",
)  # fmt: skip
_SECRET = frozenset({"LOGIN", "AUTHENTICATE", "?"})


class LogEntry(NamedTuple):
    """A line of the log: `connect`, `disconnect` or a command. `at` is in seconds of the monotonic clock."""

    at: float
    session: int
    username: str | None
    name: str
    line: str


class ImapServer:
    """An IMAP server (RFC 3501, RFC 2177) on one event loop. A hook can make it misbehave.

    Use it as `async with ImapServer() as server:`. On exit it ends every session, and raises the exceptions of
    hooks as an ExceptionGroup. Tests may change these attributes at any time:

    - `greeting`: bytes to greet with, or a function of the session that returns them. None sends no greeting,
      `* BYE` closes the connection, `* PREAUTH` logs in to the first account.
    - `capabilities`: what is offered. IDLE and SASL mechanisms that are not listed are rejected.
    - `plaintext_login`: whether passwords are accepted without TLS.
    - `on_push`: called with each push to an idling session; returns what is sent instead.
    - `opens_for`: called with a user and an access token; returns for how many seconds the token opens the
      account, 0 if not at all. When that time is over the server ends the session, as Gmail does.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
        accounts: Iterable[FakeAccount] = (),
        any_login: bool = False,
        any_token: bool = False,
        log_size: int = 10_000,
    ) -> None:
        """`port` 0 takes a free port; `log_size` 0 keeps no log.

        `any_login` accepts every user and password, `any_token` every user with an access token; both create the
        account.
        """
        self.host = host
        self.port = port
        self.tls = tls
        self.starttls = starttls
        self.any_login = any_login
        self.any_token = any_token
        self.plaintext_login = starttls is None
        self.capabilities = list(CAPABILITIES)
        self.greeting: bytes | Callable[[FakeSession], bytes | Awaitable[bytes | None] | None] | None = greet
        self.on_push: Callable[[FakeSession, bytes], bytes | None] | None = None
        self.opens_for: Callable[[str, str], float] | None = None
        self.accounts: dict[str, FakeAccount] = {account.username: account for account in accounts}
        self.sessions: set[FakeSession] = set()
        self.log: deque[LogEntry] = deque(maxlen=log_size)
        self.connects = 0
        self.logins = 0
        self.failed_logins = 0
        self.expired = 0
        self.errors: list[Exception] = []
        self._hooks: dict[str, list[Hook]] = {}
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters = Waiters()

    # Start and stop.

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        self.drop_all()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.wait_for(lambda: not self.sessions)
        if self.errors and error is None:
            raise ExceptionGroup("hooks of the IMAP server failed", self.errors)

    async def listen(self) -> None:
        """Accept connections; after `refuse`, on the same port again. Raises OSError if the port is in use."""
        if self._listener is None:
            self._listener = await asyncio.get_running_loop().create_server(
                self._session, self.host, self.port, ssl=self.tls, backlog=4096
            )
            self.port = self._listener.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Accept no more connections: the kernel refuses them. Established ones continue."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    @property
    def is_listening(self) -> bool:
        """Whether connections are accepted."""
        return self._listener is not None

    def drop_all(self, *, reset: bool = False) -> None:
        """End every session at once without a BYE; by RST if `reset`."""
        for session in tuple(self.sessions):
            if reset:
                session.reset()
            else:
                session.transport.abort()

    # Accounts and mail.

    def add_account(self, username: str, password: str, *, gmail: bool = False) -> FakeAccount:
        """Create an account. Raises ValueError if the name is in use."""
        if username in self.accounts:
            raise ValueError(f"the account {username!r} exists already")
        self.accounts[username] = account = FakeAccount(username, password, gmail=gmail)
        return account

    def deliver(
        self,
        username: str,
        raw: bytes,
        mailbox: str = "INBOX",
        internal_date: datetime | None = None,
        *,
        flags: Iterable[str] = (),
        labels: Iterable[str] = (),
    ) -> int:
        """Append a mail, notify the sessions in the mailbox, and return its UID.

        Raises KeyError for unknown names.
        """
        account = self._account(username) if self.any_login else self.accounts[username]
        found = account.find(mailbox)
        if found is None:
            raise KeyError(mailbox)
        return found.append(raw, internal_date, flags, labels=labels)

    def _account(self, username: str) -> FakeAccount:
        return self.accounts.get(username) or self.add_account(username, "")

    def check_password(self, username: str, password: str) -> FakeAccount | None:
        """Return the account that this password opens, or None."""
        if self.any_login:
            return self._account(username)
        account = self.accounts.get(username)
        return account if account is not None and account.password == password else None

    def check_token(self, username: str, token: str) -> FakeAccount | None:
        """Return the account that this access token opens, or None."""
        if self.opens_for is not None and self.opens_for(username, token) <= 0:
            return None
        if self.any_login or self.any_token:
            return self._account(username)
        account = self.accounts.get(username)
        is_known = account is not None and (self.opens_for is not None or token in account.tokens)
        return account if is_known else None

    def end_in_time(self, session: FakeSession, username: str, token: str) -> None:
        """End a session when the token that opened it expires."""
        if self.opens_for is not None:
            asyncio.get_running_loop().call_later(self.opens_for(username, token), self._expire, session)

    def _expire(self, session: FakeSession) -> None:
        if session in self.sessions:
            self.expired += 1
            session.send(b"* BYE Session expired, please login again.\r\n")
            session.close()

    # Hooks.

    def on(self, name: str, hook: Hook) -> Callable[[], None]:
        """Call `hook` before each command `name` (such as `UID FETCH` or `DONE`; `*` is every command).

        Hooks are called in the order in which they were added, until one answers. Returns a function that removes
        the hook.
        """
        hooks = self._hooks.setdefault(name.upper(), [])
        hooks.append(hook)

        def remove() -> None:
            if hook in hooks:
                hooks.remove(hook)

        return remove

    def hooks_for(self, name: str) -> list[Hook]:
        """Return the hooks to call for a command."""
        if not self._hooks:
            return []
        return [*self._hooks.get(name, ()), *self._hooks.get("*", ())]

    # Observation.

    async def wait_for(self, condition: Callable[[], object], timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Wait until `condition` holds; it is checked after each event.

        Raises TimeoutError after `timeout` seconds.
        """
        await self._waiters.wait_for(condition, timeout)

    def sessions_of(self, username: str) -> list[FakeSession]:
        """Return the live sessions of a user, oldest first."""
        return sorted((s for s in self.sessions if s.username == username), key=lambda session: session.id)

    def changed(self) -> None:
        """Check the conditions of all `wait_for` calls again."""
        self._waiters.check()

    def record(self, session: FakeSession, name: str, line: bytes = b"") -> None:
        """Write to the log, without the arguments of LOGIN and AUTHENTICATE."""
        if self.log.maxlen:
            text = "" if name in _SECRET else line[:200].decode("latin-1")
            self.log.append(LogEntry(time.monotonic(), session.id, session.username, name, text))

    # Called by sessions.

    def handler_for(self, name: str) -> Handler | None:
        """Return the handler of a command, or None if the command is unknown."""
        return COMMANDS.get(name)

    def _session(self) -> FakeSession:
        self.connects += 1
        return FakeSession(self, self.connects)

    def joined(self, session: FakeSession) -> None:
        """Add a session that has connected."""
        self.sessions.add(session)
        self.record(session, "connect")
        self.changed()

    def left(self, session: FakeSession) -> None:
        """Remove a session that has disconnected."""
        self.sessions.discard(session)
        self.record(session, "disconnect")
        self.changed()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work of a session until the server ends. A TaskGroup cannot span the two tasks of a fixture."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
