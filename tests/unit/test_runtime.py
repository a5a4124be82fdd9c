"""Memory management as the number of sessions grows, and standard descriptors that are closed."""

import asyncio
import gc
import platform
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
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


FRAGMENTED = """
import asyncio, os
from superimap.core import runtime

def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

async def main():
    bodies = [bytes(60_000) for _ in range(1_000)]
    kept = bodies[::50]
    del bodies
    before, stop = resident_mib(), asyncio.Event()
    trimming = asyncio.create_task(runtime.trim_regularly(stop, every=0.01))
    while resident_mib() > before - 40:
        await asyncio.sleep(0.01)
    stop.set()
    await trimming

asyncio.run(main())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can return memory")
def test_memory_between_objects_that_stay_is_returned_to_the_system():
    """In a process of its own, whose heap no other test has filled."""
    subprocess.run([sys.executable, "-c", FRAGMENTED], timeout=20, check=True)


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
