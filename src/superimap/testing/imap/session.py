"""A session of the fake server: login state, command execution, IDLE."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from superimap.testing.imap.mailbox import FakeAccount
from superimap.testing.imap.mailbox_view import MailboxView
from superimap.testing.imap.syntax import Bad, ClientCommand, CommandRefused, parse_command

# Sequence numbers in the command or its answer must not shift under it (RFC 3501 section 7.4.1).
_NO_EXPUNGE = frozenset({"FETCH", "STORE", "SEARCH"})


class Handler(NamedTuple):
    """A command's handler, and the session states in which the command is valid.

    `run` returns the text of the tagged OK, or None if it sends the tagged response itself, now or later.
    """

    run: Callable[[FakeSession, ClientCommand], str | None]
    states: frozenset[str]


class Ending(Protocol):
    """What ends with a session."""

    def end(self) -> None: ...


class FakeSession(MailboxView):
    """A live connection, as hooks and tests see it. Small, because there may be tens of thousands."""

    __slots__ = (
        "_announced",
        "_idle_tag",
        "_task",
        "account",
        "announcers",
        "commands",
        "id",
        "server",
        "tls",
        "utf8",
    )

    def __init__(self, server: SessionHost, number: int) -> None:
        super().__init__()
        self.server = server
        self.id = number
        self.account: FakeAccount | None = None
        self.tls = server.tls is not None
        self.utf8 = False
        self.commands = 0
        self._announced: list[bytes] | None = None  # until the next answer
        self.announcers: list[Ending] | None = None
        self._idle_tag: bytes | None = None
        self._task: asyncio.Task[None] | None = None

    # For tests and hooks.

    @property
    def state(self) -> str:
        """`not authenticated`, `authenticated` or `selected` (RFC 9051 section 3)."""
        if self.account is None:
            return "not authenticated"
        return "authenticated" if self.mailbox is None else "selected"

    @property
    def username(self) -> str | None:
        """The user name after login, or None."""
        return None if self.account is None else self.account.username

    @property
    def idling(self) -> bool:
        """Whether an IDLE is running (RFC 2177)."""
        return self._idle_tag is not None

    # The connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.server.joined(self)
        greeting = self.server.greeting
        if callable(greeting):
            answer = greeting(self)
            if inspect.isawaitable(answer):
                self.start(self._greet_later(answer))
                return
            greeting = answer
        self._greet(greeting)

    async def _greet_later(self, answer: Awaitable[bytes | None]) -> None:
        self._greet(await answer)

    def _greet(self, greeting: bytes | None) -> None:
        if greeting is None:
            return
        self.send(greeting)
        if greeting[:9].upper() == b"* PREAUTH" and self.account is None:
            self.account = next(iter(self.server.accounts.values()), None)
        elif greeting[:5].upper() == b"* BYE":
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._task is not None:
            self._task.cancel()
        self._idle_tag = None
        self.leave()
        self.end_announcements()
        self.server.left(self)

    def start(self, work: Awaitable[None]) -> None:
        """Let `work` answer the current command; the next command waits until it is done."""
        self.busy = True
        self._task = self.server.spawn(self._work(work))
        self.server.changed()

    async def _work(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # the server raises it when it ends
            self.server.errors.append(error)
            self.send(b"* BYE Internal error\r\n")
            self.close()
        finally:
            self.busy = False
            self._task = None
        self.server.changed()
        self.pump()

    # Commands.

    def command_received(self, parts: list[bytes]) -> None:
        try:
            command = parse_command(parts)
        except Bad as error:
            tag = parts[0].split(b" ")[0] or b"*"
            self.server.record(self, "?", parts[0])
            self.send(b"%s BAD %s\r\n" % (tag, str(error).encode()))
            return
        if command.name == "DONE":  # a tagged DONE is no command; only `_idle_line` makes that one
            self.finish(command, b"BAD", "Unknown command")
            return
        self.dispatch(command, parts[0])

    def dispatch(self, command: ClientCommand, line: bytes) -> None:
        """Let a hook answer `command`, or else execute it."""
        self.commands += 1
        self.server.record(self, command.name, line)
        hooks = self.server.hooks_for(command.name)
        if hooks:
            self.start(self._hooked(hooks, command))
        else:
            self.execute(command)
            self.server.changed()

    async def _hooked(self, hooks: list[Hook], command: ClientCommand) -> None:
        for hook in hooks:
            answer = await hook(self, command)
            if self.transport.is_closing():
                return
            if answer is not None:
                self.send(answer)
                return
        self.execute(command)

    def usual_answer(self, command: ClientCommand) -> bytes:
        """Execute `command`, and return the answer instead of sending it, so that a hook can change it."""
        self._out = []
        try:
            self._execute(command)
        finally:
            out, self._out = self._out, None
        return b"".join(out or ())

    def execute(self, command: ClientCommand) -> None:
        """Execute `command` and send its answer, in one write."""
        self._out = []
        try:
            self._execute(command)
        finally:
            self._flush()

    def _execute(self, command: ClientCommand) -> None:
        try:
            if command.name == "DONE":
                text: str | None = "IDLE terminated"
            elif (handler := self.server.handler_for(command.name)) is None:
                raise Bad("Unknown command")
            elif self.state not in handler.states:
                raise Bad(f"{command.name} is not allowed when {self.state}")
            else:
                text = handler.run(self, command)
        except CommandRefused as refusal:
            self.finish(command, refusal.status, str(refusal))
        else:
            if text is not None:
                self.finish(command, b"OK", text)

    def announce(self, data: bytes) -> None:
        """Send an announcement of another mailbox: at once in IDLE, else with the next answer."""
        if self.pushes:
            self.push(data)
        else:
            self._announced = [*(self._announced or ()), data]

    def end_announcements(self) -> None:
        """Announce other mailboxes no more."""
        for announcer in self.announcers or ():
            announcer.end()
        self.announcers = self._announced = None

    def notices(self, *, expunges: bool = True) -> bytes:
        """Return the pending untagged responses, with announcements of other mailboxes."""
        announced, self._announced = self._announced, None
        return super().notices(expunges=expunges) + b"".join(announced or ())

    def finish(self, command: ClientCommand, status: bytes, text: str) -> None:
        """Send the pending untagged responses, then the tagged response."""
        self.send(self.notices(expunges=command.name not in _NO_EXPUNGE))
        self.send(b"%s %s %s\r\n" % (command.tag, status, text.encode("utf-8")))

    # IDLE.

    def idle(self, tag: bytes) -> None:
        """Begin IDLE: send the pending untagged responses at once, and from now on push each change."""
        self._idle_tag = tag
        self.ask(b"idling", self._idle_line)
        self.send(self.notices())

    def _idle_line(self, line: bytes) -> None:
        tag, self._idle_tag = self._idle_tag or b"*", None
        if line.upper() == b"DONE":
            self.dispatch(ClientCommand(tag, "DONE", []), line)
        else:
            self.send(b"%s BAD Expected DONE\r\n" % tag)

    def end_idle(self, text: bytes = b"OK IDLE terminated by the server") -> None:
        """End a running IDLE without a DONE, as some servers do after 10 or 29 minutes."""
        if self._idle_tag is not None:
            tag, self._idle_tag, self._answer = self._idle_tag, None, None
            self.send(b"%s %s\r\n" % (tag, text))

    @property
    def pushes(self) -> bool:
        return self._idle_tag is not None and not self.busy

    def push(self, data: bytes) -> None:
        if self.server.on_push is not None:
            data = self.server.on_push(self, data) or b""
        if data:
            self.send(data)

    # TLS.

    async def upgrade(self, context: ssl.SSLContext) -> None:
        """Begin TLS on this connection (RFC 9051 section 6.2.1)."""
        self.forget_input()
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(self.transport, self, context, server_side=True)
        except OSError:  # the client rejects the certificate, or has disconnected
            self.transport.abort()
            return
        if transport is None:
            return
        super().connection_made(transport)
        self.tls = True


Hook: TypeAlias = Callable[[FakeSession, ClientCommand], Awaitable["bytes | None"]]
"""Answers a command in the server's place: with raw bytes (b"" sends nothing), or None to continue as usual."""


class SessionHost(Protocol):
    """What a session needs of its server. `ImapServer` documents each of these."""

    tls: ssl.SSLContext | None
    starttls: ssl.SSLContext | None
    plaintext_login: bool
    capabilities: list[str]
    greeting: bytes | Callable[[FakeSession], bytes | Awaitable[bytes | None] | None] | None
    on_push: Callable[[FakeSession, bytes], bytes | None] | None
    logins: int
    failed_logins: int
    errors: list[Exception]

    @property
    def accounts(self) -> Mapping[str, FakeAccount]: ...
    def check_password(self, username: str, password: str) -> FakeAccount | None: ...
    def check_token(self, username: str, token: str) -> FakeAccount | None: ...
    def end_in_time(self, session: FakeSession, username: str, token: str) -> None: ...
    def handler_for(self, name: str) -> Handler | None: ...
    def hooks_for(self, name: str) -> list[Hook]: ...
    def joined(self, session: FakeSession) -> None: ...
    def left(self, session: FakeSession) -> None: ...
    def record(self, session: FakeSession, name: str, line: bytes = b"") -> None: ...
    def changed(self) -> None: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...
