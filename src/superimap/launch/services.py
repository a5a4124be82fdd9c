"""The three services, each as one coroutine that runs until `stop` is set.

Each process imports only its own service: the workers never load SQLAlchemy, which the API uses.
"""

import asyncio
import importlib
import logging
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from types import ModuleType

from superimap.core import health, runtime
from superimap.core.backoff import Backoff
from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.core.errors import SuperImapError
from superimap.core.health import Readiness
from superimap.db import ready

log = logging.getLogger(__name__)

SETTLED_SECONDS = 10.0
"""A service that has run for so long can work here, and is started again whenever it ends."""

Service = Callable[[Settings, asyncio.Event, Readiness], Awaitable[None]]


class ServiceEnded(SuperImapError):
    """A service ended before it was asked to."""


def import_httpx() -> None:
    """Import httpx without its command line, for which it loads rich and pygments where they exist (4 MiB)."""
    if "httpx" in sys.modules:
        return
    stand_in = ModuleType("httpx._main")
    stand_in.main = lambda: None  # type: ignore[attr-defined]
    sys.modules[stand_in.__name__] = stand_in
    try:
        importlib.import_module("httpx")
    finally:
        del sys.modules[stand_in.__name__]


async def run_idler(settings: Settings, stop: asyncio.Event, state: Readiness) -> None:
    """Run the idler, which watches mailboxes."""
    import_httpx()
    from superimap.idler import main  # noqa: PLC0415 - each process imports only its own service

    await main.serve(settings, stop, state)


async def run_dispatcher(settings: Settings, stop: asyncio.Event, state: Readiness) -> None:
    """Run the dispatcher, which sends webhooks; it is ready at once."""
    from superimap.dispatcher import main  # noqa: PLC0415

    async def until_stopped() -> None:
        await stop.wait()
        state.ready = False

    state.ready = True
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(until_stopped())
        await main.serve(settings, stop, health=state)
        waiting.cancel()


async def run_worker(service: Service, settings: Settings, stop: asyncio.Event) -> None:
    """Run a worker process: serve its health, wait for the database, then run its service."""
    vault = Vault.from_setting(settings.encryption_key.get_secret_value())
    state = Readiness()
    async with health.serve_health(state, host=settings.health_host, port=settings.health_port):
        async with runtime.cancel_when(stop):
            report = partial(state.set_fault, "database")
            await ready.wait(settings.database_url, vault, session_url=settings.session_url, report=report)
        if not stop.is_set():
            await service(settings, stop, state)


async def run_api(settings: Settings, stop: asyncio.Event) -> None:
    """Run the API process: it answers requests at once, and ends if the encryption key proves to be wrong."""
    import_httpx()
    from superimap.api import main  # noqa: PLC0415

    vault = Vault.from_setting(settings.encryption_key.get_secret_value())
    async with asyncio.TaskGroup() as group:
        checking = group.create_task(ready.wait(settings.database_url, vault))
        await main.serve(settings, stop, health_port=settings.health_port)
        checking.cancel()


async def run_all(
    settings: Settings, stop: asyncio.Event, *, within: float, settled_after: float = SETTLED_SECONDS
) -> None:
    """Run all three in one event loop; `within` seconds after `stop` is set, cancel those that have not ended.

    A service that ends is started again, as a supervisor starts a process again (`keep_running`).
    """
    from superimap.api import main  # noqa: PLC0415

    state, sending = Readiness(), Readiness()
    async with (
        health.serve_health(state, sending, host=settings.health_host, port=settings.health_port),
        asyncio.TaskGroup() as group,
    ):
        services = {
            "api": lambda: main.serve(settings, stop, drain_seconds=0),
            "idler": lambda: run_idler(settings, stop, state),
            "dispatcher": lambda: run_dispatcher(settings, stop, sending),
        }
        tasks = [
            group.create_task(keep_running(name, service, stop, settled_after=settled_after))
            for name, service in services.items()
        ]
        await stop.wait()
        _, late = await asyncio.wait(tasks, timeout=within)
        for task in late:
            task.cancel()


async def keep_running(
    name: str, service: Callable[[], Awaitable[None]], stop: asyncio.Event, *, settled_after: float
) -> None:
    """Run a service until `stop` is set, and start it again if it ends before, after 1 to 30 s.

    The error of a service that never ran for `settled_after` seconds is raised: another start would not change it.
    """
    loop = asyncio.get_running_loop()
    backoff = Backoff(first=1.0, longest=30.0)
    is_settled = False
    while True:
        began = loop.time()
        error: Exception | None = None
        try:
            await service()
        except Exception as caught:  # whatever it is, a process of its own would be started again
            error = caught
        if stop.is_set() and error is None:
            return
        if loop.time() - began >= settled_after:
            is_settled = True
            backoff.reset()
        if stop.is_set() or not is_settled:
            log.error("a service ended", extra={"service": name})
            raise error or ServiceEnded(f"The {name} ended without a reason.")
        log.error("a service ended; starting it again", extra={"service": name}, exc_info=error)
        await runtime.wait_for_stop(stop, backoff.next())
        if stop.is_set():
            return
