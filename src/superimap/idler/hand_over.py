"""Hand-over of shards to other idlers: their sessions end, then their owners change."""

from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import groupby
from typing import Protocol

from asyncpg import Pool

from superimap.core import metrics
from superimap.db.watching import ownership as cluster
from superimap.db.watching.ownership import ShardUsers
from superimap.idler import balance
from superimap.idler.balance import Load, Move

MAX_SLICE_SHARDS = 512
"""Shards that are handed over at once, however few users they have."""


class ShardSessions(Protocol):
    """Holder of the sessions of the owned shards; implemented by `Supervisor`."""

    @property
    def sessions(self) -> int: ...
    @property
    def users(self) -> int: ...
    @property
    def digests(self) -> Mapping[int, int]: ...
    @property
    def loads(self) -> Mapping[int, Load]: ...
    def set_users(self, changed: ShardUsers) -> None: ...
    def forget(self, shards: Iterable[int]) -> None: ...
    def reconcile(self) -> None: ...
    async def end_shards(self, shards: Iterable[int]) -> None: ...


async def hand_over(
    pool: Pool,
    idler: int,
    moves: Iterable[Move],
    sessions: ShardSessions,
    *,
    expiry: float,
    may_release: bool,
) -> AsyncIterator[list[int]]:
    """End the sessions of these shards, then change their owners; yields shards that have moved.

    The receiver has to be alive, with a heartbeat no older than `expiry` seconds, and to have room, which is
    reserved first. A shard without such a receiver stays, or becomes free
    with `may_release`.
    """
    outgoing: list[tuple[int | None, list[int]]] = []
    for (target, max_users, max_shards), group in groupby(sorted(moves, key=_receiver_of), key=_receiver_of):
        batch = list(group)
        has_room = target != balance.NO_IDLER and await cluster.reserve_capacity(
            pool,
            target,
            users=sum(move.users for move in batch),
            shards=len(batch),
            max_users=max_users,
            max_shards=max_shards,
            expiry=expiry,
        )
        if has_room or may_release:
            outgoing.append((target if has_room else None, [move.shard for move in batch]))
    await _end_sessions(pool, idler, [shard for _, shards in outgoing for shard in shards], sessions)
    for receiver, shards in outgoing:
        if receiver is None:
            await cluster.release_shards(pool, idler, shards)
        else:
            await cluster.hand_over_shards(pool, idler, receiver, shards)
        metrics.SHARD_MOVES.labels("returned" if receiver is None else "handed_over").inc(len(shards))
        yield shards


async def _end_sessions(pool: Pool, idler: int, shards: list[int], sessions: ShardSessions) -> None:
    """End the sessions of these shards; before that, their users count as watched no longer."""
    loads = sessions.loads
    if watched := [shard for shard in shards if shard in loads and loads[shard].sessions]:
        await cluster.begin_hand_over(pool, idler, watched)
    await sessions.end_shards(shards)


def _receiver_of(move: Move) -> tuple[int, int, int]:
    return move.target, move.max_users, move.max_shards


def first_slice(moves: Iterable[Move], sessions: float) -> list[Move]:
    """Return the first of `moves`, up to `sessions` sessions and MAX_SLICE_SHARDS shards; one at least.

    Users without a session wait for one wherever they are, so any number of them may go at once.
    """
    found: list[Move] = []
    room = sessions
    for move in moves:
        if found and ((move.sessions and move.sessions > room) or len(found) >= MAX_SLICE_SHARDS):
            break
        found.append(move)
        room -= move.sessions
    return found
