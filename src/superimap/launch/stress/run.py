"""One run of the stress test: engines, processes, mail and faults, until everything is settled."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis

from superimap.core.config import Settings
from superimap.launch import up
from superimap.launch.stress import observe, partners, processes, resources
from superimap.launch.stress.mail_side import run_mail_side
from superimap.launch.stress.plan import QUEUE_TARGET, RECEIVERS, PlannedFault, StressPlan, plan_faults
from superimap.launch.stress.processes import ProcessGroup, StressError
from superimap.launch.stress.records import FaultRecord, RunRecord
from superimap.launch.stress.sampling import Sampler
from superimap.launch.stress.verdict import StressVerdict, judge_run
from superimap.launch.stress.web_side import run_web_side
from superimap.testing.server_process import ServerProcessEnded, spawn_server

START_LEAD_SECONDS = 0.5
WATCHED_SECONDS_PER_USER = 0.1
POLL_SECONDS = 0.25
SETTLE_MARGIN_SECONDS = 30.0
"""Time beyond the limit in which a run that fails is still watched, so that its charts show the end."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: the phase in words, seconds since the first mail, and counts."""

    phase: str
    seconds: float = 0.0
    idle: int = 0
    sent: int = 0
    accepted: int = 0
    strikes: int = 0
    faults: int = 0


Show = Callable[[Progress], None]


@dataclass(slots=True)
class Side:
    """The pipe to a server process: one order, one answer."""

    pipe: Connection

    async def ask(self, order: Any) -> Any:
        """Send an order and return its answer. Raises StressError if the process has ended."""
        try:
            self.pipe.send(order)
            return await asyncio.to_thread(self.pipe.recv)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise StressError("a server of the stress test ended; see its error above") from None


@dataclass(slots=True)
class Run:
    """The parts of a run."""

    plan: StressPlan
    folder: Path
    settings: Settings
    fleet: ProcessGroup
    mail: Side
    web: Side
    sampler: Sampler
    show: Show
    faults: list[FaultRecord]
    accepted: int = 0

    async def report(self, phase: str, seconds: float = 0.0) -> tuple[int, int, int, bool]:
        """Ask both sides for their counts, and show them; the mail server learns which mails may be deleted."""
        self.accepted, _, accepted = await self.web.ask("count")
        counts: tuple[int, int, int, bool] = await self.mail.ask(accepted)
        idle, sent, strikes, _ = counts
        self.show(Progress(phase, seconds, idle, sent, self.accepted, strikes, len(self.faults)))
        return counts


async def run_stress(
    plan: StressPlan,
    folder: Path,
    data: Path,
    show: Show,
    *,
    command: Sequence[str] = processes.COMMAND,
    environment: dict[str, str] | None = None,
) -> tuple[RunRecord, StressVerdict]:
    """Run a stress test and judge it. Journals and logs are written to `folder`, the engines' data to `data`.

    `command` runs a subcommand of `superimap`; `environment` is added to the environment of the processes. Raises
    StressError, or what `up.installation` raises.
    """
    show(Progress("starting PostgreSQL and Valkey"))
    async with _prepared(plan, folder, data, show, command, environment or {}) as run:
        started = time.time() + START_LEAD_SECONDS
        run.sampler.started = started
        sampling = asyncio.create_task(run.sampler.run())
        try:
            await _load(run, started)
        finally:
            sampling.cancel()
        await run.sampler.sample_stores()
        ended_at = time.time() - started
        unexpected = tuple(run.fleet.unexpected_ends)
        for side in (run.mail, run.web):
            await side.ask("end")
        seen = await observe.observe(
            plan, folder, run.settings.session_url, started=started, process_faults=run.faults
        )
    run.sampler.close()
    samples, stores = run.sampler.processes, run.sampler.stores
    seen = replace(seen, samples=samples, stores=stores, ended_at=ended_at, unexpected_ends=unexpected)
    return seen, judge_run(plan, seen, resources.judge_resources(plan, samples, stores, len(seen.mails)))


@contextlib.asynccontextmanager
async def _prepared(
    plan: StressPlan,
    folder: Path,
    data: Path,
    show: Show,
    command: Sequence[str],
    environment: dict[str, str],
) -> AsyncIterator[Run]:
    """Start everything, and wait until every mailbox is watched."""
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        await partners.refuse_used_engines()
        port = processes.free_port()
        installed = await enter(up.installation(data, {"port": port}))
        try:
            mail_pipe, imap_port = await enter(spawn_server(run_mail_side, plan, str(folder), name="mail"))
            web_pipe, web_port = await enter(spawn_server(run_web_side, plan, str(folder), name="web"))
        except ServerProcessEnded as error:
            raise StressError(str(error)) from None
        settings = installed.settings
        variables = partners.environment(settings) | environment
        fleet = await enter(processes.running(variables, folder, command=command))
        show(Progress("starting API, idlers and dispatchers"))
        api = await fleet.start("api1")
        children = [await fleet.start(name) for name in plan.process_names]
        await fleet.wait_until_ready(api)
        show(Progress(f"creating {plan.users:,} users"))
        application = await partners.create(settings, plan, imap_port=imap_port, web_port=web_port)
        for child in children:
            await fleet.wait_until_ready(child)
        sampler = Sampler(fleet, folder, database_url=settings.session_url, redis_url=settings.redis_url)
        run = Run(plan, folder, settings, fleet, Side(mail_pipe), Side(web_pipe), sampler, show, [])
        await run.web.ask(application)
        await _wait_until_watched(run)
        yield run


async def _wait_until_watched(run: Run) -> None:
    deadline = time.monotonic() + 30 + WATCHED_SECONDS_PER_USER * run.plan.users
    while (await run.report("waiting for sessions"))[0] < run.plan.users:
        if time.monotonic() > deadline:
            raise StressError(f"not all {run.plan.users:,} users are watched; see the logs in {run.folder}")
        await asyncio.sleep(POLL_SECONDS)


async def _load(run: Run, started: float) -> None:
    """Deliver the mails, inflict the faults, and wait until everything is settled."""
    plan = run.plan
    planned = plan_faults(plan)
    run.faults += [
        FaultRecord(each.kind, each.target, each.start, each.end, partner=RECEIVERS.index(each.target))
        for each in planned
        if each.kind == "outage"
    ]
    await run.mail.ask("chaos")
    await run.web.ask((started, [each for each in planned if each.kind == "outage"], plan.seconds))
    await run.mail.ask(float(started))
    async with asyncio.TaskGroup() as group:
        group.create_task(_inflict(run, planned, started))
        while not (await run.report("mail arrives", time.time() - started))[3]:  # noqa: ASYNC110 - in a process
            await asyncio.sleep(POLL_SECONDS)
        await run.mail.ask("calm")
    await _settle(run, started)


async def _inflict(run: Run, planned: Sequence[PlannedFault], started: float) -> None:
    for fault in planned:
        if fault.kind != "outage":
            await asyncio.sleep(max(0.0, started + fault.start - time.time()))
            if fault.target == QUEUE_TARGET:
                run.faults.append(await _erase_queue(run.settings.redis_url, started))
            else:
                run.faults.append(await run.fleet.inflict(fault, started))


async def _erase_queue(redis_url: str, started: float) -> FaultRecord:
    async with Redis.from_url(redis_url) as redis:
        await redis.flushdb()
    at = time.time() - started
    return FaultRecord("erase", QUEUE_TARGET, at, at)


async def _settle(run: Run, started: float) -> None:
    """Wait until every mail is accepted and no delivery is owed, but not for ever."""
    deadline = time.monotonic() + run.plan.limits.settled + SETTLE_MARGIN_SECONDS
    db = await asyncpg.connect(run.settings.session_url)
    try:
        while time.monotonic() < deadline:
            _, sent, _, _ = await run.report("settling", time.time() - started)
            if run.accepted >= sent and not await db.fetchval(observe.UNSETTLED):
                return
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await db.close()


def expected_seconds(plan: StressPlan) -> float:
    """Return how long the mail of a run arrives, for a progress bar."""
    return max(math.ceil(plan.seconds), 1)
