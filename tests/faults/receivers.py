"""Faults of receivers: failing, hanging, babbling, cut; and those of a partner that may hit others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
from aiohttp import web

from superimap.bench import owing
from superimap.testing import ChaosProxy, Fault, Received
from tests.faults.bed import IN_FLIGHT, Bed

FACTOR, NOISE_MS = 2.0, 100.0
"""By how much others may be slower beside a fault, and what the machine's own noise is."""


class Drip(web.StreamResponse):
    """A byte of body at a time, `pause` seconds apart, and no end."""

    def __init__(self, piece: bytes, pause: float) -> None:
        super().__init__(status=500)
        self._piece, self._pause = piece, pause

    async def prepare(self, request: web.BaseRequest) -> web.stream.AbstractStreamWriter | None:
        """Sends it all: the caller would only close it."""
        writer = await super().prepare(request)
        while True:
            await self.write(self._piece)
            await asyncio.sleep(self._pause)
        return writer


class Reset(web.Response):
    """The connection is cut in place of an answer, and so nothing was accepted."""

    def __init__(self) -> None:
        super().__init__(status=500)

    async def prepare(self, request: web.BaseRequest) -> web.stream.AbstractStreamWriter | None:
        """Cuts it."""
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError


async def hang(_: Received) -> int:
    """Takes the webhook and never answers."""
    await asyncio.Event().wait()
    return 200


async def f21_fails_then_heals(bed: Bed) -> None:
    """500 to everything for a while, then 200: few attempts meanwhile, then all of it; others notice nothing."""
    bed.moods["/p0"] = 500
    await bed.both()
    share = bed.scale.mails // 2

    async def strike() -> None:
        bed.send(share, _of(bed, 0))
        await asyncio.sleep(bed.scale.away)

    await _beside(bed, strike)
    tries = await bed.world.value("SELECT count(*) FROM attempts WHERE code = 500")
    most = 10 + IN_FLIGHT + 1 + bed.scale.away / 5  # until the breaker opens, what was under way, then probes
    bed.more["attempts_while_failing"] = tries
    if tries > most:
        bed.broken.append(f"{tries} attempts while it failed, {most:.0f} at most were promised")
    bed.moods.clear()
    await bed.settled(within=420)


async def f22_hangs_and_babbles(bed: Bed) -> None:
    """One hangs, one sends a byte a second, one sends without end, one cuts; then all heal."""
    bed.moods |= {
        "/p0": hang,
        "/p1": lambda _: Drip(b"x", 1.0),
        "/p2": lambda _: Drip(b"x" * 65536, 0.0),
        "/p3": lambda _: Reset(),
    }
    await bed.both()

    async def strike() -> None:
        bed.send(bed.scale.users * 2, [user for user in range(bed.scale.users) if user % bed.partners != 4])

    await _beside(bed, strike)
    bed.moods.clear()
    await bed.settled(within=420)


async def f23_dies_before_it_is_read(bed: Bed) -> None:
    """The receiver accepts, and every third connection is cut before its answer arrives."""
    await bed.both()
    cut = Fault(limit=10)
    plan: Callable[[int], Fault | None] = lambda number: cut if number % 3 == 1 else None  # noqa: E731
    async with ChaosProxy("127.0.0.1", bed.sink.port, plan=plan) as proxy:
        await bed.aim(0, f"http://127.0.0.1:{proxy.port}/p0")
        await bed.pour(bed.scale.mails)
        await bed.settled(within=420)
        bed.most_duplicates = -(-proxy.connects // 3)


async def f24_refuses(bed: Bed) -> None:
    """410, 429, a redirect, a certificate nobody knows, a name that is none; each then heals in its own way."""
    redirect = web.HTTPFound(bed.sink.url("/elsewhere"))
    bed.moods |= {
        "/p0": 410,
        "/p1": lambda _: web.Response(status=429, headers={"Retry-After": "1"}),
        "/p2": lambda _: web.Response(status=302, headers=dict(redirect.headers)),
    }
    plain = bed.sink.url("/p3").replace("http:", "https:")  # speaks no TLS at all
    await bed.aim(3, plain)
    await bed.aim(4, "http://nowhere.invalid/p4")
    await bed.both()
    bed.send(bed.scale.users)
    await _until(bed, "SELECT count(*) >= 5 FROM endpoints e WHERE e.kind = 'new_mail' AND "
                 "(e.disabled_reason = 'gone' OR EXISTS (SELECT 1 FROM attempts a JOIN deliveries d"
                 " ON d.id = a.delivery_id WHERE d.endpoint_id = e.id))")  # fmt: skip
    said = await bed.world.rows(
        "SELECT p.name, a.code, a.error FROM attempts a JOIN deliveries d ON d.id = a.delivery_id"
        " JOIN partners p ON p.id = d.partner_id GROUP BY 1, 2, 3 ORDER BY 1"
    )
    expected = {
        ("partner0", 410, None),
        ("partner1", 429, None),
        ("partner2", 302, None),
        ("partner3", None, "tls"),
        ("partner4", None, "dns"),
    }
    if {tuple(row) for row in said} != expected:
        bed.broken.append(f"the attempts say {sorted(map(str, said))}")
    if any(each.path == "/elsewhere" for each in bed.accepted):
        bed.broken.append("a redirect was followed")
    bed.moods.clear()
    await bed.aim(3, bed.sink.url("/p3"))
    await bed.aim(4, bed.sink.url("/p4"))
    await bed.world.rows("UPDATE endpoints SET disabled_at = NULL, disabled_reason = NULL")
    await bed.settled(within=420)


async def f25_backlog_of_one(bed: Bed) -> None:
    """One partner is owed very many; the others' mails take no longer for it."""
    await bed.both()
    count = bed.scale.mails * 200

    switch = "UPDATE endpoints SET disabled_at = CASE WHEN $2 THEN now() END WHERE id = $1"
    bed.moods["/backlog"] = 202
    async with _pool(bed) as db:
        [big] = await owing.partners(db, bed.world.vault, [bed.sink.url("/backlog")])
        await db.execute(switch, big.endpoint, True)
        for _ in range(0, count, 1000):
            await owing.owe(db, bed.world.vault, big, min(1000, count))
        await db.execute("ANALYZE deliveries")

    async def strike() -> None:
        await bed.world.rows(switch, big.endpoint, False)

    await _beside(bed, strike)
    bed.more["backlog"] = count
    left = await bed.world.value(
        "SELECT count(*) FROM deliveries WHERE state = 'pending' AND content IS NOT NULL"
    )
    bed.more["backlog_left"] = left
    if not left:
        bed.broken.append("the backlog was gone before the others were measured")
    await bed.world.rows("DELETE FROM deliveries WHERE message_id IS NULL")
    bed.accepted[:] = [each for each in bed.accepted if each.path != "/backlog"]


async def f26_hanging_partner(bed: Bed) -> None:
    """All endpoints of one partner hang; it has a fifth of the seats, and the others notice nothing."""
    bed.moods["/p0"] = hang
    await bed.both()

    async def strike() -> None:
        bed.send(bed.scale.mails // 2, _of(bed, 0))

    await _beside(bed, strike)
    bed.moods.clear()
    await bed.settled(within=420)


async def _beside(bed: Bed, strike: Callable[[], Awaitable[None]]) -> None:
    """The last partner's users get mail one by one, alone and then beside the fault."""
    users = _of(bed, bed.partners - 1)
    spans = []
    for fault in (None, strike):
        striking = asyncio.create_task(fault()) if fault else None
        began = time.time()
        await bed.pour(max(20, bed.scale.mails // 5), rate=20, users=users)
        while any(bed.injected.sent[sha1][1] in {f"tag{user}" for user in users}
                  for sha1 in bed.injected.lost(bed.accepted)):  # fmt: skip
            await asyncio.sleep(0.05)
        spans.append(bed.p95(users, since=began))
        if striking is not None:
            await striking
    alone, beside = spans
    bed.more |= {"p95_alone_ms": alone, "p95_beside_ms": beside}
    if bed.scale.judges_time and beside > FACTOR * alone + NOISE_MS:
        bed.broken.append(f"I5: the others' 95th percentile went from {alone} to {beside} ms")


def _of(bed: Bed, partner: int) -> list[int]:
    return [user for user in range(bed.scale.users) if user % bed.partners == partner]


async def _until(bed: Bed, sql: str) -> None:
    async with asyncio.timeout(60):
        while not await bed.world.value(sql):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def _pool(bed: Bed) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(bed.world.database_url, min_size=1, max_size=2) as pool:
        yield pool
