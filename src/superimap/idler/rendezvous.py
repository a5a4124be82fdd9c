"""Weighted rendezvous hashing of shards: every idler computes the same owner without communication."""

import hashlib
import math
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

from superimap.domain.shards import SHARD_COUNT

_LOGARITHMS = [math.log((rank + 0.5) / SHARD_COUNT) for rank in range(SHARD_COUNT)]


class Weighted(Protocol):
    """A member that can own shards."""

    @property
    def id(self) -> int: ...
    @property
    def capacity(self) -> int: ...


@lru_cache(maxsize=1024)
def scores(member: int, capacity: int) -> Sequence[float]:
    """Return a member's score for each shard; the member with the highest score should own the shard.

    The score is ln(u) / w, with u uniform in (0, 1) from a hash of both names and w the capacity (weighted
    rendezvous hashing, Schindler and Schomaker, 2005). A member that joins takes only its share; one that leaves
    gives only its own shards. The draws of a member are stratified: it draws each 4,096th of (0, 1) once, in an
    order that the hash gives. So no member is lucky everywhere, and shares spread a third less than with
    independent draws. This takes a millisecond, once for each member.
    """
    drawn = struct.unpack(f"<{SHARD_COUNT}H", hashlib.shake_128(str(member).encode()).digest(2 * SHARD_COUNT))
    order = sorted(range(SHARD_COUNT), key=drawn.__getitem__)
    return [_LOGARITHMS[rank] / capacity for rank in order]  # its inverse is as random


def owners_of(shards: Iterable[int], members: Iterable[Weighted]) -> dict[int, int]:
    """Return the id of the member that should own each of these shards; empty if there is no member."""
    ranked = sorted(members, key=lambda member: member.id)
    tables = [scores(member.id, member.capacity) for member in ranked]
    found = {}
    for shard in shards if ranked else ():
        column = [table[shard] for table in tables]
        found[shard] = ranked[column.index(max(column))].id
    return found


def owner_of(shard: int, members: Iterable[Weighted]) -> int | None:
    """Return the id of the member that should own `shard`; None if there is no member."""
    return owners_of([shard], members).get(shard)
