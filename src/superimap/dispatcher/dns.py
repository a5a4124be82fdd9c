"""Name resolution by the system, each lookup in a thread of its own, so that slow lookups block no other.

asyncio's own thread pool is small (six threads on two processors): that many names whose servers do not answer
would block every other lookup for as long as the system tries.
"""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

MAX_REPEATED_LOOKUP_SECONDS = 1.0
"""A lookup that fails within this time with a temporary error, as after SERVFAIL, is repeated once at once."""


class ThreadedResolver(AbstractResolver):
    """Resolver with at most `max_lookups` lookups at once; threads are started as they are needed."""

    def __init__(self, max_lookups: int) -> None:
        self._threads = ThreadPoolExecutor(max_lookups, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`. Raises OSError if there are none."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port, family)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Close without waiting for lookups in progress: their answers are no longer needed."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: int) -> list[Any]:
    """Ask the system's resolver. A temporary failure is repeated unless it took long, as a silent server does."""
    started = time.monotonic()
    ask = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    try:
        return ask()
    except socket.gaierror as error:
        if error.errno != socket.EAI_AGAIN or time.monotonic() - started > MAX_REPEATED_LOOKUP_SECONDS:
            raise
    return ask()
