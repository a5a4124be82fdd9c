"""Waiting for new mail in the open mailbox: by IDLE (RFC 2177), or without it."""

import asyncio
import contextlib

from superimap.imap.protocol import Protocol
from superimap.imap.types import Timeouts

MIN_IDLE_SECONDS = 5.0
"""A server that ends IDLE sooner than this, without news, is not asked to IDLE again before this time."""


async def wait_in_idle(protocol: Protocol, *, renew: float, timeouts: Timeouts) -> None:
    """Return once the mailbox has news, after `renew` seconds of IDLE, or when the server ends the IDLE.

    On return no IDLE is running. If cancelled, the IDLE keeps running; the next command, LOGOUT included, ends it
    first. Raises TimedOut if the server does not answer DONE in time: it is dead.
    """
    loop = asyncio.get_running_loop()
    mailbox = protocol.mailbox
    began = loop.time()
    await protocol.start_idle(timeouts.command)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(renew):
            await protocol.wait_until(lambda: mailbox.has_news or not protocol.idling)
    await protocol.end_idle(timeouts.done)
    if not mailbox.has_news and loop.time() - began < min(MIN_IDLE_SECONDS, renew):
        await wait_without_idle(protocol, MIN_IDLE_SECONDS)


async def wait_without_idle(protocol: Protocol, seconds: float) -> None:
    """Return once the mailbox has news, or after `seconds`. Some servers push outside of IDLE."""
    mailbox = protocol.mailbox
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await protocol.wait_until(lambda: mailbox.has_news)
