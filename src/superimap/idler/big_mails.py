"""Processing of big mails in a thread, so that other sessions do not wait for it.

Nearly all mails are small and are processed on the event loop: a round trip to a thread costs more than the work.
"""

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from superimap.mail import message as mail

THREAD_SWITCH_SECONDS = 0.0005
"""Seconds that a thread may keep Python's global lock while another thread waits for it (Python's default: 5 ms).

The event loop releases the lock at every socket call, and while a big mail is processed it would wait that long
each time.
"""

T = TypeVar("T")
_worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="big mail")  # two would only share one lock


async def process(work: Callable[..., T], raw: bytes, *more: object) -> T:
    """Return `work(raw, *more)`, called directly for a small mail and in the worker thread for a big one.

    Big mails are processed one after another. If this call is cancelled, `work` still finishes, and its result is
    discarded.
    """
    if mail.is_cheap(raw):
        return work(raw, *more)
    return await asyncio.get_running_loop().run_in_executor(_worker, work, raw, *more)


def shorten_thread_switches() -> None:
    """Give the event loop Python's global lock soon after it requests the lock. This affects the whole process."""
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
