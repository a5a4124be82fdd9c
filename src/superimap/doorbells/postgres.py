"""Who rings? Changes of users and of shards, told by PostgreSQL's NOTIFY on a connection of its own."""

import asyncio
import logging

import asyncpg

from superimap.core.backoff import Backoff
from superimap.db.postgres import UNAVAILABLE, connect
from superimap.domain.shards import EVERY_IDLER, SHARDS_CHANNEL, USERS_CHANNEL

log = logging.getLogger(__name__)

CHECK = 15.0


class Doorbell:
    """Collects rings: shards whose users changed, and whether it is time for `idler` to look at the cluster.

    A ring that is missed costs a reconcile interval, not a mail.
    """

    def __init__(self, idler: int) -> None:
        self._concerning = {EVERY_IDLER, str(idler)}
        self._rung = asyncio.Event()
        self._shards: set[int] = set()
        self._moved = False

    async def listen(self, url: str) -> None:
        """Hold the connection for ever; while it is away, rounds come by the clock alone."""
        backoff = Backoff(first=0.5, longest=10.0)
        while True:
            try:
                connection = await connect(url)
                try:
                    await self._hold(connection, backoff)
                finally:
                    connection.terminate()
            except UNAVAILABLE as error:
                log.info("doorbell is off: %s", error)
            await asyncio.sleep(backoff.next())

    def ring(self) -> None:
        """Something within this idler is to be tended."""
        self._rung.set()

    async def wait(self, due: float) -> tuple[frozenset[int], bool]:
        """Until something rings, or a round is `due` by the loop's clock.

        Shards whose users changed, and whether it is time for a round.
        """
        is_round = False
        try:
            async with asyncio.timeout_at(due):
                await self._rung.wait()
        except TimeoutError:
            is_round = True
        shards, moved = frozenset(self._shards), self._moved
        self._shards.clear()
        self._moved = False
        self._rung.clear()
        return shards, moved or is_round

    async def _hold(self, connection: asyncpg.Connection, backoff: Backoff) -> None:
        await connection.add_listener(USERS_CHANNEL, self._user_changed)
        await connection.add_listener(SHARDS_CHANNEL, self._shards_moved)
        self._moved = True  # something may have been missed
        self._rung.set()
        backoff.reset()
        while True:
            await asyncio.sleep(CHECK)
            await connection.fetchval("SELECT 1", timeout=5.0)

    def _user_changed(self, _connection: object, _pid: int, _channel: str, shard: object) -> None:
        if isinstance(shard, str) and shard.isdecimal():
            self._shards.add(int(shard))
            self._rung.set()

    def _shards_moved(self, _connection: object, _pid: int, _channel: str, whom: object) -> None:
        if whom in self._concerning:
            self._moved = True
            self._rung.set()
