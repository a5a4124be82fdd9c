"""Plan of a stress test: its size, its limits, and everything that happens, drawn from one seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

RECEIVERS = (*("prompt",) * 7, "slow", "failing", "resetting")
"""Receiver of each partner; the users belong to the partners in turn."""

PARTNER_COUNT = len(RECEIVERS)
QUIET_START_SECONDS = 10.0
"""Time at the start, and before the last mail, in which no process is killed."""

OUTAGE_SECONDS = 8.0
"""Length of an outage of the failing receiver."""

OUTAGE_INTERVAL_SECONDS = 60.0
RESET_SHARE = 0.03
"""Share of the POSTs that the resetting receiver ends by RST."""

KILL_INTERVAL_SECONDS = 45.0
FREEZE_INTERVAL_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class StressLimits:
    """What a run must keep to pass; times in seconds."""

    latency: float = 2.0
    """Latency at the 99th percentile, outside the windows of faults."""
    settled: float = 120.0
    """Time after the last mail in which everything must be settled."""
    recovery: float = 60.0
    """Time after a killed process until mail is as fast as before."""
    mailbox_recovery: float = 180.0
    """Time after a fault of the mail server until the mailbox is watched again: a lost answer costs a minute."""
    memory_slope: float = 0.1
    """Growth of a process's memory in MiB a minute."""
    descriptors: int = 10
    """Open descriptors, or tasks, by which a process may differ from its start, in the mean of its kind.

    An idler has seven more for five minutes after a burst of statements: connections of its pool.
    """
    cpu_growth: float = 0.2
    """Growth of the CPU time of a kind of process, as a share of its median."""
    late_share: float = 0.01
    """Share of the mails that the generator may put into mailboxes more than `lag` late."""
    lag: float = 0.1


class PlannedFault(NamedTuple):
    """A fault of a process or of a receiver from `start` to `end`, in seconds after the start."""

    kind: str
    target: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class StressPlan:
    """The size of a stress test. Times in seconds."""

    seconds: float = 60.0
    emails_per_minute: float = 500.0
    users: int = 1000
    idlers: int = 3
    dispatchers: int = 2
    has_chaos: bool = True
    has_kills: bool = False
    has_freezes: bool = False
    freeze_seconds: float = 38.0
    """Time for which an idler is frozen: longer than its lease (HEARTBEAT_EXPIRY)."""
    restart_every: float = 0.0
    """Interval of a rolling restart of `restarted_names`; 0 restarts none."""
    seed: int = 1
    faults: tuple[PlannedFault, ...] | None = None
    """Faults of processes and receivers in the place of those that are drawn."""
    limits: StressLimits = field(default_factory=StressLimits)

    def random(self, purpose: str) -> random.Random:
        """Return the source of random numbers for one purpose."""
        return random.Random(f"{self.seed}/{purpose}")  # noqa: S311 - must be repeatable

    @property
    def process_names(self) -> tuple[str, ...]:
        """The names of idlers and dispatchers: idler1, idler2 and so on."""
        idlers = [f"idler{number + 1}" for number in range(self.idlers)]
        return (*idlers, *(f"dispatcher{number + 1}" for number in range(self.dispatchers)))

    @property
    def restarted_names(self) -> tuple[str, ...]:
        """The processes of a rolling restart: all but the first of each kind, which show memory in a long life."""
        lasting = {
            f"{kind}1"
            for kind, count in (("idler", self.idlers), ("dispatcher", self.dispatchers))
            if count > 1
        }
        return tuple(name for name in self.process_names if name not in lasting)


QUEUE_TARGET = "valkey"
"""Target of a fault that erases all wake-ups."""


class ScheduledMail(NamedTuple):
    """A mail that becomes due `at` seconds after the start."""

    at: float
    user: int
    number: int


def schedule_mails(plan: StressPlan) -> Iterator[ScheduledMail]:
    """Yield the mails in the order of their times, which are independent of each other (a Poisson process).

    The original rolled a die for each mailbox and second, which is the same rate.
    """
    chance, at = plan.random("mails"), 0.0
    rate = plan.emails_per_minute / 60
    number = 0
    while rate > 0 and (at := at + chance.expovariate(rate)) < plan.seconds:
        yield ScheduledMail(at, chance.randrange(plan.users), number)
        number += 1


def plan_faults(plan: StressPlan) -> list[PlannedFault]:
    """Return the faults of processes and receivers, in the order of their starts."""
    if plan.faults is not None:
        return sorted(plan.faults, key=lambda fault: (fault.start, fault.target))
    faults = _outages(plan) if plan.has_chaos else []
    if plan.has_kills:
        faults += _kills(plan)
    if plan.has_freezes:
        faults += _freezes(plan)
    if plan.restart_every > 0:
        faults += _rolling_restarts(plan)
    return sorted(faults, key=lambda fault: (fault.start, fault.target))


def _outages(plan: StressPlan) -> list[PlannedFault]:
    chance = plan.random("outages")
    starts = _moments(plan, OUTAGE_INTERVAL_SECONDS, chance, tail=OUTAGE_SECONDS)
    return [PlannedFault("outage", "failing", start, start + OUTAGE_SECONDS) for start in starts]


def _kills(plan: StressPlan) -> list[PlannedFault]:
    """Idlers and dispatchers in turn, so that a short run has both; which of them is drawn."""
    chance = plan.random("kills")
    kinds = ("idler", plan.idlers), ("dispatcher", plan.dispatchers)
    faults = []
    for number, start in enumerate(_moments(plan, KILL_INTERVAL_SECONDS, chance, least=len(kinds))):
        kind, count = kinds[number % 2]
        faults.append(PlannedFault("kill", f"{kind}{chance.randint(1, count)}", start, start))
    return faults


def _freezes(plan: StressPlan) -> list[PlannedFault]:
    chance, seconds = plan.random("freezes"), plan.freeze_seconds
    return [
        PlannedFault("freeze", f"idler{chance.randint(1, plan.idlers)}", start, start + seconds)
        for start in _moments(plan, FREEZE_INTERVAL_SECONDS, chance, tail=seconds)
    ]


def _rolling_restarts(plan: StressPlan) -> list[PlannedFault]:
    """One process after the other within half of the interval, the same ones in each interval."""
    names = plan.restarted_names
    step = plan.restart_every / 2 / len(names)
    rounds = int((plan.seconds - QUIET_START_SECONDS) // plan.restart_every)
    starts = [
        (plan.restart_every * (number + 1) - plan.restart_every / 2 + step * place, name)
        for number in range(rounds)
        for place, name in enumerate(names)
    ]
    return [PlannedFault("restart", name, start, start) for start, name in starts]


def _moments(
    plan: StressPlan, interval: float, chance: random.Random, *, tail: float = 0.0, least: int = 1
) -> list[float]:
    """Return one moment in each interval, outside the quiet time at both ends; at least `least` of them."""
    first, last = QUIET_START_SECONDS, plan.seconds - QUIET_START_SECONDS - tail
    if last <= first:
        return []
    count = max(int((last - first) // interval), least)
    width = (last - first) / count
    # The middle half of each interval, so that one fault is over before the next one begins.
    return [first + width * (number + chance.uniform(0.25, 0.75)) for number in range(count)]
