"""Doorbell of an idler: changes of users and of shards, received by LISTEN on the connection of its presence."""

import asyncio

import asyncpg

from superimap.domain.shards import EVERY_IDLER, SHARDS_CHANNEL, SWEEPS_CHANNEL, USERS_CHANNEL
from superimap.doorbells.pace import RingPace

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
        self.sweeps = asyncio.Event()
        """Set when a sweep was created or changed, of whichever idler."""

    async def listen_on(self, connection: asyncpg.Connection) -> None:
        """Listen on a connection of PostgreSQL until it ends, and run a round: rings may have been missed.

        The owner of the connection tests it; while there is none, only the clock starts rounds.
        """
        await connection.add_listener(USERS_CHANNEL, self._user_changed)
        await connection.add_listener(SHARDS_CHANNEL, self._cluster_changed)
        await connection.add_listener(SWEEPS_CHANNEL, self._sweep_changed)
        self._has_cluster_changed = True
        self._rung.set()

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

    def _user_changed(self, _connection: object, _pid: int, _channel: str, shard: object) -> None:
        if isinstance(shard, str) and shard.isdecimal():
            self._shards.add(int(shard))
            self._rung.set()

    def _sweep_changed(self, _connection: object, _pid: int, _channel: str, _shard: object) -> None:
        self.sweeps.set()

    def _cluster_changed(self, _connection: object, _pid: int, _channel: str, idler: object) -> None:
        if idler in self._addressed_to:
            self._has_cluster_changed = True
            self._rung.set()
