"""Faults of receivers: failing, hanging, sending without end, cut, and refusing."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trustme
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from superimap.testing import ChaosProxy, NetworkFault
from tests.support.tls import server_context
from trials.faults.fault_run import POSTS_IN_FLIGHT, FaultRun
from trials.faults.isolation import hang, measure_beside, users_of


class DrippingResponse(web.StreamResponse):
    """A response whose body never ends: one piece every `pause` seconds."""

    def __init__(self, piece: bytes, pause: float) -> None:
        super().__init__(status=500)
        self._piece, self._pause = piece, pause

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the body here, because the caller would only close the response."""
        writer = await super().prepare(request)
        while True:
            await self.write(self._piece)
            await asyncio.sleep(self._pause)
        return writer


class ResetResponse(web.Response):
    """Cuts the connection instead of answering, so that nothing counts as accepted."""

    def __init__(self) -> None:
        super().__init__(status=500)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Cut the connection."""
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
"""Partner, error or code of its attempts, and state of its circuit breaker."""

ENDPOINT_HEALTH = """
    WITH healths AS (
        SELECT DISTINCT p.name || ' ' || coalesce(a.error, a.code::text) || ' '
            || CASE WHEN e.disabled_at IS NULL THEN e.breaker ELSE 'disabled' END AS health
        FROM attempts a JOIN deliveries d ON d.id = a.delivery_id AND d.partner_id = a.partner_id
        JOIN endpoints e ON e.id = d.endpoint_id JOIN partners p ON p.id = e.partner_id
    )
"""


async def f21_fails_then_heals(run: FaultRun) -> None:
    """500 to everything for a while, then 200. There are few attempts meanwhile, and others are not delayed."""
    run.answers["/p0"] = 500
    await run.start_workers()
    share = run.scale.mails // 2

    async def strike() -> None:
        run.send(share, users_of(run, 0))
        await asyncio.sleep(run.scale.away)

    await measure_beside(run, strike)
    tries = await run.world.value("SELECT count(*) FROM attempts WHERE code = 500")
    # Until the breaker opens, then POSTs in flight, then probes.
    most = 10 + POSTS_IN_FLIGHT + 1 + run.scale.away / 5
    run.extra_figures["attempts_while_failing"] = tries
    if tries > most:
        run.broken.append(f"{tries} attempts while the endpoint failed; the guarantee is at most {most:.0f}")
    run.answers.clear()
    await run.wait_until_settled(within=420)


async def f22_hangs_and_babbles(run: FaultRun) -> None:
    """One receiver hangs, one sends a byte per second, one sends without end, one cuts; then all recover."""
    run.answers |= {
        "/p0": hang,
        "/p1": lambda _: DrippingResponse(b"x", 1.0),
        "/p2": lambda _: DrippingResponse(b"x" * 65536, 0.0),
        "/p3": lambda _: ResetResponse(),
    }
    await run.start_workers()

    async def strike() -> None:
        run.send(run.scale.users * 2, [user for user in range(run.scale.users) if user % run.partners != 4])

    await measure_beside(run, strike)
    run.answers.clear()
    await run.wait_until_settled(within=420)


async def f23_dies_before_it_is_read(run: FaultRun) -> None:
    """The receiver accepts, but every third connection is cut before the answer arrives."""
    await run.start_workers()
    cut = NetworkFault(limit=10)
    plan: Callable[[int], NetworkFault | None] = lambda number: cut if number % 3 == 1 else None  # noqa: E731
    async with ChaosProxy("127.0.0.1", run.sink.port, plan=plan) as proxy:
        await run.set_endpoint_url(0, f"http://127.0.0.1:{proxy.port}/p0")
        await run.send_at_rate(run.scale.mails)
        await run.wait_until_settled(within=420)
        run.most_duplicates = -(-proxy.connects // 3)


async def f24_refuses(run: FaultRun) -> None:
    """Each partner's endpoint fails in its own way, as REFUSALS lists; then each recovers."""
    redirect, wanted = run.sink.url("/elsewhere"), [" ".join(each) for each in REFUSALS]
    run.answers |= {
        "/p0": 410,
        "/p1": lambda _: web.Response(status=429, headers={"Retry-After": "1"}),
        "/p2": lambda _: web.Response(status=302, headers={"Location": redirect}),
    }
    async with _tls_servers(run) as ports:
        await run.set_endpoint_url(
            3, run.sink.url("/p3").replace("http:", "https:")
        )  # this receiver has no TLS
        await run.set_endpoint_url(4, "http://nowhere.invalid/p4")
        for partner, port in enumerate(ports, 5):
            await run.set_endpoint_url(partner, f"https://localhost:{port}/p{partner}")
        await run.start_workers()
        run.send(run.scale.users * 6)
        with contextlib.suppress(TimeoutError):
            await _wait_until(
                run,
                ENDPOINT_HEALTH + "SELECT array_agg(health ORDER BY health) = $1::text[] FROM healths",
                wanted,
            )
    health = [
        row[0] for row in await run.world.rows(ENDPOINT_HEALTH + "SELECT health FROM healths ORDER BY 1")
    ]
    if health != wanted:
        run.broken.append(f"attempts and breakers say {health}")
    if any(each.path == "/elsewhere" for each in run.accepted):
        run.broken.append("a redirect was followed")
    run.answers.clear()
    for partner in range(3, run.partners):
        await run.set_endpoint_url(partner, run.sink.url(f"/p{partner}"))
    await run.world.rows("UPDATE endpoints SET disabled_at = NULL, disabled_reason = NULL")
    await run.wait_until_settled(within=420)


@asynccontextmanager
async def _tls_servers(run: FaultRun) -> AsyncIterator[list[int]]:
    """Run servers with certificates that have expired, name another host, or have an unknown authority."""
    known, unknown = trustme.CA(), trustme.CA()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        run.broken.append("I3: a connection despite its invalid certificate")
        writer.close()

    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        known.cert_pem.write_to_path(folder / "ca.pem")
        run.env["SSL_CERT_FILE"] = str(folder / "ca.pem")
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


async def _wait_until(run: FaultRun, sql: str, *args: object) -> None:
    async with asyncio.timeout(60):
        while not await run.world.value(sql, *args):
            await asyncio.sleep(0.05)
