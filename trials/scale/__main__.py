"""Simulate ten million mailboxes on a thousand idlers. One line of JSON for each phase, and one for the whole."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from dataclasses import asdict, fields

from fixtures import engines
from superimap.launch import engines as embedded
from trials.scale.run import ScaleReport, Size, run


async def main(size: Size, seed: int) -> int:
    """Simulate on a database of its own; returns the exit code."""
    began = time.monotonic()
    logging.disable(logging.CRITICAL)  # idlers report what the simulation does to them
    with engines.open_folder("superimap-scale-") as folder:
        async with embedded.postgres(folder, fsync=False) as url:
            database = await engines.create_database(url, "scale")
            report = await asyncio.to_thread(run, database, size, seed=seed)
    print(*map(json.dumps, lines(report, seed, time.monotonic() - began)), sep="\n")
    return int(report.watched_twice > 0)


def lines(report: ScaleReport, seed: int, seconds: float) -> list[dict[str, object]]:
    """Return the figures of each phase, and of the run."""
    whole = {
        "seed": seed,
        **report.size,
        "watched_twice": report.watched_twice,
        "refused": report.refused,
        "max_over_mean": round(report.max_over_mean, 3),
        "real_seconds": round(seconds),
    }
    return [*map(asdict, report.phases), whole]


def _arguments() -> tuple[Size, int]:
    parser = argparse.ArgumentParser(prog="python -m trials.scale", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    for each in fields(Size):
        kind = int if isinstance(each.default, int) else float
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=kind, default=each.default)
    given = vars(parser.parse_args())
    return Size(**{name: value for name, value in given.items() if name != "seed"}), given["seed"]


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*_arguments())))
