"""The three services, each as one coroutine that runs until `stop` is set.

Each process imports only its own service: the workers never load SQLAlchemy, which the API uses.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from superimap.core import health, runtime
from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.core.health import Readiness
from superimap.db import ready

Service = Callable[[Settings, asyncio.Event, Readiness], Awaitable[None]]


async def run_idler(settings: Settings, stop: asyncio.Event, state: Readiness) -> None:
    """Run the idler, which watches mailboxes."""
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
        group.create_task(until_stopped())
        await main.serve(settings, stop, health=state)
        stop.set()


async def run_worker(service: Service, settings: Settings, stop: asyncio.Event) -> None:
    """Run a worker process: serve its health, wait for the database, then run its service."""
    vault = Vault.from_setting(settings.encryption_key.get_secret_value())
    state = Readiness()
    async with health.serve_health(state, host=settings.health_host, port=settings.health_port):
        async with runtime.cancel_when(stop):
            await ready.wait(settings.database_url, vault, report=partial(state.set_fault, "database"))
        if not stop.is_set():
            await service(settings, stop, state)


async def run_api(settings: Settings, stop: asyncio.Event) -> None:
    """Run the API process: it answers requests at once, and ends if the encryption key proves to be wrong."""
    from superimap.api import main  # noqa: PLC0415

    vault = Vault.from_setting(settings.encryption_key.get_secret_value())
    async with asyncio.TaskGroup() as group:
        checking = group.create_task(ready.wait(settings.database_url, vault))
        await main.serve(settings, stop)
        checking.cancel()


async def run_all(settings: Settings, stop: asyncio.Event, *, within: float) -> None:
    """Run all three in one event loop; `within` seconds after `stop` is set, cancel those that have not ended."""
    from superimap.api import main  # noqa: PLC0415

    state, sending = Readiness(), Readiness()
    async with (
        health.serve_health(state, sending, host=settings.health_host, port=settings.health_port),
        asyncio.TaskGroup() as group,
    ):
        tasks = [
            group.create_task(main.serve(settings, stop, drain_seconds=0)),
            group.create_task(run_idler(settings, stop, state)),
            group.create_task(run_dispatcher(settings, stop, sending)),
        ]
        await stop.wait()
        _, late = await asyncio.wait(tasks, timeout=within)
        for task in late:
            task.cancel()
