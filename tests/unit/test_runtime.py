"""Memory management as the number of sessions grows, and standard descriptors that are closed."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest_asyncio

from superimap.core import runtime


@pytest_asyncio.fixture(autouse=True)
async def thawed() -> AsyncIterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


async def test_live_objects_are_frozen_each_time_the_count_has_grown_by_one_step():
    asked = 0
    counts = iter([0, runtime.SESSIONS_PER_FREEZE - 1, runtime.SESSIONS_PER_FREEZE])

    def count() -> float:
        nonlocal asked
        asked += 1
        if asked == 3:
            assert gc.get_freeze_count() == 0
        return next(counts, runtime.SESSIONS_PER_FREEZE)

    tending = asyncio.create_task(runtime.manage_memory(count, every=0.001))
    async with asyncio.timeout(10):
        while not gc.get_freeze_count():
            await asyncio.sleep(0.001)
    tending.cancel()

    assert asked >= 3


MAIN_WITHOUT_DESCRIPTORS = """
import os, sys
import superimap.cli.app
app = sys.modules["superimap.cli.app"]
app.app = lambda: os.write(copy, ",".join(os.readlink(f"/proc/self/fd/{n}") for n in range(3)).encode())
copy = os.dup(1)
os.closerange(0, 3)
app.main()
"""


def test_a_closed_standard_descriptor_is_not_given_to_a_socket():
    """What a library writes to standard error would go to the database."""
    command = [sys.executable, "-c", MAIN_WITHOUT_DESCRIPTORS]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=20, check=False)

    assert ended.stdout == "/dev/null,/dev/null,/dev/null"
