"""Quotas of partners: users and sessions at creation, the API rate, and backlogs that hold new mail back."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from fixtures.world import eventually, running
from superimap.core import metrics
from superimap.db import postgres
from superimap.db.accounts import connections, quotas, room, users
from superimap.db.accounts.quotas import QuotaExceeded
from superimap.db.delivery import backlogs
from superimap.db.engine import sessions
from superimap.dispatcher import backlog_watch
from superimap.dispatcher.backlog_watch import BacklogWatch
from superimap.domain.quotas import Quota
from superimap.launch import services
from superimap.testing import ImapServer
from tests.support.api import world as make_api

USERS = "/api/v1/connections/PLAIN/users"
SIGN_IN = {"login_username": "u", "login_password": "a password of theirs"}


@pytest.fixture
async def sessionmaker(database_url):
    async with sessions(database_url) as opened:
        opened.configure(info={quotas.LIMITS: {**quotas.DEFAULT_QUOTAS, Quota.USERS: 3, Quota.SESSIONS: 2}})
        yield opened


@pytest.fixture
async def acme(world):
    partner = await world.partner(new_mail_webhook="http://127.0.0.1:9/hook")
    await world.provider("localhost", 10143)
    await world.connection(partner)
    return partner


async def test_abuse_57_concurrent_creations_never_exceed_the_quota(sessionmaker, world, acme):
    async def create(number: int) -> bool:
        try:
            async with sessionmaker.begin() as db:
                linked = await connections.by_code(db, acme.partner.id, "TEST")
                await users.create(db, world.vault, linked, {"tag": f"u{number}"})
        except QuotaExceeded:
            return False
        return True

    created = await asyncio.gather(*map(create, range(12)))

    assert sum(created) == 3
    assert await world.value("SELECT count(*) FROM users") == 3


async def test_archived_users_leave_room_and_restoring_takes_it(sessionmaker, world, acme):
    async def change(tag: str, **fields) -> None:
        async with sessionmaker.begin() as db:
            linked = await connections.by_code(db, acme.partner.id, "TEST")
            user = await users.by_tag(db, linked.connection, tag)
            if user is None:
                await users.create(db, world.vault, linked, {"tag": tag, **fields})
            else:
                await users.update(db, world.vault, linked, user, fields)

    for tag in "abc":
        await change(tag)
    with pytest.raises(QuotaExceeded, match="users is reached: 3"):
        await change("d")
    await change("a", archived=True)
    await change("d")
    with pytest.raises(QuotaExceeded):
        await change("a", archived=False)
    await change("b", **SIGN_IN)
    await change("c", **SIGN_IN)
    with pytest.raises(QuotaExceeded, match="sessions is reached: 2"):
        await change("d", **SIGN_IN)
    await change("b", archived=True)
    await change("d", **SIGN_IN)


async def test_a_partner_at_its_quota_is_counted_once_a_second_and_may_go_on_at_once_after_archiving(
    database_url, monkeypatch
):
    counts = []
    count = room.count

    async def counted(*args) -> int:
        counts.append(args)
        return await count(*args)

    monkeypatch.setattr(room, "count", counted)
    async with make_api(database_url, quota_users=2) as api, api.client(api.acme) as client:
        await client.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
        for tag in "ab":
            assert (await client.post(USERS, json={"tag": tag})).status_code == 201
        counts.clear()
        answers = [await client.post(USERS, json={"tag": "c"}) for _ in range(20)]
        counted_times = len(counts)
        await client.delete(f"{USERS}/a")
        after = await client.post(USERS, json={"tag": "c"})
        full = await client.post(USERS, json={"tag": "d"})

    assert {answer.status_code for answer in answers} == {409}
    assert 1 <= counted_times <= 2
    assert (after.status_code, full.status_code) == (201, 409)


async def test_an_operators_quota_replaces_the_default_at_once(sessionmaker, world, acme):
    async with sessionmaker.begin() as db:
        for _ in range(3):
            await quotas.reserve(db, acme.partner.id, Quota.USERS)
        await quotas.set_maximums(db, acme.partner.id, {Quota.USERS: 4})
        for _ in range(4):  # no user exists, so what is reserved is counted anew
            await quotas.reserve(db, acme.partner.id, Quota.USERS)
        await quotas.set_maximums(db, acme.partner.id, {Quota.USERS: None})
        rows = {row.quota: row for row in await quotas.list_quotas(db, acme.partner.id)}

    assert (rows[Quota.USERS].maximum, rows[Quota.USERS].is_default) == (3, True)


async def test_the_api_names_the_quota_in_a_409_and_a_429_and_counts_both(database_url):
    def refusals(quota: Quota) -> float:
        return metrics.QUOTA_REFUSALS.labels(quota.value)._value.get()

    before = refusals(Quota.USERS), refusals(Quota.REQUESTS_PER_SECOND)
    async with make_api(database_url, quota_users=1, quota_requests_per_second=1) as api:
        async with api.client(api.acme) as client:
            await client.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
            assert (await client.post(USERS, json={"tag": "a"})).status_code == 201
            refused = await client.post(USERS, json={"tag": "b"})
            answers = [await client.get(USERS) for _ in range(12)]
        async with api.client(api.globex) as other:
            assert (await other.get("/api/v1/connections")).status_code == 200

    assert (refused.status_code, refused.json()["type"]) == (409, "urn:superimap:problem:quota-exceeded")
    assert "The quota users is reached: 1" in refused.json()["detail"]
    (last,) = {answer.status_code for answer in answers[-2:]}
    assert last == 429
    assert "requests_per_second" in answers[-1].json()["detail"]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert refusals(Quota.USERS) == before[0] + 1
    assert refusals(Quota.REQUESTS_PER_SECOND) > before[1]


async def test_a_key_that_is_used_from_elsewhere_uses_up_no_requests_of_its_partner(database_url):
    async with make_api(database_url, quota_requests_per_second=1) as api, api.client(api.acme) as client:
        stolen = await client.post("/api/v1/api_keys", json={"name": "x", "networks": ["192.0.2.0/24"]})
        async with api.client(stolen.json()["api_key"]) as thief:
            answers = [await thief.get("/api/v1/connections") for _ in range(12)]

        assert {answer.status_code for answer in answers} == {403}
        assert (await client.get("/api/v1/connections")).status_code == 200


HOLD = "INSERT INTO partner_usage VALUES ($1, 'backlog_rows', 1, 0, now())"
BACKLOG = """
    INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, content, due_at)
    SELECT gen_random_uuid(), u.partner_id, e.id, u.id, 'new_mail', repeat('x', 1000)::bytea,
        now() + interval '1 d'
    FROM users u JOIN endpoints e ON e.partner_id = u.partner_id AND e.kind = 'new_mail', generate_series(1, $1)
    WHERE u.tag = 'ann'
"""


@pytest.mark.parametrize(("rows", "size"), [(20, 10**9), (10**9, 20_000)], ids=["rows", "bytes"])
async def test_a_backlog_holds_its_partner_at_the_quota_and_frees_it_below_nine_tenths(
    world, acme, database_url, rows, size
):
    await world.user(acme, "ann", login="ann", password="a password of theirs")
    other = await world.partner("globex", new_mail_webhook="http://127.0.0.1:9/hook")
    held = "SELECT DISTINCT partner_id FROM partner_usage WHERE held_since IS NOT NULL"

    async def measured(count: int) -> list[int]:
        await world.rows("DELETE FROM deliveries")
        await world.rows(BACKLOG, count)
        await watch.measure_all()
        return [row[0] for row in await world.rows(held)]

    async with postgres.pool(database_url, size=2) as pool:
        watch = BacklogWatch(pool, max_rows=rows, max_bytes=size)
        watch._not_before = {}
        seen = []
        for count in (1, 19, 20, 19, 17, 25, 0):
            watch._not_before.clear()
            seen.append(await measured(count))

    mine = [acme.partner.id]
    assert seen == [[], [], mine, mine, [], mine, []]
    assert other.partner.id not in mine
    assert await world.value("SELECT count(*) FROM partner_usage WHERE quota LIKE 'backlog%'") == 0


async def test_a_backlog_that_takes_too_long_to_measure_delays_no_other_partner(
    world, acme, database_url, monkeypatch
):
    large = await world.partner("globex", new_mail_webhook="http://127.0.0.1:9/hook")
    await world.user(acme, "ann", login="ann", password="a password of theirs")
    await world.rows(BACKLOG, 20)
    await world.rows("INSERT INTO partner_usage VALUES ($1, 'backlog_rows', 9, 1, NULL)", large.partner.id)
    measure, asked = backlogs.measure, []

    async def measure_some(db, partner_id: int, **limits: int) -> int:
        asked.append(partner_id)
        if len(asked) == 1:
            raise TimeoutError
        return await measure(db, partner_id, **limits)

    monkeypatch.setattr(backlogs, "measure", measure_some)
    async with postgres.pool(database_url, size=2) as pool:
        watch = BacklogWatch(pool, max_rows=10, max_bytes=10**9)
        await watch.measure_all()

    assert asked == sorted([acme.partner.id, large.partner.id])


async def test_the_dispatcher_that_sweeps_measures(world, acme, database_url, monkeypatch):
    monkeypatch.setattr(backlog_watch, "INTERVAL_SECONDS", 0.1)
    await world.user(acme, "ann", login="ann", password="a password of theirs")
    await world.rows(BACKLOG, 20)
    held = "SELECT count(*) = 1 FROM partner_usage WHERE held_since IS NOT NULL AND quota = 'backlog_rows'"
    settings = world.settings.model_copy(update={"quota_backlog_rows": 10})
    async with postgres.pool(database_url, size=2) as pool:
        await BacklogWatch(pool, max_rows=10, max_bytes=10**9, is_active=lambda: False).measure_all()
        before = await world.value(held)
        async with running(services.run_dispatcher, settings):
            await eventually(lambda: world.value(held), what="the measurement")

    assert not before


async def test_a_full_backlog_loses_no_mail_and_the_rest_is_recorded_once_it_is_smaller(world, monkeypatch):
    from superimap.idler import partner_holds, session

    monkeypatch.setattr(session, "HOLD_PAUSE_SECONDS", 0.2)
    async with ImapServer() as server:
        server.add_account("ann@example.com", "a password of theirs")
        partner = await world.partner(new_mail_webhook="http://127.0.0.1:9/hook")
        await world.provider(server.host, server.port)
        await world.connection(partner)
        await world.user(partner, "ann", login="ann@example.com", password="a password of theirs")
        await world.rows(HOLD, partner.partner.id)
        async with running(services.run_idler, world.settings.model_copy(update={"reconcile_interval": 0.2})):
            row = await eventually(lambda: suspended(world), what="the status")
            server.deliver("ann@example.com", b"Subject: one\r\n\r\nwaiting\r\n")
            await eventually(lambda: looked_again(world, row["retry_at"]), what="another look")
            assert await world.value("SELECT count(*) FROM messages") == 0
            await world.rows("DELETE FROM partner_usage")
            await eventually(lambda: recorded(world, 1), what="the mail")
            await eventually(lambda: world.value("SELECT status = 'watching' FROM users"), what="the status")
            await world.rows(HOLD, partner.partner.id)
            sent = 1
            async with asyncio.timeout(15):
                while not await suspended(world):  # until the open session knows
                    server.deliver(
                        "ann@example.com", f"Subject: {sent}\r\n\r\nopen session {sent}\r\n".encode()
                    )
                    sent += 1
                    await asyncio.sleep(0.1)
            assert await world.value("SELECT count(*) FROM messages") < sent
            await world.rows("DELETE FROM partner_usage")
            await eventually(lambda: recorded(world, sent), what="the mails that waited")

    assert "quota" in row["status_reason"]
    assert partner_holds.HOLD_PAUSE_SECONDS == 60.0
    assert await world.value("SELECT count(*) FROM deliveries WHERE kind = 'new_mail'") == sent


async def suspended(world) -> asyncpg.Record | None:
    (row,) = await world.rows("SELECT status, status_reason, retry_at FROM users")
    return row if row["status"] == "suspended" else None


async def looked_again(world, before) -> bool:
    row = await suspended(world)
    return row is not None and row["retry_at"] > before


async def recorded(world, count: int) -> bool:
    return await world.value("SELECT count(*) FROM messages") == count
