"""Ids that processes create themselves: UUIDs version 7, which increase with time."""

import os
import time
from datetime import UTC, datetime
from uuid import UUID

_MAX_MILLISECONDS = int(datetime.max.replace(tzinfo=UTC).timestamp()) * 1000


def uuid7() -> UUID:
    """Create a UUID version 7 (RFC 9562 section 5.7): milliseconds, then 74 random bits.

    Rows that are created together are neighbours in the index.
    """
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | random_bits
    return _version_7(value)


def derived_uuid7(when: datetime, order: int, digest: bytes) -> UUID:
    """Create the UUID version 7 that belongs to `digest` (10 bytes or more) at the second `when`.

    The same arguments always give the same UUID. `order` sorts the UUIDs of one second, up to 1,000 of them.
    """
    milliseconds = int(when.timestamp()) * 1000 + order % 1000
    return _version_7((milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(digest[:10]))


def min_uuid7(when: datetime) -> UUID:
    """Return the least UUID that `uuid7` can create at that moment. All earlier ones are less."""
    return _version_7(max(int(when.timestamp() * 1000), 0) << 80)


def time_of(id_: UUID) -> datetime | None:
    """Return the moment by which a UUID version 7 is sorted, to the millisecond; None for any other UUID."""
    milliseconds = id_.int >> 80
    if id_.version != 7 or milliseconds > _MAX_MILLISECONDS:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _version_7(value: int) -> UUID:
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)
