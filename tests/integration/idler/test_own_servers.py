"""Users whose mail servers people have named: each user is watched at the named server."""

from datetime import UTC, datetime, timedelta

from fixtures.world import eventually, running
from superimap.db import engine
from superimap.db.accounts import connections, providers, users
from superimap.launch import services
from superimap.testing import ImapServer
from tests.integration.idler.test_watching import idling, mail


async def connect_user(world, partner, tag: str, server: ImapServer) -> None:
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        linked = await connections.by_code(db, partner.partner.id, "OTHER")
        assert linked is not None
        await users.create(
            db,
            world.vault,
            linked,
            {
                "tag": tag, "login_username": "joe", "login_password": "pw",
                "imap_host": server.host, "imap_port": server.port, "imap_tls": "none",
            },
        )  # fmt: skip


async def set_up(world, *servers: ImapServer):
    for server in servers:
        server.add_account("joe", "pw")
    partner = await world.partner(new_mail_webhook="https://app.example.com/hook")
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        await providers.create(db, code="OTHER", title="Other", imap_host="imap.invalid", host_by_user=True)
    await world.connection(partner, code="OTHER")
    return partner


async def count_deliveries(world) -> list[tuple[str, int]]:
    sql = "SELECT u.tag, count(*) FROM deliveries d JOIN users u ON u.id = d.user_id GROUP BY 1 ORDER BY 1"
    return [tuple(row) for row in await world.rows(sql)]


async def test_each_user_is_watched_at_the_server_they_named(world, imap):
    async with ImapServer() as other:
        partner = await set_up(world, imap, other)
        await connect_user(world, partner, "here", imap)
        await connect_user(world, partner, "there", other)
        async with running(services.run_idler, world.settings):
            await idling(imap)
            await idling(other)
            imap.deliver("joe", mail("one"))
            other.deliver("joe", mail("two"))
            other.deliver("joe", mail("three"))

            async def all_recorded():
                return await count_deliveries(world) == [("here", 1), ("there", 2)]

            assert await eventually(all_recorded)
            assert (imap.logins, other.logins) == (1, 1)


async def move(world, partner, server: ImapServer) -> None:
    """Let the partner name another server for joe, with the password."""
    server_fields = {"imap_host": "localhost", "imap_port": server.port}
    await world.change_user(partner, "joe", code="OTHER", login_password="pw", **server_fields)


async def test_a_stolen_api_key_sends_no_stored_password_to_another_server(world, imap):
    async with ImapServer() as evil:
        partner = await set_up(world, imap, evil)
        await connect_user(world, partner, "joe", imap)
        async with running(services.run_idler, world.settings):
            await idling(imap)

            await world.change_user(partner, "joe", code="OTHER", imap_host="localhost", imap_port=evil.port)

            await imap.wait_for(lambda: not imap.sessions)
        async with running(services.run_idler, world.settings):  # nor does an idler that starts later
            pass
        assert evil.connects == 0
    assert await world.value("SELECT login_password FROM users") is None


async def test_a_changed_server_is_watched_at_once_with_its_own_cursor(world, imap):
    async with ImapServer() as other:
        partner = await set_up(world, imap, other)
        await connect_user(world, partner, "joe", imap)
        for number in range(9):  # five of these are below the cursor of the previous server
            other.deliver("joe", mail(f"older {number}"), internal_date=datetime.now(UTC) - timedelta(days=9))
        async with running(services.run_idler, world.settings):
            await idling(imap)
            for number in range(5):
                imap.deliver("joe", mail(f"old {number}"))
            await eventually(lambda: world.value("SELECT count(*) = 5 FROM deliveries"))

            await move(world, partner, other)

            await idling(other)
            await imap.wait_for(lambda: not imap.sessions)
            other.deliver("joe", mail("new"))
            assert await eventually(lambda: world.value("SELECT count(*) >= 6 FROM deliveries"))
    assert await world.value("SELECT count(*) FROM deliveries") == 6
    assert imap.accounts["joe"].inbox.uidvalidity == other.accounts["joe"].inbox.uidvalidity


async def test_abuse_16_an_internal_server_is_not_dialled(world, imap, monkeypatch):
    monkeypatch.setattr("superimap.core.config.Settings.allowed_networks", ())
    partner = await set_up(world, imap)
    await connect_user(world, partner, "joe", imap)
    async with running(services.run_idler, world.settings):
        reason = await eventually(lambda: world.value("SELECT status_reason FROM users"))

    assert "may not be dialled" in reason
    assert imap.connects == 0


async def test_a_mailbox_moved_to_another_server_resumes_without_resending_mail(world, imap):
    now = datetime.now(UTC)
    async with ImapServer() as other:
        partner = await set_up(world, imap, other)
        await connect_user(world, partner, "joe", imap)
        await world.rows("UPDATE users SET connected_at = now() - interval '60 days'")
        for server in (imap, other):
            server.deliver("joe", mail("seen"), internal_date=now - timedelta(days=1))
        other.deliver("joe", mail("long ago"), internal_date=now - timedelta(days=30))
        other.deliver("joe", mail("missed meanwhile"), internal_date=now)
        async with running(services.run_idler, world.settings):
            await eventually(lambda: world.value("SELECT count(*) = 1 FROM deliveries"))

            await move(world, partner, other)

            await idling(other)
            await eventually(lambda: world.value("SELECT count(*) > 1 FROM deliveries"))
            other.deliver("joe", mail("new"))
            await eventually(lambda: world.value("SELECT count(*) > 2 FROM deliveries"))
    found = await world.rows("SELECT outcome, count(*) FROM messages GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in found] == [("delivered", 3), ("duplicate", 1)]
