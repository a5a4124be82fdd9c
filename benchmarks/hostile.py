"""The benchmark `hostile`: memory, and wake-ups of other sessions, while a server sends without end."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Sequence
from itertools import islice
from types import SimpleNamespace
from typing import Any, cast

from benchmarks import hostile_server
from benchmarks.hostile_server import ATTACKS, UNTAGGED_LINES
from benchmarks.measure import BenchError, allow_files, resident_kib, resident_now_kib
from benchmarks.server_process import spawn_server
from benchmarks.session_group import SessionGroup, open_group
from superimap.core.resolver import Resolver
from superimap.idler import big_mails
from superimap.idler.limits import ByteLimits, LoginLimiter
from superimap.idler.peers import Peers
from superimap.idler.suspects import Pieces, Suspects
from superimap.imap.client import ImapClient
from superimap.imap.connection import connect
from superimap.imap.errors import ImapError
from superimap.imap.types import Login, ServerAddress, Timeouts

DEFAULT_ATTACKS = ("literal", "line", "untagged")
BYTES_IN_FLIGHT = 64 << 20
"""Memory for mails, as by default."""
MEMORY_BYTES = 512 << 20
"""Memory that the process may have for data (RLIMIT_DATA)."""
RECONNECT_SECONDS = 0.2
"""Pause of a hostile session before it connects again. An idler waits longer, and ever longer."""
LONGEST_SECONDS = 20.0
"""Time after which an attack is not waited for, though none of its answers has ended."""
_HOLD_SECONDS = 2.0  # the same for an attack whose answers never end
_ENDLESS = ("held", "slow-drip")


async def run(
    *, sessions: int, wakes: int, mib: int, hostile: int = 1, attacks: Sequence[str] = DEFAULT_ATTACKS
) -> dict[str, Any]:
    """Wake `sessions` in turn, `wakes` times during each attack by `hostile` sessions, and before and after it.

    An attack is compared with the calm on both sides of it: the machine's own speed changes from minute to minute.
    """
    allow_files(sessions + hostile)
    _limit_memory()
    big_mails.shorten_thread_switches()  # as the idler does
    figures: dict[str, Any] = {"bench": "hostile", "sessions": sessions, "hostile": hostile, "mib": mib}
    async with open_group(tls=False) as group, spawn_server(hostile_server.main, mib) as (_, port):
        await group.open_sessions(sessions, within=60 + sessions * 0.1)
        await _wake_ms(group, sessions, sessions)  # not measured: it warms caches up
        cpu = time.process_time()
        calm = [await _wake_ms(group, sessions, wakes)]
        wake_cpu = (time.process_time() - cpu) / wakes
        growth, p95, ended, finished, share, ratio = {}, {}, {}, {}, {}, {}
        for attack in attacks:
            async with _Attack(port, attack, hostile) as under:
                cpu, began = time.process_time(), time.perf_counter()
                busy = await _wake_ms(group, sessions, wakes)
                while not under.first.is_set():
                    busy += await _wake_ms(group, sessions, 20)
                spent = time.process_time() - cpu - wake_cpu * len(busy)
                share[attack] = round(spent / (time.perf_counter() - began), 3)
            growth[attack], ended[attack] = round(under.growth_kib / 1024, 1), under.ended_by
            finished[attack] = under.finished
            p95[attack] = _p95(busy)
            calm.append(await _wake_ms(group, sessions, wakes))
            ratio[attack] = p95[attack] / _p95(calm[-2] + calm[-1])
        dropped = group.dropped
    return figures | {
        "untagged": UNTAGGED_LINES,
        "rss_growth_mib": growth,
        "ended_by": ended,
        "finished": finished,
        "cpu_share": share,
        "others_quiet_p95_ms": [round(_p95(each), 2) for each in calm],
        "others_p95_ms": {attack: round(each, 2) for attack, each in p95.items()},
        "others_p95_ratio": {attack: round(each, 2) for attack, each in ratio.items()},
        "ended_only_it": dropped == 0,
    }


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or hard > MEMORY_BYTES:
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, hard))


class _Attack:
    """Repeats one attack on a number of sessions for the length of the block, at least once.

    The sessions have the shares of users whose server was named by people, all at one host.
    """

    def __init__(self, port: int, name: str, hostile: int) -> None:
        self.first = asyncio.Event()
        self.growth_kib = 0.0
        self.ended_by = "none"
        self.finished = 0
        """Attempts whose answer has ended, by an error or not: 0 if the server was too slow to see its effect."""
        self._where = ServerAddress("localhost", port, "none")
        self._name = name
        self._hostile = hostile
        self._peers = Peers(Resolver(), ByteLimits(BYTES_IN_FLIGHT))
        self._logins = LoginLimiter(rate=100.0, at_once=50)
        self._watched = cast(Any, SimpleNamespace(imap_host="localhost", has_own_server=True, partner_id=1))

    async def __aenter__(self) -> _Attack:
        self._before = resident_kib(trim=True)
        loop = asyncio.get_running_loop()
        longest = _HOLD_SECONDS if self._name in _ENDLESS else LONGEST_SECONDS
        self._timer = loop.call_later(longest + self._hostile / 100, self.first.set)
        self._tasks = [asyncio.create_task(self._suffer()) for _ in range(self._hostile)]
        self._tasks.append(asyncio.create_task(self._look()))
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            self.growth_kib = max(self.growth_kib, resident_now_kib() - self._before)
            await asyncio.sleep(0.005)

    async def _suffer(self) -> None:
        while True:
            try:
                await self._connect_and_suffer()
            except ImapError as error:
                self.ended_by = type(error).__name__
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _connect_and_suffer(self) -> None:
        timeouts = Timeouts(connect=60, command=60, fetch=60)
        room = self._peers.room(self._watched)
        credentials = Login("victim", self._name)
        peer = self._peers.peer(self._watched, room)
        async with self._logins.slot("localhost", is_named=True):
            session = connect(self._where, credentials, timeouts=timeouts, peer=peer)
            client = await session.__aenter__()
        try:
            await client.examine("INBOX")
            try:
                await self._ask(client)
            except ImapError:
                self._finish()
                raise
            self._finish()
        finally:
            await session.__aexit__(None, None, None)

    def _finish(self) -> None:
        self.finished += 1
        self.first.set()

    async def _ask(self, client: ImapClient) -> None:
        """Give the server the command that it answers by the attack."""
        command, _ = ATTACKS[self._name]
        if command == b"FETCH":
            await client.fetch_meta([1])
        elif command == b"LIST":
            await client.list_folders()
        else:
            found = await client.search_uids(after=0)
            if self._name == "invented-uids":
                for uids in islice(Pieces(found, Suspects()), 100):
                    await client.fetch_meta(uids)


async def _wake_ms(group: SessionGroup, sessions: int, count: int) -> list[float]:
    """Deliver `count` mails one by one; returns the milliseconds until each was read and its session idled."""
    took = []
    for number in range(count):
        began = time.perf_counter()
        await group.deliver(5000, first=number % sessions, count=1, within=60)
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.005)
    return took


def _p95(took: list[float]) -> float:
    if not took:
        raise BenchError("nothing was measured")
    return sorted(took)[len(took) * 95 // 100]
