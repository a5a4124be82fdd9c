"""How are rows named that are made outside the database? UUIDs that grow with time."""

import os
import time
from uuid import UUID


def time_ordered() -> UUID:
    """A UUID version 7 (RFC 9562 section 5.7): milliseconds, then 74 random bits.

    Rows made together lie together in the index.
    """
    milliseconds = time.time_ns() // 1_000_000
    drawn = int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | drawn
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)
