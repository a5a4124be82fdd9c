"""Fill a database with 10 million mails, and check what each statement reads. Exit code 1 if that is too much."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from fixtures import engines
from superimap.launch import engines as embedded
from trials.growth.check import check
from trials.growth.fill import fill

# Rows that are written once need no log that survives a crash.
SERVER = {"shared_buffers": "1GB", "max_wal_size": "16GB", "wal_level": "minimal", "max_wal_senders": "0"}


async def main(users: int, mails: int) -> int:
    """Fill and check; returns the exit code."""
    with engines.open_folder("superimap-growth-", in_memory=False) as folder:
        async with embedded.postgres(folder / "pg", fsync=False, settings=SERVER) as url:
            seconds = await fill(await engines.create_database(url, "growth"), users=users, mails=mails)
            print(json.dumps({"users": users, "mails": mails, "filled_in_seconds": round(seconds)}))
            results = await check(engines.database(url, "growth"))
    for each in results:
        figures = {"statement": each.name, "pages": each.pages, "budget": each.budget}
        print(json.dumps(figures | ({"faults": each.faults} if each.faults else {})))
    return int(any(each.faults for each in results))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m trials.growth", description=__doc__)
    parser.add_argument("--users", type=int, default=300_000, help="number of users; default: 300000")
    parser.add_argument("--mails", type=int, default=10_000_000, help="number of mails; default: 10000000")
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.users, given.mails)))
