"""Mails at a steady pace, spread over all users: CPU time per mail, latency, and memory of each service."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks import processes
from benchmarks.processes import CpuMeter

SAMPLE_SECONDS = 30
"""Time between two samples of memory."""
SETTLING_SHARE = 1 / 6
"""Share of the samples before memory counts as settled: ten minutes of an hour."""


class Send(Protocol):
    """Sends mails, and waits for their webhooks; returns the times at which both arrived."""

    def __call__(self, count: int, *, users: int, rate: float) -> Awaitable[list[tuple[float, float]]]: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """A stream of `rate` mails a second, to `users` in turn."""

    send: Send
    services: CpuMeter
    users: int
    rate: float

    async def measure(self, seconds: int) -> dict[str, Any]:
        """Keep the pace for this time; returns the figures."""
        before, memory = await self.services.cpu(), [self.services.pss_kib()]
        waits: list[float] = []
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            count = max(1, round(min(SAMPLE_SECONDS, left) * self.rate))
            times = await self.send(count, users=self.users, rate=self.rate)
            waits += [(came - sent) * 1000 for sent, came in times]
            memory.append(self.services.pss_kib())
        spent = await self.services.cpu()
        waits.sort()
        per_mail = {name: round((spent[name] - before[name]) * 1000 / len(waits), 2) for name in before}
        return {
            "paced": len(waits),
            "paced_per_s": self.rate,
            "paced_p50_ms": round(waits[len(waits) // 2], 1),
            "paced_p95_ms": round(waits[int(len(waits) * 0.95)], 1),
            "cpu_ms_per_paced": round(sum(per_mail[name] for name in processes.WORKERS), 2),
            "cpu_ms_per_paced_by_process": per_mail,
            "pss_mib": {name: [round(each[name] / 1024, 1) for each in memory] for name in memory[0]},
            "pss_growth_mib": {name: _growth_mib(memory, name) for name in memory[0]},
        }


def _growth_mib(memory: list[dict[str, int]], name: str) -> float:
    """Growth from the sample at which memory counts as settled to the last one."""
    settled = memory[min(len(memory) - 1, round(len(memory) * SETTLING_SHARE))]
    return round((memory[-1][name] - settled[name]) / 1024, 1)
