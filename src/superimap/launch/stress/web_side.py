"""The applications of a stress test: a receiver for each partner, in a process of its own.

Each receiver verifies both signatures before it accepts a webhook. Some are slow, fail for a while or reset
connections, as the plan says. When the credentials of a mailbox are refused, the application sets them again by
the API, as the person behind the mailbox would.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from superimap.launch.stress.journal import Journal, processed
from superimap.launch.stress.mail_side import PASSWORD, raise_priority
from superimap.launch.stress.plan import RECEIVERS, RESET_SHARE, PlannedFault, StressPlan
from superimap.testing.signatures import verify_body_signature, verify_standard

SLOW_SECONDS = (0.1, 0.6)
"""Shortest and longest time until the slow receiver answers."""

SET_PASSWORD_SECONDS = 10.0
FLUSH_SECONDS = 0.2
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class ReceiverKeys:
    """The keys with which a partner verifies webhooks and calls the API."""

    api_key: str
    secret: str


@dataclass(frozen=True, slots=True)
class Application:
    """What the receivers need: the address of the API, and the keys by partner."""

    users_url: str
    keys: Mapping[int, ReceiverKeys]


def run_web_side(pipe: Connection, plan: StressPlan, folder: str) -> None:
    """Serve until killed. Sends its port; receives the Application, faults and start time; answers with counts."""
    raise_priority()
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        asyncio.run(_serve(pipe, plan, Path(folder)))


async def _serve(pipe: Connection, plan: StressPlan, folder: Path) -> None:
    receivers = _Receivers(plan, folder)
    app = web.Application(client_max_size=16 * 2**20)
    app.router.add_post("/{partner:\\d+}/{kind}", receivers.receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    pipe.send(runner.addresses[0][1])
    flushing = asyncio.create_task(receivers.keep_flushed())
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        receivers.http = http
        while (order := await asyncio.to_thread(pipe.recv)) != "end":
            pipe.send(receivers.obey(order))
    flushing.cancel()
    receivers.close()
    pipe.send(None)
    await runner.cleanup()


class _Receivers:
    """The receivers of all partners, and the journals of what they answered."""

    def __init__(self, plan: StressPlan, folder: Path) -> None:
        self.http: aiohttp.ClientSession | None = None
        self._application = Application("", {})
        self._outages: list[tuple[float, float]] = []
        self._journals = {partner: Journal(folder, processed(partner)) for partner in range(len(RECEIVERS))}
        self._chance = plan.random("receivers")
        self._accepted: set[str] = set()
        self._news: list[str] = []  # accepted since the last order
        self._passwords_set = 0
        self._has_ended = False
        self._calm_after = float("inf")
        self._tasks: set[asyncio.Task[None]] = set()

    def obey(self, order: Any) -> tuple[int, int, list[str]]:
        """Obey an order; return the mails accepted, the passwords set, and the SHA-1s accepted since the last one.

        An Application introduces the partners; a start time with faults and an end begins the failures.
        """
        match order:
            case Application():
                self._application = order
            case (float(start), list(faults), float(seconds)):
                self._begin(start, faults, seconds)
        news, self._news = self._news, []
        return len(self._accepted), self._passwords_set, news

    def _begin(self, start: float, faults: list[PlannedFault], seconds: float) -> None:
        self._outages = [(start + each.start, start + each.end) for each in faults if each.kind == "outage"]
        self._calm_after = start + seconds if faults else 0.0

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """Verify and answer one POST, and note it."""
        body, arrived = await request.read(), time.time()
        partner = int(request.match_info["partner"])
        keys = self._application.keys.get(partner)
        if keys is None or self._has_ended:
            return web.Response(status=503)
        content = await request.json()
        is_signed = verify_body_signature(content, keys.api_key)
        is_signed = is_signed and verify_standard(request.headers, body, keys.secret)
        if request.match_info["kind"] == "events":
            return self._take_event(partner, content) if is_signed else web.Response(status=400)
        answer = await self._answer(RECEIVERS[partner], arrived) if is_signed else 400
        if self._has_ended:
            return web.Response(status=503)
        note = partial(
            self._journals[partner].write,
            f"{arrived:.4f}",
            content.get("user_tag"),
            content.get("sha1"),
            request.headers.get("webhook-id"),
        )
        note(answer or "reset", int(is_signed))
        if not answer:
            _reset(request)
            return web.Response(status=500)
        if answer == 200:
            self._accept(str(content.get("sha1")))
        return web.Response(status=answer)

    def _accept(self, sha1: str) -> None:
        if sha1 not in self._accepted:
            self._accepted.add(sha1)
            self._news.append(sha1)

    async def _answer(self, manner: str, now: float) -> int:
        """Return the status of an answer; 0 resets the connection."""
        match manner:
            case "slow":
                await asyncio.sleep(self._chance.uniform(*SLOW_SECONDS))
            case "failing" if any(start <= now < end for start, end in self._outages):
                return self._chance.choice((500, 502, 503))
            case "resetting" if now < self._calm_after and self._chance.random() < RESET_SHARE:
                return 0
        return 200

    def _take_event(self, partner: int, content: Mapping[str, Any]) -> web.Response:
        if content.get("event") == "user_reauth_required":
            task = asyncio.create_task(self._set_password(partner, str(content["user_tag"])))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return web.Response(status=200)

    async def _set_password(self, partner: int, tag: str) -> None:
        """Set the password again, with a new attempt after each failure of the API."""
        assert self.http is not None  # noqa: S101 - set before the port is known
        url, key = f"{self._application.users_url}/{tag}", self._application.keys[partner].api_key
        for attempt in range(5):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with (
                    asyncio.timeout(SET_PASSWORD_SECONDS),
                    self.http.put(
                        url, json={"login_password": PASSWORD}, headers={"x-api-key": key}
                    ) as answer,
                ):
                    if answer.status < 500 and answer.status != 429:
                        self._passwords_set += answer.status == 200
                        return
            await asyncio.sleep(random.uniform(0, 2.0**attempt))  # noqa: S311 - jitter

    async def keep_flushed(self) -> None:
        """Write the journals until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            for journal in self._journals.values():
                journal.flush()

    def close(self) -> None:
        """Write everything to the journals, and accept nothing more."""
        self._has_ended = True
        for journal in self._journals.values():
            journal.close()


def _reset(request: web.Request) -> None:
    """End the connection by RST."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
