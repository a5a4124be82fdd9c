"""Pace of the looks at one endpoint: a lone ring is answered at once, rings of a burst together."""

from __future__ import annotations

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.05
_MAX_ENDPOINTS = 10_000


class RingPace:
    """When each endpoint was looked at last, and the pause after it, which grows while rings keep coming."""

    def __init__(self) -> None:
        self._looks: dict[int, tuple[float, float]] = {}

    def next_pause(self, endpoint_id: int, now: float) -> float:
        """Return the seconds to wait before the look for a ring that arrived `now`, and count that look."""
        if len(self._looks) >= _MAX_ENDPOINTS:
            self._looks.clear()
        last, pause = self._looks.get(endpoint_id, (now, 0.0))
        if self.is_lone(endpoint_id, now):
            self._looks[endpoint_id] = now, FIRST_PAUSE_SECONDS
            return 0.0
        look = max(now, last + pause)
        self._looks[endpoint_id] = look, min(2 * pause, LONGEST_PAUSE_SECONDS)
        return look - now

    def is_lone(self, endpoint_id: int, now: float) -> bool:
        """Whether a ring that arrived `now` is to be answered at once."""
        last, pause = self._looks.get(endpoint_id, (now, 0.0))
        return now - last >= 2 * pause
