"""The API process: `serve` opens its resources, answers requests until it is stopped, and closes."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from superimap.api.app import create_app
from superimap.api.http_connections import KEEP_ALIVE_SECONDS, HttpConnection, OpenConnections
from superimap.api.job_runner import JobRunner
from superimap.api.middleware import REQUEST_TIMEOUT_SECONDS
from superimap.api.read_replica import read_replica
from superimap.api.routes.health import find_fault
from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.core.environment import SettingsError
from superimap.core.health import serve_health
from superimap.core.listeners import listener_url, open_listeners
from superimap.core.runtime import wait_for_stop
from superimap.db.engine import sessions
from superimap.db.key_usage import counting_seals
from superimap.doorbells.redis import EndpointDoorbell

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
"""Time between two calls of uvicorn's `on_tick`, which sets the Date header to the second."""
SHUTDOWN_GRACE_SECONDS = int(REQUEST_TIMEOUT_SECONDS) + 1
"""Longer than any request may take: each one in progress at the stop is answered."""
DASHBOARD_POOL_SIZE = 3
"""Connections of the dashboard, opened at their first use: a slow page takes none of the API's."""
CLOSE_HEADER = (b"connection", b"close")


class ApiServer(uvicorn.Server):
    """uvicorn without signal handlers: the caller of `serve` handles signals.

    It wakes once a second, and at its end, instead of ten times a second.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Have `serve` return once the requests in progress are answered."""
        self.should_exit = True
        self._ended.set()

    async def main_loop(self) -> None:
        """Set the Date header once a second until `end`."""
        while not await self.on_tick(0):
            await wait_for_stop(self._ended, TICK_SECONDS)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handler."""
        yield

    def announce_stop(self) -> None:
        """Send `Connection: close` with every response from now on, so that clients connect elsewhere."""
        self.config.encoded_headers.append(CLOSE_HEADER)
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE_HEADER]


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    on_listening: Callable[[str], None] | None = None,
    drain_seconds: float | None = None,
    health_port: int = 0,
) -> None:
    """Answer requests on HOST and PORT until `stop` is set, and for `drain_seconds` (DRAIN_SECONDS) after that.

    Meanwhile /readyz fails, so that load balancers stop sending requests. Then the listening socket is closed, and
    requests in progress are finished. Starts without a database, and answers 503 while it is unreachable. Calls
    `on_listening` with the address, such as `http://127.0.0.1:8000`. Metrics are served on `health_port`; 0 opens
    none. Raises ListenError if a port is in use, and SettingsError if OIDC_CLIENT_SECRET is missing.
    """
    if settings.oidc_issuer and settings.oidc_client_secret is None:
        raise SettingsError(
            "OIDC_CLIENT_SECRET is not set: OIDC_ISSUER needs it. Or set OIDC_CLIENT_SECRET_FILE."
        )
    vault = Vault.from_setting(settings.encryption_key.get_secret_value())
    listeners = open_listeners(settings.host, settings.port, variables="HOST and PORT")
    async with (
        sessions(settings.database_url, pool_size=settings.database_pool_size) as sessionmaker,
        read_replica(
            settings.database_read_url, sessionmaker, pool_size=settings.database_pool_size
        ) as replica,
        EndpointDoorbell(settings.redis_url) as queue,
        counting_seals(settings.database_url, vault),
        sessions(
            settings.dashboard_database_url or settings.database_url,
            pool_size=DASHBOARD_POOL_SIZE,
            name="dashboard",
        ) as dashboard,
    ):
        connections = OpenConnections()
        app = create_app(
            settings,
            sessionmaker,
            vault,
            ring=queue.ring,
            stop=stop,
            read_replica=replica,
            dashboard_sessions=dashboard,
        )
        server = ApiServer(uvicorn_config(app, connections))
        address = listener_url(listeners[0])
        drain = settings.drain_seconds if drain_seconds is None else drain_seconds
        check = partial(find_fault, app.state.resources)
        jobs = JobRunner(sessionmaker, dashboard, queue.ring, woken=app.state.resources.new_job)
        async with serve_health(host=settings.health_host, port=health_port, check=check):
            log.info("api is listening", extra={"address": address})
            if on_listening is not None:
                on_listening(address)
            await _run(server, listeners, connections, jobs, stop, drain)
    log.info("api stopped")


async def _run(
    server: ApiServer,
    listeners: list[socket.socket],
    connections: OpenConnections,
    jobs: JobRunner,
    stop: asyncio.Event,
    drain_seconds: float,
) -> None:
    """Serve until `stop` is set, and for `drain_seconds` after that."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.serve(sockets=listeners))
        stopping = tasks.create_task(stop.wait())
        checking = tasks.create_task(connections.check_periodically())
        working = tasks.create_task(jobs.run(stop))
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        server.announce_stop()
        await asyncio.wait((running,), timeout=drain_seconds)
        server.end()
        stopping.cancel()
        await asyncio.wait((running,))
        checking.cancel()
        working.cancel()  # a batch in progress is undone, and another process repeats it


def uvicorn_config(app: FastAPI, connections: OpenConnections) -> uvicorn.Config:
    """Return the configuration of uvicorn."""
    return uvicorn.Config(
        app,
        # h11 limits the size of headers; httptools does not.
        http=cast(Any, partial(HttpConnection, connections=connections)),
        ws="none",
        lifespan="off",
        log_config=None,
        # An access log would contain API keys that were sent in the URL.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
    )
