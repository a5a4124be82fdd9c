"""Faults of dispatchers: killed before, during and after a POST, paused beyond their leases."""

from __future__ import annotations

import asyncio
import signal

from superimap.testing import ChaosProxy, Received
from trials.faults.fault_run import POSTS_IN_FLIGHT, FaultRun


async def f03_dispatcher_killed(run: FaultRun) -> None:
    """kill -9 of the dispatcher: before its POSTs arrive, after they arrived, and before they are recorded."""
    await run.start("idler")
    await run.wait_until_watched()
    for kill_at in (_before_the_post, _after_the_post, _before_the_record):
        await kill_at(run)
        run.most_duplicates += POSTS_IN_FLIGHT
        run.answers.clear()
        await run.set_endpoint_url(0, run.sink.url("/p0"))
        dispatcher = await run.start("dispatcher")
        await run.wait_until_settled()
        dispatcher.kill()
    await run.start("dispatcher")


async def _before_the_post(run: FaultRun) -> None:
    dispatcher = await run.start("dispatcher")
    async with ChaosProxy("127.0.0.1", run.sink.port) as proxy:
        proxy.set(black_hole=True)
        await run.set_endpoint_url(0, f"http://127.0.0.1:{proxy.port}/p0")
        run.send(run.scale.mails // 3)
        async with asyncio.timeout(30):
            while not proxy.connects:
                await asyncio.sleep(0.01)
        dispatcher.kill()


async def _after_the_post(run: FaultRun) -> None:
    dispatcher = await run.start("dispatcher")
    struck = asyncio.Event()

    async def strike(_: Received) -> int:
        dispatcher.kill()
        struck.set()
        return 200

    run.answers["/p0"] = strike
    run.send(run.scale.mails // 3)
    await asyncio.wait_for(struck.wait(), 30)


async def _before_the_record(run: FaultRun) -> None:
    dispatcher = await run.start("dispatcher")
    struck = asyncio.Event()

    def strike(_: Received) -> int:
        run.engines.postgres.pause()  # the answer arrives but cannot be recorded
        struck.set()
        return 200

    run.answers["/p0"] = strike
    run.send(run.scale.mails // 3)
    try:
        await asyncio.wait_for(struck.wait(), 30)
        await asyncio.sleep(0.1)  # for the answer to arrive
        dispatcher.kill()
    finally:
        run.engines.postgres.resume()


async def f06_dispatcher_stood_still(run: FaultRun) -> None:
    """SIGSTOP of one of two dispatchers during its POSTs until the other has sent everything; then SIGCONT."""
    run.most_duplicates = POSTS_IN_FLIGHT

    async def slowly(_: Received) -> int:
        await asyncio.sleep(0.05)
        return 200

    _, stopped = await run.start_workers()
    run.answers["/p0"] = slowly
    run.send(run.scale.mails)
    await run.wait_for_webhooks(run.scale.mails // 5)
    stopped.popen.send_signal(signal.SIGSTOP)
    try:
        await run.start("dispatcher")
        await run.wait_until_settled(within=90)
    finally:
        stopped.popen.send_signal(signal.SIGCONT)
    run.send(run.scale.mails // 5)
