"""Inject faults and verify the guarantees. One line of JSON per fault; exit code 1 if a guarantee was broken."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from fixtures.engines import open_folder
from trials.faults import engines
from trials.faults.catalogue import FAULTS, run_fault
from trials.faults.fault_run import Scale


async def main(names: list[str], scale: Scale) -> int:
    """Run these faults one after the other; returns the exit code."""
    failed = 0
    with open_folder("superimap-faults-") as folder:
        async with engines.running(folder) as both:
            for name in names:
                report = await run_fault(name, both, scale)
                failed |= bool(report.broken)
                print(json.dumps(report.line()), flush=True)
    return failed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trials.faults", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="FAULT", help=f"{', '.join(FAULTS)}; default: all of them"
    )
    parser.add_argument(
        "--away", type=float, default=60.0, metavar="SECONDS", help="duration of an outage; default: 60"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=20,
        metavar="NUMBER",
        help="repetitions of a repeated fault; default: 20",
    )
    parser.add_argument(
        "--mails",
        type=int,
        default=500,
        metavar="NUMBER",
        help="mails per fault; default: 500 (kills: 2,000)",
    )
    given = parser.parse_args()
    if unknown := set(given.names) - FAULTS.keys():
        parser.error(f"there is no fault {', '.join(sorted(unknown))}")
    return given


if __name__ == "__main__":
    given = _arguments()
    chosen = given.names or list(FAULTS)
    sys.exit(asyncio.run(main(chosen, Scale(mails=given.mails, away=given.away, rounds=given.rounds))))
