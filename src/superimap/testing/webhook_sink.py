"""Webhook receiver that records requests and chooses answers."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Self, TypeAlias

from aiohttp import web

from superimap.testing.waiting import Waiters


@dataclass(frozen=True)
class Received:
    """A received request. `headers` are keyed by lower-case name.

    Both `at` (monotonic clock) and `wall` (Unix time) are in seconds, taken when the body had been read.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    wall: float

    @cached_property
    def json(self) -> Any:
        """The parsed body. Raises ValueError if it is not JSON."""
        return json.loads(self.body)


SinkAnswer: TypeAlias = int | web.StreamResponse
"""A status code, or a whole aiohttp response with headers and body."""

ChooseAnswer: TypeAlias = Callable[[Received], "SinkAnswer | Awaitable[SinkAnswer]"]
"""Chooses the answer to a request. An async function may wait for anything, or never return."""


class WebhookSink:
    """An HTTP receiver on its own port: `async with WebhookSink() as sink: ... await sink.wait_for(3)`."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, *, answer: int | ChooseAnswer = 200, record: bool = True
    ) -> None:
        """`port` 0 takes a free port. Without `record`, requests are only counted, as benchmarks need it."""
        self.host = host
        self.port = port
        self.answer: int | ChooseAnswer = answer
        self.received: list[Received] = []
        self.count = 0
        self.most_at_once = 0
        self._record = record
        self._at_once = 0
        self._by_path: dict[str, int | ChooseAnswer] = {}
        self._waiters = Waiters()
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        server = web.Server(self._handle, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, backlog=4096)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def url(self, path: str = "/") -> str:
        """Return the URL of `path` on this server."""
        return f"http://{self.host}:{self.port}/{path.removeprefix('/')}"

    def on(self, path: str, answer: int | ChooseAnswer) -> None:
        """Answer requests to `path` (without query) with `answer` from now on."""
        self._by_path[path] = answer

    def to(self, path: str) -> list[Received]:
        """Return the requests to `path` (without query), oldest first."""
        return [received for received in self.received if received.path.partition("?")[0] == path]

    async def wait_for(
        self,
        wanted: int | Callable[[list[Received]], object],
        timeout: float = 10.0,  # noqa: ASYNC109 - the timeout is part of the interface
    ) -> list[Received]:
        """Wait for this number of requests, or until `wanted(received)` holds; return all requests so far.

        A request counts once its body has been read, answered or not. Raises TimeoutError after `timeout` seconds.
        """
        if isinstance(wanted, int):
            condition: Callable[[], object] = lambda: self.count >= wanted  # noqa: E731
        else:
            condition = lambda: wanted(self.received)  # noqa: E731
        await self._waiters.wait_for(condition, timeout)
        return self.received

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            received = await self._read(request)
            answer = self._by_path.get(request.path, self.answer)
            result = answer if isinstance(answer, int) else answer(received)
            if isinstance(result, Awaitable):
                result = await result
            return web.Response(status=result) if isinstance(result, int) else result
        finally:
            self._at_once -= 1

    async def _read(self, request: web.BaseRequest) -> Received:
        body = await request.content.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(request.method, request.path_qs, headers, body, time.monotonic(), time.time())
        self.count += 1
        if self._record:
            self.received.append(received)
        self._waiters.check()
        return received
