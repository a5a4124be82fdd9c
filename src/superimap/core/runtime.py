"""The life of a process: signals become one event, loops run until it is set, and a second signal forces."""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

log = logging.getLogger(__name__)

Main = Callable[[asyncio.Event], Awaitable[None]]

SESSIONS_PER_FREEZE = 500


def run(main: Main) -> None:
    """Run `main(stop)`; `stop` is set by SIGTERM or SIGINT. A second signal ends the process at once."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_until_stopped(main))


async def _until_stopped(main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        log.info("stopping", extra={"signal": number.name})
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    await main(stop)


@contextlib.asynccontextmanager
async def cancel_when(stop: asyncio.Event) -> AsyncIterator[None]:
    """Run the block, and cancel it quietly once `stop` is set: for waits before there is anything to stop."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine always runs in a task

    async def watch() -> None:
        await stop.wait()
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not stop.is_set() or task.uncancel() > 0:
            raise
    finally:
        watching.cancel()


async def wait_for_stop(stop: asyncio.Event, seconds: float) -> None:
    """Sleep for so many seconds, or until `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


async def manage_memory(count: Callable[[], float], *, every: float = 1.0) -> None:
    """For ever: each time `count` has grown by SOME freeze what lives, each time it fell by that give memory back.

    It is looked at `every` so many seconds. A full garbage collection looks at every object and stops everything
    for that long: 30 ms for a thousand sessions. What is frozen it passes over; it is still freed once nobody
    refers to it.
    """
    before = count()
    while True:
        await asyncio.sleep(every)
        if (now := count()) >= before + SESSIONS_PER_FREEZE:
            gc.collect()  # short: it passes over what is frozen already
            gc.freeze()
        elif now <= before - SESSIONS_PER_FREEZE:
            release_memory()
        else:
            continue
        before = now


def release_memory() -> None:
    """Collect garbage, then let the C library give the system what it keeps for the next time (glibc).

    CPython gives memory back by the MiB, and its cache of attributes' names alone keeps one in most of them.
    """
    getattr(sys, "_clear_internal_caches", getattr(sys, "_clear_type_cache", gc.collect))()
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
