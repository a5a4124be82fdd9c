"""When may something new be in the open mailbox? What IDLE says (RFC 2177), and the waits where there is none."""

import asyncio
import contextlib

from superimap.imap.protocol import Protocol
from superimap.imap.types import Timeouts

MIN_IDLE_SECONDS = 5.0  # seconds: a server that ends IDLE sooner than this without news does not mean it


async def wait_for_news(protocol: Protocol, mark: int, *, renew: float, timeouts: Timeouts) -> None:
    """Return once more than `mark` messages arrived, or after `renew` seconds of IDLE.

    No IDLE stands afterwards. If cancelled, an IDLE is left standing: the next command, LOGOUT too, ends it
    first. A server that does not answer DONE in time is dead: raises TimedOut.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    await protocol.start_idle(timeouts.command)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(renew):
            await protocol.until(lambda: protocol.view.arrivals > mark or not protocol.idling)
    await protocol.end_idle(timeouts.done)
    if protocol.view.arrivals <= mark and loop.time() - began < min(MIN_IDLE_SECONDS, renew):
        await sit(protocol, mark, MIN_IDLE_SECONDS)


async def sit(protocol: Protocol, mark: int, seconds: float) -> None:
    """Wait without IDLE; some servers push all the same."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await protocol.until(lambda: protocol.view.arrivals > mark)
