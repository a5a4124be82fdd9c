"""Read budget: the share of the event loop's time that handling one peer's bytes may take.

A peer can flood a session with bytes, or with short lines that are costly to handle. A peer that exceeds its
share is not read until the excess has evened out; meanwhile TCP flow control holds it back. Pure functions.
"""

MAX_READ_BYTES = 16 * 1024
"""Bytes received at once: the largest TLS record (RFC 8446 section 5.1)."""
_LOOP_SHARE = 0.1  # of the event loop's time; at 16 KiB in 25 us that is about 60 MB/s
_MIN_PAUSE_SECONDS = 0.0025  # a shorter pause is not taken yet
_MAX_PAUSE_SECONDS = 0.1  # time in which the process was stopped or swapped out is not the peer's fault
_SLOW_READ_SECONDS = 0.00025  # a read that holds the event loop for longer halves the size of the next one
_MIN_READ_BYTES = 1024


def charge_read(paused_until: float, size: int, *, began: float, now: float) -> tuple[float, int]:
    """Charge a peer for one read of at most `size` bytes; return its new `paused_until` and read size.

    The read was handled from `began` to `now`. Times are the event loop's, in seconds. At `paused_until` the time
    that the peer has used is down to its share.
    """
    took = now - began
    if took > _SLOW_READ_SECONDS:
        size = max(size // 2, _MIN_READ_BYTES)
    elif size < MAX_READ_BYTES and took < _SLOW_READ_SECONDS / 4:
        size *= 2
    return min(max(paused_until, began) + took / _LOOP_SHARE, now + _MAX_PAUSE_SECONDS), size


def must_pause(paused_until: float, now: float) -> bool:
    """Whether the peer is so far over its share that it is not read until `paused_until`."""
    return paused_until - now >= _MIN_PAUSE_SECONDS
