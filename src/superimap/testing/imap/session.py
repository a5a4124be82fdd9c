"""What does the server know of one connection? Its state, its view of a mailbox, what is still to be told."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from superimap.testing.imap.commands import COMMANDS
from superimap.testing.imap.mailbox import FakeAccount
from superimap.testing.imap.mailbox_view import MailboxView
from superimap.testing.imap.syntax import Bad, ClientCommand, CommandRefused, parse_command

if TYPE_CHECKING:
    import ssl

    from superimap.testing.imap.server import ImapServer

# Sequence numbers in the command or its answer must not shift under it (RFC 3501 section 7.4.1).
_NO_EXPUNGE = frozenset({"FETCH", "STORE", "SEARCH"})


class FakeSession(MailboxView):
    """A live connection, as hooks and tests see it. Small, since there may be tens of thousands."""

    __slots__ = ("_idle_tag", "_task", "account", "commands", "id", "server", "tls", "utf8")

    def __init__(self, server: ImapServer, number: int) -> None:
        super().__init__()
        self.server = server
        self.id = number
        self.account: FakeAccount | None = None
        self.tls = server.tls is not None
        self.utf8 = False
        self.commands = 0
        self._idle_tag: bytes | None = None
        self._task: asyncio.Task[None] | None = None

    # What a test asks.

    @property
    def state(self) -> str:
        """`not authenticated`, `authenticated` or `selected` (RFC 9051 section 3)."""
        if self.account is None:
            return "not authenticated"
        return "authenticated" if self.mailbox is None else "selected"

    @property
    def username(self) -> str | None:
        """Who is logged in, or None."""
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
        self.server.left(self)

    def start(self, work: Awaitable[None]) -> None:
        """Let `work` answer the command at hand; the next command waits until it is done."""
        self.busy = True
        self._task = self.server.spawn(self._work(work))
        self.server.changed()

    async def _work(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # a hook's fault is told when the server ends
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
        if command.name == "DONE":  # with a tag it is none: only `_idle_line` makes that command
            self.finish(command, b"BAD", "Unknown command")
            return
        self.dispatch(command, parts[0])

    def dispatch(self, command: ClientCommand, line: bytes) -> None:
        """Let the hooks answer `command`, or else execute it."""
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

    def usual(self, command: ClientCommand) -> bytes:
        """Execute `command`, but return the answer instead of sending it, for a hook to spoil."""
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
            elif (entry := COMMANDS.get(command.name)) is None:
                raise Bad("Unknown command")
            elif self.state not in entry.states:
                raise Bad(f"{command.name} is not allowed when {self.state}")
            else:
                text = entry.handler(self, command)
        except CommandRefused as refusal:
            self.finish(command, refusal.status, str(refusal))
        else:
            if text is not None:
                self.finish(command, b"OK", text)

    def finish(self, command: ClientCommand, status: bytes, text: str) -> None:
        """Send what is still to be told, then the tagged response."""
        self.send(self.notices(expunges=command.name not in _NO_EXPUNGE))
        self.send(b"%s %s %s\r\n" % (command.tag, status, text.encode("utf-8")))

    # IDLE.

    def idle(self, tag: bytes) -> None:
        """Begin to idle: what is pending is told at once, and from now on each change."""
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
        """End a running IDLE unasked, as some servers do after 10 or 29 minutes."""
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
        except OSError:  # the client refuses our certificate, or is gone
            self.transport.abort()
            return
        if transport is None:
            return
        super().connection_made(transport)
        self.tls = True


Hook: TypeAlias = Callable[[FakeSession, ClientCommand], Awaitable["bytes | None"]]
"""Answers a command in the server's place: with raw bytes (b"" says nothing), or None to go on as usual."""
