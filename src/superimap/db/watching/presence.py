"""Presence of idlers in the cluster: registered by the idler itself, refuted by those that follow it."""

from collections.abc import Iterable
from enum import StrEnum

from asyncpg import Connection, Pool

from superimap.db import statements
from superimap.db.presence import IDLER_LOCK_SPACE
from superimap.domain.shards import EVERY_IDLER, SHARDS_CHANNEL

_STATEMENTS = statements.load(__file__)
_REGISTER_PRESENCE = _STATEMENTS["register_presence"]
_WITHDRAW_PRESENCE = _STATEMENTS["withdraw_presence"]
_LOOK_AT_NEXT = _STATEMENTS["look_at_next"]
_MARK_ABSENT = _STATEMENTS["mark_absent"]


class Server(StrEnum):
    """The PostgreSQL server on which an idler held its lock, compared with the one that is connected.

    A server that was restarted has the same address and has lost all locks. Another one took over from it.
    """

    SAME = "same"
    RESTARTED = "restarted"
    OTHER = "other"


async def register(db: Connection, idler: int, *, number: int) -> bool:
    """Record that `db` holds the lock on `number` for this idler; return whether it was taken for dead.

    An idler that was taken for dead is a member again, and all idlers are notified.
    """
    bound = _REGISTER_PRESENCE.bind(idler=idler, number=number, channel=SHARDS_CHANNEL, payload=EVERY_IDLER)
    row = await db.fetchrow(*bound)
    return row is not None and bool(row["was_absent"])


async def withdraw(pool: Pool, idler: int) -> None:
    """Record that this idler holds no lock: from now on only its lease says whether it lives."""
    await pool.execute(*_WITHDRAW_PRESENCE.bind(idler=idler))


async def look_at_next(db: Connection, idler: int, *, limit: int) -> dict[int, Server | None]:
    """Return the `limit` next idlers, with the server where those held their lock last that hold it no longer."""
    rows = await db.fetch(*_LOOK_AT_NEXT.bind(idler=idler, space=IDLER_LOCK_SPACE, limit=limit))
    return {row["id"]: Server(row["server"]) if row["is_absent"] else None for row in rows}


async def mark_absent(db: Connection, idlers: Iterable[int]) -> list[int]:
    """End the leases of those of `idlers` whose lock is not held, and notify all; return which they are.

    Their shards are free from then on. One transaction holds the lock and ends the lease.
    """
    rows = await db.fetch(
        *_MARK_ABSENT.bind(
            idlers=list(idlers), space=IDLER_LOCK_SPACE, channel=SHARDS_CHANNEL, payload=EVERY_IDLER
        )
    )
    return [row["id"] for row in rows]
