"""The API process: `serve` opens its resources, answers requests until it is stopped, and closes."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from superimap.api.app import create_app
from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.core.errors import SuperImapError
from superimap.db.engine import sessions
from superimap.doorbells.redis import EndpointDoorbell

log = logging.getLogger(__name__)

SHUTDOWN_GRACE_SECONDS = 3
LISTEN_BACKLOG = 512


class ListenError(SuperImapError):
    """The address to listen on is not available."""


class ApiServer(uvicorn.Server):
    """uvicorn without signal handlers: the caller of `serve` handles signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handler."""
        yield


async def serve(
    settings: Settings, stop: asyncio.Event, *, on_listening: Callable[[str], None] | None = None
) -> None:
    """Answer requests on HOST and PORT until `stop` is set; requests in progress then have 3 s to finish.

    Starts without a database, and answers 503 while it is unreachable. Calls `on_listening` with the address,
    such as `http://127.0.0.1:8000`. Raises ListenError if the port is in use.
    """
    vault = Vault.from_setting(settings.encryption_key.get_secret_value())
    listener = open_listener(settings.host, settings.port)
    async with (
        sessions(settings.database_url, pool_size=settings.database_pool_size) as sessionmaker,
        EndpointDoorbell(settings.redis_url) as queue,
    ):
        server = ApiServer(uvicorn_config(create_app(settings, sessionmaker, vault, ring=queue.ring)))
        address = listener_url(listener)
        log.info("api is listening", extra={"address": address})
        if on_listening is not None:
            on_listening(address)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(server.serve(sockets=[listener]))
            stopping = tasks.create_task(stop.wait())
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            stopping.cancel()
    log.info("api stopped")


def uvicorn_config(app: FastAPI) -> uvicorn.Config:
    """Return the configuration of uvicorn."""
    return uvicorn.Config(
        app,
        # h11 limits the size of headers; httptools does not.
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        # An access log would contain API keys that were sent in the URL.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
    )


def open_listener(host: str, port: int) -> socket.socket:
    """Open a listening socket; connections wait in its backlog until the server accepts."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(LISTEN_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ListenError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}. Set HOST and PORT to an "
            "address that is not in use."
        ) from None
    return listener


def listener_url(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
