"""Does this vault open this database, and how does everything get under its first key?"""

import logging
from asyncio import sleep
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    Column,
    Table,
    and_,
    column,
    delete,
    func,
    literal,
    select,
    text,
    tuple_,
    update,
    values,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from superimap.core.crypto import Place, Vault, VaultError
from superimap.db.models import Base, VaultCanary
from superimap.db.models.base import is_sealed

log = logging.getLogger(__name__)

# A delivery's content may be megabytes, and a batch is held in memory.
BATCH = 25
PASSES = 100
PAUSE = 0.2
_WORD = b"superimap"


@dataclass(frozen=True, slots=True)
class Rotation:
    """Values resealed per `table.column`, faults of those that do not open, ids of keys now unused."""

    resealed: dict[str, int] = field(default_factory=dict)
    unopened: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


# At start.


async def unlock(db: AsyncSession, vault: Vault) -> None:
    """Make sure that this vault is the one that sealed this database; raises VaultError if not.

    The first vault to come leaves a canary: a known word, sealed. Later ones must open one of the
    canaries, and leave theirs when they bring a new first key.
    """
    canaries = await _canaries(db)
    if not canaries:
        # Of two that come first, with different keys, one shall be refused.
        await db.execute(text("LOCK TABLE vault_canaries IN SHARE ROW EXCLUSIVE MODE"))
        canaries = await _canaries(db)
    if canaries and not any(_opens(vault, canary) for canary in canaries):
        raise VaultError(
            f"ENCRYPTION_KEY holds key {vault.describe()}, but this database was sealed with key "
            f"{_listed(canaries)}; set ENCRYPTION_KEY to the value used before, or check DATABASE_URL"
        )
    missing = [canary for canary in canaries if not _opens(vault, canary)]
    if missing:
        log.warning(
            "ENCRYPTION_KEY lacks a key that may still be in use; add it behind the first, "
            "then run `superimap rotate-keys`",
            extra={"key_ids": _listed(missing)},
        )
    if vault.primary.hex() not in {canary.key_id for canary in canaries}:
        key_id = vault.primary.hex()
        statement = insert(VaultCanary).values(key_id=key_id, word=vault.seal(_WORD, _perch(key_id)))
        await db.execute(statement.on_conflict_do_nothing())


async def _canaries(db: AsyncSession) -> Sequence[VaultCanary]:
    return (await db.scalars(select(VaultCanary).order_by(VaultCanary.created_at))).all()


def _perch(key_id: str) -> Place:
    return Place("vault_canaries", "word", 0, key_id)


def _opens(vault: Vault, canary: VaultCanary) -> bool:
    try:
        return vault.open(canary.word, _perch(canary.key_id)) == _WORD
    except VaultError:
        return False


def _listed(canaries: Sequence[VaultCanary]) -> str:
    return ", ".join(canary.key_id for canary in canaries)


# Rotation.


def sealed_columns() -> list[Column[Any]]:
    """Every column that holds what the vault made, but for the canaries, which belong to their keys."""
    return [
        sealed
        for table in Base.metadata.sorted_tables
        if table is not VaultCanary.__table__
        for sealed in table.columns
        if is_sealed(sealed)
    ]


async def rotate(sessionmaker: async_sessionmaker[AsyncSession], vault: Vault) -> Rotation:
    """Reseal under the first key whatever another key sealed, while everything runs.

    Each batch is a transaction of its own, so what is interrupted goes on where it stopped. Nothing is
    waited for: a value that is locked, or that changes between read and write, is left to the next pass.
    """
    rotation = Rotation()
    for sealed in sealed_columns():
        name = f"{sealed.table.name}.{sealed.name}"
        rotation.resealed[name] = 0
        for _ in range(PASSES):
            found, done, faults = await _pass(sessionmaker, vault, sealed)
            rotation.resealed[name] += done
            if found == done + len(faults):
                rotation.unopened.extend(faults)
                break
            await sleep(PAUSE)
        else:
            raise VaultError(
                f"{name} holds values that others keep locked; run `superimap rotate-keys` again"
            )
    async with sessionmaker.begin() as db:
        rotation.unused.extend(await _drop_canaries(db, vault))
    return rotation


async def _pass(
    sessionmaker: async_sessionmaker[AsyncSession], vault: Vault, sealed: Column[Any]
) -> tuple[int, int, list[str]]:
    """Once through a column: values under other keys, values resealed, faults of those that do not open."""
    found = done = 0
    faults: list[str] = []
    after: tuple[Any, ...] | None = None
    while True:
        async with sessionmaker.begin() as db:
            rows = await _read(db, vault, sealed, after)
            if not rows:
                return found, done, faults
            fresh = []
            for *key, old in rows:
                try:
                    place = _place(sealed, dict(zip(_key_names(sealed.table), key, strict=True)))
                    fresh.append((*key, old, vault.seal(vault.open(old, place), place)))
                except VaultError as error:
                    faults.append(str(error))
            done += await _swap(db, sealed, fresh)
        found += len(rows)
        after = tuple(rows[-1][:-1])


def _key_names(table: Table) -> list[str]:
    """The columns that name a row and its partner."""
    names = [part.name for part in table.primary_key]
    return names if "partner_id" in names else [*names, "partner_id"]


def _place(sealed: Column[Any], key: dict[str, Any]) -> Place:
    return Place(sealed.table.name, sealed.name, key["partner_id"], str(key["id"]))


def _key_id(sealed: Any) -> Any:
    return func.substring(sealed, 2, 4)


async def _read(
    db: AsyncSession, vault: Vault, sealed: Column[Any], after: tuple[Any, ...] | None
) -> Sequence[tuple[Any, ...]]:
    """The next batch of values under other keys, each behind its row's key."""
    key = [sealed.table.c[name] for name in _key_names(sealed.table)]
    # Empty is what needs no sealing: a delivery that is made of an event.
    statement = select(*key, sealed).where(sealed != b"", _key_id(sealed) != literal(vault.primary))
    if after is not None:
        statement = statement.where(tuple_(*key) > tuple_(*after))
    return [tuple(row) for row in await db.execute(statement.order_by(*key).limit(BATCH))]


async def _swap(db: AsyncSession, sealed: Column[Any], fresh: Sequence[tuple[Any, ...]]) -> int:
    """Put new values in the place of the old ones that are still there and not locked; how many."""
    if not fresh:
        return 0
    table, names = sealed.table, _key_names(sealed.table)
    given = values(
        *(column(name, table.c[name].type) for name in names),
        column("old", sealed.type),
        column("new", sealed.type),
        name="given",
    ).data(list(fresh))
    still = (
        select(*(table.c[name] for name in names), given.c.new)
        .join(given, and_(*(table.c[name] == given.c[name] for name in names), sealed == given.c.old))
        .with_for_update(of=table, skip_locked=True, key_share=True)
        .cte("still")
    )
    statement = (
        update(table)
        .where(*(table.c[name] == still.c[name] for name in names))
        .values({sealed.name: still.c.new})
        .returning(table.c[names[0]])
    )
    return len((await db.execute(statement)).all())


async def _drop_canaries(db: AsyncSession, vault: Vault) -> list[str]:
    """Forget the keys that seal nothing any more; their ids."""
    used = {vault.primary}
    for sealed in sealed_columns():
        statement = select(_key_id(sealed)).where(sealed != b"").distinct()
        used.update(bytes(key_id) for key_id in await db.scalars(statement))
    forgotten = (
        delete(VaultCanary)
        .where(VaultCanary.key_id.not_in([key_id.hex() for key_id in used]))
        .returning(VaultCanary.key_id)
    )
    return sorted(await db.scalars(forgotten))
