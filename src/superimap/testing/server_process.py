"""A test server in a process of its own, so that its CPU, memory and pauses are not those of the test."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections.abc import AsyncIterator, Callable
from multiprocessing.connection import Connection
from typing import Any


class ServerProcessEnded(Exception):
    """The process of a server ended before it was ready; its error is above."""


@contextlib.asynccontextmanager
async def spawn_server(
    main: Callable[..., None], *args: object, name: str | None = None
) -> AsyncIterator[tuple[Connection, Any]]:
    """Run `main(pipe, *args)` in a new process called `name`, and kill it at the end of the block.

    Yields our end of the pipe, and the first object that `main` sends, which is its port or address. Raises
    ServerProcessEnded if the process ends before it sends that.
    """
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=main, args=(there, *args), name=name, daemon=True
    )
    process.start()
    try:
        there.close()
        yield here, await _receive_first(here)
    finally:
        process.kill()
        process.join()
        here.close()


async def _receive_first(pipe: Connection) -> Any:
    try:
        return await asyncio.to_thread(pipe.recv)
    except EOFError:
        raise ServerProcessEnded("a server process did not start; see its error above") from None
