"""How are commands and responses kept in step on one connection? The only module that knows aioimaplib.

From upstream come the tags, the states, and the table of commands with the states they are valid in. What
reads, waits, writes and ends is replaced; each override says what upstream's did. `# upstream:` marks what
could go there.
"""

import asyncio
import functools
import secrets
from collections.abc import Awaitable, Callable

from aioimaplib import aioimaplib

from superimap.imap import encoding
from superimap.imap.command import Command
from superimap.imap.encoding import Argument
from superimap.imap.errors import Disconnected, ImapError, LimitExceeded, OutOfSync, Refused, TimedOut
from superimap.imap.framing import Framer, Response
from superimap.imap.responses import CommandResult, Status, capabilities, greeting, number, readable, status
from superimap.imap.state import MailboxState, next_state
from superimap.imap.types import Limits

_LONGEST_SHARED = 2048  # bytes
AUTH, SELECTED, NONAUTH, LOGOUT = aioimaplib.AUTH, aioimaplib.SELECTED, aioimaplib.NONAUTH, aioimaplib.LOGOUT


@functools.lru_cache(maxsize=128)
def _shared_capabilities(words: bytes) -> frozenset[str]:
    return frozenset(capabilities(words))


class Protocol(aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc]  # untyped upstream
    """One connection, one command at a time; a fault, time-out or cancellation in one ends it for good."""

    def __init__(self, limits: Limits) -> None:
        # Not upstream's: its queue, condition and events take 4 KiB.
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.state = aioimaplib.STARTED
        self.capabilities: frozenset[str] = frozenset()
        self.tagnum, self.tagpre = 0, aioimaplib.int2ap(secrets.randbelow(61440) + 4096)
        self.greeting: str | None = None  # OK, PREAUTH or BYE
        self.lost: ImapError | None = None
        self.view = MailboxState()
        self.last_proven_alive: float = self.loop.time()
        self._limits = limits
        self._framer = Framer(limits)
        self._turn = asyncio.Lock()
        self._pending: Command | None = None
        self._idling = False  # the server said "+" to IDLE
        self._deaf = False  # between the OK to STARTTLS and TLS nothing is heard
        self._change: asyncio.Future[None] | None = None
        self._gone = False
        self._closed: asyncio.Event | None = None

    @property
    def closed(self) -> asyncio.Event:
        """Set when the transport is closed; made when somebody asks, as few do."""
        if self._closed is None:
            self._closed = asyncio.Event()
            if self._gone:
                self._closed.set()
        return self._closed

    # Reading

    def data_received(self, data: bytes | memoryview) -> None:
        """Handle what is complete. # upstream: recursed per line, and formatted all data for a log"""
        self.last_proven_alive = self.loop.time()
        try:
            for response in () if self._deaf or self.lost else self._framer.feed(data):
                self._handle(response)
                if self._deaf or self.lost:
                    self._framer.reset()
                    break
        except ImapError as error:
            self.fail(error)
        self._stir()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all that waits. # upstream: woke nobody, who then sat out their time-outs"""
        reason = f"connection lost: {exc}" if exc else "connection closed by the server"
        self.fail(Disconnected(reason))
        self._gone = True
        if self._closed is not None:
            self._closed.set()

    def fail(self, error: ImapError) -> None:
        """End the connection because of `error`; the first error is the one that counts."""
        if self.lost is None:
            self.lost = error.with_traceback(None)  # which would keep what was being read
            self._framer.reset()
            if self._pending is not None:
                self._pending.fail(error)
            self._pending, self._idling = None, False
        if self.transport is not None:
            self.transport.abort()
        self._stir()

    def _handle(self, response: Response) -> None:
        line = response.line
        if self.greeting is None:
            self._greeted(line)
        elif line.startswith(b"* "):
            self._untagged(response)
        elif line.startswith(b"+"):
            self._continuation(line)
        elif line:  # a stray blank line is harmless
            self._response_done(line)

    def _greeted(self, line: bytes) -> None:
        """By keyword. # upstream: took any "OK" in the line, as in `* BYE LOOKUP`"""
        self.greeting, said = greeting(line)
        if self.greeting == "BYE":
            self.fail(Disconnected("refused at the greeting", bye=said.text))
            return
        self.state = AUTH if self.greeting == "PREAUTH" else NONAUTH
        self._code(said)

    def _untagged(self, response: Response) -> None:
        """Counts and codes stay here, data goes to the command. # upstream: deleted each `* ` in the line"""
        words = response.line.split(b" ", 3)
        name = words[1].upper()
        if name.isdigit() and len(words) > 2:
            name = words[2].upper()
            self.view.told(name, words[1], opening=self._opening)
        elif name in (b"OK", b"NO", b"BAD"):
            self._code(status(response.line[3 + len(name) :]))
        elif name == b"CAPABILITY":
            self._offers(response.line[13:])
        elif name == b"BYE" and (self._pending is None or self._pending.name != "LOGOUT"):
            self.fail(Disconnected("closed by the server", bye=status(response.line[6:]).text))
        command = self._pending
        if command is not None and name in command.wanted:
            command.weight += response.weight
            if command.weight > self._limits.total:
                raise LimitExceeded(f"more than {self._limits.total} bytes to one command")
            command.responses.append(response)
            if len(command.responses) > self._limits.responses:
                raise LimitExceeded(f"more than {self._limits.responses} responses to one command")

    def _code(self, said: Status) -> None:
        if said.code == "CAPABILITY":
            self._offers(said.value)
        elif said.code == "UIDVALIDITY" and (value := number(said.value)):
            if self._opening:
                self.view.uid_validity = value
            elif self.state == SELECTED and self.view.uid_validity not in (None, value):
                self.fail(Disconnected("UIDVALIDITY changed under the open mailbox"))

    def _offers(self, words: bytes) -> None:
        """All sessions with a server share one set; a long list is not kept for others."""
        self.capabilities = (
            _shared_capabilities(words) if len(words) <= _LONGEST_SHARED else frozenset(capabilities(words))
        )

    @property
    def _opening(self) -> bool:
        return self._pending is not None and self._pending.name == "EXAMINE"

    def _continuation(self, line: bytes) -> None:
        command = self._pending
        if command is None or command.closed:
            return
        if command.pieces:
            self._write(command.pieces.pop(0))
        elif command.challenge is not None:
            self._write(command.challenge(line[1:].strip()) + b"\r\n")
        elif command.name == "IDLE":
            self._idling = True

    def _response_done(self, line: bytes) -> None:
        """The tagged end of the pending command; any other tag means that we are out of step."""
        tag, _, rest = line.partition(b" ")
        word, _, text = rest.partition(b" ")
        command, result = self._pending, word.upper().decode("latin-1")
        if tag == b"DONE":  # the server had just ended our IDLE, and complains
            return
        if command is None or tag != command.tag.encode() or result not in ("OK", "NO", "BAD"):
            raise OutOfSync(f"not an answer to {command or 'anything'}: {readable(line, 40)!r}")
        self._pending, self._idling, self._framer.is_asked = None, False, False
        said = status(text)
        self._code(said)
        self.state = next_state(self.state, command.name, result)
        if command.name == "STARTTLS" and result == "OK":
            self._deaf = True
            if self.transport is not None:
                self.transport.pause_reading()
        command.close(result, said)

    # Writing and waiting

    async def execute(self, command: Command, within: float, done: float = 15.0) -> CommandResult:
        """Send `command` and wait for its end, up to `within` seconds; a standing IDLE is ended first.

        Raises TimedOut, Disconnected, ProtocolError, LimitExceeded; NO and BAD are the caller's.
        # upstream: a time-out left its command pending for ever, three at once mixed their answers
        """
        async with self._turn:
            await self._end_idle(done)
            self._send(command)
            await self._within(within, repr(command), command.wait())
        return CommandResult(command.result, command.said, command.responses)

    async def run(
        self, name: str, *args: Argument, prefix: str = "", wanted: str = "", within: float
    ) -> CommandResult:
        """As `execute`, and Refused is raised on NO and BAD."""
        answer = await self.execute(
            Command(name, self.new_tag(), *args, prefix=prefix, wanted=wanted), within
        )
        if answer.result != "OK":
            raise Refused(name, answer.result, answer.status.text, answer.status.code)
        return answer

    async def start_idle(self, within: float) -> None:
        """Begin IDLE and wait for the "+". # upstream: waited for ever if the connection was lost"""
        async with self._turn:
            await self._end_idle(within)
            command = Command("IDLE", self.new_tag())
            self._send(command)
            await self._within(within, "IDLE", self.until(lambda: self._idling or command.closed))
            if not command.closed:
                return
            await command.wait()  # raises if the connection is what ended
            if command.result != "OK":
                raise Refused("IDLE", command.result, command.said.text, command.said.code)

    async def end_idle(self, within: float) -> None:
        """Send DONE and wait for the end of IDLE; nothing to do if the server ended it."""
        async with self._turn:
            await self._end_idle(within)

    async def _end_idle(self, within: float) -> None:
        if self._idling and (command := self._pending) is not None:
            self._write(b"DONE\r\n")
            await self._within(within, "DONE", command.wait())

    @property
    def idling(self) -> bool:
        """The server holds our IDLE."""
        return self._idling

    async def greet(self, within: float) -> None:
        """Wait for the greeting."""
        await self._within(within, "greeting", self.until(lambda: self.greeting is not None))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds, or raise what ended the connection; for one waiter at a time."""
        while not condition():
            self.check()
            self._change = self.loop.create_future()
            try:
                await self._change
            finally:
                self._change = None

    def check(self) -> None:
        """Raise what ended the connection, if it ended."""
        if self.lost is not None:
            raise self.lost.with_traceback(None)

    def secured(self) -> None:
        """TLS stands: forget what was said before it (RFC 9051 section 6.2.1)."""
        self.capabilities, self._deaf = frozenset(), False
        self._framer.reset()

    def _send(self, command: Command) -> None:
        self.check()
        if self.state not in aioimaplib.Commands[command.name].valid_states:
            raise Refused(command.name, "BAD", f"not sent: not valid in state {self.state}")
        non_sync = "LITERAL+" in self.capabilities
        command.pieces = encoding.split_command(command.head, command.args, non_sync=non_sync)
        self._pending = command
        self._framer.is_asked = command.name != "IDLE"
        self._write(command.pieces.pop(0))

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    async def _within(self, seconds: float, doing: str, waiting: Awaitable[None]) -> None:
        """One deadline for all of it; leaving early closes the connection, which is then out of step."""
        timer = self.loop.call_later(seconds, self._late, seconds, doing)
        try:
            await waiting
        except asyncio.CancelledError:
            self.fail(Disconnected(f"closed by us in the middle of {doing}"))
            raise
        finally:
            timer.cancel()

    def _late(self, seconds: float, doing: str) -> None:
        self.fail(TimedOut(doing, seconds))

    def _stir(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)
