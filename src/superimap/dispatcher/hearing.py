"""Supervision of doorbells from end to end: whether the wake-ups that this process sends are taken."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

from superimap.core import metrics
from superimap.core.health import Readiness
from superimap.doorbells.redis import EndpointDoorbell

log = logging.getLogger(__name__)

CYCLE_SWEEPS = 6
PROBED_SWEEPS = 2
"""So many sweeps of each cycle send a probe: the second one looks at the probe of the first.

While the last probe or one of the recent ones was not taken, each sweep sends one.
"""
REPORTED_AFTER_PROBES = 2
"""Probes in a row that are not taken until this is reported. Lanes start here after the first."""
RECENT_PROBES = 10
REPORTED_MISSES = 3
"""As many of the recent probes are reported, too: a consumer that competes for jobs takes only some."""
DEAD_AFTER_PROBES = 3
"""Probes in a row that are not taken until one that a dead process may have taken is replaced."""
SUBJECT = "doorbells"


class DoorbellHearing:
    """Sends probes through the queue, and remembers the endpoints that the last sweep rang.

    A probe is a doorbell of no endpoint. Whichever dispatcher takes it raises its generation, so that a later
    sweep sees whether any did. This covers a worker that is dead or refused, and a consumer that takes jobs and
    does nothing. If such a consumer takes only some, an endpoint that is still overdue after a ring shows it.
    """

    def __init__(self, doorbell: EndpointDoorbell, health: Readiness) -> None:
        self._doorbell = doorbell
        self._health = health
        self._generation: int | None = None
        self._sweeps = 0
        self._is_taken = False
        self._missed = 0
        self._recent: deque[bool] = deque(maxlen=RECENT_PROBES)
        self._rung: frozenset[int] = frozenset()

    async def probe(self, *, is_busy: bool) -> None:
        """If this sweep has a probe, look whether the last one was taken, and send the next one.

        While this dispatcher `is_busy`, with all its lanes, a probe may wait like any other doorbell.
        """
        place, self._sweeps = self._sweeps % CYCLE_SWEEPS, self._sweeps + 1
        if place >= PROBED_SWEEPS and self._is_taken and not any(self._recent):
            return
        generation = await self._doorbell.probe(replaces_dead=self._missed >= DEAD_AFTER_PROBES)
        self._is_taken = generation is not None and generation != self._generation
        if self._missed >= DEAD_AFTER_PROBES and generation is not None:
            self._is_taken = generation - 1 != self._generation  # this process has raised it by one
        is_missed = not (self._is_taken or is_busy)
        self._missed = self._missed + 1 if is_missed else 0
        self._recent.append(is_missed)
        self._generation = generation
        self._report()

    def is_unheard(self, endpoint_id: int) -> bool:
        """Whether a ring of this endpoint is, or was at the last sweep, of no effect."""
        return self._missed > 0 or endpoint_id in self._rung

    def record_rings(self, endpoint_ids: Iterable[int]) -> None:
        """Remember the endpoints that this sweep has rung."""
        self._rung = frozenset(endpoint_ids)

    def clear(self) -> None:
        """Forget everything: another dispatcher sweeps from now on."""
        self._generation, self._sweeps, self._missed, self._rung = None, 0, 0, frozenset()
        self._recent.clear()
        self._report()

    def _report(self) -> None:
        missed = sum(self._recent)
        is_unheard = self._missed >= REPORTED_AFTER_PROBES or missed >= REPORTED_MISSES
        was_unheard = SUBJECT in self._health.notes
        metrics.DOORBELLS_UNHEARD.set(is_unheard)
        if is_unheard:
            text = (
                f"dispatchers did not take {missed} of the last {len(self._recent)} wake-ups from Redis; "
                "the dispatcher that sweeps starts lanes itself"
            )
            if not was_unheard:
                log.warning("doorbells are not heard; the sweeper starts lanes in this process")
            self._health.set_note(SUBJECT, text)
        elif was_unheard:
            log.info("doorbells are heard again")
            self._health.set_note(SUBJECT, None)
