"""Weighted rendezvous hashing of shards: every idler computes the same owner without communication."""

import hashlib
import math
import struct
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

from superimap.domain.shards import SHARD_COUNT

_LOGARITHMS = [math.log((rank + 0.5) / SHARD_COUNT) for rank in range(SHARD_COUNT)]
MAX_KNOWN_MEMBERS = SHARD_COUNT
"""Members whose ranks are kept, 8 KiB each. With fewer than there are, each would be computed in each round."""


class Weighted(Protocol):
    """A member that can own shards."""

    @property
    def id(self) -> int: ...
    @property
    def capacity(self) -> int: ...


@lru_cache(maxsize=MAX_KNOWN_MEMBERS)
def ranks(member: int) -> "array[int]":
    """Return the rank of each shard for a member; it depends on nothing else, so that all versions agree.

    The draws of a member are stratified: it draws each 4,096th of (0, 1) once, in an order that a hash of its id
    gives. So no member is lucky everywhere, and shares spread a third less than with independent draws. This takes
    a millisecond, once for each member.
    """
    drawn = struct.unpack(f"<{SHARD_COUNT}H", hashlib.shake_128(str(member).encode()).digest(2 * SHARD_COUNT))
    return array("H", sorted(range(SHARD_COUNT), key=drawn.__getitem__))  # its inverse is as random


def scores(member: int, capacity: int) -> Sequence[float]:
    """Return a member's score for each shard; the member with the highest score should own the shard.

    The score is ln(u) / w, with u uniform in (0, 1) and w the capacity (weighted rendezvous hashing, Schindler and
    Schomaker, 2005). A member that joins takes only its share; one that leaves gives only its own shards.
    """
    return [_LOGARITHMS[rank] / capacity for rank in ranks(member)]


def owners_of(shards: Iterable[int], members: Iterable[Weighted]) -> dict[int, int]:
    """Return the id of the member that should own each of these shards; empty if there is no member."""
    ranked = sorted(members, key=lambda member: member.id)
    tables = [(ranks(member.id), member.capacity) for member in ranked]
    are_equal = len({capacity for _, capacity in tables}) == 1
    found = {}
    for shard in shards if ranked else ():
        # Among equal members the highest rank has the highest score.
        column: list[float] = (
            [table[shard] for table, _ in tables]
            if are_equal
            else [_LOGARITHMS[table[shard]] / capacity for table, capacity in tables]
        )
        found[shard] = ranked[column.index(max(column))].id
    return found


def owner_of(shard: int, members: Iterable[Weighted]) -> int | None:
    """Return the id of the member that should own `shard`; None if there is no member."""
    return owners_of([shard], members).get(shard)
