"""Limit of the silence of a server during a command, shorter than the timeout of the command."""

import asyncio
import contextlib
from collections.abc import Iterator

from superimap.imap.command import Command
from superimap.imap.errors import TimedOut
from superimap.imap.protocol import Protocol


@contextlib.contextmanager
def limited_silence(protocol: Protocol, seconds: float) -> Iterator[None]:
    """End the connection with TimedOut if a command inside the block gets no byte for `seconds`, or half of that.

    Time in which no command is in progress does not count.
    """
    loop, period = protocol.loop, seconds / 2
    checked: tuple[Command | None, float] = (None, 0.0)
    timer: asyncio.TimerHandle

    def check() -> None:
        nonlocal checked, timer
        command = protocol.pending
        if command is not None and checked == (command, protocol.last_proven_alive):
            protocol.fail(TimedOut(repr(command), seconds))
            return
        checked = command, protocol.last_proven_alive
        timer = loop.call_later(period, check)

    timer = loop.call_later(period, check)
    try:
        yield
    finally:
        timer.cancel()
