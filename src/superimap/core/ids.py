"""How are rows named that are made outside the database? UUIDs that grow with time."""

import os
import time
from datetime import datetime
from uuid import UUID


def uuid7() -> UUID:
    """A UUID version 7 (RFC 9562 section 5.7): milliseconds, then 74 random bits.

    Rows made together lie together in the index.
    """
    milliseconds = time.time_ns() // 1_000_000
    drawn = int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | drawn
    return _version_7(value)


def min_uuid7(when: datetime) -> UUID:
    """The least UUID that `time_ordered` could make at that moment: what was made before it sorts below."""
    return _version_7(max(int(when.timestamp() * 1000), 0) << 80)


def _version_7(value: int) -> UUID:
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)
