"""Vault canaries: a known word, encrypted with each key, that shows whether a vault opens this database."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from asyncpg import Connection

from superimap.core.crypto import Place, Vault, VaultError
from superimap.db.statements import load

log = logging.getLogger(__name__)

_WORD = b"superimap"
_LOCK_KEY = 0x5349_4D41_5056_4C54  # "SIMAPVLT": the advisory lock of the process that stores the first canary

_STATEMENTS = load(__file__)
_READ = _STATEMENTS["read_canaries"]
_LOCK = _STATEMENTS["lock_canaries"]
_ADD = _STATEMENTS["add_canary"]


@dataclass(frozen=True, slots=True)
class Canary:
    """A row of `vault_canaries`: the key's id and the word that the key encrypted."""

    key_id: str
    word: bytes


async def verify_vault(db: Connection, vault: Vault) -> None:
    """Check, in the caller's transaction, that this vault encrypted this database; raise VaultError if not.

    The first vault stores a canary. A later vault must open one of the canaries, and stores its own when it
    has a new first key.
    """
    canaries = await _read_canaries(db)
    if not canaries:
        # Of two processes that start first, with different keys, one must be rejected.
        await db.execute(*_LOCK.bind(lock_key=_LOCK_KEY))
        canaries = await _read_canaries(db)
    if canaries and not any(_opens(vault, canary) for canary in canaries):
        raise VaultError(
            f"ENCRYPTION_KEY contains key {vault.describe()}, but this database was encrypted with key "
            f"{_key_ids(canaries)}; set ENCRYPTION_KEY to the value used before, or check DATABASE_URL"
        )
    missing = [canary for canary in canaries if not _opens(vault, canary)]
    if missing:
        log.warning(
            "ENCRYPTION_KEY lacks a key that may still be in use; add it behind the first, "
            "then run `superimap rotate-keys`",
            extra={"key_ids": _key_ids(missing)},
        )
    key_id = vault.primary.hex()
    if key_id not in {canary.key_id for canary in canaries}:
        await db.execute(*_ADD.bind(key_id=key_id, word=vault.seal(_WORD, _place(key_id))))


async def _read_canaries(db: Connection) -> list[Canary]:
    rows = await db.fetch(*_READ.bind())
    return [Canary(*row) for row in rows]


def _place(key_id: str) -> Place:
    return Place("vault_canaries", "word", 0, key_id)


def _opens(vault: Vault, canary: Canary) -> bool:
    try:
        return vault.open(canary.word, _place(canary.key_id)) == _WORD
    except VaultError:
        return False


def _key_ids(canaries: Sequence[Canary]) -> str:
    return ", ".join(canary.key_id for canary in canaries)
