"""A server in a process of its own, so that its CPU and memory are not measured."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.measure import BenchError
from superimap.testing import server_process


@contextlib.asynccontextmanager
async def spawn_server(
    main: Callable[..., None], *args: object, name: str | None = None
) -> AsyncIterator[tuple[Connection, Any]]:
    """Run `main(pipe, *args)` as `superimap.testing.server_process` does; its error becomes a BenchError."""
    try:
        async with server_process.spawn_server(main, *args, name=name) as found:
            yield found
    except server_process.ServerProcessEnded:
        raise BenchError("a server of the benchmark did not start; see its error above") from None
