"""Run short stress tests with a part of SuperIMAP disabled; exit code 1 if one of them does not fail.

`python -m trials.stress [part …]` prints one line of JSON for each, with the checks that failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from superimap.launch.stress.plan import QUEUE_TARGET, PlannedFault, StressLimits, StressPlan
from superimap.launch.stress.report import write_report
from superimap.launch.stress.run import Progress, run_stress
from superimap.launch.stress.verdict import CheckState, StressVerdict
from trials.stress.broken import PARTS

PLAN = StressPlan(seconds=24.0, emails_per_minute=1200.0, users=100, idlers=2)
PLANS = {
    "fence": replace(PLAN, seconds=40.0, has_freezes=True, freeze_seconds=8.0),
    # Webhooks wait for their retries when the only dispatcher dies and the queue is erased; no mail rings again.
    "sweeper": replace(
        PLAN,
        seconds=14.0,
        dispatchers=1,
        faults=(
            PlannedFault("outage", "failing", 4.0, 14.0),
            PlannedFault("kill", "dispatcher1", 14.5, 14.5),
            PlannedFault("erase", QUEUE_TARGET, 15.0, 15.0),
        ),
        limits=StressLimits(settled=90.0),
    ),
    "lease": PLAN,
}
QUICK_LEASES = {"HEARTBEAT_INTERVAL": "1", "HEARTBEAT_EXPIRY": "4"}
EXPECTED = {"fence": {"doubled"}, "sweeper": {"lost", "settled"}, "lease": {"duplicates"}}
"""Checks of which at least one fails while the part is disabled."""


def show_nothing(_: Progress) -> None:
    """Print no progress."""


async def run_without(part: str | None, plan: StressPlan, folder: Path) -> StressVerdict:
    """Run a stress test without this part and write its report; None disables nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="superimap-stress-", ignore_cleanup_errors=True) as data:
        Path(data).chmod(0o711)
        command = [sys.executable, "-m", *(["trials.stress.broken", part] if part else ["superimap"])]
        seen, verdict = await run_stress(
            plan, folder, Path(data), show_nothing, command=command, environment=QUICK_LEASES
        )
    write_report(folder, plan, seen, verdict)
    return verdict


def failed_checks(verdict: StressVerdict) -> set[str]:
    """Return the names of the checks that failed."""
    return {check.name for check in verdict.checks if check.state is CheckState.FAILED}


async def main(parts: list[str], folder: Path) -> int:
    """Run one test for each part; returns the number that passed although they should not."""
    unnoticed = 0
    for part in parts:
        verdict = await run_without(part, PLANS[part], folder / part)
        failed = failed_checks(verdict)
        is_noticed = verdict.exit_code == 1 and bool(failed & EXPECTED[part])
        unnoticed += not is_noticed
        line = {"without": part, "noticed": is_noticed, "failed": sorted(failed)}
        print(json.dumps(line | verdict.account.parts), flush=True)
    return unnoticed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m trials.stress", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--folder", type=Path, default=Path("build/stress-without"), help="for the reports")
    given = parser.parse_args()
    sys.exit(1 if asyncio.run(main(given.parts or list(PARTS), given.folder)) else 0)
