"""How much of the event loop's time may what one peer says take?

A peer may flood us with bytes, or with things to do, as short lines are. When it has had more than its share it
is not read until that has evened out, and TCP makes it wait. Pure.
"""

MAX_READ_BYTES = 16 * 1024
"""Bytes that are received at once: the most that a TLS record holds (RFC 8446 section 5.1)."""
_SHARE = 0.1  # of the event loop's time; at 16 KiB in 25 us that is some 60 MB/s
_AT_ONCE = 0.0025  # seconds of rest that may be owed before it is taken
_LONGEST = 0.1  # seconds of rest: a process that was stopped, or swapped out, was not the peer's doing
_LONG = 0.00025  # seconds that one read may hold the event loop, else the next takes half as much
_SIP = 1024


def after_read(owed_until: float, size: int, *, began: float, now: float) -> tuple[float, int]:
    """After a read of at most `size` bytes was handled from `began` to `now`: the new `owed_until` and size.

    Times are of the event loop, in seconds. At `owed_until` all that the peer took will be no more than its share.
    """
    took = now - began
    if took > _LONG:
        size = max(size // 2, _SIP)
    elif size < MAX_READ_BYTES and took < _LONG / 4:
        size *= 2
    return min(max(owed_until, began) + took / _SHARE, now + _LONGEST), size


def must_rest(owed_until: float, now: float) -> bool:
    """It has had so much more than its share that it is not to be read until `owed_until`."""
    return owed_until - now >= _AT_ONCE
