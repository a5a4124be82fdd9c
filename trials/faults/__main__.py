"""`python -m trials.faults [F03 kills …]`: a line of JSON for each; exit code 1 if one of them broke a promise."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from fixtures.engines import open_folder
from trials.faults import engines
from trials.faults.bed import Scale
from trials.faults.catalogue import FAULTS, run


async def main(names: list[str], scale: Scale) -> int:
    """Run them one after the other."""
    failed = 0
    with open_folder("superimap-faults-") as folder:
        async with engines.running(folder) as both:
            for name in names:
                verdict = await run(name, both, scale)
                failed |= bool(verdict.broken)
                print(json.dumps(verdict.line()), flush=True)
    return failed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trials.faults", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="FAULT", help=f"{', '.join(FAULTS)}; all if none is named"
    )
    parser.add_argument("--away", type=float, default=60.0, help="seconds for which something is away (60)")
    parser.add_argument("--rounds", type=int, default=20, help="how often what is repeated is repeated (20)")
    parser.add_argument("--mails", type=int, default=500, help="mails of each fault; kills has 2,000 (500)")
    given = parser.parse_args()
    if unknown := set(given.names) - FAULTS.keys():
        parser.error(f"there is no fault {', '.join(sorted(unknown))}")
    return given


if __name__ == "__main__":
    given = _arguments()
    chosen = given.names or list(FAULTS)
    sys.exit(asyncio.run(main(chosen, Scale(mails=given.mails, away=given.away, rounds=given.rounds))))
