"""The check of memory of the stress test: growth of long lives, without that of a warm-up."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from superimap.launch.stress.plan import StressLimits, StressPlan, plan_faults
from superimap.launch.stress.records import ProcessSample
from superimap.launch.stress.resources import judge_resources
from superimap.launch.stress.verdict import CheckState

HOUR_SECONDS = 3600
LIFE_SECONDS = 600
WARM_UP_MIB, WARM_UP_SECONDS = 6.0, 150.0
Growth = Callable[[float], float]


def warming(at: float) -> float:
    """Memory in MiB of a process whose caches fill within some minutes."""
    return 70 - WARM_UP_MIB * math.exp(-at / WARM_UP_SECONDS)


def leaking(at: float) -> float:
    """The same with a leak of 0.06 MiB a minute."""
    return warming(at) + 0.06 * at / 60


def state_of_memory(lasting: Growth, restarted: Growth) -> CheckState:
    """Judge an hour with one process that lasts, and one that is restarted every ten minutes."""
    plan = StressPlan(
        seconds=HOUR_SECONDS, restart_every=LIFE_SECONDS, limits=StressLimits(memory_slope=0.05)
    )
    samples = [
        ProcessSample(at, name, 1 + at // length, growth(at % length), 20, at / 50)
        for name, length, growth in (
            ("dispatcher1", HOUR_SECONDS, lasting),
            ("dispatcher2", LIFE_SECONDS, restarted),
        )
        for at in range(0, HOUR_SECONDS, 2)
    ]
    (check,) = [
        each for each in judge_resources(plan, samples, [], 0) if each.name == "memory of dispatchers"
    ]
    return check.state


@pytest.mark.parametrize(
    ("lasting", "restarted", "state"),
    [
        (warming, warming, CheckState.PASSED),
        (leaking, warming, CheckState.FAILED),
    ],
)
def test_a_warm_up_is_no_growth_and_a_slow_leak_is(lasting, restarted, state):
    assert state_of_memory(lasting, restarted) is state


def test_a_rolling_restart_leaves_one_process_of_each_kind_alone():
    plan = StressPlan(seconds=1800, restart_every=600, has_chaos=False)
    assert {fault.target for fault in plan_faults(plan)} == {"idler2", "idler3", "dispatcher2"}

    alone = StressPlan(seconds=1800, restart_every=600, has_chaos=False, idlers=1, dispatchers=1)
    assert {fault.target for fault in plan_faults(alone)} == {"idler1", "dispatcher1"}
