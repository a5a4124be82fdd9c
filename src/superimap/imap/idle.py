"""Waiting for new mail in the open mailbox: by IDLE (RFC 2177), or by polling."""

import asyncio
import contextlib

from superimap.imap import command_memory, mailboxes
from superimap.imap.command_memory import CommandMemory
from superimap.imap.errors import ImapError, Refused
from superimap.imap.protocol import Protocol
from superimap.imap.types import Timeouts

IDLE = "IDLE"
MIN_IDLE_SECONDS = 5.0
"""A server that ends IDLE sooner than this, without news, is not asked to IDLE again before this time."""
MAX_IDLE_FAILURES = 3
"""After this number of IDLEs in a row that failed the mailbox is polled."""
MAX_SHORT_IDLES = 10
"""The same for IDLEs that the server began, and ended at once."""


async def wait_in_idle(
    protocol: Protocol, memory: CommandMemory, *, renew: float, timeouts: Timeouts
) -> None:
    """Return once there is news, after `renew` seconds of IDLE, or when the server ends the IDLE.

    A refused IDLE leaves the session in step, so it is a short wait, unless the server asks for a pause. On return
    no IDLE is running. If cancelled, the IDLE keeps running; the next command, LOGOUT included, ends it first.
    Raises TimedOut if the server does not answer DONE in time: it is dead.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    has_begun = is_over = False
    try:
        await protocol.start_idle(timeouts.command, silence=min(timeouts.done, timeouts.command))
        has_begun = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(renew):
                await protocol.wait_until(lambda: protocol.has_news or not protocol.idling)
        protocol.check()
        is_over = True
        await protocol.end_idle(timeouts.done)
    except Refused as error:
        memory.tolerate(IDLE, error, loop.time())
    except ImapError:
        if is_over or not protocol.has_news:  # else the IDLE was of use
            silent = loop.time() - began if has_begun and not protocol.has_news else 0.0
            # A server ends sessions for reasons of its own too, such as a restart.
            is_short = has_begun and not is_over and silent < command_memory.MIN_SILENCE_SECONDS
            memory.blame(IDLE, silent, loop.time(), most=MAX_SHORT_IDLES if is_short else MAX_IDLE_FAILURES)
        raise
    lasted = loop.time() - began
    if protocol.has_news or (has_begun and lasted >= min(MIN_IDLE_SECONDS, renew)):
        memory.succeed(IDLE, silent=0.0 if protocol.has_news else lasted)
    elif memory.is_usable(IDLE, loop.time()):
        memory.fail(IDLE, loop.time(), most=MAX_SHORT_IDLES if has_begun else MAX_IDLE_FAILURES)
        await wait_without_idle(protocol, min(MIN_IDLE_SECONDS, renew))


async def poll(
    protocol: Protocol, memory: CommandMemory, seconds: float, *, timeouts: Timeouts, by_noop: bool
) -> None:
    """Return once there is news, or after `seconds`; with a NOOP at the end if `by_noop`.

    Without a NOOP the caller's next command lets the server tell.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        await wait_without_idle(protocol, seconds)
    except ImapError:
        memory.blame(None, loop.time() - began, loop.time())
        raise
    if by_noop:
        silent = 0.0 if protocol.has_news else loop.time() - began
        await mailboxes.noop(protocol, memory, timeouts, silent=silent)


async def wait_without_idle(protocol: Protocol, seconds: float) -> None:
    """Return once there is news, or after `seconds`. Some servers push outside of IDLE."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await protocol.wait_until(lambda: protocol.has_news)
