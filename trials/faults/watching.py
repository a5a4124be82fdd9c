"""Faults of idlers: killed, stopped, restarted in turn."""

from __future__ import annotations

import asyncio
import random
import signal

from trials.faults.bed import Bed


async def f01_idler_killed(bed: Bed) -> None:
    """kill -9 of the idler at random moments, while mail pours in."""
    chance = random.Random(1)
    idler, _ = await bed.both()
    for _ in range(bed.scale.rounds):
        pouring = asyncio.create_task(bed.pour(max(10, bed.scale.mails // bed.scale.rounds)))
        await asyncio.sleep(chance.uniform(0.02, 0.2))
        idler.kill()
        await pouring
        idler = await bed.start("idler")
        await bed.watched()


async def f02_idler_killed_before_it_rang(bed: Bed) -> None:
    """Valkey hangs, so that the idler is killed with its mails committed and nobody told."""
    idler, _ = await bed.both()
    for _ in range(min(3, bed.scale.rounds)):
        bed.engines.valkey.pause()
        bed.send(bed.scale.users)
        while await bed.world.value("SELECT count(*) FROM deliveries") < len(bed.injected.sent):
            await asyncio.sleep(0.002)
        idler.kill()
        bed.engines.valkey.resume()
        await bed.arrived(len(bed.injected.sent))
        idler = await bed.start("idler")
        await bed.watched()


async def f04_rolling_restart(bed: Bed) -> None:
    """A new one of each is started and the old one told to end, again and again, while mail pours in."""
    old = await bed.both()
    await bed.ready(old[1])
    rounds = min(10, bed.scale.rounds)
    for _ in range(rounds):
        pouring = asyncio.create_task(bed.pour(bed.scale.mails // rounds))
        new = await bed.start("idler"), await bed.start("dispatcher")
        for process in new:
            await bed.ready(process)
        for process in old:
            process.terminate()
        for process in old:
            if await process.ended():
                bed.broken.append(f"I8: {process.name} ended with {process.popen.returncode}")
        await pouring
        old = new
    await bed.watched()


async def f05_idler_stood_still(bed: Bed) -> None:
    """SIGSTOP of one of two idlers beyond its lease of 2 s, while mail comes; then it goes on."""
    stopped, _ = await bed.both()
    await bed.start("idler")
    await _both_own(bed)
    stopped.popen.send_signal(signal.SIGSTOP)
    try:
        bed.send(bed.scale.mails // 2)
        await bed.arrived(len(bed.injected.sent), within=bed.scale.away + 30)
    finally:
        stopped.popen.send_signal(signal.SIGCONT)
    bed.send(bed.scale.mails // 2)


async def _both_own(bed: Bed) -> None:
    """Until two idlers have their shares."""
    async with asyncio.timeout(30):
        while await bed.world.value("SELECT count(DISTINCT owner) FROM shards") < 2:
            await asyncio.sleep(0.02)
    await bed.watched()
