"""Faults of dispatchers: killed before, in and after a POST, stopped beyond their leases."""

from __future__ import annotations

import asyncio
import signal

from superimap.testing import ChaosProxy, Received
from trials.faults.bed import IN_FLIGHT, Bed


async def f03_dispatcher_killed(bed: Bed) -> None:
    """kill -9 of the dispatcher: before its POSTs arrive, as they have arrived, and as they are to be recorded."""
    await bed.start("idler")
    await bed.watched()
    for stroke in (_before_the_post, _after_the_post, _before_the_record):
        await stroke(bed)
        bed.most_duplicates += IN_FLIGHT
        bed.moods.clear()
        await bed.aim(0, bed.sink.url("/p0"))
        dispatcher = await bed.start("dispatcher")
        await bed.settled()
        dispatcher.kill()
    await bed.start("dispatcher")


async def _before_the_post(bed: Bed) -> None:
    dispatcher = await bed.start("dispatcher")
    async with ChaosProxy("127.0.0.1", bed.sink.port) as proxy:
        proxy.set(black_hole=True)
        await bed.aim(0, f"http://127.0.0.1:{proxy.port}/p0")
        bed.send(bed.scale.mails // 3)
        async with asyncio.timeout(30):
            while not proxy.connects:
                await asyncio.sleep(0.01)
        dispatcher.kill()


async def _after_the_post(bed: Bed) -> None:
    dispatcher = await bed.start("dispatcher")
    struck = asyncio.Event()

    async def strike(_: Received) -> int:
        dispatcher.kill()
        struck.set()
        return 200

    bed.moods["/p0"] = strike
    bed.send(bed.scale.mails // 3)
    await asyncio.wait_for(struck.wait(), 30)


async def _before_the_record(bed: Bed) -> None:
    dispatcher = await bed.start("dispatcher")
    struck = asyncio.Event()

    def strike(_: Received) -> int:
        bed.engines.postgres.pause()  # the answer arrives, and cannot be recorded
        struck.set()
        return 200

    bed.moods["/p0"] = strike
    bed.send(bed.scale.mails // 3)
    try:
        await asyncio.wait_for(struck.wait(), 30)
        await asyncio.sleep(0.1)  # for the answer to arrive
        dispatcher.kill()
    finally:
        bed.engines.postgres.resume()


async def f06_dispatcher_stood_still(bed: Bed) -> None:
    """SIGSTOP of one of two dispatchers amid its POSTs, until the other has done all; then it goes on."""
    bed.most_duplicates = IN_FLIGHT

    async def slowly(_: Received) -> int:
        await asyncio.sleep(0.05)
        return 200

    _, stopped = await bed.both()
    bed.moods["/p0"] = slowly
    bed.send(bed.scale.mails)
    await bed.arrived(bed.scale.mails // 5)
    stopped.popen.send_signal(signal.SIGSTOP)
    try:
        await bed.start("dispatcher")
        await bed.settled(within=90)
    finally:
        stopped.popen.send_signal(signal.SIGCONT)
    bed.send(bed.scale.mails // 5)
