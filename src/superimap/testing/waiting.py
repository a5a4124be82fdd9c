"""Waiting of tests for a condition on a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Waiters:
    """Tests that wait for conditions. The server calls `check` after each event."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], object], asyncio.Future[None]]] = []

    async def wait_for(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait until `condition` holds. Raises TimeoutError after `seconds`, and what `condition` raises."""
        if condition():
            return
        waiter = (condition, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter[1]
        finally:
            self._waiting.remove(waiter)

    def check(self) -> None:
        """Wake the tests whose condition holds now."""
        for condition, future in self._waiting:
            try:
                if not future.done() and condition():
                    future.set_result(None)
            except Exception as error:  # raised in the waiting test, not in the server
                future.set_exception(error)
