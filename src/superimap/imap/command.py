"""A pending command: its encoding, the responses received so far, and its result."""

import asyncio
from collections.abc import Callable

from superimap.imap.encoding import FORBIDDEN, Argument
from superimap.imap.errors import ImapError, LimitExceeded, Refused
from superimap.imap.framing import Response
from superimap.imap.statuses import CommandResult, Status
from superimap.imap.types import Limits

Challenge = Callable[[bytes], bytes]
"""Answers a SASL challenge; both are base64 without CRLF."""


class Command:
    """A command whose repr shows no argument, because some arguments are secret.

    # upstream: does not scrub all of them; an event, a timer and two buffers take 2 KiB while a command waits
    """

    __slots__ = (
        "_error", "_waiter", "args", "challenge", "challenges", "name", "pieces", "prefix", "responses", "result",
        "said", "tag", "wanted", "weight",
    )  # fmt: skip

    def __init__(self, name: str, tag: str, *args: Argument, prefix: str = "", wanted: str = "") -> None:
        """`wanted`: the names of the untagged responses that belong to the command, separated by blanks."""
        if any(isinstance(arg, str) and FORBIDDEN.search(arg) for arg in args):
            raise ValueError("CR, LF and NUL are not allowed in a command")  # they would end it
        self.name = name
        self.tag = tag
        self.args = args
        self.prefix = prefix
        self.wanted = wanted.encode("ascii").split()
        self.challenge: Challenge | None = None
        self.challenges = 0  # received so far
        self.pieces: list[bytes] = []  # still to be sent, each after a "+"
        self.responses: list[Response] = []
        self.result = ""  # OK, NO or BAD
        self.said = Status("")
        self.weight = 0
        """The memory that the responses take, in bytes."""
        self._error: ImapError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"{self.prefix} {self.name}" if self.prefix else self.name

    @property
    def head(self) -> str:
        """The command line before the arguments."""
        return f"{self.tag} {self!r}"

    @property
    def closed(self) -> bool:
        """Whether the tagged response has arrived, or never will."""
        return bool(self.result or self._error)

    def collect(self, response: Response, limits: Limits) -> None:
        """Keep an untagged response that belongs to this command. Raises LimitExceeded."""
        self.weight += response.weight
        if self.weight > limits.total:
            raise LimitExceeded(f"more than {limits.total} bytes to one command")
        self.responses.append(response)
        if len(self.responses) > limits.responses:
            raise LimitExceeded(f"more than {limits.responses} responses to one command")

    def close(self, result: str, said: Status) -> None:
        """End the command by its tagged response."""
        self.result, self.said = result, said
        self._wake()

    def fail(self, error: ImapError) -> None:
        """End the command by `error`, because its tagged response will never arrive."""
        if not self.closed:
            self._error = error
            self._wake()

    async def wait(self) -> None:
        """Wait until the command has ended; raise the error that ended it, if any. One waiter at a time."""
        if not self.closed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise self._error.with_traceback(None)

    def answer(self) -> CommandResult:
        """Return the tagged status, and the responses that belong to the command."""
        return CommandResult(self.result, self.said, self.responses, self.tag)

    def refusal(self) -> Refused:
        """Return the error for a command that was answered NO or BAD."""
        return Refused(self.name, self.result, self.said.text, self.said.code)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
