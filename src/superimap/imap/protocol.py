"""Protocol: keeps commands and responses in step on one connection. The only module that imports aioimaplib.

aioimaplib provides the tags, the states, and the table of commands with the states in which each is valid.
Reading, waiting, writing and closing are replaced; each override says what upstream's method did. `# upstream:`
marks what could be contributed there.
"""

import asyncio
import secrets
from collections.abc import Callable

from aioimaplib import aioimaplib

from superimap.imap import encoding
from superimap.imap.command import Command
from superimap.imap.encoding import Argument
from superimap.imap.errors import Disconnected, ImapError, OutOfSync, ProtocolError, Refused
from superimap.imap.link import unchanged
from superimap.imap.peer import ALONE, Peer
from superimap.imap.reception import Reception
from superimap.imap.state import AUTH, SELECTED, next_state
from superimap.imap.statuses import CommandResult, decode_text, parse_tagged
from superimap.imap.types import Limits

_MAX_CHALLENGES = 16  # SASL exchanges take one or two
_VALID_STATES = {name: command.valid_states for name, command in aioimaplib.Commands.items()} | {
    "XLIST": (AUTH, SELECTED),  # the predecessor of SPECIAL-USE
    "NOTIFY": (AUTH, SELECTED),
}


class Protocol(Reception, aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc]  # untyped upstream
    """One connection, one command at a time; an error, timeout or cancellation in a command closes it."""

    def __init__(
        self, limits: Limits, peer: Peer = ALONE, clean: Callable[[ImapError], ImapError] = unchanged
    ) -> None:
        """`clean` removes secrets from an error, because a server may echo them in any answer."""
        # Does not call upstream's constructor: its queue, condition and events take 4 KiB.
        super().__init__(limits, peer, clean)
        self.tagnum, self.tagpre = 0, aioimaplib.int2ap(secrets.randbelow(61440) + 4096)
        self._turn = asyncio.Lock()
        self._answered = b""  # the tag of the last command that was answered

    # Reading

    def _continuation(self, line: bytes) -> None:
        command = self._pending
        if command is None or command.closed:
            return
        if command.pieces:
            self._write_more(command.next_piece())
        elif command.challenge is not None:
            command.challenges += 1
            if (
                command.challenges > _MAX_CHALLENGES
            ):  # each answer may be many times longer than its challenge
                raise ProtocolError(f"more than {_MAX_CHALLENGES} challenges to {command}")
            self._write_more(command.challenge(line[1:].strip()) + b"\r\n")
        elif command.name == "IDLE":
            self._idling = True

    def _response_done(self, line: bytes) -> None:
        """Handle a tagged response. Raises OutOfSync unless it ends the pending command."""
        if line.startswith(
            b"DONE "
        ):  # the server ended our IDLE just before our DONE, and rejects it as a command
            return
        command, tagged = self._pending, parse_tagged(line)
        is_in_data = command is not None and command.name in ("FETCH", "SEARCH")
        if tagged is None and (not is_in_data or not line.strip(b") \t")):
            self._pass_over(line)
            return
        if tagged is not None and tagged[0].upper() == self._answered:
            return  # sent twice
        if command is None or tagged is None or tagged[0].upper() != command.tag.upper().encode():
            raise OutOfSync(f"not an answer to {command or 'anything'}: {decode_text(line, 40)!r}")
        _, result, said = tagged
        if result == "BYE":
            raise Disconnected("closed by the server", said.text, said.code)
        self._answered = tagged[0].upper()
        opening = command.name in ("EXAMINE", "SELECT")
        self._server.apply_code(said, opening=opening, selected=self.state == SELECTED)
        self._pending, self._idling, self._framer.expects_answer = None, False, False
        self.state = next_state(self.state, command.name, result)
        if command.name == "STARTTLS" and result == "OK":
            self._drops_input = True
            if self.transport is not None:
                self.transport.pause_reading()
        if self._memory is not None:
            self._memory.end_command(command.weight)
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
                self._write_done()
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
            self._write_done()
            await self._within(within, "DONE", command.wait())

    @property
    def pending(self) -> Command | None:
        """The command in progress."""
        return self._pending

    @property
    def idling(self) -> bool:
        """Whether an IDLE is running."""
        return self._idling

    async def greet(self, within: float) -> None:
        """Wait for the greeting."""
        await self._within(within, "greeting", self.wait_until(lambda: self.greeting is not None))

    def forget_clear_text(self) -> None:
        """Forget what the server said before TLS was established (RFC 9051 section 6.2.1)."""
        self._server.capabilities, self._drops_input = frozenset(), False
        self._framer.reset()

    def _send(self, command: Command) -> None:
        self.check()
        if self.state not in _VALID_STATES[command.name]:
            raise Refused(command.name, "BAD", f"not sent: not valid in state {self.state}")
        # A server that refuses LOGIN would take the rest of it, if it did not wait for the "+", as commands.
        non_sync = "LITERAL+" in self.capabilities and command.name != "LOGIN"
        command.pieces = tuple(encoding.split_command(command.head, command.args, non_sync=non_sync))
        self._pending = command
        if self._memory is not None:
            self._memory.begin_command()
        self._framer.expects_answer = command.name != "IDLE"
        if self.transcript is not None:
            self.transcript.sent(command)
        self._write(command.next_piece())

    def _write_more(self, data: bytes) -> None:
        """Send the rest of a command."""
        if self.transcript is not None:
            self.transcript.continued(len(data))
        self._write(data)

    def _write_done(self) -> None:
        if self.transcript is not None:
            self.transcript.done()
        self._write(b"DONE\r\n")
