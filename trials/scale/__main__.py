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
from trials.scale.run import PHASES, PhaseReport, ScaleReport, Size, run


async def main(size: Size, seed: int) -> int:
    """Simulate on a database of its own; returns the exit code."""
    began = time.monotonic()
    logging.disable(logging.CRITICAL)  # idlers report what the simulation does to them
    with engines.open_folder("superimap-scale-") as folder:
        async with embedded.postgres(folder, fsync=False) as url:
            database = await engines.create_database(url, "scale")
            report = await asyncio.to_thread(run, database, size, seed=seed, on_phase=_print)
    print(json.dumps(whole(report, seed, time.monotonic() - began)))
    return int(report.watched_twice > 0)


def _print(phase: PhaseReport) -> None:
    print(json.dumps(asdict(phase)), flush=True)


def whole(report: ScaleReport, seed: int, seconds: float) -> dict[str, object]:
    """Return the figures of a run."""
    return {
        "seed": seed,
        **report.size,
        "watched_twice": report.watched_twice,
        "refused": report.refused,
        "max_over_mean": round(report.max_over_mean, 3),
        "real_seconds": round(seconds),
    }


def _arguments() -> tuple[Size, int]:
    parser = argparse.ArgumentParser(prog="python -m trials.scale", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument(
        "--phases",
        nargs="+",
        choices=PHASES,
        default=PHASES,
        help="default: all; `start` is the first",
    )
    for each in fields(Size):
        if each.name == "phases":
            continue
        kind = int if isinstance(each.default, int) else float
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=kind, default=each.default)
    given = vars(parser.parse_args())
    seed = given.pop("seed")
    return Size(**{**given, "phases": tuple(given["phases"])}), seed


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*_arguments())))
