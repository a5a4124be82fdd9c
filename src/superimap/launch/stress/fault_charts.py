"""Charts of the faults of a stress test: when they happened, and how long their effects lasted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from superimap.charts import axes, numbers
from superimap.charts.axes import elapsed_text
from superimap.charts.drawing import Chart
from superimap.charts.plot import Dots, Mark, plot
from superimap.charts.raster import raster
from superimap.launch.stress.mail_charts import quantile_text, run_axis
from superimap.launch.stress.records import FaultRecord, RunRecord
from superimap.launch.stress.verdict import MAILBOX_TARGETS


def chaos_strip(seen: RunRecord) -> Chart:
    """Draw the misbehaviour of the mail server, and the faults of processes and receivers, by kind."""
    events: defaultdict[str, list[float]] = defaultdict(list)
    for at, _, kind in sorted(seen.strikes):
        events[kind].append(at)
    for fault in seen.faults:
        if fault.target == "webhook":
            events["refused POST"].append(fault.start)
        elif fault.target not in MAILBOX_TARGETS:
            events[f"{fault.kind} {fault.target}"].append(fault.start)
    rows = [
        (name, numbers.count_text(len(moments)), elapsed_text(moments[0]), elapsed_text(moments[-1]))
        for name, moments in events.items()
    ]
    return raster(
        run_axis(seen),
        events,
        label="Faults over time, by kind",
        headings=("Fault", "Number", "First", "Last"),
        rows=rows,
    )


def recoveries(seen: RunRecord) -> Chart:
    """Draw each fault by its time and how long its effect lasted."""
    groups: dict[str, list[FaultRecord]] = {"mailbox": [], "POST": [], "process or receiver": []}
    for fault in seen.faults:
        group = {"mailbox": "mailbox", "webhook": "POST"}.get(fault.target, "process or receiver")
        groups[group].append(fault)
    found = {
        name: [(each.end, max(each.recovery, 0.01)) for each in faults if each.recovery is not None]
        for name, faults in groups.items()
    }
    heights = [height for some in found.values() for _, height in some]
    y = axes.logarithmic(min(heights, default=0.01), max(heights, default=1.0), show=axes.power_text)
    marks = (Mark.DOT, Mark.CROSS, Mark.RING)
    tones = ("main", "warn", "bad")
    return plot(
        run_axis(seen),
        y,
        label="Time until the effect of each fault was over",
        dots=[
            Dots(name, some, tone, mark)
            for (name, some), tone, mark in zip(found.items(), tones, marks, strict=True)
            if some
        ],
        headings=("Fault", "Number", "Median", "Longest", "Not over"),
        rows=_recovery_rows(seen.faults),
    )


def _recovery_rows(faults: Sequence[FaultRecord]) -> list[tuple[str, ...]]:
    kinds: defaultdict[str, list[FaultRecord]] = defaultdict(list)
    for fault in faults:
        name = fault.kind if fault.target in MAILBOX_TARGETS else f"{fault.kind} of {fault.target}"
        kinds[name].append(fault)
    rows: list[tuple[str, ...]] = []
    for name, some in sorted(kinds.items()):
        times = sorted(each.recovery for each in some if each.recovery is not None)
        rows.append(
            (
                name,
                str(len(some)),
                quantile_text(times, 0.5),
                quantile_text(times, 1.0),
                str(len(some) - len(times)),
            )
        )
    return rows
