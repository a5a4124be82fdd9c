"""Everything is killed once, in turn, under a stream of mail."""

from __future__ import annotations

import asyncio

from trials.faults.bed import IN_FLIGHT, Bed

RATE, SLOW = 200.0, 20.0
"""Mails a second; the short form has few, and they must last until the last kill."""


async def kills(bed: Bed) -> None:
    """kill -9 of idler, dispatcher, Valkey (back empty), mail server (back after 3 s), at 200 mails a second."""
    bed.most_duplicates = IN_FLIGHT * bed.partners  # of the one dispatcher that dies
    idler, dispatcher = await bed.both()
    await bed.start("idler")
    await bed.start("dispatcher")
    pouring = asyncio.create_task(bed.pour(bed.scale.mails, rate=RATE if bed.scale.judges_time else SLOW))
    fifth = bed.scale.mails // 5
    await _sent(bed, fifth)
    idler.kill()
    await _sent(bed, 2 * fifth)
    dispatcher.kill()
    await _sent(bed, 3 * fifth)
    await bed.engines.valkey.kill()
    bed.engines.valkey.forget()
    await bed.engines.valkey.start()
    await _sent(bed, 4 * fifth)
    await bed.imap.kill()
    await asyncio.sleep(min(3.0, bed.scale.away))
    await bed.imap.back()
    await pouring
    await bed.settled(within=180)
    await bed.watched()


async def _sent(bed: Bed, count: int) -> None:
    while len(bed.injected.sent) < count:
        await asyncio.sleep(0.01)
