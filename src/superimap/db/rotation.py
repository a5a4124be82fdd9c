"""Key rotation: reseal, under the vault's first key, every value that another key sealed."""

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
    tuple_,
    update,
    values,
)
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from superimap.core.content_store import REFERENCE_BYTES
from superimap.core.crypto import Place, Vault, VaultError
from superimap.db.models import Base, VaultCanary
from superimap.db.models.base import is_sealed

# A batch is held in memory, and the content of one delivery may be megabytes.
BATCH_VALUES = 25
NO_PARTNER = 0
"""In the place of a value that belongs to no partner."""
MAX_PASSES = 100
PASS_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Rotation:
    """Result of a rotation.

    `resealed` counts values per `table.column`; `unopened` lists an error for each value that no key decrypts;
    `unused` lists the ids of keys that seal nothing any more.
    """

    resealed: dict[str, int] = field(default_factory=dict)
    unopened: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


def sealed_columns() -> list[Column[Any]]:
    """Return every sealed column except that of the canaries, each of which belongs to its own key."""
    return [
        sealed
        for table in Base.metadata.sorted_tables
        if table is not VaultCanary.__table__
        for sealed in table.columns
        if is_sealed(sealed)
    ]


async def rotate_keys(sessionmaker: async_sessionmaker[AsyncSession], vault: Vault) -> Rotation:
    """Reseal under the first key every value that another key sealed, while all processes run.

    Each batch is a transaction of its own, so an interrupted rotation continues where it stopped. No lock is
    waited for: a value that is locked, or that changes between read and write, is left to the next pass. Raises
    VaultError if values of a column are still locked after MAX_PASSES passes.
    """
    rotation = Rotation()
    for sealed in sealed_columns():
        name = f"{sealed.table.name}.{sealed.name}"
        rotation.resealed[name] = 0
        for _ in range(MAX_PASSES):
            found, done, faults = await _pass(sessionmaker, vault, sealed)
            rotation.resealed[name] += done
            if found == done + len(faults):
                rotation.unopened.extend(faults)
                break
            await sleep(PASS_PAUSE_SECONDS)
        else:
            raise VaultError(
                f"{name} holds values that other transactions keep locked; run `superimap rotate-keys` again"
            )
    async with sessionmaker.begin() as db:
        rotation.unused.extend(await _delete_unused_canaries(db, vault))
    return rotation


async def _pass(
    sessionmaker: async_sessionmaker[AsyncSession], vault: Vault, sealed: Column[Any]
) -> tuple[int, int, list[str]]:
    """Go once through a column.

    Returns the number of values under other keys, the number of values resealed, and an error for each value
    that no key opens.
    """
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
    """Return the columns that identify a row, and its partner if it has one."""
    names = [part.name for part in table.primary_key]
    return names if "partner_id" in names or "partner_id" not in table.columns else [*names, "partner_id"]


def _place(sealed: Column[Any], key: dict[str, Any]) -> Place:
    return Place(sealed.table.name, sealed.name, key.get("partner_id", NO_PARTNER), str(key["id"]))


def _key_id(sealed: Any) -> Any:
    return func.substring(sealed, 2, 4)


async def _read(
    db: AsyncSession, vault: Vault, sealed: Column[Any], after: tuple[Any, ...] | None
) -> Sequence[tuple[Any, ...]]:
    """Read the next batch of values under other keys, each after the key of its row."""
    key = [sealed.table.c[name] for name in _key_names(sealed.table)]
    # A short value is not sealed: it is empty, where content is made from an event when it is sent, or refers to
    # an object, which keeps its key until it is sent or erased.
    is_sealed_here = func.octet_length(sealed) > REFERENCE_BYTES
    statement = select(*key, sealed).where(is_sealed_here, _key_id(sealed) != literal(vault.primary))
    if after is not None:
        statement = statement.where(tuple_(*key) > tuple_(*after))
    return [tuple(row) for row in await db.execute(statement.order_by(*key).limit(BATCH_VALUES))]


async def _swap(db: AsyncSession, sealed: Column[Any], fresh: Sequence[tuple[Any, ...]]) -> int:
    """Replace those old values that are unchanged and not locked by the new ones; return how many."""
    if not fresh:
        return 0
    table, names = sealed.table, _key_names(sealed.table)
    given = values(
        *(column(name, table.c[name].type) for name in names),
        column("old", sealed.type),
        column("new", sealed.type),
        name="given",
    ).data(list(fresh))
    unchanged = (
        select(*(table.c[name] for name in names), given.c.new)
        .join(given, and_(*(table.c[name] == given.c[name] for name in names), sealed == given.c.old))
        .with_for_update(of=table, skip_locked=True, key_share=True)
        .cte("unchanged")
    )
    statement = (
        update(table)
        .where(*(table.c[name] == unchanged.c[name] for name in names))
        .values({sealed.name: unchanged.c.new})
        .returning(table.c[names[0]])
    )
    return len((await db.execute(statement)).all())


async def _delete_unused_canaries(db: AsyncSession, vault: Vault) -> list[str]:
    """Delete the canaries of keys that seal nothing any more; return the ids of these keys."""
    used = {vault.primary}
    for sealed in sealed_columns():
        statement = select(_key_id(sealed)).where(sealed != b"").distinct()
        used.update(bytes(key_id) for key_id in await db.scalars(statement))
    deleted = (
        delete(VaultCanary)
        .where(VaultCanary.key_id.not_in([key_id.hex() for key_id in used]))
        .returning(VaultCanary.key_id)
    )
    return sorted(await db.scalars(deleted))
