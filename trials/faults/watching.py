"""Faults of idlers: killed, paused, restarted in turn."""

from __future__ import annotations

import asyncio
import random
import signal

from trials.faults.fault_run import FaultRun


async def f01_idler_killed(run: FaultRun) -> None:
    """kill -9 of the idler at random times while mail arrives."""
    chance = random.Random(1)
    idler, _ = await run.start_workers()
    for _ in range(run.scale.rounds):
        pouring = asyncio.create_task(run.send_at_rate(max(10, run.scale.mails // run.scale.rounds)))
        await asyncio.sleep(chance.uniform(0.02, 0.2))
        idler.kill()
        await pouring
        idler = await run.start("idler")
        await run.wait_until_watched()


async def f02_idler_killed_before_it_rang(run: FaultRun) -> None:
    """Valkey hangs, so that the idler is killed after committing its mails but before ringing a doorbell."""
    idler, _ = await run.start_workers()
    for _ in range(min(3, run.scale.rounds)):
        run.engines.valkey.pause()
        run.send(run.scale.users)
        while await run.world.value("SELECT count(*) FROM deliveries") < len(run.injected.sent):
            await asyncio.sleep(0.002)
        idler.kill()
        run.engines.valkey.resume()
        await run.wait_for_webhooks(len(run.injected.sent))
        idler = await run.start("idler")
        await run.wait_until_watched()


async def f04_rolling_restart(run: FaultRun) -> None:
    """Repeatedly start a new idler and dispatcher and stop the old ones while mail arrives."""
    old = await run.start_workers()
    await run.ready(old[1])
    rounds = min(10, run.scale.rounds)
    for _ in range(rounds):
        pouring = asyncio.create_task(run.send_at_rate(run.scale.mails // rounds))
        new = await run.start("idler"), await run.start("dispatcher")
        for process in new:
            await run.ready(process)
        for process in old:
            process.terminate()
        for process in old:
            if await process.ended():
                run.broken.append(f"I8: {process.name} ended with {process.popen.returncode}")
        await pouring
        old = new
    await run.wait_until_watched()


async def f05_idler_stood_still(run: FaultRun) -> None:
    """SIGSTOP of one of two idlers beyond its lease of 2 s while mail arrives; then SIGCONT."""
    stopped, _ = await run.start_workers()
    await run.start("idler")
    await _wait_until_both_own(run)
    stopped.popen.send_signal(signal.SIGSTOP)
    try:
        run.send(run.scale.mails // 2)
        await run.wait_for_webhooks(len(run.injected.sent), within=run.scale.away + 30)
    finally:
        stopped.popen.send_signal(signal.SIGCONT)
    run.send(run.scale.mails // 2)


async def _wait_until_both_own(run: FaultRun) -> None:
    """Wait until two idlers own shards."""
    async with asyncio.timeout(30):
        while await run.world.value("SELECT count(DISTINCT owner) FROM shards") < 2:
            await asyncio.sleep(0.02)
    await run.wait_until_watched()
