"""Faults of receivers: failing, hanging, babbling, cut; and those of a partner that may hit others."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import trustme
from aiohttp import web

from fixtures import bulk
from superimap.doorbells.redis import EndpointDoorbell
from superimap.testing import ChaosProxy, NetworkFault, Received
from tests.support.tls import server_context
from trials.faults.bed import IN_FLIGHT, Bed

RATE = 100.0
"""Webhooks a second to those who hang."""
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


REFUSALS = (
    ("partner0", "410", "disabled"),
    ("partner1", "429", "slow_start"),
    ("partner2", "302", "closed"),
    ("partner3", "tls", "open"),
    ("partner4", "dns", "open"),
    ("partner5", "certificate_expired", "open"),
    ("partner6", "certificate_host", "open"),
    ("partner7", "certificate_untrusted", "open"),
)
"""Whose endpoint, what its attempts say, and what becomes of its breaker."""

HEALTHS = """
    WITH healths AS (
        SELECT DISTINCT p.name || ' ' || coalesce(a.error, a.code::text) || ' '
            || CASE WHEN e.disabled_at IS NULL THEN e.breaker ELSE 'disabled' END AS told
        FROM attempts a JOIN deliveries d ON d.id = a.delivery_id AND d.partner_id = a.partner_id
        JOIN endpoints e ON e.id = d.endpoint_id JOIN partners p ON p.id = e.partner_id
    )
"""


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
    cut = NetworkFault(limit=10)
    plan: Callable[[int], NetworkFault | None] = lambda number: cut if number % 3 == 1 else None  # noqa: E731
    async with ChaosProxy("127.0.0.1", bed.sink.port, plan=plan) as proxy:
        await bed.aim(0, f"http://127.0.0.1:{proxy.port}/p0")
        await bed.pour(bed.scale.mails)
        await bed.settled(within=420)
        bed.most_duplicates = -(-proxy.connects // 3)


async def f24_refuses(bed: Bed) -> None:
    """Each partner's endpoint is unwell in a way of its own, as REFUSALS lists; then each heals."""
    redirect, wanted = bed.sink.url("/elsewhere"), [" ".join(each) for each in REFUSALS]
    bed.moods |= {
        "/p0": 410,
        "/p1": lambda _: web.Response(status=429, headers={"Retry-After": "1"}),
        "/p2": lambda _: web.Response(status=302, headers={"Location": redirect}),
    }
    async with _tls_servers(bed) as ports:
        await bed.aim(3, bed.sink.url("/p3").replace("http:", "https:"))  # speaks no TLS at all
        await bed.aim(4, "http://nowhere.invalid/p4")
        for partner, port in enumerate(ports, 5):
            await bed.aim(partner, f"https://localhost:{port}/p{partner}")
        await bed.both()
        bed.send(bed.scale.users * 6)
        with contextlib.suppress(TimeoutError):
            await _until(
                bed, HEALTHS + "SELECT array_agg(told ORDER BY told) = $1::text[] FROM healths", wanted
            )
    told = [row[0] for row in await bed.world.rows(HEALTHS + "SELECT told FROM healths ORDER BY 1")]
    if told != wanted:
        bed.broken.append(f"attempts and breakers say {told}")
    if any(each.path == "/elsewhere" for each in bed.accepted):
        bed.broken.append("a redirect was followed")
    bed.moods.clear()
    for partner in range(3, bed.partners):
        await bed.aim(partner, bed.sink.url(f"/p{partner}"))
    await bed.world.rows("UPDATE endpoints SET disabled_at = NULL, disabled_reason = NULL")
    await bed.settled(within=420)


@asynccontextmanager
async def _tls_servers(bed: Bed) -> AsyncIterator[list[int]]:
    """Ports of servers whose certificate ended, is for another host, or of an authority that nobody knows."""
    known, unknown = trustme.CA(), trustme.CA()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bed.broken.append("I3: a connection in spite of its certificate")
        writer.close()

    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        known.cert_pem.write_to_path(folder / "ca.pem")
        bed.env["SSL_CERT_FILE"] = str(folder / "ca.pem")
        ports = []
        for context in (
            server_context(known, days=-1),
            server_context(known, host="other.test"),
            server_context(unknown),
        ):
            server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            ports.append(int(server.sockets[0].getsockname()[1]))
        yield ports


async def f25_backlog_of_one(bed: Bed) -> None:
    """One partner is owed very many; the others' mails take no longer for it."""
    await bed.both()
    count = bed.scale.mails * 200

    switch = "UPDATE endpoints SET disabled_at = CASE WHEN $2 THEN now() END WHERE id = $1"
    bed.moods["/backlog"] = 202
    async with _pool(bed) as db:
        [big] = await bulk.add_targets(db, bed.world.vault, [bed.sink.url("/backlog")])
        await db.execute(switch, big.endpoint, True)
        for _ in range(0, count, 1000):
            await bulk.add_due_deliveries(db, bed.world.vault, big, min(1000, count))
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


async def f26_many_hang(bed: Bed) -> None:
    """A thousand endpoints of as many partners take what comes and never answer, a hundred webhooks a second."""

    urls = [bed.sink.url(f"/hangs{number}") for number in range(bed.scale.mails * 2)]
    bed.moods |= {f"/hangs{number}": hang for number in range(len(urls))}
    await bed.both()
    async with _pool(bed) as db:
        hanging = await bulk.add_targets(db, bed.world.vault, urls)

        async def strike() -> None:
            begun, clock = time.monotonic(), time.monotonic
            for number in range(int(bed.scale.away * RATE)):
                await asyncio.sleep(max(0.0, begun + number / RATE - clock()))
                each = hanging[number % len(hanging)]
                await bulk.add_due_deliveries(db, bed.world.vault, each, 1)
                await queue.ring(each.endpoint)

        async with EndpointDoorbell(bed.world.redis_url) as queue:
            await _beside(bed, strike, seconds=bed.scale.away)
    bed.more["hanging"] = await bed.world.value(
        "SELECT count(DISTINCT d.endpoint_id) FROM attempts a JOIN deliveries d ON d.id = a.delivery_id"
        " WHERE a.error = 'timeout'"
    )
    await bed.world.rows("DELETE FROM deliveries WHERE message_id IS NULL")


async def _beside(bed: Bed, strike: Callable[[], Awaitable[None]], *, seconds: float = 0.0) -> None:
    """The last partner's users get mail one by one, alone and then beside the fault, for so long at least."""
    users = _of(bed, bed.partners - 1)
    spans = []
    for fault in (None, strike):
        striking = asyncio.create_task(fault()) if fault else None
        began = time.time()
        count = max(20, bed.scale.mails // 5, int(seconds * 20) if fault else 0)
        await bed.pour(count, rate=20, users=users)
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


async def _until(bed: Bed, sql: str, *args: object) -> None:
    async with asyncio.timeout(60):
        while not await bed.world.value(sql, *args):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def _pool(bed: Bed) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(bed.world.database_url, min_size=1, max_size=2) as pool:
        yield pool
