"""Lines of a logged mailbox that wait to be written: few, and none after the end."""

from __future__ import annotations

import asyncio

from superimap.idler.protocol_logs import MAX_WAITING_LINES, MailboxLog
from superimap.imap.transcript import LineDirection


async def test_a_server_that_says_much_loses_the_rest_and_an_ended_log_takes_nothing():
    now = asyncio.get_running_loop().time()
    log, ended = MailboxLog(1, 0.0, now + 60), MailboxLog(2, 0.0, now)
    for number in range(MAX_WAITING_LINES + 5):
        log.add(LineDirection.RECEIVED, f"* {number} EXISTS")
        ended.add(LineDirection.RECEIVED, f"* {number} EXISTS")

    taken = log.take()

    assert len(taken) == MAX_WAITING_LINES + 1
    assert taken[-1].line == "5 lines are left out"
    assert (log.take(), ended.take()) == ([], [])
