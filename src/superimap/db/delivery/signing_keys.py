"""What does a partner sign with? Read on the dispatcher's raw pool and kept for a few seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from weakref import WeakValueDictionary

from asyncpg import Pool

from superimap.core.crypto import Place, Vault, VaultError
from superimap.webhooks.signing import SigningKeys

log = logging.getLogger(__name__)

TTL = 4.0
"""Seconds: a revoked key signs nothing any more after this."""

MOST = 10_000


class SigningKeyring:
    """The signing keys of partners, read when needed and kept for TTL seconds."""

    def __init__(self, pool: Pool, vault: Vault, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._vault = vault
        self._clock = clock
        self._kept: dict[int, tuple[float, SigningKeys]] = {}
        self._reading: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def of(self, partner_id: int) -> SigningKeys:
        """The partner's keys as they are now, or were a few seconds ago; many who ask at once read once."""
        if (keys := self._fresh(partner_id)) is not None:
            return keys
        async with self._reading.setdefault(partner_id, asyncio.Lock()):
            if (keys := self._fresh(partner_id)) is not None:
                return keys
            now = self._clock()
            keys = await read(self._pool, self._vault, partner_id)
            if len(self._kept) >= MOST:
                self._kept.clear()
            self._kept[partner_id] = (now + TTL, keys)
            return keys

    def _fresh(self, partner_id: int) -> SigningKeys | None:
        kept = self._kept.get(partner_id)
        return kept[1] if kept is not None and kept[0] > self._clock() else None


async def read(pool: Pool, vault: Vault, partner_id: int) -> SigningKeys:
    """The partner's keys from the database. One that does not open is left out, with an alarm in the log."""
    sql = """
        SELECT 'api_keys' AS place, id, secret FROM api_keys
        WHERE partner_id = $1 AND (expires_at IS NULL OR expires_at > now())
        UNION ALL
        SELECT 'signing_secrets', id, secret FROM signing_secrets
        WHERE partner_id = $1 AND (expires_at IS NULL OR expires_at > now())
        ORDER BY id
    """
    keys: list[str] = []
    secrets: list[str] = []
    for place, row, sealed in await pool.fetch(sql, partner_id):
        try:
            opened = vault.open_text(sealed, Place(place, "secret", partner_id, str(row)))
        except VaultError as error:
            log.error("a signing key does not open: %s", error, extra={"partner_id": partner_id})
            continue
        (keys if place == "api_keys" else secrets).append(opened)
    return SigningKeys(tuple(keys), tuple(reversed(secrets)))
