"""All faults by name, each with the bed that it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace

from trials.faults import database, doorbells, kills, mail_servers, receivers, sending, watching
from trials.faults.bed import Bed, Scale, laid
from trials.faults.engines import Engines, on_small_disk
from trials.faults.mail_servers import MailServer
from trials.faults.oracle import Verdict


@dataclass(frozen=True)
class Fault:
    """What strikes, over how many partners, with which settings of the processes, and on which disk."""

    strike: Callable[[Bed], Awaitable[None]]
    partners: int = 1
    scale: dict[str, int] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    disk: int = 0  # MiB of a disk of PostgreSQL's own
    imap: Callable[[], AbstractAsyncContextManager[MailServer]] = mail_servers.own


FAULTS = {
    "F01": Fault(watching.f01_idler_killed),
    "F02": Fault(watching.f02_idler_killed_before_it_rang),
    "F03": Fault(sending.f03_dispatcher_killed),
    "F04": Fault(watching.f04_rolling_restart),
    "F05": Fault(watching.f05_idler_stood_still),
    "F06": Fault(sending.f06_dispatcher_stood_still),
    "F07": Fault(doorbells.f07_emptied),
    "F08": Fault(doorbells.f08_killed),
    "F09": Fault(doorbells.f09_hangs),
    "F10": Fault(doorbells.f10_refuses),
    "F11": Fault(database.f11_killed),
    "F12": Fault(database.f12_hangs),
    "F13": Fault(database.f13_taken),
    "F13-deadlock": Fault(database.f13_deadlock),
    "F13-disk": Fault(database.f13_disk_full, disk=256),
    "F21": Fault(receivers.f21_fails_then_heals, partners=2),
    "F22": Fault(receivers.f22_hangs_and_babbles, partners=5),
    "F23": Fault(receivers.f23_dies_before_it_is_read),
    "F24": Fault(receivers.f24_refuses, partners=8),
    "F25": Fault(receivers.f25_backlog_of_one),
    "F26": Fault(receivers.f26_hanging_partner, partners=2, env={"MAX_LANES": "10"}),
    "F26-many": Fault(receivers.f26_many_hang, env={"WEBHOOK_TIMEOUT": "20"}),
    "kills": Fault(kills.kills, partners=4, scale={"mails": 2000, "users": 400}),
    "kills-dovecot": Fault(
        kills.kills, partners=4, scale={"mails": 2000, "users": 400}, imap=mail_servers.dovecot
    ),
}


async def run(name: str, engines: Engines, scale: Scale) -> Verdict:
    """Let a fault strike, wait until all is settled, and judge."""
    fault = FAULTS[name]
    full = replace(scale, **fault.scale) if scale.judges_time else scale
    async with AsyncExitStack() as stack:
        if fault.disk:
            engines = await stack.enter_async_context(on_small_disk(engines, fault.disk))
        imap = await stack.enter_async_context(fault.imap())
        bed = await stack.enter_async_context(
            laid(name, engines, full, imap, partners=fault.partners, **fault.env)
        )
        await fault.strike(bed)
        await bed.settled()
        return await bed.verdict()
