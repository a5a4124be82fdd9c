"""The capacity plan for any demand: it grows with the demand, and is finite."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from superimap.cli.plan_lines import lines
from superimap.domain.bottlenecks import bottlenecks, cells
from superimap.domain.capacity import compute
from superimap.domain.coefficients import MEANINGS, read_coefficients
from superimap.domain.demand import RANGES, Demand, PlanError

GROWING = ("mailboxes", "mails_per_day", "mail_kib", "peak_factor", "retention_days")
"""Fields with which no need shrinks."""

costs = st.fixed_dictionaries(
    {name: st.floats(0, 500) for name in MEANINGS} | {"idler_base_cpu_ms_per_s": st.floats(0, 500)}
).map(read_coefficients)


def whole(name: str) -> st.SearchStrategy[int]:
    least, most = RANGES[name]
    return st.integers(int(least), int(most))


demands = st.builds(
    Demand,
    **{name: whole(name) for name, (least, _) in RANGES.items() if isinstance(least, int)},
    mail_kib=st.floats(*RANGES["mail_kib"]),
    logins_per_second=st.floats(*RANGES["logins_per_second"]),
)


@given(demands, costs)
def test_every_figure_is_finite_and_not_negative_or_an_option_is_named(demand, known):
    try:
        found = compute(demand, known)
    except PlanError as error:
        assert str(error).startswith("--")
        return

    values = [line.value for line in lines(found)] + [each.use for each in bottlenecks(found)]
    assert all(math.isfinite(value) and value >= 0 for value in values)
    assert min(found.idlers, found.dispatchers, found.apis, cells(found)) >= 1
    assert found.idlers_left * found.shards_per_idler >= 4096
    assert found.shards_per_idler * demand.mailboxes <= 4096 * demand.max_sessions


@given(demands, costs, st.sampled_from(GROWING), st.integers(1, 1000))
def test_more_of_anything_never_needs_less(demand, known, name, factor):
    value = min(getattr(demand, name) * factor, RANGES[name][1])
    try:
        before = compute(demand, known)
        after = compute(replace(demand, **{name: value}), known)
    except PlanError:
        return

    needs = {line.key: line.value for line in lines(before) if line.key != "logins_per_s"}
    more = {line.key: line.value for line in lines(after)}
    assert {key for key, amount in needs.items() if more[key] < amount * (1 - 1e-9)} == set()


@given(demands, costs, st.integers(2, 100))
def test_larger_idlers_are_never_more(demand, known, factor):
    try:
        before = compute(demand, known)
        after = compute(replace(demand, max_sessions=min(1_000_000, demand.max_sessions * factor)), known)
    except PlanError:
        return

    assert after.idlers <= before.idlers
