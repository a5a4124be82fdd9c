"""Pacing: the answers to a command are parsed in slices, between which other sessions run.

Time that parsing takes is charged to the peer like the time of reading. One response with much text is parsed in a
thread, of which there is one: a second would only share Python's lock with the first.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from superimap.imap.response import Response

SLICE_SECONDS = 0.0005
"""Time for which a slice holds the event loop."""
MAX_INLINE_BYTES = 4096
"""Text of one response that is parsed on the event loop, in a millisecond at most."""
_FEW_RESPONSES = 8  # parsed at once, without looking at the clock, as in a wake-up

_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parse")


class Charged(Protocol):
    """The peer whose answers are parsed."""

    def charge(self, seconds: float) -> float:
        """Charge the time that parsing took; return the seconds until more may be parsed."""


async def each(parse: Callable[[Response], None], responses: Sequence[Response], peer: Charged) -> None:
    """Call `parse` with each response."""
    if len(responses) <= _FEW_RESPONSES and all(map(_is_short, responses)):
        for response in responses:
            parse(response)
        return
    loop = asyncio.get_running_loop()
    began = loop.time()
    for response in responses:
        if _is_short(response):
            parse(response)
        else:
            await loop.run_in_executor(_thread, parse, response)
        began = await _breathe(began, peer)


async def through(steps: Iterator[None], peer: Charged) -> None:
    """Run all steps of a generator."""
    began = asyncio.get_running_loop().time()
    for _ in steps:
        began = await _breathe(began, peer)


async def _breathe(began: float, peer: Charged) -> float:
    """Let other sessions run if a slice is over; return when the present slice began."""
    loop = asyncio.get_running_loop()
    took = loop.time() - began
    if took < SLICE_SECONDS:
        return began
    await asyncio.sleep(peer.charge(took))
    return loop.time()


def _is_short(response: Response) -> bool:
    return len(response.texts[0]) <= MAX_INLINE_BYTES and (
        len(response.texts) <= 2 or response.text_bytes <= MAX_INLINE_BYTES
    )
