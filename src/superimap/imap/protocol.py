"""Protocol: keeps commands and responses in step on one connection. The only module that imports aioimaplib.

aioimaplib provides the tags, the states, and the table of commands with the states in which each is valid.
Reading, waiting, writing and closing are replaced; each override says what upstream's method did. `# upstream:`
marks what could be contributed there.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from aioimaplib import aioimaplib

from superimap.imap import encoding
from superimap.imap.command import Command
from superimap.imap.encoding import Argument
from superimap.imap.errors import (
    Disconnected,
    ImapError,
    LimitExceeded,
    OutOfSync,
    ProtocolError,
    Refused,
    TimedOut,
)
from superimap.imap.framing import Framer, Response
from superimap.imap.peer import ALONE, Peer
from superimap.imap.state import MailboxState, next_state
from superimap.imap.statuses import (
    CommandResult,
    Status,
    decode_text,
    needs_select,
    parse_capabilities,
    parse_greeting,
    parse_status,
    parse_tagged,
    parse_uid,
    parse_uid_validity,
    tidy_untagged,
)
from superimap.imap.stream import Stream
from superimap.imap.types import Limits

_MAX_KEYWORDS_BYTES = 64  # of the words that name an untagged response
_MAX_CHALLENGES = 16  # SASL exchanges take one or two
AUTH, SELECTED, NONAUTH, LOGOUT = aioimaplib.AUTH, aioimaplib.SELECTED, aioimaplib.NONAUTH, aioimaplib.LOGOUT
_VALID_STATES = {name: command.valid_states for name, command in aioimaplib.Commands.items()} | {
    "XLIST": (AUTH, SELECTED)  # the predecessor of SPECIAL-USE
}


class Protocol(aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc]  # untyped upstream
    """One connection, one command at a time; an error, timeout or cancellation in a command closes it."""

    def __init__(
        self,
        limits: Limits,
        peer: Peer = ALONE,
        clean: Callable[[ImapError], ImapError] = lambda error: error,
    ) -> None:
        """`clean` removes secrets from an error, because a server may echo them in any answer."""
        # Does not call upstream's constructor: its queue, condition and events take 4 KiB.
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.state = aioimaplib.STARTED
        self.capabilities: frozenset[str] = frozenset()
        self.tagnum, self.tagpre = 0, aioimaplib.int2ap(secrets.randbelow(61440) + 4096)
        self.greeting: str | None = None  # OK, PREAUTH or BYE
        self.needs_select = False
        self.lost: ImapError | None = None
        self.mailbox = MailboxState()
        self._clean = clean
        self.peer = peer
        self._held = 0  # bytes of memory, as the peer's room knows them
        self._answered = 0  # of these, bytes of the latest command's answer
        self._kept = 0  # and of a search result
        self.last_proven_alive: float = self.loop.time()
        self._limits = limits
        self._framer = Framer(limits)
        self._turn = asyncio.Lock()
        self._pending: Command | None = None
        self._idling = False  # the server has answered "+" to IDLE
        self._drops_input = False  # input is dropped between the OK to STARTTLS and TLS
        self._change: asyncio.Future[None] | None = None
        self._is_closed = False
        self._closed: asyncio.Event | None = None

    @property
    def closed(self) -> asyncio.Event:
        """Set when the transport has closed. Created on first use, because few sessions need it."""
        if self._closed is None:
            self._closed = asyncio.Event()
            if self._is_closed:
                self._closed.set()
        return self._closed

    # Reading

    def data_received(self, data: bytes | memoryview) -> None:
        """Handle all complete responses. # upstream: recursed for each line, and formatted all data for a log"""
        self.last_proven_alive = self.loop.time()
        try:
            for response in () if self._drops_input or self.lost else self._framer.feed(data):
                self._handle(response)
                if self._drops_input or self.lost:
                    self._framer.reset()
                    break
            self._account()
        except ImapError as error:
            self.fail(error)
        self._wake()

    def _account(self) -> None:
        """Tell the peer's room how much memory the connection takes. Raises LimitExceeded."""
        if self.lost is not None:
            return
        pending = 0 if self._pending is None else self._pending.weight
        held = self._framer.held + pending + self._answered
        if held + self._kept != self._held and self.peer.room is not None:
            self._held = held + self._kept
            self.peer.room.hold(held, results=self._kept, announced=self._framer.announced)

    def give_up_room(self, error: LimitExceeded) -> None:
        """End the connection with `error`, because others need its memory."""
        error.announced = self._framer.announced
        self.fail(error)

    def keep(self, size: int | None = None) -> None:
        """Stop accounting for the latest answer; account for `size` bytes made of it until the next `size`."""
        self._answered, self._kept = 0, self._kept if size is None else size
        try:
            self._account()
        except LimitExceeded as error:
            self.fail(error)
            raise

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all waiters. # upstream: woke none of them, so that each waited until its timeout"""
        reason = f"connection lost: {exc}" if exc else "connection closed by the server"
        self.fail(Disconnected(reason))
        self._is_closed = True
        if self._closed is not None:
            self._closed.set()

    def fail(self, error: ImapError) -> None:
        """End the connection with `error`. The first error is the one that waiters see."""
        if self.lost is None:
            self.lost = error = self._clean(error).with_traceback(
                None
            )  # a traceback would keep the buffers alive
            self._framer.reset()
            if self._pending is not None:
                self._pending.fail(error)
            self._pending, self._idling = None, False
            if self.peer.room is not None and self._held:
                self.peer.room.hold(0)
        if self.transport is not None:
            self.transport.abort()
        self._wake()

    def charge(self, seconds: float) -> float:
        """Charge the peer for work that its answers cause; return the seconds until more may be done for it."""
        return self.transport.charge(seconds) if isinstance(self.transport, Stream) else 0.0

    def _handle(self, response: Response) -> None:
        line = response.line
        if self.greeting is not None and line.startswith(b"* "):
            self._untagged(response)
        elif not line.strip():  # a stray blank line is harmless
            return
        elif self.greeting is None:
            self._take_greeting(line)
        elif line.startswith(b"*"):
            self._untagged(_tidied(response))
        elif line.startswith(b"+"):
            self._continuation(line)
        else:
            self._response_done(line)

    def _take_greeting(self, line: bytes) -> None:
        """Read the greeting by its keyword. # upstream: accepted any "OK" in the line, as in `* BYE LOOKUP`"""
        self.greeting, said = parse_greeting(line)
        if self.greeting == "BYE":
            self.fail(Disconnected("refused at the greeting", said.text, said.code))
            return
        self.needs_select = needs_select(said.text)
        self.state = AUTH if self.greeting == "PREAUTH" else NONAUTH
        self._apply_code(said)

    def _untagged(self, response: Response) -> None:
        """Apply counts and codes, pass data to the command. # upstream: deleted every `* ` within the line"""
        words = response.line[:_MAX_KEYWORDS_BYTES].split(b" ", 3)
        is_count = len(words) > 2 and words[1].isdigit()
        name = (words[2] if is_count else words[1] if len(words) > 1 else b"").upper()
        if not name.isalnum() and (tidied := _tidied(response)).line != response.line:
            self._untagged(tidied)
            return
        if is_count:
            self.mailbox.record_count(name, words[1], opening=self._opening)
        elif name in (b"OK", b"NO", b"BAD"):
            self._apply_code(parse_status(response.line[3 + len(name) :]))
        elif name == b"CAPABILITY":
            self.capabilities = parse_capabilities(response.line[13:])
        elif name == b"BYE" and (self._pending is None or self._pending.name != "LOGOUT"):
            said = parse_status(response.line[6:])
            self.fail(Disconnected("closed by the server", said.text, said.code))
        if self._pending is not None and name in self._pending.wanted:
            self._pending.collect(response, self._limits)

    def _apply_code(self, said: Status) -> None:
        if said.code == "CAPABILITY":
            self.capabilities = parse_capabilities(said.value)
        elif said.code == "UIDNEXT" and self._opening:
            self.mailbox.uid_next = parse_uid(said.value)
        elif said.code == "UIDVALIDITY" and (value := parse_uid_validity(said.value)) is not None:
            if self._opening:
                self.mailbox.uid_validity = value
            elif self.state == SELECTED and self.mailbox.uid_validity not in (None, value):
                self.fail(Disconnected("UIDVALIDITY changed under the open mailbox"))

    @property
    def _opening(self) -> bool:
        return self._pending is not None and self._pending.name in ("EXAMINE", "SELECT")

    def _continuation(self, line: bytes) -> None:
        command = self._pending
        if command is None or command.closed:
            return
        if command.pieces:
            self._write(command.pieces.pop(0))
        elif command.challenge is not None:
            command.challenges += 1
            if (
                command.challenges > _MAX_CHALLENGES
            ):  # each answer may be many times longer than its challenge
                raise ProtocolError(f"more than {_MAX_CHALLENGES} challenges to {command}")
            self._write(command.challenge(line[1:].strip()) + b"\r\n")
        elif command.name == "IDLE":
            self._idling = True

    def _response_done(self, line: bytes) -> None:
        """Handle a tagged response. Raises OutOfSync unless it ends the pending command."""
        if line.startswith(
            b"DONE "
        ):  # the server ended our IDLE just before our DONE, and rejects it as a command
            return
        command, tagged = self._pending, parse_tagged(line)
        if command is None or tagged is None or tagged[0].upper() != command.tag.upper().encode():
            raise OutOfSync(f"not an answer to {command or 'anything'}: {decode_text(line, 40)!r}")
        _, result, said = tagged
        self._apply_code(said)
        self._pending, self._idling, self._framer.expects_answer = None, False, False
        self.state = next_state(self.state, command.name, result)
        if command.name == "STARTTLS" and result == "OK":
            self._drops_input = True
            if self.transport is not None:
                self.transport.pause_reading()
        self._answered = command.weight
        command.close(result, said)

    # Writing and waiting

    async def execute(self, command: Command, within: float, done: float = 15.0) -> CommandResult:
        """Send `command` and wait up to `within` seconds for its end; a running IDLE is ended first.

        Raises TimedOut, Disconnected, ProtocolError, LimitExceeded; the caller handles NO and BAD.
        # upstream: a timeout left its command pending forever, and three commands at once mixed their answers
        """
        async with self._turn:
            await self._end_idle(done)
            self._send(command)
            await self._within(within, repr(command), command.wait())
        return command.answer()

    async def run(
        self, name: str, *args: Argument, prefix: str = "", wanted: str = "", within: float
    ) -> CommandResult:
        """Like `execute`, but raise Refused on NO and BAD."""
        command = Command(name, self.new_tag(), *args, prefix=prefix, wanted=wanted)
        answer = await self.execute(command, within)
        if answer.result != "OK":
            raise self._clean(command.refusal())
        return answer

    async def start_idle(self, within: float, silence: float) -> None:
        """Begin IDLE and wait for the "+". # upstream: waited forever if the connection was lost

        After `silence` seconds without an answer the IDLE is ended, and counts as refused: some servers never
        send the "+". Raises Refused; TimedOut if nothing is answered `within` further seconds.
        """
        async with self._turn:
            await self._end_idle(within)
            command = Command("IDLE", self.new_tag())
            self._send(command)
            if not await self._is_answered(command, silence):
                self._write(b"DONE\r\n")
                await self._within(within, "IDLE", command.wait())
                raise Refused("IDLE", "NO", f"no continuation within {silence:g} s")
            if not command.closed:
                return
            await command.wait()  # raises if the connection has ended
            if command.result != "OK":
                raise self._clean(command.refusal())

    async def _is_answered(self, command: Command, within: float) -> bool:
        """Wait for the "+" or the end of an IDLE. A cancellation closes the connection."""
        try:
            async with asyncio.timeout(within):
                await self.wait_until(lambda: self._idling or command.closed)
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            self.fail(Disconnected("closed by us in the middle of IDLE"))
            raise
        return True

    async def end_idle(self, within: float) -> None:
        """Send DONE and wait for the end of IDLE; does nothing if the server has ended it."""
        async with self._turn:
            await self._end_idle(within)

    async def _end_idle(self, within: float) -> None:
        if self._idling and (command := self._pending) is not None:
            self._write(b"DONE\r\n")
            await self._within(within, "DONE", command.wait())

    @property
    def idling(self) -> bool:
        """Whether an IDLE is running."""
        return self._idling

    async def greet(self, within: float) -> None:
        """Wait for the greeting."""
        await self._within(within, "greeting", self.wait_until(lambda: self.greeting is not None))

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; raise the error that ended the connection. One waiter at a time."""
        while not condition():
            self.check()
            self._change = self.loop.create_future()
            try:
                await self._change
            finally:
                self._change = None

    def check(self) -> None:
        """Raise the error that ended the connection, if it has ended."""
        if self.lost is not None:
            raise self.lost.with_traceback(None)

    def forget_clear_text(self) -> None:
        """Forget what the server said before TLS was established (RFC 9051 section 6.2.1)."""
        self.capabilities, self._drops_input = frozenset(), False
        self._framer.reset()

    def _send(self, command: Command) -> None:
        self.check()
        if self.state not in _VALID_STATES[command.name]:
            raise Refused(command.name, "BAD", f"not sent: not valid in state {self.state}")
        # A server that refuses LOGIN would take the rest of it, if it did not wait for the "+", as commands.
        non_sync = "LITERAL+" in self.capabilities and command.name != "LOGIN"
        command.pieces = encoding.split_command(command.head, command.args, non_sync=non_sync)
        self._pending, self._answered = command, 0
        self._framer.expects_answer = command.name != "IDLE"
        self._write(command.pieces.pop(0))

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    async def _within(self, seconds: float, doing: str, waiting: Awaitable[None]) -> None:
        """Await `waiting` under one deadline. A timeout or cancellation closes the connection."""
        timer = self.loop.call_later(seconds, self._time_out, seconds, doing)
        try:
            await waiting
        except asyncio.CancelledError:
            self.fail(Disconnected(f"closed by us in the middle of {doing}"))
            raise
        finally:
            timer.cancel()

    def _time_out(self, seconds: float, doing: str) -> None:
        self.fail(TimedOut(doing, seconds))

    def _wake(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)


def _tidied(response: Response) -> Response:
    return Response((tidy_untagged(response.line), *response.texts[1:]), response.literals)
