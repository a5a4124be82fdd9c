"""Run the trial of watched folders. One line of JSON per server; exit code 1 if a guarantee was broken."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path

from fixtures.engines import create_database, open_folder
from fixtures.world import World
from superimap.launch import engines as embedded
from superimap.testing import WebhookSink
from trials.folders.servers import running
from trials.folders.trial import FolderTrial

SERVERS = ("fake", "fake-notify", "dovecot", "dovecot-notify")


async def main(names: list[str], *, users: int, paced: int, status_seconds: float, seed: int) -> int:
    """Run the trial on these servers; returns the exit code."""
    failed = 0
    with open_folder("superimap-folders-") as folder:
        async with (
            embedded.postgres(folder / "pg", fsync=False) as url,
            embedded.valkey(None) as redis,
        ):
            for name in names:
                base = Path(folder / name)
                base.mkdir(mode=0o755)
                world = World(await create_database(url, f"folders_{name.replace('-', '_')}"), redis)
                world.overrides["folder_status_seconds"] = str(status_seconds)
                world.overrides["logins_per_second"] = "500"
                began = time.monotonic()
                async with WebhookSink() as sink, running(name, base) as server:
                    line = await FolderTrial(world, server, sink, seed=seed).run(users=users, paced=paced)
                line = {"server": name, **line, "took_s": round(time.monotonic() - began, 1)}
                failed |= bool(line["broken"])
                print(json.dumps(line), flush=True)
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m trials.folders", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="SERVER", help=f"{', '.join(SERVERS)}; default: all of them"
    )
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--paced", type=int, default=100, help="mails into the last folder that are timed")
    parser.add_argument("--status-seconds", type=float, default=5, help="FOLDER_STATUS_SECONDS")
    parser.add_argument("--seed", type=int, default=1)
    given = vars(parser.parse_args())
    raise SystemExit(asyncio.run(main(given.pop("names") or list(SERVERS), **given)))
