"""Metrics that are set from real pools, requests and rows."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from superimap.db import engine, postgres
from superimap.db.delivery import backlogs
from superimap.dispatcher.backlog_watch import BacklogWatch
from superimap.dispatcher.cluster_metrics import ClusterMetrics
from superimap.domain.shards import SHARD_COUNT
from superimap.domain.tracers import SINK_URL
from tests.support.api import world as make_api


def value(name: str, **labels: str) -> float:
    """The value of a sample, 0 if there is none."""
    return REGISTRY.get_sample_value(f"superimap_{name}", labels) or 0.0


async def test_only_those_who_find_no_connection_in_the_pool_of_a_worker_are_measured(database_url):
    async with postgres.pool(database_url, size=2, name="full") as pool:
        await asyncio.gather(pool.fetchval("SELECT 1"), pool.fetchval("SELECT 1"))
        assert value("pool_wait_seconds_count", pool="full") == 0

        async with pool.acquire(), pool.acquire():
            waiting = asyncio.create_task(pool.fetchval("SELECT 1"))
            await asyncio.sleep(0.05)
        await waiting

    assert value("pool_wait_seconds_count", pool="full") == 1
    assert 0.05 <= value("pool_wait_seconds_sum", pool="full") < 5


async def test_only_those_who_find_no_connection_in_the_pool_of_an_api_are_measured(database_url, caplog):
    caplog.set_level("DEBUG", logger="superimap")
    async with engine.sessions(database_url, pool_size=1, name="crowded") as sessions:
        for _ in range(2):
            async with sessions.begin() as db:
                await db.execute(text("SELECT 1"))
        assert value("pool_wait_seconds_count", pool="crowded") == 0

        async def ask() -> None:
            async with sessions.begin() as db:
                await db.execute(text("SELECT pg_sleep(0.05)"))

        await asyncio.gather(ask(), ask())

    assert value("pool_wait_seconds_count", pool="crowded") == 1
    assert 0.01 < value("pool_wait_seconds_sum", pool="crowded") < 5
    assert [each.name for each in caplog.records if each.name.startswith("superimap")] == []


async def test_requests_are_measured_by_template_and_what_fits_no_route_has_one_label(database_url):
    ours = {"method": "GET", "route": "/api/v1/connections/{imap_provider_code}", "status": "4xx"}
    page = {"method": "GET", "route": "/admin/partners/{partner_id:int}", "status": "3xx"}
    none = {"method": "other", "route": "other", "status": "4xx"}
    before = [value("request_seconds_count", **labels) for labels in (ours, page, none)]

    async with make_api(database_url) as api, api.client(api.acme) as client:
        for name in ("ONE", "TWO"):
            assert (await client.get(f"/api/v1/connections/{name}")).status_code == 404
        assert (await client.get("/admin/partners/7")).status_code == 303
        for path in ("/nope/1", "/nope/2"):
            await client.get(path)
        await client.request("BREW", "/docs")
        await client.get("/healthz")
        after = [value("request_seconds_count", **labels) for labels in (ours, page, none)]

    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1, 3]
    routes = {
        sample.labels["route"]
        for family in REGISTRY.collect()
        if family.name == "superimap_request_seconds"
        for sample in family.samples
    }
    assert not [route for route in routes if "ONE" in route or "/7" in route or "healthz" in route]


DELIVERIES = """
    INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, content, state, settled_at)
    SELECT gen_random_uuid(), u.partner_id, e.id, u.id, 'new_mail', 'x', $2,
        CASE $2 WHEN 'pending' THEN NULL ELSE now() END
    FROM users u JOIN endpoints e ON e.partner_id = u.partner_id AND e.kind = 'new_mail', generate_series(1, $1)
"""


@pytest.fixture
async def partners(world):
    """Two partners with a user each."""
    made = [await world.partner(name, new_mail_webhook="http://127.0.0.1:9/x") for name in ("acme", "globex")]
    await world.provider("127.0.0.1", 9)
    for partner in made:
        await world.connection(partner)
        await world.user(partner, "ann", login="ann", password="a password of theirs")
    return made


async def test_the_dispatcher_that_sweeps_sets_what_is_owed_dead_and_held_back(
    world, partners, database_url, monkeypatch
):
    monkeypatch.setattr(backlogs, "MAX_DEAD_LETTERS", 4)
    for count, state in ((3, "pending"), (5, "failed"), (7, "cancelled"), (2, "delivered")):
        await world.rows(DELIVERIES, count, state)
    await world.rows(
        "DELETE FROM deliveries WHERE state = 'failed' AND partner_id = $1", partners[0].partner.id
    )
    first, second = (each.partner.id for each in partners)
    await world.rows("UPDATE endpoints SET breaker = 'open' WHERE partner_id = $1", first)
    disabled = "breaker = 'open', disabled_at = now(), disabled_reason = 'gone'"
    await world.rows(f"UPDATE endpoints SET {disabled} WHERE partner_id = $1", second)
    await world.rows("UPDATE providers SET tracer_by = 'append' WHERE code = 'TEST'")
    await world.rows("UPDATE users SET enable_tracer = true")
    await world.rows(
        "UPDATE endpoints SET url = $2 WHERE partner_id = $1 AND kind = 'new_mail'", second, SINK_URL
    )
    is_sweeping = True
    found = ClusterMetrics(expiry=30, interval=0)
    found.set_watched(dict.fromkeys(range(SHARD_COUNT), 0), is_complete=True)
    async with postgres.pool(database_url, size=2) as pool:
        watch = BacklogWatch(pool, max_rows=100, max_bytes=10**9, is_active=lambda: is_sweeping)
        await watch.measure_all()
        await found.update(pool)

        assert (value("owed"), value("dead_letters")) == (6, 4)  # of five of one partner four are counted
        assert value("endpoints_troubled", state="open") >= 1
        assert value("endpoints_troubled", state="disabled") >= 1
        assert value("endpoints_troubled", state="slow_start") == 0
        assert value("tracer_mailboxes") == 1  # nothing is appended to a mailbox of the other partner

        is_sweeping = False
        await watch.measure_all()
        found.clear()

    assert (value("owed"), value("dead_letters"), value("tracer_mailboxes")) == (0, 0, 0)
    assert value("endpoints_troubled", state="open") == 0
