"""Cluster scenarios at full length with default timings: one line of JSON for each.

`make cluster`, or `python -m trials.cluster [scenario …]`; exit code 1 if one of them fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from benchmarks.measure import allow_files
from fixtures.engines import create_database, open_folder
from fixtures.world import World
from superimap.launch import engines as embedded
from tests.support.db_proxy import DbProxy
from trials.cluster import partition as cuts
from trials.cluster import scenarios
from trials.cluster.fleet import fleet
from trials.cluster.scenarios import Figures

DEFAULTS = {"HEARTBEAT_INTERVAL": "10", "HEARTBEAT_EXPIRY": "30", "RECONCILE_INTERVAL": "10"}
USER_COUNT = 600


async def scale(world: World, _: Path) -> Figures:
    async with fleet(world, count=USER_COUNT, **DEFAULTS) as ours:
        figures = await scenarios.scale(ours, per_second=50, rest=10)
    assert figures["gap_p95_s"] < 2, figures
    return figures


async def kill(world: World, _: Path) -> Figures:
    async with fleet(world, count=USER_COUNT, **DEFAULTS) as ours:
        figures = await scenarios.kill(ours, idlers=3, rounds=10, per_second=50, within=30)
    assert figures["gap_p95_s"] < 3, figures
    return figures


async def restart(world: World, _: Path) -> Figures:
    async with fleet(world, count=60, **DEFAULTS) as ours:
        figures = await scenarios.restart(ours, rounds=10, rest=2, within=30)
    assert figures["watched_max_s"] < 3, figures
    return figures


async def freeze(world: World, _: Path) -> Figures:
    async with fleet(world, count=USER_COUNT // 2, **DEFAULTS) as ours:
        return await scenarios.freeze(ours)


async def partition(world: World, folder: Path) -> Figures:
    return await cuts.partition(world, folder, **DEFAULTS)


async def roll(world: World, _: Path) -> Figures:
    async with fleet(world, count=USER_COUNT // 2, **DEFAULTS) as ours:
        return await scenarios.roll(ours, rounds=10, idlers=3, per_second=50)


async def outage(world: World, folder: Path) -> Figures:
    proxy = DbProxy(world.database_url, folder)
    await proxy.open()
    try:
        env = DEFAULTS | {"DATABASE_URL": proxy.url, "BYTES_IN_FLIGHT": "16777216"}
        async with fleet(world, count=USER_COUNT // 2, **env) as ours:
            return await scenarios.outage(ours, proxy, seconds=60, size=100_000, most_mib=100)
    finally:
        await proxy.close()


async def change(world: World, _: Path) -> Figures:
    async with fleet(world, count=USER_COUNT // 2, **DEFAULTS) as ours:
        figures = await scenarios.change(ours, users=10)
    slow = {name: value for name, value in figures.items() if name.endswith("_s") and value >= 1}
    assert not slow, figures
    return figures


async def spill(world: World, _: Path) -> Figures:
    async with fleet(world, count=250, **DEFAULTS, MAX_SESSIONS="100") as ours:
        return await scenarios.spill(ours, slots=100, more=100)


ALL: dict[str, Callable[[World, Path], Awaitable[Figures]]] = {
    each.__name__: each for each in (scale, kill, restart, freeze, partition, roll, outage, change, spill)
}


@contextlib.asynccontextmanager
async def engines(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Run a PostgreSQL and a Valkey for all scenarios."""
    async with embedded.postgres(folder / "engines", fsync=False) as url, embedded.valkey(None) as redis_url:
        yield url, redis_url


async def main(names: list[str]) -> int:
    """Run these scenarios; returns the number that failed."""
    allow_files(4 * USER_COUNT)
    failed = 0
    with open_folder("superimap-cluster-") as folder:
        async with engines(folder) as (url, redis_url):
            for name in names:
                own = await create_database(url, f"cluster_{name}")
                (folder / name).mkdir(mode=0o755)
                began = time.monotonic()
                try:
                    figures = await ALL[name](World(own, redis_url), folder / name)
                except Exception as error:
                    traceback.print_exc()
                    figures = {"failed": str(error) or type(error).__name__}
                    failed += 1
                took = round(time.monotonic() - began, 1)
                print(json.dumps({"scenario": name, **figures, "took_s": took}), flush=True)
    return failed


if __name__ == "__main__":
    asked = sys.argv[1:] or list(ALL)
    if unknown := set(asked) - ALL.keys():
        sys.exit(f"no such scenario: {', '.join(sorted(unknown))}; the scenarios are {', '.join(ALL)}")
    sys.exit(1 if asyncio.run(main(asked)) else 0)
