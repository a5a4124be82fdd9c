"""A PostgreSQL that runs and does not serve: failover, refused role, read-only, full queue of notifications."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import asyncpg
from asyncpg.exceptions import ProgramLimitExceededError

from fixtures.engines import execute
from trials.faults.fault_run import POSTS_IN_FLIGHT, FaultRun
from trials.faults.patroni import PatroniEngines
from trials.faults.replicas import ReplicatedEngines

MAX_FAILOVER_SECONDS = 10.0
"""Longest time without a primary. With --away 60 an idler would be removed for its silence, which F11 covers."""

END_OURS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'superimap'"
)
SET_READ_ONLY = "ALTER DATABASE {} SET default_transaction_read_only = on"
RESET_READ_ONLY = "ALTER DATABASE {} RESET default_transaction_read_only"


async def f14_failover(run: FaultRun) -> None:
    """kill -9 of a primary under mail, and promotion of its synchronous standby. Nothing is lost or repeated."""
    run.most_duplicates = POSTS_IN_FLIGHT
    engines = _replicated(run)
    await run.start_workers()
    connects = run.imap.connects
    pouring = asyncio.create_task(run.send_at_rate(run.scale.mails))
    await run.wait_for_webhooks(run.scale.mails // 10)
    await engines.fail_over(after=min(run.scale.away, MAX_FAILOVER_SECONDS))
    await pouring
    await run.wait_until_settled(within=90)
    check_kept(run, connects)


async def f14_failover_with_loss(run: FaultRun) -> None:
    """The same with an asynchronous standby that lags: its lost mails are sent again, under the same ids."""
    engines = _replicated(run)
    await run.start_workers()
    connects = run.imap.connects
    await run.send_at_rate(run.scale.mails // 2)
    await run.wait_until_settled()
    await engines.cut_replication()
    lost = run.scale.mails // 4
    run.most_duplicates = lost + POSTS_IN_FLIGHT
    await run.send_at_rate(lost)
    await run.wait_until_settled()
    pouring = asyncio.create_task(run.send_at_rate(run.scale.mails - run.scale.mails // 2 - lost))
    await engines.fail_over(after=min(run.scale.away, MAX_FAILOVER_SECONDS))
    await pouring
    await run.wait_until_settled(within=90)
    recorded = await run.world.value("SELECT count(*) FROM messages WHERE outcome = 'delivered'")
    run.extra_figures["recorded"] = recorded
    if recorded != len(run.injected.sent):
        run.broken.append(f"I1: {recorded} mails of {len(run.injected.sent)} are recorded after the failover")
    check_kept(run, connects, may_move=True)


async def f14_primary_lost_under_patroni(run: FaultRun) -> None:
    """Loss of the machine of the primary under mail; Patroni promotes its synchronous standby."""
    assert isinstance(run.engines, PatroniEngines)
    await _during_mail(run, run.engines.lose_primary)


async def f14_switchover_by_patroni(run: FaultRun) -> None:
    """A switchover under mail, as for maintenance: the two clusters change their roles."""
    assert isinstance(run.engines, PatroniEngines)
    await _during_mail(run, run.engines.switch_over)


async def _during_mail(run: FaultRun, strike: Callable[[], Awaitable[float]]) -> None:
    run.most_duplicates = POSTS_IN_FLIGHT
    await run.start_workers()
    connects = run.imap.connects
    pouring = asyncio.create_task(run.send_at_rate(run.scale.mails))
    await run.wait_for_webhooks(run.scale.mails // 10)
    run.extra_figures["without_primary_s"] = round(await strike(), 1)
    await pouring
    await run.wait_until_settled(within=90)
    check_kept(run, connects)


def _replicated(run: FaultRun) -> ReplicatedEngines:
    assert isinstance(run.engines, ReplicatedEngines)
    return run.engines


async def f15_role_refused(run: FaultRun) -> None:
    """The role of the processes may not sign in for a while, and their connections are cut (28000)."""
    run.most_duplicates = POSTS_IN_FLIGHT
    with contextlib.suppress(asyncpg.DuplicateObjectError):
        await run.world.rows("CREATE ROLE worker SUPERUSER")
    await run.world.rows("ALTER ROLE worker LOGIN")
    head, _, tail = run.world.database_url.partition("@")
    run.env["DATABASE_URL"] = f"{head.rpartition('/')[0]}/worker@{tail}"
    await _strike(run, ["ALTER ROLE worker NOLOGIN", END_OURS], ["ALTER ROLE worker LOGIN"])


async def f16_read_only(run: FaultRun) -> None:
    """The server is read-only for a while, as after a failover (25006); connections of that time stay open."""
    run.most_duplicates = POSTS_IN_FLIGHT
    name = await run.world.value("SELECT current_database()")
    await _strike(run, [SET_READ_ONLY.format(name), END_OURS], [RESET_READ_ONLY.format(name)])


async def _strike(run: FaultRun, strike: list[str], heal: list[str]) -> None:
    pair = await run.start_workers()
    connects = run.imap.connects
    pouring = asyncio.create_task(run.send_at_rate(run.scale.mails))
    await run.wait_for_webhooks(run.scale.mails // 10)
    for statement in strike:
        await run.world.rows(statement)
    try:
        await asyncio.sleep(min(run.scale.away, 2 * MAX_FAILOVER_SECONDS))
        await pouring
    finally:
        for statement in heal:  # from a database that is not read-only
            await execute(run.engines.postgres.url, statement)
    await run.wait_until_settled(within=90)
    for process in pair:
        await run.ready(process)
    check_kept(run, connects)


async def f19_notify_queue_full(run: FaultRun) -> None:
    """Another client listens within a transaction until the queue is full. Mail goes on; a second idler waits."""
    run.most_duplicates = POSTS_IN_FLIGHT
    await run.start_workers()
    connects = run.imap.connects
    listener = await asyncpg.connect(run.world.database_url)
    try:
        await listener.execute("LISTEN x")
        await listener.execute("BEGIN; SELECT 1")
        await _fill_queue(run)
        second = await run.start("idler")
        await run.send_at_rate(run.scale.mails)
        await run.wait_for_webhooks(run.scale.mails, within=60)
    finally:
        await listener.close()
    await run.ready(second)
    check_kept(run, connects, may_move=True)


async def _fill_queue(run: FaultRun) -> None:
    large = "SELECT count(pg_notify('x', n || repeat('x', 7900))) FROM generate_series(1, 20) n"
    for statement in (large, "NOTIFY x, 'y'"):
        with contextlib.suppress(ProgramLimitExceededError):
            for _ in range(3000):
                await run.world.rows(statement)


def check_kept(run: FaultRun, connects: int, *, may_move: bool = False) -> None:
    """No process ended, and no session was lost; `may_move`: a session may end, because its idler
    received a mail before it knew of the loss, or because another idler has the user now."""
    ended = [each.name for each in run.processes if each.popen.poll() is not None]
    if ended:
        run.broken.append(f"I8: {', '.join(ended)} ended")
    if run.imap.connects != connects and not may_move:
        run.broken.append(f"{run.imap.connects - connects} sessions were not kept")
