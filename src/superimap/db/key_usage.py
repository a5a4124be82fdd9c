"""Number of values that each encryption key has encrypted, of all processes together.

Each process counts in memory and adds its count once a minute, so that encrypting costs no statement. A process
that is killed loses at most a minute of its count, which is nothing against a limit of 2**32.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from asyncpg import Connection, Pool, PostgresError

from superimap.core.crypto import MAX_SEALS_PER_KEY, Vault
from superimap.core.runtime import wait_for_stop
from superimap.db import postgres, statements
from superimap.db.postgres import UNAVAILABLE

log = logging.getLogger(__name__)

RECORD_SECONDS = 60.0
LAST_RECORD_SECONDS = 2.0
WARN_SEALS = MAX_SEALS_PER_KEY // 2
"""Number of values from which `superimap keys` and the alert demand another key."""

_FAILURES: tuple[type[BaseException], ...] = (PostgresError, *UNAVAILABLE)

_STATEMENTS = statements.load(__file__)
_ADD_SEALS = _STATEMENTS["add_seals"]
_READ_KEY_USAGE = _STATEMENTS["read_key_usage"]


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """A key by its public id, the number of values that it encrypted, and when it was used first."""

    key_id: str
    seals: int
    since: datetime

    @property
    def needs_successor(self) -> bool:
        """Whether it is time to rotate the key."""
        return self.seals >= WARN_SEALS


async def read_key_usage(db: Connection | Pool) -> list[KeyUsage]:
    """Return the usage of each key that encrypted something, oldest key first."""
    return [KeyUsage(*row) for row in await db.fetch(*_READ_KEY_USAGE.bind())]


async def record_seals(url: str, vault: Vault) -> None:
    """Add what the vault encrypted since the last call. If that fails, the next call adds it."""
    count = vault.take_seals()
    if not count:
        return
    try:
        async with postgres.transaction(url) as db:
            await db.execute(*_ADD_SEALS.bind(key_id=vault.primary.hex(), count=count))
    except BaseException:
        vault.return_seals(count)
        raise


@contextlib.asynccontextmanager
async def counting_seals(url: str, vault: Vault, *, every: float = RECORD_SECONDS) -> AsyncIterator[None]:
    """Record what the vault encrypts: every `every` seconds, and at the end of the block within 2 s."""
    stop = asyncio.Event()
    recording = asyncio.create_task(_record_periodically(url, vault, every, stop), name="key usage")
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait([recording], timeout=LAST_RECORD_SECONDS)  # cancelled, it may count twice
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
        with contextlib.suppress(*_FAILURES):
            async with asyncio.timeout(LAST_RECORD_SECONDS):
                await record_seals(url, vault)


async def _record_periodically(url: str, vault: Vault, every: float, stop: asyncio.Event) -> None:
    while True:
        await wait_for_stop(stop, every)
        if stop.is_set():
            return
        try:
            await record_seals(url, vault)
        except _FAILURES as error:
            log.info("usage of the encryption key is recorded later: %s", error)
