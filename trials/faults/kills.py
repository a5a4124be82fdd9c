"""The fault `kills`: every process is killed once, in turn, while mail arrives."""

from __future__ import annotations

import asyncio

from trials.faults.fault_run import POSTS_IN_FLIGHT, FaultRun

MAILS_PER_SECOND, SHORT_MAILS_PER_SECOND = 200.0, 20.0
"""The short form has few mails, which must last until the last kill."""


async def kills(run: FaultRun) -> None:
    """kill -9 of idler, dispatcher, Valkey (data lost) and mail server (away for 3 s), at 200 mails per second."""
    run.most_duplicates = POSTS_IN_FLIGHT * run.partners  # of the one dispatcher that dies
    idler, dispatcher = await run.start_workers()
    await run.start("idler")
    await run.start("dispatcher")
    rate = MAILS_PER_SECOND if run.scale.judges_time else SHORT_MAILS_PER_SECOND
    pouring = asyncio.create_task(run.send_at_rate(run.scale.mails, rate=rate))
    fifth = run.scale.mails // 5
    await _wait_until_sent(run, fifth)
    idler.kill()
    await _wait_until_sent(run, 2 * fifth)
    dispatcher.kill()
    await _wait_until_sent(run, 3 * fifth)
    await run.engines.valkey.kill()
    run.engines.valkey.erase()
    await run.engines.valkey.start()
    await _wait_until_sent(run, 4 * fifth)
    await run.imap.kill()
    await asyncio.sleep(min(3.0, run.scale.away))
    await run.imap.restart()
    await pouring
    await run.wait_until_settled(within=180)
    await run.wait_until_watched()


async def _wait_until_sent(run: FaultRun, count: int) -> None:
    while len(run.injected.sent) < count:
        await asyncio.sleep(0.01)
