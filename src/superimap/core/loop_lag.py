"""Delay of the event loop: how late a timer runs, which is how long everything else in the process waits."""

import asyncio

from superimap.core import metrics

TICK_SECONDS = 0.5
WINDOW_SECONDS = 15.0
"""Usual interval of scrapes. The largest delay of this window and the last is shown, so no scrape misses it."""


class LoopLag:
    """The largest delay of the current window of WINDOW_SECONDS and of the window before."""

    def __init__(self, *, began: float) -> None:
        self._window_began = began
        self._last = 0.0
        self._current = 0.0

    def record(self, delay: float, *, now: float) -> None:
        """Record a delay in seconds, seen at the time `now` of the loop."""
        if now >= self._window_began + WINDOW_SECONDS:
            self._last, self._current, self._window_began = self._current, 0.0, now
        self._current = max(self._current, delay, 0.0)

    @property
    def seconds(self) -> float:
        """The largest delay that is remembered."""
        return max(self._last, self._current)


async def measure_loop_lag() -> None:
    """Set `superimap_loop_lag_seconds` until cancelled."""
    loop = asyncio.get_running_loop()
    lag = LoopLag(began=loop.time())
    while True:
        due = loop.time() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        now = loop.time()
        lag.record(now - due, now=now)
        metrics.LOOP_LAG_SECONDS.set(lag.seconds)
