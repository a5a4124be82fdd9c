"""What may take longer than other sessions should wait? The work on a big mail, done in a thread.

Small mails, nearly all, are worked on where they are: going to a thread and back costs more than their work.
"""

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from superimap.mail import message as mail

SWITCH = 0.0005
"""Seconds for which a thread keeps Python's lock from another one (usually 5 ms).

The event loop gives the lock away with every socket call: so often it would wait while a mail is worked on.
"""

T = TypeVar("T")
_worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="big mail")  # two would only share one lock


async def run(work: Callable[..., T], raw: bytes, *more: object) -> T:
    """What `work` makes of a mail: at once if it is a small one, else beside the event loop, in turn.

    If it is cancelled, a work under way is still finished, for nobody.
    """
    if mail.is_quick(raw):
        return work(raw, *more)
    return await asyncio.get_running_loop().run_in_executor(_worker, work, raw, *more)


def share_the_lock() -> None:
    """Let the event loop have the lock soon whenever it asks for it; for the whole process."""
    sys.setswitchinterval(SWITCH)
