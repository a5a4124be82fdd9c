"""Proofs of life of mail servers: collected in memory for each user, written together."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from asyncpg import Pool

from superimap.db.postgres import UNAVAILABLE
from superimap.db.watching import proofs as queries
from superimap.imap.client import ImapClient

log = logging.getLogger(__name__)


class LivenessProofs:
    """The established sessions and the proofs that are not written yet. Every byte from a server is a proof.

    Times are those of the event loop.
    """

    def __init__(self) -> None:
        self._established: dict[int, ImapClient] = {}
        self._unwritten: dict[int, float] = {}  # the last proofs of ended sessions
        self._written: dict[int, float] = {}

    @contextlib.contextmanager
    def track(self, user_id: int, client: ImapClient) -> Iterator[None]:
        """Inside the block, count what this client receives as proof of life of the user's mail server."""
        self._established[user_id] = client
        try:
            yield
        finally:
            del self._established[user_id]
            self._unwritten[user_id] = client.last_proven_alive
            self._written.pop(user_id, None)

    def unwritten(self) -> dict[int, float]:
        """Return the time of the last proof of each user for whom it is newer than what is written."""
        last = {user_id: client.last_proven_alive for user_id, client in self._established.items()}
        return self._unwritten | {
            user_id: at for user_id, at in last.items() if at > self._written.get(user_id, 0.0)
        }

    async def write_periodically(self, pool: Pool, *, every: float) -> None:
        """Write all new proofs every `every` seconds until cancelled, one statement per 1,000 users."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(every)
            proofs, now = self.unwritten(), loop.time()
            try:
                await queries.record_proofs(pool, {user_id: now - at for user_id, at in proofs.items()})
            except UNAVAILABLE as error:
                log.warning("proofs of life are not written yet: %s", error)
                continue
            self._written.update(
                {user_id: at for user_id, at in proofs.items() if user_id in self._established}
            )
            for user_id, at in proofs.items():
                if self._unwritten.get(user_id) == at:
                    del self._unwritten[user_id]
