"""A PostgreSQL that went back in time: sessions notice it by their idler's heartbeat, and read mails again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fixtures.world import World, eventually, running
from superimap.launch import services
from tests.integration.idler.test_watching import idling, mail, recorded, set_up

TABLES = ("mailboxes", "messages", "deliveries")


async def snapshot(world: World) -> dict[str, list[Any]]:
    """Return all rows of the tables that the intake writes."""
    return {table: await world.rows(f"SELECT * FROM {table}") for table in TABLES}


async def restore(world: World, rows: dict[str, list[Any]]) -> None:
    """Bring these rows back, as a promoted replica has them that lagged behind, and an earlier heartbeat."""
    cursor = rows["mailboxes"][0]
    names = [name for name in cursor.keys() if name != "id"]  # noqa: SIM118 - a record, not a mapping
    assignments = ", ".join(f"{name} = ${number}" for number, name in enumerate(names, 1))
    await world.rows("DELETE FROM deliveries WHERE id <> ALL($1)", [row["id"] for row in rows["deliveries"]])
    await world.rows("DELETE FROM messages WHERE id <> ALL($1)", [row["id"] for row in rows["messages"]])
    await world.rows(f"UPDATE mailboxes SET {assignments}", *(cursor[name] for name in names))
    await world.rows("UPDATE idlers SET beat = 0")


@pytest.mark.parametrize("age", [timedelta(0), timedelta(hours=5)])
async def test_mail_that_a_promoted_replica_lacks_is_read_again_within_a_heartbeat(world, imap, age):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("one"))
        await recorded(world, 1)
        await eventually(lambda: world.value("SELECT beat > 1 FROM idlers"))
        before = await snapshot(world)
        imap.deliver("joe", mail("two"), internal_date=datetime.now(UTC) - age)
        await recorded(world, 2)
        lost = await world.value(
            "SELECT d.id FROM deliveries d JOIN messages m ON m.id = d.message_id AND m.uid = 2"
        )

        await restore(world, before)
        assert await recorded(world, 2) == [(1, "delivered"), (2, "delivered")]

        ids = [row["id"] for row in await world.rows("SELECT id FROM deliveries")]
        assert len(ids) == 2
        assert (lost in ids) is (not age), "a mail that has just arrived keeps its webhook-id"
        assert imap.logins == 1


async def test_a_heartbeat_without_loss_opens_no_mailbox_again(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("one"))
        await recorded(world, 1)
        beat = await world.value("SELECT beat FROM idlers")
        await eventually(lambda: world.value("SELECT beat > $1 + 2 FROM idlers", beat))

    assert sum(entry.name == "EXAMINE" for entry in imap.log) == 1
