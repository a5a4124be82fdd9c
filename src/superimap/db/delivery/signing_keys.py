"""Signing keys of partners: read on the dispatcher's asyncpg pool and cached for a few seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from weakref import WeakValueDictionary

from asyncpg import Pool

from superimap.core.crypto import Place, Vault, VaultError
from superimap.db import statements
from superimap.webhooks.signing import SigningKeys

log = logging.getLogger(__name__)

CACHE_SECONDS = 4.0
"""A revoked key signs nothing after this time."""

MAX_CACHED_PARTNERS = 10_000

_READ_SIGNING_KEYS = statements.load(__file__)["read_signing_keys"]


class SigningKeyring:
    """Cache of partners' signing keys; each is read when needed and kept for CACHE_SECONDS."""

    def __init__(self, pool: Pool, vault: Vault, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._vault = vault
        self._clock = clock
        self._kept: dict[int, tuple[float, SigningKeys]] = {}
        self._reading: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def get_keys(self, partner_id: int) -> SigningKeys:
        """Return the partner's keys, at most CACHE_SECONDS old; concurrent calls for a partner read once."""
        if (keys := self._fresh(partner_id)) is not None:
            return keys
        async with self._reading.setdefault(partner_id, asyncio.Lock()):
            if (keys := self._fresh(partner_id)) is not None:
                return keys
            now = self._clock()
            keys = await read_signing_keys(self._pool, self._vault, partner_id)
            if len(self._kept) >= MAX_CACHED_PARTNERS:
                self._kept.clear()
            self._kept[partner_id] = (now + CACHE_SECONDS, keys)
            return keys

    def _fresh(self, partner_id: int) -> SigningKeys | None:
        kept = self._kept.get(partner_id)
        return kept[1] if kept is not None and kept[0] > self._clock() else None


async def read_signing_keys(pool: Pool, vault: Vault, partner_id: int) -> SigningKeys:
    """Read the partner's keys from the database; log a key that does not decrypt as an error and omit it."""
    keys: list[str] = []
    secrets: list[str] = []
    send_traceparent = False
    for table, row, sealed, _ in await pool.fetch(*_READ_SIGNING_KEYS.bind(partner_id=partner_id)):
        if table == "partners":
            send_traceparent = True
            continue
        try:
            opened = vault.open_text(sealed, Place(table, "secret", partner_id, str(row)))
        except VaultError as error:
            log.error("a signing key does not decrypt: %s", error, extra={"partner_id": partner_id})
            continue
        (keys if table == "api_keys" else secrets).append(opened)
    return SigningKeys(tuple(keys), tuple(secrets), send_traceparent)
