"""All faults by name, with the run that each needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from trials.faults import (
    database,
    deafness,
    doorbells,
    isolation,
    kills,
    logs,
    mail_servers,
    receivers,
    refusals,
    sending,
    watching,
)
from trials.faults.engines import Engines, on_small_disk
from trials.faults.fault_run import FaultRun, Scale, prepared_run
from trials.faults.mail_servers import MailServer
from trials.faults.oracle import FaultReport
from trials.faults.patroni import under_patroni
from trials.faults.replicas import replicated


@dataclass(frozen=True)
class FaultCase:
    """A fault: the function that injects it, the number of partners, and the settings of the processes."""

    strike: Callable[[FaultRun], Awaitable[None]]
    partners: int = 1
    scale: dict[str, int] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    own: Callable[[Engines], AbstractAsyncContextManager[Engines]] | None = None  # engines of its own
    program: str | None = None  # that has to be installed
    imap: Callable[[], AbstractAsyncContextManager[MailServer]] = mail_servers.fake


FAULTS = {
    "F01": FaultCase(watching.f01_idler_killed),
    "F02": FaultCase(watching.f02_idler_killed_before_it_rang),
    "F03": FaultCase(sending.f03_dispatcher_killed),
    "F04": FaultCase(watching.f04_rolling_restart),
    "F05": FaultCase(watching.f05_idler_stood_still),
    "F06": FaultCase(sending.f06_dispatcher_stood_still),
    "F07": FaultCase(doorbells.f07_emptied),
    "F08": FaultCase(doorbells.f08_killed),
    "F09": FaultCase(doorbells.f09_hangs),
    "F10": FaultCase(doorbells.f10_refuses),
    "F11": FaultCase(database.f11_killed),
    "F12": FaultCase(database.f12_hangs),
    "F13": FaultCase(database.f13_taken),
    "F13-deadlock": FaultCase(database.f13_deadlock),
    "F13-disk": FaultCase(database.f13_disk_full, own=partial(on_small_disk, megabytes=256)),
    "F14-sync": FaultCase(refusals.f14_failover, own=partial(replicated, synchronous=True)),
    "F14-async": FaultCase(refusals.f14_failover_with_loss, own=partial(replicated, synchronous=False)),
    "F14-patroni": FaultCase(refusals.f14_primary_lost_under_patroni, own=under_patroni, program="patroni"),
    "F14-switchover": FaultCase(refusals.f14_switchover_by_patroni, own=under_patroni, program="patroni"),
    "F15": FaultCase(refusals.f15_role_refused),
    "F16": FaultCase(refusals.f16_read_only),
    "F17": FaultCase(deafness.f17_clocks_differ),
    "F18": FaultCase(deafness.f18_jobs_eaten),
    "F19": FaultCase(refusals.f19_notify_queue_full),
    "F20": FaultCase(logs.f20_log_not_read),
    "F21": FaultCase(receivers.f21_fails_then_heals, partners=2),
    "F22": FaultCase(receivers.f22_hangs_and_babbles, partners=5),
    "F23": FaultCase(receivers.f23_dies_before_it_is_read),
    "F24": FaultCase(receivers.f24_refuses, partners=8),
    "F25": FaultCase(isolation.f25_backlog_of_one),
    "F26": FaultCase(isolation.f26_hanging_partner, partners=2, env={"MAX_LANES": "10"}),
    "F26-many": FaultCase(isolation.f26_many_hang, env={"WEBHOOK_TIMEOUT": "20"}),
    "kills": FaultCase(kills.kills, partners=4, scale={"mails": 2000, "users": 400}),
    "kills-dovecot": FaultCase(
        kills.kills, partners=4, scale={"mails": 2000, "users": 400}, imap=mail_servers.dovecot
    ),
}


async def run_fault(name: str, engines: Engines, scale: Scale) -> FaultReport:
    """Inject a fault, wait until all deliveries are settled, and report."""
    fault = FAULTS[name]
    full = replace(scale, **fault.scale) if scale.judges_time else scale  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        if fault.own is not None:
            engines = await stack.enter_async_context(fault.own(engines))
        imap = await stack.enter_async_context(fault.imap())
        run = await stack.enter_async_context(
            prepared_run(name, engines, full, imap, partners=fault.partners, **fault.env)
        )
        await fault.strike(run)
        await run.wait_until_settled()
        return await run.report()
