"""Services while PostgreSQL refuses, is read-only or is full: sessions stay, /readyz tells why, all recover."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest
import pytest_asyncio

from fixtures.engines import execute
from fixtures.world import World, eventually, running
from superimap.core.crypto import Vault
from superimap.core.health import Readiness
from superimap.db import postgres, ready
from superimap.dispatcher import backlog_watch
from superimap.launch import services
from superimap.testing import ImapServer, WebhookSink
from tests.integration.database.conftest import Operator
from tests.integration.database.test_classification import fill_queue, listener_that_does_not_read
from tests.support.api import ApiWorld
from tests.support.api import world as api_world
from tests.support.mails import mail

END_OURS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'superimap' AND datname = '{db}'"
)
# The failure, and its end.
FAILURES = {
    "refused (28000)": ("ALTER ROLE {role} NOLOGIN", "ALTER ROLE {role} LOGIN"),
    "read-only (25006)": (
        "ALTER ROLE {role} SET default_transaction_read_only = on",
        "ALTER ROLE {role} RESET default_transaction_read_only",
    ),
}


@pytest_asyncio.fixture
async def owner(operator: Operator) -> Operator:
    """The operator, whose role owns all tables."""
    await execute(operator.url, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {operator.role}")
    await execute(operator.url, f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {operator.role}")
    return operator


@pytest_asyncio.fixture
async def imap() -> AsyncIterator[ImapServer]:
    async with ImapServer() as server:
        yield server


@pytest_asyncio.fixture
async def sink() -> AsyncIterator[WebhookSink]:
    async with WebhookSink() as server:
        yield server


async def prepare(world: World, imap: ImapServer, sink: WebhookSink) -> None:
    partner = await world.partner(new_mail_webhook=sink.url("/hook"))
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    imap.add_account("joe", "pw")
    await world.user(partner, "joe", login="joe", password="pw")


async def has_fault(state: Readiness, text: str) -> bool:
    return any(text in line for line in state.lines())


@pytest.mark.parametrize("kind", FAILURES)
async def test_sessions_stay_and_webhooks_follow_while_postgresql_is(
    kind, owner: Operator, redis_url, imap, sink
):
    world = World(owner.url, redis_url)
    await prepare(world, imap, sink)
    world.database_url = owner.guest_url
    strike, heal = FAILURES[kind]
    kept = world.settings
    async with (
        running(services.run_idler, kept) as idler,
        running(services.run_dispatcher, kept) as dispatcher,
    ):
        await imap.wait_for(lambda: any(each.idling for each in imap.sessions))
        await owner.run(strike, END_OURS)
        for state in (idler, dispatcher):
            await eventually(lambda state=state: has_fault(state, kind.partition(" (")[2]))
            assert not state.is_ready
        await eventually(lambda: has_fault(idler, "heartbeat: PostgreSQL"))
        if "refused" in kind:  # a round only reads
            await eventually(lambda: has_fault(idler, "round: PostgreSQL"))
        imap.deliver("joe", mail(1))

        await owner.run(heal)
        await sink.wait_for(lambda got: len(got) == 1, timeout=15)
        for state in (idler, dispatcher):
            await eventually(lambda state=state: asyncio.sleep(0, state.is_ready))
    assert imap.logins == 1, "the session was kept"


async def test_readyz_says_that_the_statements_of_sessions_and_lanes_fail_although_heartbeats_do_not(
    owner: Operator, redis_url, imap, sink, monkeypatch
):
    monkeypatch.setattr(backlog_watch, "INTERVAL_SECONDS", 0.2)
    world = World(owner.url, redis_url)
    await prepare(world, imap, sink)
    world.database_url = owner.guest_url
    await execute(owner.url, f"REVOKE SELECT ON partner_usage FROM {owner.role}")
    async with (
        running(services.run_idler, world.settings) as idler,
        running(services.run_dispatcher, world.settings) as dispatcher,
    ):
        for state in (idler, dispatcher):
            await eventually(lambda state=state: has_fault(state, "refuses"))
            assert not state.is_ready

        await execute(owner.url, f"GRANT SELECT ON partner_usage TO {owner.role}")
        for state in (idler, dispatcher):
            await eventually(lambda state=state: asyncio.sleep(0, state.is_ready))


@pytest.mark.parametrize(
    "strike", ["ALTER ROLE {role} NOLOGIN", "ALTER DATABASE {db} ALLOW_CONNECTIONS false"]
)
async def test_a_process_that_starts_while_postgresql_refuses_it_waits_and_says_why(
    owner: Operator, redis_url, strike
):
    world, state = World(owner.guest_url, redis_url), Readiness()
    await owner.run(strike)
    vault, report = Vault.from_setting(world.encryption_key), partial(state.set_fault, "database")
    waiting = asyncio.create_task(ready.wait(owner.guest_url, vault, report=report))
    await eventually(lambda: has_fault(state, "database: PostgreSQL refuses"))

    await owner.run("ALTER ROLE {role} LOGIN", "ALTER DATABASE {db} ALLOW_CONNECTIONS true")
    await waiting
    assert not state.faults


async def test_an_idler_that_starts_while_the_notify_queue_is_full_waits(database_url, redis_url, imap, sink):
    world = World(database_url, redis_url)
    await prepare(world, imap, sink)
    db = await postgres.connect(database_url)
    stop, state = asyncio.Event(), Readiness()
    async with listener_that_does_not_read(database_url):
        await fill_queue(db)
        task = asyncio.create_task(services.run_idler(world.settings, stop, state))
        async with running(services.run_dispatcher, world.settings) as dispatcher:
            await eventually(lambda: has_fault(dispatcher, "notifications: the queue is 100% full"))
            assert dispatcher.is_ready, "it works"
        assert not task.done()
    async with running(
        services.run_dispatcher, world.settings
    ) as dispatcher:  # its sweeper empties the queue
        await eventually(lambda: asyncio.sleep(0, state.is_ready))
        assert not dispatcher.notes
    stop.set()
    await task
    await db.close()


# The API.


@pytest_asyncio.fixture
async def api(owner: Operator) -> AsyncIterator[tuple[ApiWorld, httpx.AsyncClient]]:
    async with api_world(owner.url) as made, made.client(made.acme) as client:
        answer = await client.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
        assert answer.status_code == 201
        yield made, client


USERS = "/api/v1/connections/PLAIN/users"


async def test_readyz_says_read_only_and_the_api_recovers_with_all_its_connections(owner: Operator, api):
    _, client = api
    await owner.run("ALTER DATABASE {db} SET default_transaction_read_only = on", END_OURS)
    await eventually(lambda: answers(client, "/readyz", 503))
    assert (await client.get("/readyz")).json()["detail"] == "PostgreSQL is read-only."
    refused = await client.post(USERS, json={"tag": "a", "email": "a@example.com"})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert "Nothing was changed" in refused.json()["detail"]
    assert await answers(client, "/readyz", 503), "which leaves no connection of that time"

    await owner.run("ALTER DATABASE {db} RESET ALL")
    await eventually(lambda: answers(client, "/readyz", 200))
    created = await asyncio.gather(
        *(client.post(USERS, json={"tag": tag, "email": f"{tag}@example.com"}) for tag in "abcdefgh")
    )
    assert {answer.status_code for answer in created} == {201}


async def answers(client: httpx.AsyncClient, path: str, status: int) -> bool:
    return (await client.get(path)).status_code == status


async def test_a_changed_column_type_causes_no_500(owner: Operator, api):
    _, client = api
    await client.post(USERS, json={"tag": "a", "email": "a@example.com"})
    for path in (USERS, f"{USERS}/a"):
        assert (await client.get(path)).status_code == 200
    await execute(owner.url, "ALTER TABLE partners ALTER name TYPE varchar(300)")
    await execute(owner.url, "ALTER TABLE users ALTER login_username TYPE varchar(300)")

    assert (await client.get(USERS)).status_code == 200
    await execute(owner.url, "ALTER TABLE users ALTER email TYPE varchar(300)")
    created = await client.post(USERS, json={"tag": "b", "email": "b@example.com"})
    assert created.status_code == 201


async def test_a_change_of_a_user_is_refused_cleanly_while_the_notify_queue_is_full(owner: Operator, api):
    _, client = api
    db = await postgres.connect(owner.url)
    async with listener_that_does_not_read(owner.url):
        await fill_queue(db)
        refused = await client.post(USERS, json={"tag": "a", "email": "a@example.com"})
        assert refused.status_code == 503
        assert "Nothing was changed" in refused.json()["detail"]
        assert (await client.get(USERS)).json() == []
    await postgres.check_server(db)
    assert (await client.post(USERS, json={"tag": "a", "email": "a@example.com"})).status_code == 201
    await db.close()
