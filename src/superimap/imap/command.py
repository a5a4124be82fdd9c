"""A pending command: its encoding, the responses received so far, and its result."""

import asyncio
import functools
from collections.abc import Callable

from superimap.imap.encoding import FORBIDDEN, Argument
from superimap.imap.errors import ImapError, LimitExceeded, Refused
from superimap.imap.response import Packed, Response, Responses, pack
from superimap.imap.statuses import CommandResult, Status
from superimap.imap.types import Limits

Challenge = Callable[[bytes], bytes]
"""Answers a SASL challenge; both are base64 without CRLF."""
_NOTHING_SAID = Status("")


@functools.cache
def _words(wanted: str) -> frozenset[bytes]:
    """Return the words of `wanted`, of which there are few: all are constants of this package."""
    return frozenset(wanted.encode("ascii").split())


class Command:
    """A command whose repr shows no argument, because some arguments are secret.

    # upstream: does not scrub all of them; an event, a timer and two buffers take 2 KiB while a command waits
    """

    __slots__ = (
        "_error", "_packed", "_waiter", "args", "challenge", "challenges", "name", "pieces", "prefix", "result",
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
        self.wanted = _words(wanted)
        self.challenge: Challenge | None = None
        self.challenges = 0  # received so far
        self.pieces: tuple[bytes, ...] = ()  # still to be sent, each after a "+"
        self.result = ""  # OK, NO or BAD
        self.said = _NOTHING_SAID
        self.weight = 0
        """The memory that the responses take, in bytes."""
        self._packed: list[Packed] | None = None  # the responses
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

    @property
    def responses(self) -> Responses:
        """The untagged responses so far that belong to the command."""
        return Responses(self._packed or ())

    def next_piece(self) -> bytes:
        """Return the piece that is to be sent now."""
        piece, *rest = self.pieces
        self.pieces = tuple(rest)
        return piece

    def collect(self, response: Response, limits: Limits) -> None:
        """Keep an untagged response that belongs to this command. Raises LimitExceeded."""
        self.weight += response.weight
        if self.weight > limits.total:
            raise LimitExceeded(f"more than {limits.total} bytes to one command")
        if self._packed is None:
            self._packed = []
        self._packed.append(pack(response))
        if len(self._packed) > limits.responses:
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
        text = self.said.text or ("" if self.said.code else "the server gave no reason")
        return Refused(self.name, self.result, text, self.said.code)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
