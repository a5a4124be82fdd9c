"""Two idlers in network namespaces of their own, and the cut of one's link to PostgreSQL. Needs root and Linux."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit

from fixtures.engines import create_database, execute
from fixtures.world import World, eventually
from superimap.launch import engines as embedded
from trials.cluster.fleet import Fleet, fleet
from trials.cluster.scenarios import Figures

DATABASE_HOST = "10.77.0.1"
IMAP_HOST = "10.78.0.1"


class CuttableNetwork:
    """Two bridges on this machine, for PostgreSQL and for IMAP, and namespaces with a link to each."""

    def __init__(self) -> None:
        self._name = f"si{os.getpid() % 100_000}"
        self._bridges = {f"{self._name}d": DATABASE_HOST, f"{self._name}m": IMAP_HOST}
        self._spaces: list[str] = []

    @contextlib.contextmanager
    def opened(self) -> Iterator[CuttableNetwork]:
        """Create the bridges; remove all at the end."""
        try:
            for bridge, address in self._bridges.items():
                _ip("link", "add", "name", bridge, "type", "bridge")
                _ip("addr", "add", f"{address}/24", "dev", bridge)
                _ip("link", "set", bridge, "up")
            yield self
        finally:
            for space in self._spaces:
                _ip("netns", "delete", space)
            for bridge in self._bridges:
                _ip("link", "delete", bridge)

    def add_space(self) -> int:
        """Create a namespace with a link to each bridge; returns its number."""
        number = len(self._spaces) + 2
        space = f"{self._name}-{number}"
        _ip("netns", "add", space)
        self._spaces.append(space)
        _ip("-n", space, "link", "set", "lo", "up")
        for bridge, address in self._bridges.items():
            link = f"{bridge}{number}"
            _ip("link", "add", link, "type", "veth", "peer", "name", f"{bridge}p", "netns", space)
            _ip("link", "set", link, "master", bridge, "up")
            own = f"{address.rpartition('.')[0]}.{number}/24"
            _ip("-n", space, "addr", "add", own, "dev", f"{bridge}p")
            _ip("-n", space, "link", "set", f"{bridge}p", "up")
        return number

    def prefix(self, number: int) -> list[str]:
        """The command that executes another one in this namespace."""
        return ["ip", "netns", "exec", self._spaces[number - 2]]

    def cut(self, number: int) -> None:
        """Drop every packet between this namespace and PostgreSQL; neither side is told."""
        _ip("link", "set", f"{self._name}d{number}", "nomaster")

    def join(self, number: int) -> None:
        """Carry packets again."""
        _ip("link", "set", f"{self._name}d{number}", "master", f"{self._name}d")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)


@contextlib.asynccontextmanager
async def _listening_postgres(folder: Path) -> AsyncIterator[str]:
    """PostgreSQL on its socket and on DATABASE_HOST; yields the URL of the socket."""
    module = sys.modules["superimap.launch.engines.postgres"]
    with mock.patch.dict(module.SETTINGS, listen_addresses=DATABASE_HOST):
        async with embedded.postgres(folder / "engines", fsync=False) as url:
            with (folder / "engines/postgres/pg_hba.conf").open("a") as rules:
                rules.write(f"\nhost all all {DATABASE_HOST}/24 trust\n")
            await execute(url, "SELECT pg_reload_conf()")
            yield url


async def partition(world: World, folder: Path, **env: str) -> Figures:
    """The link of one idler to PostgreSQL is cut: another takes over within seconds, and the idler is fenced."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return {"skipped": "needs root, Linux and ip"}
    with CuttableNetwork().opened() as network:
        async with _listening_postgres(folder) as url:
            own = World(await create_database(url, "partition"), world.redis_url)
            parts = urlsplit(own.database_url)
            env |= {
                "DATABASE_URL": f"postgresql://{parts.username}@{DATABASE_HOST}:5432{parts.path}",
                "EGRESS_ALLOW": f"{IMAP_HOST}/24",
            }
            async with fleet(own, count=100, imap_host=IMAP_HOST, **env) as ours:
                return await _cut_one(ours, network)


async def _cut_one(ours: Fleet, network: CuttableNetwork) -> Figures:
    cut_off = network.add_space()
    (idler,) = await ours.start_idlers(prefix=network.prefix(cut_off))
    await ours.wait_until_watched()
    await ours.start_idlers(prefix=network.prefix(network.add_space()))
    await ours.wait_until_balanced()
    await ours.wait_until_watched()
    twice = await ours.db.fetchval("SELECT count(*) FROM users JOIN shards USING (shard) WHERE owner = 1")
    began = time.monotonic()
    network.cut(cut_off)
    for _ in range(2):
        ours.send_each()
        await asyncio.sleep(1)
    taken_over = "SELECT bool_and(owner IS NOT NULL AND owner <> 1) FROM shards"
    await eventually(lambda: ours.db.fetchval(taken_over), within=60)
    took_over = time.monotonic() - began
    both = len(ours.wanted) + twice
    signed_in = ours.imap.sessions
    await ours.imap.wait_for(lambda: sum(each.username is not None for each in signed_in) == both, timeout=30)
    ours.send_each()
    await ours.wait_until_delivered()
    network.join(cut_off)
    await idler.says("lost shards to another idler", within=60)
    await ours.wait_until_balanced()
    await ours.wait_until_watched()
    ours.send_each()
    await ours.wait_until_delivered()
    assert await ours.db.fetchval("SELECT count(*) FROM messages") == len(ours.ledger.sent)
    assert idler.popen.poll() is None
    return ours.figures() | {"users_with_two_sessions": twice, "takeover_s": round(took_over, 1)}
