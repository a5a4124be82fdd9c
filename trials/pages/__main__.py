"""Time every page on a large database, and webhooks beside readers. Exit code 1 if that is too slow."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

from fixtures import engines
from fixtures.world import World
from superimap.db import migrate
from superimap.launch import engines as embedded
from trials.growth.fill import fill
from trials.pages import beside, prepare
from trials.pages.timing import PageTimes, read_all

FILLING = {"shared_buffers": "1GB", "max_wal_size": "16GB", "wal_level": "minimal", "max_wal_senders": "0"}
"""Settings of the server while it is filled; rows that are written once need no log that survives a crash."""
SERVING = {"shared_buffers": "1GB"}
DATABASE = "pages"
FILLED = "filled.json"
"""File in the folder that says with how many users and mails the database was filled."""


async def main(folder: Path, *, users: int, mails: int, seconds: int) -> int:
    """Fill the database unless the folder has it, then measure; returns the exit code."""
    await _fill(folder, users, mails)
    faults = []
    async with _engines(folder) as world:
        ids = await prepare.prepare(world)
        found = await read_all(world, ids, folder / "pg")
        for each in found:
            print(json.dumps(asdict(each)), flush=True)
            faults += each.faults
        figures = await beside.measure(world, ids, seconds=seconds)
        print(json.dumps(asdict(figures)))
        faults += figures.faults
    print(json.dumps(_summary(found) | {"faults": faults}))
    return int(bool(faults))


async def _fill(folder: Path, users: int, mails: int) -> None:
    size = {"users": users, "mails": mails}
    note = folder / FILLED
    if note.exists():
        if json.loads(note.read_text()) != size:
            raise SystemExit(f"{folder} has {note.read_text()}: give the same numbers, or another folder")
        return
    async with embedded.postgres(folder / "pg", fsync=False, settings=FILLING) as url:
        seconds = await fill(await engines.create_database(url, DATABASE), **size)
    note.write_text(json.dumps(size))
    print(json.dumps(size | {"filled_in_seconds": round(seconds)}), flush=True)


@contextlib.asynccontextmanager
async def _engines(folder: Path) -> AsyncIterator[World]:
    async with (
        embedded.postgres(folder / "pg", fsync=False, settings=SERVING) as url,
        embedded.valkey(None) as redis,
    ):
        world = World(engines.database(url, DATABASE), redis)
        await asyncio.to_thread(migrate.upgrade, world.database_url)  # a kept one may be older
        yield world


def _summary(found: list[PageTimes]) -> dict[str, object]:
    slowest_cold = max(found, key=lambda each: each.cold_ms)
    slowest_warm = max(found, key=lambda each: each.warm_ms)
    return {
        "pages": len(found),
        "slowest_cold": [slowest_cold.page, slowest_cold.cold_ms],
        "slowest_warm": [slowest_warm.page, slowest_warm.warm_ms],
    }


def _folder(given: Path | None) -> contextlib.AbstractContextManager[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        given.chmod(0o755)
        return contextlib.nullcontext(given)
    return engines.open_folder("superimap-pages-", in_memory=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m trials.pages", description=__doc__)
    parser.add_argument("--users", type=int, default=300_000, help="number of users; default: 300000")
    parser.add_argument("--mails", type=int, default=20_000_000, help="number of mails; default: 20000000")
    parser.add_argument("--seconds", type=int, default=20, help="length of each phase beside; default: 20")
    parser.add_argument("--folder", type=Path, help="where the database is kept; default: a temporary one")
    given = parser.parse_args()
    with _folder(given.folder) as chosen:
        sys.exit(asyncio.run(main(chosen, users=given.users, mails=given.mails, seconds=given.seconds)))
