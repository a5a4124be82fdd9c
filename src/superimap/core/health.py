"""HTTP server of a process for liveness, readiness and metrics."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from superimap.core import metrics  # exports every metric from the start, even at 0
from superimap.core.listeners import open_listeners


@dataclass(slots=True)
class Readiness:
    """Readiness of a worker, with reasons.

    `ready` is true from its first round of work until it is asked to stop. A fault makes the worker unready until
    it is cleared; a note only describes it. Both belong to a subject, such as `database`, with one writer each.
    """

    ready: bool = False
    faults: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        """Whether the worker works and has no fault."""
        return self.ready and not self.faults

    def set_fault(self, subject: str, reason: str | None) -> None:
        """Set the fault of a subject; None clears it."""
        _set(self.faults, subject, reason)

    def set_note(self, subject: str, text: str | None) -> None:
        """Set the note of a subject; None clears it."""
        _set(self.notes, subject, text)

    def lines(self) -> list[str]:
        """Return the faults and notes, a line each, for operators."""
        return [f"{subject}: {text}" for subject, text in (*self.faults.items(), *self.notes.items())]


def _set(texts: dict[str, str], subject: str, text: str | None) -> None:
    if text is None:
        texts.pop(subject, None)
    else:
        texts[subject] = text


async def _no_check() -> str | None:
    return None


class _Handlers:
    """Handlers of the three paths."""

    def __init__(self, states: Sequence[Readiness], check: Callable[[], Awaitable[str | None]]) -> None:
        self._states = states
        self._check = check

    async def show_life(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def show_readiness(self, _: web.Request) -> web.Response:
        is_ready, fault = await self._look()
        lines = ["ready" if is_ready else "not ready", *([fault] if fault else [])]
        lines += [line for state in self._states for line in state.lines()]
        return web.Response(status=200 if is_ready else 503, text="\n".join(lines) + "\n")

    async def show_metrics(self, _: web.Request) -> web.Response:
        try:
            is_ready, _fault = await self._look()
        except Exception:  # a check that fails must not hide the metrics; /readyz raises the same error
            is_ready = False
        metrics.READY.set(is_ready)
        metrics.TASKS.set(len(asyncio.all_tasks()))
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _look(self) -> tuple[bool, str | None]:
        fault = await self._check()
        return fault is None and all(state.is_ready for state in self._states), fault


@asynccontextmanager
async def serve_health(
    *states: Readiness, host: str, port: int, check: Callable[[], Awaitable[str | None]] = _no_check
) -> AsyncIterator[None]:
    """Serve /healthz, /readyz and /metrics; port 0 serves nothing. Raises ListenError if the port is in use.

    /readyz answers 200 if all `states` are ready and `check`, which is asked each time, finds no fault. The first
    line of its text says so, the others give reasons.
    """
    if not port:
        yield
        return
    listeners = open_listeners(host, port, variables="HEALTH_HOST and HEALTH_PORT")
    app = web.Application()
    handlers = _Handlers(states, check)
    app.router.add_get("/healthz", handlers.show_life)
    app.router.add_get("/readyz", handlers.show_readiness)
    app.router.add_get("/metrics", handlers.show_metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        for listener in listeners:
            await web.SockSite(runner, listener).start()
        yield
    finally:
        async with asyncio.timeout(5.0):
            await runner.cleanup()
