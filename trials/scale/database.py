"""A real PostgreSQL in simulated time; its statements are counted, and block the simulation."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg

from superimap.db.statements import Statement
from superimap.db.watching import ownership, presence
from superimap.domain.shards import SHARDS_CHANNEL
from trials.simulation.clock import SimulatedLoop
from trials.simulation.database import Database, clock_setting

NAMES = {
    each.bind(**dict.fromkeys(each.parameters))[0]: name
    for module in (ownership, presence)
    for name, each in module._STATEMENTS.items()
    if isinstance(each, Statement)
}


class CountingDatabase(Database):
    """One connection, driven by a thread of its own. `on_notice` is called for each change of shards.

    The simulation waits for each statement as for a function: whatever else is due at that time comes after it.
    """

    def __init__(self, connection: asyncpg.Connection, loop: SimulatedLoop, driver: Driver) -> None:
        super().__init__(connection, loop)
        self.counts: Counter[str] = Counter()
        self.on_notice: Callable[[str], None] = _ignore
        self._driver = driver
        self._notices: list[str] = []

    @classmethod
    async def open_blocking(cls, url: str, loop: SimulatedLoop) -> CountingDatabase:
        """Connect, listen, and install the simulated clock."""
        driver = Driver()
        settings = {"timezone": "UTC", "search_path": "simulation, public, pg_catalog"}
        connection = driver.run(asyncpg.connect(url, server_settings=settings))
        database = cls(connection, loop, driver)
        await database.prepare()
        driver.run(connection.add_listener(SHARDS_CHANNEL, database._note))
        return database

    async def ask(self, method: str, sql: str, *args: object) -> Any:
        """Call a method of asyncpg's connection, count it, and pass on the notifications that it has sent."""
        self.counts[NAMES.get(sql, "other")] += 1
        now = self._loop.time()
        if now != self._told:
            self._driver.run(self._connection.execute(clock_setting(now)))
            self._told = now
        answer = self._driver.run(getattr(self._connection, method)(sql, *args))
        notices, self._notices = self._notices, []
        for payload in notices:
            self.on_notice(payload)
        return answer

    async def close(self) -> None:
        """Close the connection, and end the thread."""
        self._driver.run(self._connection.close())
        self._driver.stop()

    def _note(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._notices.append(str(payload))


class Driver:
    """An event loop in a thread, in which coroutines are run to their end."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return what the coroutine returns, and block until then."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _ignore(_payload: str) -> None: ...
