"""What was asked of the server, and what has it answered so far?"""

import asyncio
import re
from collections.abc import Callable

from superimap.imap.encoding import Argument
from superimap.imap.errors import ImapError
from superimap.imap.framing import Response
from superimap.imap.responses import Status

Challenge = Callable[[bytes], bytes]
"""Answers a SASL challenge (base64, without CRLF, either way)."""

_FORBIDDEN = re.compile(r"[\0\r\n]")


class Command:
    """A command whose repr shows no argument: some are secret.

    # upstream: scrubs not all, and each has an event, a timer and two buffers: 2 KiB while it waits
    """

    __slots__ = (
        "_error", "_waiter", "args", "challenge", "name", "pieces", "prefix", "responses", "result", "said",
        "tag", "wanted", "weight",
    )  # fmt: skip

    def __init__(self, name: str, tag: str, *args: Argument, prefix: str = "", wanted: str = "") -> None:
        if any(isinstance(arg, str) and _FORBIDDEN.search(arg) for arg in args):
            raise ValueError("CR, LF and NUL are not allowed in a command")  # which would end it
        self.name = name
        self.tag = tag
        self.args = args
        self.prefix = prefix
        self.wanted = wanted.encode("ascii").split()  # names of untagged responses
        self.challenge: Challenge | None = None
        self.pieces: list[bytes] = []  # still to be sent, each after a "+"
        self.weight = 0
        self.responses: list[Response] = []
        self.result = ""  # OK, NO or BAD
        self.said = Status("")
        self._error: ImapError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"{self.prefix} {self.name}" if self.prefix else self.name

    @property
    def head(self) -> str:
        """All before the arguments."""
        return f"{self.tag} {self!r}"

    @property
    def closed(self) -> bool:
        """Its tagged answer is here, or will never be."""
        return bool(self.result or self._error)

    def close(self, result: str, said: Status) -> None:
        """Its tagged answer is here."""
        self.result, self.said = result, said
        self._wake()

    def fail(self, error: ImapError) -> None:
        """Its answer will never come, because of `error`."""
        if not self.closed:
            self._error = error
            self._wake()

    async def wait(self) -> None:
        """Wait until it is closed, or raise why it never will be; for one waiter at a time."""
        if not self.closed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise self._error.with_traceback(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
