"""When did each user's mail server last prove that it is alive? Gathered here, written together."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from asyncpg import Pool

from superimap.db.delivery import liveness
from superimap.db.engine import UNAVAILABLE
from superimap.imap.client import Client

log = logging.getLogger(__name__)


class Proofs:
    """The sessions that stand, and what is not written yet. Every byte that a server sends is a proof."""

    def __init__(self) -> None:
        self._standing: dict[int, Client] = {}
        self._unwritten: dict[int, float] = {}
        self._written: dict[int, float] = {}

    @contextlib.contextmanager
    def of(self, user_id: int, client: Client) -> Iterator[None]:
        """For the length of a session: what this client hears proves the user's mail server alive."""
        self._standing[user_id] = client
        try:
            yield
        finally:
            del self._standing[user_id]
            self._unwritten[user_id] = client.last_proven_alive
            self._written.pop(user_id, None)

    def news(self) -> dict[int, float]:
        """The event loop's time of each proof that is newer than what was written."""
        heard = {user_id: client.last_proven_alive for user_id, client in self._standing.items()}
        return self._unwritten | {
            user_id: at for user_id, at in heard.items() if at > self._written.get(user_id, 0.0)
        }

    async def write(self, pool: Pool, *, every: float) -> None:
        """Write all news in one statement (per 1,000 users) every so many seconds, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(every)
            news, now = self.news(), loop.time()
            try:
                await liveness.prove(pool, {user_id: now - at for user_id, at in news.items()})
            except UNAVAILABLE as error:
                log.warning("proofs of life are not written yet: %s", error)
                continue
            self._written.update({user_id: at for user_id, at in news.items() if user_id in self._standing})
            for user_id, at in news.items():
                if self._unwritten.get(user_id) == at:
                    del self._unwritten[user_id]
