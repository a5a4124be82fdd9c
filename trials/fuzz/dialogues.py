"""Fuzzing of the idler by mutated dialogues of real servers, and the properties that must hold for each."""

from __future__ import annotations

import asyncio
import functools
import logging
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fixtures.world import World, eventually, running
from superimap.idler import main
from superimap.idler.timing import SessionTiming
from superimap.imap.types import Timeouts
from superimap.testing import ImapServer
from tests.support.mails import mail
from trials.fuzz.player import DialoguePlayer
from trials.fuzz.recorded import Exchange

USER_COUNT = 24
PASSWORD = "planted-password-7f3a"
TIMING = SessionTiming(
    timeouts=Timeouts(connect=2, login=2, command=2, fetch=2, done=1, logout=0.2),
    backoff_first=0.02,
    backoff_longest=0.1,
    refused_first=0.02,
    refused_longest=0.1,
    throttled=0.02,
)
MAX_GROWTH_MIB = 200
MAX_STALL_SECONDS = 5.0
HEALTHY_WITHIN_SECONDS = 5.0


class FaultLog(logging.Handler):
    """Collects what the idler logs as an error, and each record that contains the password."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Judge one record."""
        text = logging.Formatter().format(record)
        if record.levelno >= logging.ERROR or PASSWORD in text:
            self.faults.append(text)


@dataclass
class FuzzReport:
    """What was played, and what did not hold."""

    plays: int = 0
    mails: int = 0
    growth_mib: float = 0.0
    longest_stall: float = 0.0
    broken: list[str] = field(default_factory=list)


async def fuzz_idler(
    world: World, dialogues: Sequence[list[Exchange]], *, seed: int, seconds: float, plays: int = 1 << 30
) -> FuzzReport:
    """Let an idler in this process talk to mutants for some seconds, or until that many were played."""
    report, faults = FuzzReport(), FaultLog()
    logger = logging.getLogger("superimap")
    level = logger.level
    logger.addHandler(faults)
    logger.setLevel(logging.DEBUG)
    world.overrides |= {"logins_per_second": 1000.0, "idle_renew": 5.0}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        async with DialoguePlayer(dialogues, seed=seed).running() as player, ImapServer() as healthy:
            await _create_users(world, player.port, healthy)
            async with running(functools.partial(main.serve, timing=TIMING), world.settings):
                await _watch_loop(report, lambda: len(player.plays) >= plays, seconds)
                await _deliver_to_healthy(world, healthy, report)
            await eventually(lambda: _all_ended(player), within=20, what="every connection has ended")
            await _compare(world, player, report)
    finally:
        logger.setLevel(level)
        logger.removeHandler(faults)
    report.growth_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    report.broken += [f"logged: {each}" for each in faults.faults]
    if report.growth_mib > MAX_GROWTH_MIB:
        report.broken.append(f"memory grew by {report.growth_mib:.0f} MiB")
    if report.longest_stall > MAX_STALL_SECONDS:
        report.broken.append(f"the event loop stood still for {report.longest_stall:.1f} s")
    return report


async def _create_users(world: World, port: int, healthy: ImapServer) -> None:
    partner = await world.partner(new_mail_webhook="https://app.example.com/hook")
    for code, where in {"FUZZED": port, "HEALTHY": healthy.port}.items():
        await world.provider("127.0.0.1", where, code=code, logins_per_second=1000.0)
        await world.connection(partner, code=code)
    logins = {f"fuzz{number}": f"fuzz{number}" for number in range(USER_COUNT)}
    await world.users(partner, logins, password=PASSWORD, code="FUZZED")
    await world.rows("UPDATE users SET connected_at = '2020-01-01'")  # the recorded mails are news
    healthy.add_account("ann", PASSWORD)
    await world.user(partner, "ann", login="ann", password=PASSWORD, code="HEALTHY")


async def _watch_loop(report: FuzzReport, is_done: Callable[[], bool], seconds: float) -> None:
    """Wait, and measure how long the event loop stands still."""
    until = last = time.monotonic()
    until += seconds
    while last < until and not is_done():
        await asyncio.sleep(0.02)
        now = time.monotonic()
        report.longest_stall, last = max(report.longest_stall, now - last), now


async def _deliver_to_healthy(world: World, healthy: ImapServer, report: FuzzReport) -> None:
    """A mail of a user of another server still arrives."""
    healthy.deliver("ann", mail("healthy", to="ann"))
    arrived = "SELECT count(*) FROM messages m JOIN users u ON u.id = m.user_id WHERE u.tag = 'ann'"
    try:
        await eventually(lambda: world.value(arrived), within=HEALTHY_WITHIN_SECONDS)
    except TimeoutError:
        report.broken.append("a mail of a user of another server did not arrive")


async def _all_ended(player: DialoguePlayer) -> bool:
    return all(play.has_ended for play in player.plays)


async def _compare(world: World, player: DialoguePlayer, report: FuzzReport) -> None:
    """Each recorded mail must have been sent as a string to that user, and no row may contain the password."""
    report.plays = len(player.plays)
    report.broken += [
        f"play {each.number} was not closed by the client: {each.mutations}" for each in player.hung
    ]
    digests: dict[str, set[bytes]] = {}
    for play in player.plays:
        digests.setdefault(play.user, set()).update(play.digests())
    rows = await world.rows(
        "SELECT u.tag, m.sha1, m.uid FROM messages m JOIN users u ON u.id = m.user_id WHERE m.sha1 IS NOT NULL"
    )
    report.mails = len(rows)
    for row in rows:
        if row["tag"] != "ann" and bytes(row["sha1"]) not in digests.get(row["tag"], set()):
            report.broken.append(f"UID {row['uid']} of {row['tag']} was recorded with other bytes than sent")
    leaks = "SELECT count(*) FROM users WHERE status_reason LIKE '%' || $1 || '%'"
    report.broken += ["a status contains the password"] * bool(await world.value(leaks, PASSWORD))
