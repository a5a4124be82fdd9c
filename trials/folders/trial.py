"""The trial: mails into random folders, moves, renames and deletions; then each mail is counted."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fixtures.world import World, eventually, running
from superimap.launch import services
from superimap.testing import WebhookSink
from trials.folders.servers import FOLDERS, PASSWORD, FolderServer

LISTED = ["INBOX", "Projects/*", "Support", "Fifth"]
AT_ONCE = 4
"""Commands to the mail server that run at the same time."""
MAX_COUNTS = 10
"""Counts of connections, until there are no more than users."""


class FolderTrial:
    """One mail server, its users, and the mails that were delivered."""

    def __init__(self, world: World, server: FolderServer, sink: WebhookSink, *, seed: int) -> None:
        self._world = world
        self._server = server
        self._sink = sink
        self._random = random.Random(seed)
        self._sent: dict[str, float] = {}  # Unix time by subject
        self._users: list[str] = []
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._connections: list[int] = []

    async def run(self, *, users: int, paced: int) -> dict[str, Any]:
        """Run all phases; returns the figures and what is broken."""
        await self._set_up(users)
        async with (
            running(services.run_idler, self._world.settings),
            running(services.run_dispatcher, self._world.settings),
        ):
            await self._watching(users)
            burst = await self._phase("burst", [self._deliver() for _ in range(5 * users)])
            await self._phase("moves", [self._move(user) for user in self._some(users // 4)])
            await self._phase("renames", [self._rename(user) for user in self._some(users // 8)])
            await self._phase("deletions", [self._delete(user) for user in self._some(users // 8)])
            latencies = await self._paced(paced)
            await self._arrived()
        return self._verdict(burst, latencies)

    async def _set_up(self, users: int) -> None:
        partner = await self._world.partner(new_mail_webhook=self._sink.url("/hook"))
        await self._world.provider(self._server.host, self._server.port)
        await self._world.connection(partner)
        self._users = await asyncio.to_thread(self._server.add, users)
        people = [
            {
                "tag": each,
                "email": each,
                "login_username": each,
                "login_password": PASSWORD,
                "folders": LISTED,
            }
            for each in self._users
        ]
        await self._world.add_users(partner, people)

    async def _watching(self, users: int) -> None:
        async def all_of_them() -> bool:
            rows = await self._world.rows("SELECT count(*) FROM users WHERE status = 'watching'")
            return bool(rows[0][0] == users)

        await eventually(all_of_them, within=180)

    async def _phase(self, name: str, acts: Sequence[Any]) -> float:
        """Carry out a phase, wait until all its mails have arrived, and count the connections."""
        began = time.monotonic()
        await asyncio.gather(*acts)
        await self._arrived()
        counts = [await self._server.connections()]
        while counts[-1] > len(self._users) and len(counts) < MAX_COUNTS:  # one may be ending
            await asyncio.sleep(0.5)
            counts.append(await self._server.connections())
        self._connections.append(counts[-1])
        print(f"  {name}: {time.monotonic() - began:.1f} s", flush=True)
        return time.monotonic() - began

    async def _deliver(self, user: str | None = None, folder: str | None = None) -> str:
        user = user or self._random.choice(self._users)
        subject = f"mail {len(self._sent)}"
        self._sent[subject] = 0.0
        head = f"From: a@example.com\r\nSubject: {subject}\r\nMessage-ID: <{len(self._sent)}@example.com>"
        raw = f"{head}\r\n\r\n{subject}\r\n".encode()
        async with self._gate:
            self._sent[subject] = time.time()
            await self._server.deliver(user, folder or self._random.choice(FOLDERS), raw)
        return subject

    async def _move(self, user: str) -> None:
        source, target = self._random.sample(FOLDERS, 2)
        async with self._gate:
            await self._server.move_all(user, source, target)
        await self._deliver(user, target)

    async def _rename(self, user: str) -> None:
        async with self._gate:
            await self._server.rename(user, "Projects/a", "Projects/renamed")
        await self._deliver(user, "Projects/renamed")

    async def _delete(self, user: str) -> None:
        async with self._gate:
            await self._server.delete(user, "Support")
        await self._deliver(user, "Projects/b")

    def _some(self, count: int) -> list[str]:
        return self._random.sample(self._users, count)

    async def _paced(self, count: int) -> list[float]:
        """Deliver mails into the last folder, one after the other, while nothing else happens."""
        subjects = []
        for _ in range(count):
            subjects.append(await self._deliver(folder=FOLDERS[-1]))
            if self._server.announces:
                await asyncio.sleep(0.05)
        await self._arrived()
        arrived = {each.json["envelope"]["subject"]: each.wall for each in self._sink.received}
        return [arrived[subject] - self._sent[subject] for subject in subjects]

    async def _arrived(self) -> None:
        async def all_of_them() -> bool:
            return self._sink.count >= len(self._sent)

        await eventually(all_of_them, within=120, what="all mails")
        await asyncio.sleep(1)  # for webhooks that nobody expects

    def _verdict(self, burst: float, latencies: list[float]) -> dict[str, Any]:
        arrived = Counter(each.json["envelope"]["subject"] for each in self._sink.received)
        broken = [
            f"{subject} arrived {arrived[subject]} times" for subject in self._sent if arrived[subject] != 1
        ]
        if max(self._connections) > len(self._users):
            broken.append(f"{max(self._connections)} connections of {len(self._users)} users")
        milliseconds = [1000 * each for each in latencies]
        return {
            "users": len(self._users),
            "mails": len(self._sent),
            "webhooks": self._sink.count,
            "most_connections": max(self._connections),
            "burst_s": round(burst, 1),
            "fifth_folder_ms": {
                "p50": round(statistics.median(milliseconds), 1),
                "p95": round(statistics.quantiles(milliseconds, n=20)[-1], 1),
                "maximum": round(max(milliseconds), 1),
            },
            "broken": broken,
        }
