"""A server that claims or sends without end costs a bounded number of rows, and is suspended; no mail is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fixtures.world import World, eventually, running
from superimap.domain import intake
from superimap.launch import services
from superimap.testing import ImapServer
from superimap.testing.imap.hooks import answering
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import ClientCommand
from tests.integration.idler.test_watching import idling, mail, recorded, set_up

LAST_CLAIMED_UID = 4_000_000_000


@pytest.fixture
async def joe(world, imap) -> int:
    """The id of a connected user."""
    partner = await set_up(world, imap)
    return await world.user(partner, "joe", login="joe", password="pw")


async def status(world: World) -> tuple[str, str]:
    (row,) = await world.rows("SELECT status, status_reason FROM users")
    return row[0], row[1]


async def suspended(world: World) -> str:
    """Wait until the user is suspended; return the reason."""

    async def reason() -> str | None:
        name, reason = await status(world)
        return reason if name == "suspended" else None

    found: str = await eventually(reason)
    return found


def claim_uids(imap: ImapServer) -> list[Callable[[], None]]:
    """Claim UIDs up to LAST_CLAIMED_UID, hand no mail over, and find none of them when asked again."""

    async def search(_session: FakeSession, command: ClientCommand) -> bytes:
        asks_for_all = b":*" in command.text(1)
        claim = b"* ESEARCH UID ALL 2:%d\r\n" % LAST_CLAIMED_UID if asks_for_all else b"* SEARCH\r\n"
        return claim + command.tag + b" OK done\r\n"

    return [imap.on("UID SEARCH", search), imap.on("UID FETCH", answering(b"%(tag)s OK done"))]


async def test_claimed_uids_without_mails_take_few_rows_and_suspend_the_server(world, imap, joe, monkeypatch):
    monkeypatch.setattr(intake, "MAX_GAPS", 3)
    imap.deliver("joe", mail())
    async with running(services.run_idler, world.settings):
        await recorded(world, 1)
        await idling(imap)
        claim_uids(imap)
        imap.deliver("joe", mail("behind the claims"))

        reason = await suspended(world)

    rows = await world.rows("SELECT uid, outcome, detail FROM messages ORDER BY uid")
    assert [tuple(row)[:2] for row in rows] == [
        (1, "delivered"),
        *[(2 + number * intake.MAX_GAP_UIDS, "gone") for number in range(4)],
    ]
    assert rows[1]["detail"] == intake.gap_detail(1000, 2, 1001)
    assert await world.value("SELECT last_uid FROM mailboxes") == 4001
    assert await world.value("SELECT retry_at > now() + interval '4 minutes' FROM users")
    assert "sends too much" in reason


async def test_invented_mails_suspend_the_server_and_honest_ones_are_recorded_later(
    world, imap, joe, monkeypatch
):
    monkeypatch.setattr(intake, "MAX_MAILS", 20)
    async with running(services.run_idler, world.settings):
        await idling(imap)
    for number in range(150):
        imap.deliver("joe", mail(f"number {number}"))

    async with running(services.run_idler, world.settings):
        await suspended(world)
    assert len(await recorded(world, 100)) == 100

    monkeypatch.setattr(intake, "MAX_MAILS", 50_000)
    await world.rows("UPDATE users SET retry_at = NULL")
    async with running(services.run_idler, world.settings):
        assert len(await recorded(world, 150)) == 150


async def test_a_server_whose_connections_end_by_limits_is_suspended(world, imap, joe, monkeypatch):
    monkeypatch.setattr(intake, "TOLERATED_EXCESSES", 1)
    imap.on("EXAMINE", answering(b"* 1 FETCH (X " + b"x" * (2 << 20)))

    async with running(services.run_idler, world.settings):
        reason = await suspended(world)

    assert "a line of more than" in reason
    assert await world.value("SELECT retry_at > now() + interval '4 minutes' FROM users")
