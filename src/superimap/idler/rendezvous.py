"""Whose should a shard be? Every idler computes the same answer, and nobody is asked."""

import hashlib
import math
from collections.abc import Sequence
from typing import Protocol


class Weighted(Protocol):
    """Somebody who can own shards."""

    @property
    def id(self) -> int: ...
    @property
    def capacity(self) -> int: ...


def choose(shard: int, members: Sequence[Weighted]) -> int | None:
    """The id of the member that should own `shard`: highest weighted score; None if there is no member.

    Weighted rendezvous hashing (Schindler and Schomaker, 2005): each member scores -w / ln(u) with u
    uniform from a hash of both names. One that joins takes only its share; one that leaves gives only its own.
    """
    best: tuple[float, int] | None = None
    for member in members:
        score = (_score(shard, member.id, member.capacity), member.id)
        if best is None or score > best:
            best = score
    return best[1] if best else None


def share(member: int, members: Sequence[Weighted], shards: int) -> frozenset[int]:
    """All shards that should be `member`'s."""
    return frozenset(shard for shard in range(shards) if choose(shard, members) == member)


def _score(shard: int, member: int, weight: int) -> float:
    drawn = hashlib.blake2b(f"{shard} {member}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(drawn) + 0.5) / 2.0**64
    return -weight / math.log(uniform)
