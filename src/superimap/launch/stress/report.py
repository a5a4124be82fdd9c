"""The report of a stress test: one HTML page without any external resource, and verdict.json."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from superimap import __version__
from superimap.charts.drawing import Chart
from superimap.launch.stress import fault_charts, mail_charts, recovery, resource_charts
from superimap.launch.stress.accounting import percentile
from superimap.launch.stress.plan import StressPlan
from superimap.launch.stress.records import RunRecord
from superimap.launch.stress.verdict import MAILBOX_TARGETS, StressVerdict

REPORT, VERDICT = "report.html", "verdict.json"
TONES = {0: "good", 1: "bad", 2: "warn"}
HEADLINES = {
    0: "Passed: every mail was accepted, and every limit was kept.",
    1: "Failed: the checks marked below did not pass.",
    2: "Not judged: the machine was too slow to deliver the mail in time.",
}
STATE_TONES = {"passed": "good", "failed": "bad", "not judged": ""}


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """A chart with what it shows."""

    title: str
    caption: str
    chart: Chart


def write_report(folder: Path, plan: StressPlan, seen: RunRecord, verdict: StressVerdict) -> Path:
    """Write both files; returns the path of the page."""
    (folder / VERDICT).write_text(json.dumps(as_json(plan, seen, verdict), indent=2) + "\n")
    page = folder / REPORT
    page.write_text(render(plan, seen, verdict))
    return page


def as_json(plan: StressPlan, seen: RunRecord, verdict: StressVerdict) -> dict[str, Any]:
    """Return the verdict for programs."""
    return {
        "verdict": verdict.word,
        "exit_code": verdict.exit_code,
        "plan": asdict(plan),
        "versions": versions(),
        "checks": [asdict(check) for check in verdict.checks],
        "account": asdict(verdict.account) | {"lost": verdict.account.lost, "other_rows": seen.other_rows},
        "latency_seconds": {
            name: {f"p{100 * share:g}": percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)}
            | {"mails": len(values)}
            for name, values in (("outside_faults", verdict.outside), ("during_faults", verdict.inside))
        },
        "faults": [
            {"kind": each.kind, "target": each.target, "start": each.start, "recovery": each.recovery}
            for each in seen.faults
            if each.target not in MAILBOX_TARGETS
        ],
        "strikes": len(seen.strikes),
        "unexpected_ends": list(seen.unexpected_ends),
    }


def versions() -> dict[str, str]:
    """Return the versions of what was tested, and the machine."""
    return {
        "superimap": __version__,
        "python": platform.python_version(),
        "aioimaplib": version("aioimaplib"),
        "asyncpg": version("asyncpg"),
        "aiohttp": version("aiohttp"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def render(plan: StressPlan, seen: RunRecord, verdict: StressVerdict) -> str:
    """Return the page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("superimap.launch.stress", "."), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template("report.html.jinja").render(
        plan=plan,
        seen=seen,
        verdict=verdict,
        headline=HEADLINES[verdict.exit_code],
        tone=TONES[verdict.exit_code],
        state_tones=STATE_TONES,
        versions=versions(),
        figures=figures(plan, seen, verdict),
        resources=resource_charts.resource_charts(plan, seen),
        style=_style(),
    )


def figures(plan: StressPlan, seen: RunRecord, verdict: StressVerdict) -> list[ReportFigure]:
    """Return the charts of mails and faults with their captions."""
    outside, inside = recovery.split_by_faults(seen.mails, recovery.FaultIndex(seen.faults))
    return [
        ReportFigure(
            "Mails over time",
            "The three lines lie on one another where mail is fast. Faults of processes and receivers are shaded.",
            mail_charts.cumulative(seen),
        ),
        ReportFigure(
            "Backlog",
            "Mails that no process has recorded yet, and webhooks that no receiver has accepted yet.",
            mail_charts.backlog(seen),
        ),
        ReportFigure(
            "Latency",
            "From the moment at which a mail was due until its webhook arrived at a receiver that accepted it.",
            mail_charts.latency_curve(plan, verdict),
        ),
        ReportFigure(
            "Each mail",
            "A mark for each mail. Beyond 1,500 of a kind, the slowest are all kept and the others thinned.",
            mail_charts.mail_dots(seen, outside, inside),
        ),
        ReportFigure(
            "Faults",
            "Misbehaviour of the mail server by kind, refused POSTs, and faults of processes and receivers.",
            fault_charts.chaos_strip(seen),
        ),
        ReportFigure(
            "Recoveries",
            "Time from the end of a fault until its mailbox was watched again, or mail was as fast as before.",
            fault_charts.recoveries(seen),
        ),
    ]


def _style() -> Markup:
    """The style sheets of the dashboard, and what the report adds."""
    static = files("superimap.api") / "static"
    sheets = [(static / name).read_text() for name in ("tokens.css", "dashboard.css")]
    sheets.append((files("superimap.launch.stress") / "report.css").read_text())
    return Markup("\n".join(sheets))  # noqa: S704 - our own files
