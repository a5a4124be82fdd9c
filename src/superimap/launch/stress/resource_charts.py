"""Charts of the processes of a stress test: memory, descriptors and CPU, a chart for each kind of process."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from superimap.charts import axes
from superimap.charts.drawing import Chart
from superimap.charts.plot import Dash, Line, plot
from superimap.launch.stress.mail_charts import fault_spans, run_axis, table_moments
from superimap.launch.stress.plan import StressPlan
from superimap.launch.stress.records import ProcessSample, RunRecord
from superimap.launch.stress.resources import SLOPE_UNITS, ProcessLife, cpu_usage, judged_parts

DASHES = (Dash.SOLID, Dash.DASHED, Dash.DOTTED)
CPU_AVERAGED_SAMPLES = 5
Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class ResourceChart:
    """A chart with its title."""

    title: str
    chart: Chart


@dataclass(frozen=True, slots=True)
class _Quantity:
    """What is drawn of a life, and the limit that the verdict uses for it."""

    title: str
    points: Callable[[ProcessLife], Points]
    limit: Callable[[StressPlan, ProcessLife], Points]
    show: Callable[[float], str]


def resource_charts(plan: StressPlan, seen: RunRecord) -> list[ResourceChart]:
    """Return the charts, by quantity and then by kind of process."""
    kinds: defaultdict[str, dict[tuple[str, int], list[ProcessSample]]] = defaultdict(dict)
    for sample in seen.samples:
        kinds[sample.kind].setdefault((sample.process, sample.life), []).append(sample)
    return [
        ResourceChart(f"{quantity.title}: {kind}s", _draw(plan, seen, quantity, lives))
        for quantity in _QUANTITIES
        for kind, lives in sorted(kinds.items(), key=lambda each: each[0] != "idler")
    ]


def _draw(
    plan: StressPlan,
    seen: RunRecord,
    quantity: _Quantity,
    lives: dict[tuple[str, int], list[ProcessSample]],
) -> Chart:
    names = sorted({process for process, _ in lives})
    by_process: dict[str, Points] = {name: [] for name in names}
    limits: Points = []
    for (process, _), life in sorted(lives.items()):
        by_process[process] += quantity.points(life)
        limits = max(
            limits, quantity.limit(plan, life), key=lambda points: max((y for _, y in points), default=0)
        )
    lines = [
        Line(name, points, "main", DASHES[place % len(DASHES)])
        for place, (name, points) in enumerate(by_process.items())
    ]
    if limits:
        lines.append(Line("limit", limits, "bad", Dash.CHAINED))
    x = run_axis(seen)
    top = max((value for line in lines for _, value in line.points), default=0.0)
    rows = [
        (x.show(at), *(quantity.show(_nearest(points, at)) for points in by_process.values()))
        for at in table_moments(x)
    ]
    return plot(
        x,
        axes.linear(top, show=quantity.show),
        label=f"{quantity.title} over time",
        lines=lines,
        spans=fault_spans(seen),
        headings=("Time", *names),
        rows=rows,
    )


def _nearest(points: Points, at: float) -> float:
    return min(points, key=lambda point: abs(point[0] - at), default=(0.0, 0.0))[1]


def _memory(life: ProcessLife) -> Points:
    return [(each.at, each.resident_mib) for each in life]


def _memory_limit(plan: StressPlan, life: ProcessLife) -> Points:
    """The growth that is allowed from the beginning of the judged part."""
    parts = judged_parts(life)
    if not parts:
        return []
    judged = parts[-1]
    first, last = judged[0], judged[-1]
    base = statistics.median(each.resident_mib for each in judged[: max(len(judged) // 10, 1)])
    growth = plan.limits.memory_slope * (last.at - first.at) / SLOPE_UNITS
    return [(first.at, base), (last.at, base + growth)]


def _descriptors(life: ProcessLife) -> Points:
    return [(each.at, float(each.descriptors)) for each in life]


def _descriptor_limit(plan: StressPlan, life: ProcessLife) -> Points:
    if life[0].life > 1:
        return []
    top = statistics.median(each.descriptors for each in life) + plan.limits.descriptors
    return [(life[0].at, top), (life[-1].at, top)]


def _cpu(life: ProcessLife) -> Points:
    """The moving average, because a sample of two seconds shows each burst."""
    usage = cpu_usage(life)
    return [
        (
            usage[place][0],
            statistics.fmean(share for _, share in usage[max(0, place - CPU_AVERAGED_SAMPLES) : place + 1]),
        )
        for place in range(len(usage))
    ]


def _cpu_limit(plan: StressPlan, life: ProcessLife) -> Points:
    judged = max(judged_parts(life), key=len, default=[])
    usage = cpu_usage(judged)
    if not usage:
        return []
    top = statistics.median(share for _, share in usage) * (1 + plan.limits.cpu_growth)
    return [(judged[0].at, top), (judged[-1].at, top)]


_QUANTITIES = (
    _Quantity("Memory in MiB", _memory, _memory_limit, lambda value: f"{value:.0f}"),
    _Quantity("Descriptors", _descriptors, _descriptor_limit, lambda value: f"{value:.0f}"),
    _Quantity("CPU in % of a core", _cpu, _cpu_limit, lambda value: f"{100 * value:.3g}"),
)
