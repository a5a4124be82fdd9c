"""Users whose server offers IDLE and does not take it: watched by polling, on one connection where possible."""

from __future__ import annotations

import functools

import pytest

from fixtures.world import eventually, running
from superimap.idler import main
from superimap.idler.timing import SessionTiming
from superimap.imap import idle
from superimap.testing.imap.hooks import answering
from tests.integration.idler.test_watching import mail, recorded, set_up

POLLING = functools.partial(
    main.serve, timing=SessionTiming(poll=0.05, backoff_first=0.01, backoff_longest=0.02)
)


@pytest.mark.parametrize(
    ("hook", "connections"),
    [
        (answering(b"%(tag)s BAD Error in IMAP command IDLE: Unknown command."), 1),
        (answering(b"+ idling", b"* BYE Server shutting down."), 1 + idle.MAX_IDLE_FAILURES),
    ],
    ids=["bad", "bye"],
)
async def test_a_user_whose_server_takes_no_idle_is_watched_by_polling(
    world, imap, monkeypatch, hook, connections
):
    monkeypatch.setattr(idle, "MIN_IDLE_SECONDS", 0.05)
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    imap.on("IDLE", hook)
    async with running(POLLING, world.settings):
        await imap.wait_for(lambda: any(entry.name == "NOOP" for entry in imap.log))
        imap.deliver("joe", mail())
        await recorded(world, 1)
        await eventually(lambda: world.value("SELECT status = 'watching' FROM users"))

        assert imap.connects == connections
