"""Fuzz the parser of mails and the idler; fails if one raises, hangs, or records other bytes than were sent."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

from fixtures.engines import create_database, open_folder
from fixtures.world import World
from superimap.launch import engines as embedded
from trials.fuzz import dialogues, mails, recorded

ROUND_SECONDS = 60.0
"""Seconds after which an idler and its database are replaced."""


async def fuzz_dialogues(seconds: float, seed: int) -> int:
    """Fuzz the idler for some seconds; returns the number of broken properties."""
    corpus, broken, number = recorded.corpus(), 0, 0
    print(f"corpus: {len(corpus)} dialogues; seed {seed}")
    with open_folder("superimap-fuzz-") as folder:
        async with embedded.postgres(folder / "pg", fsync=False) as url, embedded.valkey(None) as redis_url:
            while seconds > 0:
                world = World(await create_database(url, f"fuzz_{number}"), redis_url)
                length = min(seconds, ROUND_SECONDS)
                report = await dialogues.fuzz_idler(
                    world, list(corpus.values()), seed=seed + number, seconds=length
                )
                for each in report.broken:
                    print(f"FAILED in round {number} (seed {seed + number}): {each}")
                print(
                    f"{report.plays} dialogues played, {report.mails} mails recorded, memory grew by"
                    f" {report.growth_mib:.0f} MiB, longest stall {report.longest_stall * 1000:.0f} ms"
                )
                broken += len(report.broken)
                seconds, number = seconds - length, number + 1
    return broken


def main() -> int:
    """Fuzz one or both; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trials.fuzz", description=__doc__)
    parser.add_argument("what", nargs="*", help="mails, dialogues; default: both", metavar="WHAT")
    parser.add_argument("--seconds", type=float, default=60, help="duration of each; default: 60")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="default: a new one"
    )
    options = parser.parse_args()
    what = options.what or ["mails", "dialogues"]
    if unknown := set(what) - {"mails", "dialogues"}:
        parser.error(f"nothing to fuzz is called {', '.join(sorted(unknown))}")
    failed = 0
    if "mails" in what:
        failed += mails.fuzz_parser(options.seconds, options.seed)
    if "dialogues" in what:
        failed += asyncio.run(fuzz_dialogues(options.seconds, options.seed))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
