"""Process lifetime: environment, stop signals, waits that a stop cancels, and memory management."""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

log = logging.getLogger(__name__)

Main = Callable[[asyncio.Event], Awaitable[None]]

TRIM_INTERVAL_SECONDS = 60.0
"""Time after which unused memory is returned to the system."""

SESSIONS_PER_FREEZE = 500
"""Growth or decline of the count after which memory is managed."""


def replace_closed_home() -> None:
    """Set HOME to a folder that does not exist if this user may not enter its own, as in some containers.

    asyncpg looks for `~/.pgpass` and `~/.postgresql` with each connection, and fails if it may not.
    """
    try:
        (Path.home() / ".pgpass").stat()
    except PermissionError:
        os.environ["HOME"] = "/nonexistent"
    except (OSError, RuntimeError):  # no such file, or no home
        pass


def end_on_sigterm() -> None:
    """Make SIGTERM end any command, also as process 1, which ignores signals that it does not handle (signal(7)).

    SystemExit is raised where the command is, so transactions are rolled back. A second SIGTERM ends it at once.
    Processes that run until they are stopped handle the signal themselves (`run`).
    """

    def end(number: int, _: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + number))
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


def reserve_standard_descriptors() -> None:
    """Open /dev/null in the place of a closed standard descriptor, or a database's socket would get its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one


def run(main: Main) -> None:
    """Run `main(stop)`. SIGTERM or SIGINT sets `stop`; a second signal ends the process at once."""
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
    """Run the block and cancel it silently once `stop` is set. For waits before there is anything to shut down."""
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
    """Sleep for `seconds`, or until `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


async def manage_memory(count: Callable[[], float], *, every: float = 1.0) -> None:
    """Run until cancelled: freeze live objects as `count` grows, and release memory as `count` falls.

    `count` is compared every `every` seconds; a step is SESSIONS_PER_FREEZE. A full garbage collection visits
    every object and stops the process meanwhile: 30 ms for a thousand sessions. It skips frozen objects, which are
    still freed when the last reference to them goes.
    """
    before = count()
    while True:
        await asyncio.sleep(every)
        if (now := count()) >= before + SESSIONS_PER_FREEZE:
            gc.collect()  # short: it skips the objects that are already frozen
            gc.freeze()
        elif now <= before - SESSIONS_PER_FREEZE:
            release_memory()
        else:
            continue
        before = now


def release_memory() -> None:
    """Collect garbage, then make the C library (glibc) return unused memory to the system.

    CPython returns memory in units of 1 MiB. Its cache of attribute names alone occupies a part of most units, so
    the cache is cleared first.
    """
    getattr(sys, "_clear_internal_caches", getattr(sys, "_clear_type_cache", gc.collect))()
    gc.collect()
    trim_memory()


async def trim_regularly(stop: asyncio.Event, *, every: float = TRIM_INTERVAL_SECONDS) -> None:
    """Return unused memory to the system every `every` seconds until `stop` is set.

    Bodies of mails and webhooks come and go between small objects that stay, so the heap of glibc grows although
    what is used of it does not: by a MiB a minute at 25 webhooks a second.
    """
    while not stop.is_set():
        await wait_for_stop(stop, every)
        trim_memory()


def trim_memory() -> None:
    """Make the C library (glibc) return unused memory to the system. It takes some milliseconds."""
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
