"""Doorbell of an idler: changes of users and of shards, received by LISTEN on a connection of its own."""

import asyncio
import logging

import asyncpg

from superimap.core.backoff import Backoff
from superimap.db.postgres import UNAVAILABLE, connect
from superimap.domain.shards import EVERY_IDLER, SHARDS_CHANNEL, USERS_CHANNEL
from superimap.doorbells.pace import RingPace

log = logging.getLogger(__name__)

CHECK_SECONDS = 15.0
"""Pause between two tests of the connection, which otherwise only receives."""

CHECK_TIMEOUT_SECONDS = 5.0
_EVERY_SHARD = 0


class IdlerDoorbell:
    """Wake-ups since the last call of `wait`: shards whose users changed, and whether to read the cluster.

    A missed notification delays the change by one reconcile interval; it loses no mail.
    """

    def __init__(self, idler: int) -> None:
        self._addressed_to = {EVERY_IDLER, str(idler)}
        self._rung = asyncio.Event()
        self._shards: set[int] = set()
        self._pace = RingPace()
        self._has_cluster_changed = False

    async def listen(self, url: str) -> None:
        """Keep a connection that listens, until cancelled; while it is lost, only the clock starts rounds."""
        backoff = Backoff(first=0.5, longest=10.0)
        while True:
            try:
                connection = await connect(url, needs_session=True)
                try:
                    await self._hold(connection, backoff)
                finally:
                    connection.terminate()
            except UNAVAILABLE as error:
                log.info("doorbell is disconnected: %s", error)
            await asyncio.sleep(backoff.next())

    def ring(self) -> None:
        """Wake the idler because of a change in its own process."""
        self._rung.set()

    async def wait(self, due: float) -> tuple[frozenset[int], bool]:
        """Wait until the doorbell rings, or a reconcile round is `due` by the event loop's clock.

        Returns the shards whose users changed, and whether to run a round. Rings of a burst of users are returned
        together.
        """
        is_round = False
        try:
            async with asyncio.timeout_at(due):
                await self._rung.wait()
                if not self._has_cluster_changed:
                    await asyncio.sleep(
                        self._pace.next_pause(_EVERY_SHARD, asyncio.get_running_loop().time())
                    )
        except TimeoutError:
            is_round = True
        shards, has_changed = frozenset(self._shards), self._has_cluster_changed
        self._shards.clear()
        self._has_cluster_changed = False
        self._rung.clear()
        return shards, has_changed or is_round

    async def _hold(self, connection: asyncpg.Connection, backoff: Backoff) -> None:
        await connection.add_listener(USERS_CHANNEL, self._user_changed)
        await connection.add_listener(SHARDS_CHANNEL, self._cluster_changed)
        self._has_cluster_changed = True  # notifications may have been missed
        self._rung.set()
        backoff.reset()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await connection.fetchval("SELECT 1", timeout=CHECK_TIMEOUT_SECONDS)

    def _user_changed(self, _connection: object, _pid: int, _channel: str, shard: object) -> None:
        if isinstance(shard, str) and shard.isdecimal():
            self._shards.add(int(shard))
            self._rung.set()

    def _cluster_changed(self, _connection: object, _pid: int, _channel: str, idler: object) -> None:
        if idler in self._addressed_to:
            self._has_cluster_changed = True
            self._rung.set()
