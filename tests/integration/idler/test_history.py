"""History at connecting: mail of some days is swept once for each connection of a mailbox, beside live mail."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from fixtures.world import credentials, eventually, running
from superimap.db.watching import sweeps as sweep_queries
from superimap.domain.sweeps import SweepState
from superimap.launch import services
from tests.integration.idler.sweeping import Sweeps, olds
from tests.integration.idler.test_watching import idling, mail, set_up

DAY = timedelta(days=1)


async def sweeps_of(world) -> list[asyncpg.Record]:
    return await world.rows(
        "SELECT s.*, connected_at - since AS span FROM sweeps s JOIN users u ON u.id = user_id ORDER BY s.id"
    )


async def connect(history: Sweeps, days: int | None, *, mails: int) -> None:
    """Create the user with old mails, one a day from half a day ago."""
    history.partner = await set_up(history.world, history.imap)
    for number in reversed(range(mails)):
        when = datetime.now(UTC).replace(microsecond=0) - DAY * (number + 0.5)
        history.imap.deliver("joe", mail(f"old {number}"), internal_date=when)
    joe = credentials("joe", "joe", "pw") | {"history_days": days}
    await history.world.add_users(history.partner, [joe])


async def finished(world) -> Any:
    async def ended() -> Any:
        rows = await sweeps_of(world)
        return rows if rows and rows[0]["state"] == "finished" else None

    return await eventually(ended, within=30)


async def test_the_days_are_sent_once_beside_live_mail_across_restarts_reconnects_and_a_new_password(history):
    await connect(history, 30, mails=40)
    world, imap = history.world, history.imap
    paying = asyncio.create_task(history.paying())
    async with running(services.run_idler, world.settings):  # ended in the middle of the sweep
        await idling(imap)
        await eventually(lambda: world.value("SELECT coalesce(max(sent), 0) > 5 FROM sweeps"))
        imap.deliver("joe", mail("news 1"))
    async with running(services.run_idler, world.settings):
        await idling(imap)
        await finished(world)
        imap.drop_all()
        await idling(imap)
        await world.change_user(history.partner, "joe", login_password="pw", history_days=40)
        await idling(imap)
        imap.deliver("joe", mail("news 2"))
        await eventually(
            lambda: world.value("SELECT count(*) = 32 FROM messages WHERE outcome = 'delivered'")
        )
    paying.cancel()

    (sweep,) = await sweeps_of(world)
    assert (sweep["cause"], sweep["span"], sweep["sent"]) == ("connected", 30 * DAY, 30)
    assert sorted(await history.subjects()) == sorted(olds(*range(30)))
    assert sorted(await history.subjects("live") + await history.subjects("catch_up")) == ["news 1", "news 2"]
    assert not history.changes


async def test_a_new_connection_has_one_sweep_which_replaces_an_active_one_and_nothing_else_makes_one(
    history,
):
    await connect(history, 7, mails=0)
    world = history.world

    async def change(**fields: Any) -> list[tuple[Any, ...]]:
        await world.change_user(history.partner, "joe", **fields)
        return [(row["cause"], row["state"]) for row in await sweeps_of(world)]

    (first,) = await sweeps_of(world)
    await world.rows("UPDATE users SET last_login_at = now()")
    assert await change(login_password="other") == [("connected", "waiting")]
    assert await change(archived=True) == [("connected", "waiting")]
    assert await change(archived=False) == [("connected", "waiting")]
    assert await change(history_days=90) == [("connected", "waiting")]
    assert (await sweeps_of(world))[0]["id"] == first["id"]

    await change(login_password=None)
    assert await change(login_password="pw") == [("connected", "waiting")]
    (again,) = await sweeps_of(world)
    assert (again["id"] > first["id"], again["span"]) == (True, 90 * DAY)

    await world.rows("UPDATE sweeps SET state = 'finished', finished_at = now()")
    await history.start()
    replaced = await change(login_username="ann", login_password="pw")
    assert replaced == [("requested", "cancelled"), ("connected", "waiting")]
    assert (await sweeps_of(world))[0]["reason"] == "the mailbox was connected again"

    await change(history_days=0)
    ended = await change(login_username="bob", login_password="pw")
    assert ended == [("requested", "cancelled"), ("connected", "cancelled")], (
        "bob's mail is none of ann's history"
    )


async def test_the_connection_has_the_default_and_a_user_created_archived_begins_when_it_is_restored(history):
    world = history.world
    history.partner = await set_up(world, history.imap)
    await world.rows("UPDATE connections SET history_days = 14")
    people = [
        credentials("own", "own", "pw") | {"history_days": 3},
        credentials("none", "none", "pw") | {"history_days": 0},
        credentials("default", "default", "pw"),
        credentials("later", "later", "pw") | {"archived": True},
        {"tag": "unconnected", "history_days": 5},
    ]
    await world.add_users(history.partner, people)
    assert [row["span"] for row in await sweeps_of(world)] == [3 * DAY, 14 * DAY]

    await world.change_user(history.partner, "later", archived=False)
    await world.change_user(
        history.partner, "unconnected", email="u", login_username="u", login_password="pw"
    )
    assert [row["span"] for row in await sweeps_of(world)][2:] == [14 * DAY, 5 * DAY]


async def test_a_requested_sweep_is_begun_before_those_of_many_connected_mailboxes(history):
    world = history.world
    history.partner = await set_up(world, history.imap)
    people = [credentials(f"u{n}", f"u{n}", "pw") | {"history_days": 1} for n in range(5)]
    await world.add_users(history.partner, [*people, credentials("joe", "joe", "pw")])
    await world.rows("INSERT INTO idlers (name, version, capacity) VALUES ('one', '1', 9)")
    await world.rows("UPDATE shards SET owner = (SELECT id FROM idlers), epoch = 1")
    wanted = await history.start()
    async with asyncpg.create_pool(world.database_url, min_size=1, max_size=1) as pool:
        idler = await world.value("SELECT id FROM idlers")
        found = await sweep_queries.find_due(pool, idler, running=[], limit=2)

    assert found[0].id == wanted
    assert len(found) == 2


async def test_on_dovecot_the_days_and_the_mail_since_then_are_sent_once_each(history, dovecot):
    world, login = history.world, dovecot.add_user(password="secret")
    for number in reversed(range(20)):
        when = datetime.now(UTC).replace(microsecond=0) - DAY * (number + 0.5)
        dovecot.deliver(login, mail(f"old {number}"), date=when)
    await asyncio.to_thread(dovecot.wait_for_login, login, "secret")
    history.partner = await world.partner(new_mail_webhook="https://app.example.com/hook")
    await world.provider("127.0.0.1", dovecot.port)
    await world.connection(history.partner, history_days=10)
    paying = asyncio.create_task(history.paying())
    async with running(services.run_idler, world.settings):
        await world.add_users(history.partner, [credentials("joe", login, "secret")])
        dovecot.deliver(login, mail("news 1"))
        await eventually(lambda: world.value("SELECT status = 'watching' FROM users"), within=30)
        dovecot.deliver(login, mail("news 2"))
        (row,) = await finished(world)
        await eventually(
            lambda: world.value("SELECT count(*) = 12 FROM messages WHERE outcome = 'delivered'")
        )
    paying.cancel()

    assert (row["cause"], row["sent"]) == ("connected", 10)
    assert sorted(await history.subjects()) == sorted(olds(*range(10)))
    assert await world.value("SELECT count(*) FROM deliveries") == 12


async def test_the_history_of_each_watched_folder_is_read_by_a_sweep_of_its_own_until_one_is_cancelled(
    history,
):
    world, imap = history.world, history.imap
    history.partner = await set_up(world, imap)
    for name in ("Support", "Sales", "Private"):
        imap.accounts["joe"].create(name)
    for number, folder in enumerate(("INBOX", "Support", "Sales", "Private")):
        imap.deliver("joe", mail(f"old {number}"), folder, internal_date=datetime.now(UTC) - DAY)
    listed = {"history_days": 7, "folders": ["INBOX", "Support", "Sales"]}
    await world.add_users(history.partner, [credentials("joe", "joe", "pw") | listed])

    async def ended(count: int) -> Any:
        rows = await sweeps_of(world)
        return rows if [row["state"] for row in rows] == ["finished"] * count else None

    paying = asyncio.create_task(history.paying())
    async with running(services.run_idler, world.settings):
        rows = await eventually(lambda: ended(3), within=30)
        assert [row["folder"] for row in rows] in ([None, "Support", "Sales"], [None, "Sales", "Support"])
        assert [row["sent"] for row in rows] == [1, 1, 1]
        assert len({row["since"] for row in rows}) == 1
        await world.change_user(history.partner, "joe", login_password=None)
        await world.change_user(history.partner, "joe", login_password="pw")
        (again,) = await sweeps_of(world)
        await history.set_state(again["id"], SweepState.CANCELLED)
        imap.deliver("joe", mail("news"))
        await eventually(lambda: world.value("SELECT count(*) = 4 FROM messages WHERE outcome = 'delivered'"))
    paying.cancel()

    assert [row["state"] for row in await sweeps_of(world)] == ["cancelled"]
    assert sorted(await history.subjects()) == olds(0, 1, 2)


@pytest.mark.parametrize(
    ("state", "folders"), [(SweepState.FAILED, [None, "Support"]), (SweepState.CANCELLED, [None])]
)
async def test_the_next_folder_follows_a_sweep_that_fails_and_none_that_is_cancelled(history, state, folders):
    world = history.world
    await connect(history, 7, mails=0)
    await world.rows(
        "INSERT INTO mailboxes (user_id, partner_id, name, account, watched_since)"
        " SELECT id, partner_id, name, 'a', now() FROM users, (VALUES ('INBOX'), ('Support')) f (name)"
    )
    await world.rows("UPDATE sweeps SET mailbox_id = (SELECT min(id) FROM mailboxes)")
    async with asyncpg.create_pool(world.database_url, min_size=1, max_size=1) as pool:
        for row in await sweeps_of(world):
            await sweep_queries.end(pool, row["id"], state, "a reason")
            await sweep_queries.end(pool, row["id"], state, "a reason")

    assert [row["folder"] for row in await sweeps_of(world)] == folders
