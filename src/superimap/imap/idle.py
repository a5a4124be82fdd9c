"""Waiting for new mail in the open mailbox: by IDLE (RFC 2177), or without it."""

import asyncio
import contextlib

from superimap.imap.errors import ImapError, Refused
from superimap.imap.protocol import Protocol
from superimap.imap.throttling import asks_for_pause
from superimap.imap.types import Timeouts

MIN_IDLE_SECONDS = 5.0
"""A server that ends IDLE sooner than this, without news, is not asked to IDLE again before this time."""
MAX_IDLE_FAILURES = 3
"""After this number of IDLEs in a row that failed the mailbox is polled."""
MAX_SHORT_IDLES = 10
"""The same for IDLEs that the server began, and ended at once."""
FIRST_POLLING_SECONDS = 3600.0
LONGEST_POLLING_SECONDS = 86_400.0
"""Polling lasts an hour, then twice as long after each further IDLE that fails, a day at most."""


class IdleMemory:
    """Whether the server of one user takes IDLE, across connections: some end the connection with it."""

    __slots__ = ("_failures", "_pollings", "_usable_at")

    def __init__(self) -> None:
        self._failures = 0
        self._pollings = 0
        self._usable_at = 0.0

    def is_usable(self, now: float) -> bool:
        """Return whether IDLE is to be used; `now` is the event loop's time."""
        return now >= self._usable_at

    def fail(self, now: float, *, most: int = MAX_IDLE_FAILURES) -> None:
        """Note that an IDLE was refused, not begun, or ended at once; poll after `most` in a row."""
        self._failures += 1
        if self._failures >= most:
            doublings, self._pollings = self._pollings, self._pollings + 1
            self._usable_at = now + min(
                FIRST_POLLING_SECONDS * 2.0 ** min(doublings, 10), LONGEST_POLLING_SECONDS
            )

    def succeed(self) -> None:
        """Note that an IDLE has lasted, or brought news."""
        self._failures = self._pollings = 0


async def wait_in_idle(protocol: Protocol, memory: IdleMemory, *, renew: float, timeouts: Timeouts) -> None:
    """Return once the mailbox has news, after `renew` seconds of IDLE, or when the server ends the IDLE.

    A refused IDLE leaves the session in step, so it is a short wait, unless the server asks for a pause. On return
    no IDLE is running. If cancelled, the IDLE keeps running; the next command, LOGOUT included, ends it first.
    Raises TimedOut if the server does not answer DONE in time: it is dead.
    """
    loop, mailbox = asyncio.get_running_loop(), protocol.mailbox
    began = loop.time()
    has_begun = False
    try:
        await protocol.start_idle(timeouts.command, silence=min(timeouts.done, timeouts.command))
        has_begun = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(renew):
                await protocol.wait_until(lambda: mailbox.has_news or not protocol.idling)
        await protocol.end_idle(timeouts.done)
    except Refused as error:
        if asks_for_pause(error.code, error.text):
            raise
    except ImapError:
        if not mailbox.has_news and not (has_begun and _has_lasted(loop.time() - began, renew)):
            memory.fail(loop.time())
        raise
    if mailbox.has_news or (has_begun and _has_lasted(loop.time() - began, renew)):
        memory.succeed()
    else:
        memory.fail(loop.time(), most=MAX_SHORT_IDLES if has_begun else MAX_IDLE_FAILURES)
        await wait_without_idle(protocol, min(MIN_IDLE_SECONDS, renew))


def _has_lasted(seconds: float, renew: float) -> bool:
    return seconds >= min(MIN_IDLE_SECONDS, renew)


async def wait_without_idle(protocol: Protocol, seconds: float) -> None:
    """Return once the mailbox has news, or after `seconds`. Some servers push outside of IDLE."""
    mailbox = protocol.mailbox
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await protocol.wait_until(lambda: mailbox.has_news)
