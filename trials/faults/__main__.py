"""Inject faults and verify the guarantees. One line of JSON per fault; exit code 1 if a guarantee was broken."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
from collections.abc import Iterator

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


def _possible() -> Iterator[str]:
    """The faults whose programs are installed; the others are named on standard error."""
    for name, fault in FAULTS.items():
        if fault.program is None or shutil.which(fault.program):
            yield name
        else:
            print(f"{name} is left out: {fault.program} is not installed", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trials.faults", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="FAULT",
        help=f"{', '.join(FAULTS)}; default: all that this machine has the programs for",
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
    chosen = given.names or list(_possible())
    sys.exit(asyncio.run(main(chosen, Scale(mails=given.mails, away=given.away, rounds=given.rounds))))
