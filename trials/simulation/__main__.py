"""Simulate failing mail servers and killed processes. One line of JSON; exit code 1 if a guarantee broke."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from fixtures import engines
from superimap.launch import engines as embedded
from trials.simulation.batch import run_share
from trials.simulation.run import Report


async def main(seeds: list[int], processes: int) -> int:
    """Run the simulations of these seeds; returns the exit code."""
    with engines.open_folder("superimap-simulation-") as folder:
        async with embedded.postgres(folder, fsync=False) as url:
            loop = asyncio.get_running_loop()
            shares = [share for start in range(processes) if (share := seeds[start::processes])]
            with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as executor:
                answers = await asyncio.gather(
                    *(loop.run_in_executor(executor, run_share, url, share) for share in shares)
                )
    reports = [report for answer in answers for report in answer]
    print(json.dumps(summary(reports)))
    return int(any(report.wrong for report in reports))


def summary(reports: list[Report]) -> dict[str, object]:
    """Figures of all simulations."""
    return {
        "seeds": len(reports),
        "failed_seeds": sorted(report.seed for report in reports if report.wrong),
        "simulated_days": round(sum(report.days for report in reports)),
        "delivered": sum(report.delivered for report in reports),
        "given_up": sum(report.given_up for report in reports),
        "logins": sum(report.logins for report in reports),
        "seconds": round(sum(report.seconds for report in reports)),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trials.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="number of simulations; default: 1000")
    parser.add_argument("--first", type=int, default=0, help="first seed; default: 0")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: number of CPUs")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    sys.exit(asyncio.run(main([*range(given.first, given.first + given.seeds)], given.processes)))
