"""Charts of the mails of a stress test: pure functions from an observation to drawings with their tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from superimap.charts import axes, numbers
from superimap.charts.axes import Axis, elapsed_text
from superimap.charts.drawing import Chart
from superimap.charts.plot import Dash, Dots, Line, Mark, Span, plot
from superimap.launch.stress.plan import StressPlan
from superimap.launch.stress.records import MailRecord, RunRecord
from superimap.launch.stress.verdict import MAILBOX_TARGETS, StressVerdict

TABLE_ROWS = 24
SMALLEST_LATENCY_SECONDS = 0.001


def run_axis(seen: RunRecord) -> Axis:
    """Return the time axis of a run: until everything was settled."""
    last = max((max(mail.accepted, default=mail.scheduled) for mail in seen.mails), default=0.0)
    return axes.elapsed(max(last, seen.ended_at))


def fault_spans(seen: RunRecord) -> list[Span]:
    """Return the faults of processes and receivers, which affect many mails."""
    return [
        Span(each.start, max(each.end, each.recovered or each.end), f"{each.kind} of {each.target}")
        for each in seen.faults
        if each.target not in MAILBOX_TARGETS
    ]


def cumulative(seen: RunRecord) -> Chart:
    """Draw the mails generated, recorded and accepted so far."""
    moments = _moments(seen.mails)
    x = run_axis(seen)
    lines = [
        Line(name, _climb(values), tone, dash)
        for (name, values), tone, dash in zip(
            moments.items(), ("ink", "main", "good"), (Dash.SOLID, Dash.DASHED, Dash.DOTTED), strict=True
        )
    ]
    rows = [
        (
            elapsed_text(at),
            *(numbers.count_text(sum(each <= at for each in values)) for values in moments.values()),
        )
        for at in table_moments(x)
    ]
    y = axes.linear(len(seen.mails), show=numbers.short_count, is_whole=True)
    label = "Mails generated, recorded and accepted over time, with faults shaded"
    return plot(
        x, y, label=label, lines=lines, spans=fault_spans(seen), headings=("Time", *moments), rows=rows
    )


def backlog(seen: RunRecord) -> Chart:
    """Draw the mails that wait in mailboxes, and the webhooks that are owed."""
    moments = _moments(seen.mails)
    x = run_axis(seen)
    in_mailboxes = _difference(moments["generated"], moments["recorded"])
    owed = _difference(moments["recorded"], moments["accepted"])
    top = max((value for _, value in (*in_mailboxes, *owed)), default=0.0)
    rows = [
        (elapsed_text(at), *(numbers.count_text(_value_at(line, at)) for line in (in_mailboxes, owed)))
        for at in table_moments(x)
    ]
    return plot(
        x,
        axes.linear(top, show=numbers.short_count, is_whole=True),
        label="Mails that wait in mailboxes and webhooks that are owed, over time",
        lines=[
            Line("wait in mailboxes", in_mailboxes, "main", Dash.DASHED),
            Line("owed to receivers", owed, "ink"),
        ],
        spans=fault_spans(seen),
        headings=("Time", "Wait in mailboxes", "Owed to receivers"),
        rows=rows,
    )


def latency_curve(plan: StressPlan, verdict: StressVerdict) -> Chart:
    """Draw the share of mails that were as fast or faster, outside and within the windows of faults."""
    series = {"outside faults": verdict.outside, "during faults": verdict.inside}
    values = [max(each, SMALLEST_LATENCY_SECONDS) for some in series.values() for each in some]
    x = axes.logarithmic(
        min(values, default=SMALLEST_LATENCY_SECONDS),
        max(values, default=1.0),
        show=axes.power_text,
    )
    lines = [
        Line(name, _shares(some), tone, dash)
        for (name, some), tone, dash in zip(
            series.items(), ("good", "bad"), (Dash.SOLID, Dash.DASHED), strict=True
        )
    ]
    limit = Span(plan.limits.latency, plan.limits.latency, f"limit {plan.limits.latency:g} s")
    shares = (0.5, 0.9, 0.95, 0.99, 0.999, 1.0)
    rows = [
        (percent_text(share), *(quantile_text(some, share) for some in series.values())) for share in shares
    ]
    return plot(
        x,
        axes.Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0), percent_text),
        label="Share of mails that were as fast or faster, without and with faults",
        lines=lines,
        spans=[limit],
        spans_name="limit of p99",
        headings=("Share", "Outside faults", "During faults"),
        rows=rows,
    )


def mail_dots(seen: RunRecord, outside: Iterable[MailRecord], inside: Iterable[MailRecord]) -> Chart:
    """Draw each mail by the time it was due and its latency."""
    groups = {"outside faults": list(outside), "during a fault": list(inside)}
    points = {
        name: [
            (mail.scheduled, max(mail.latency, SMALLEST_LATENCY_SECONDS))
            for mail in mails
            if mail.latency is not None
        ]
        for name, mails in groups.items()
    }
    lost = [mail.scheduled for mail in seen.mails if not mail.accepted]
    again = [
        (mail.scheduled, max(max(mail.accepted) - mail.scheduled, SMALLEST_LATENCY_SECONDS))
        for mail in seen.mails
        if len(mail.accepted) > 1
    ]
    heights = [height for some in (*points.values(), again) for _, height in some]
    y = axes.logarithmic(min(heights, default=0.001), max(heights, default=1.0), show=axes.power_text)
    x = run_axis(seen)
    dots = [
        Dots("outside faults", points["outside faults"], "good"),
        Dots("during a fault", points["during a fault"], "warn", Mark.CROSS),
        Dots("accepted again", again, "bad", Mark.RING),
        Dots("never accepted (at the top)", [(at, y.high) for at in lost], "bad", Mark.RING),
    ]
    step = x.high / TABLE_ROWS
    rows = [
        (elapsed_text(step * number), *_slowest(groups.values(), step * number, step * (number + 1)))
        for number in range(TABLE_ROWS)
    ]
    return plot(
        x,
        y,
        label="Each mail by the time it was due and its latency",
        dots=[each for each in dots if each.points],
        spans=fault_spans(seen),
        headings=("Due from", "Mails", "Slowest outside faults", "Slowest during faults"),
        rows=[row for row in rows if row[1] != "0"],
    )


def table_moments(x: Axis) -> list[float]:
    """Return the moments of a table."""
    return [x.high * number / TABLE_ROWS for number in range(1, TABLE_ROWS + 1)]


def _moments(mails: Sequence[MailRecord]) -> dict[str, list[float]]:
    return {
        "generated": sorted(mail.generated for mail in mails),
        "recorded": sorted(mail.recorded for mail in mails if mail.recorded is not None),
        "accepted": sorted(min(mail.accepted) for mail in mails if mail.accepted),
    }


def _climb(moments: Sequence[float]) -> list[tuple[float, float]]:
    return [(0.0, 0.0), *((at, float(number)) for number, at in enumerate(moments, start=1))]


def _difference(entered: Sequence[float], left: Sequence[float]) -> list[tuple[float, float]]:
    """Return how many have entered and not left, over time."""
    steps = Counter[float]()
    for at in entered:
        steps[at] += 1
    for at in left:
        steps[at] -= 1
    level, points = 0, [(0.0, 0.0)]
    for at in sorted(steps):
        level += steps[at]
        points.append((at, float(max(level, 0))))
    return points


def _value_at(points: Sequence[tuple[float, float]], at: float) -> float:
    return next((value for moment, value in reversed(points) if moment <= at), 0.0)


def _shares(ordered: Sequence[float]) -> list[tuple[float, float]]:
    count = len(ordered)
    return [
        (max(value, SMALLEST_LATENCY_SECONDS), (place + 1) / count) for place, value in enumerate(ordered)
    ]


def quantile_text(ordered: Sequence[float], share: float) -> str:
    if not ordered:
        return "–"
    return numbers.duration_text(ordered[min(int(share * len(ordered)), len(ordered) - 1)])


def percent_text(share: float) -> str:
    return f"{share * 100:g} %"


def _slowest(groups: Iterable[Sequence[MailRecord]], start: float, end: float) -> tuple[str, str, str]:
    columns, count = [], 0
    for mails in groups:
        due = [mail for mail in mails if start <= mail.scheduled < end]
        count += len(due)
        times = [mail.latency for mail in due if mail.latency is not None]
        columns.append(numbers.duration_text(max(times)) if times else "–")
    return numbers.count_text(count), columns[0], columns[1]
