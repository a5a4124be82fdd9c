"""The cluster status that operators see: on the command line, in the API, and as metrics."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import asyncpg
import httpx
import prometheus_client
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from fixtures.world import World
from superimap.api.app import create_app, openapi
from superimap.cli import app
from superimap.core.environment import SettingsError
from superimap.db import engine
from superimap.db.delivery import shard_survey
from superimap.db.monitoring import statuses
from superimap.db.presence import IDLER_LOCK_SPACE
from superimap.dispatcher.cluster_metrics import ClusterMetrics

KEY = "an-operator-key-of-32-characters"
ALIVE, DEAD, FULL = 1, 2, 3


@pytest_asyncio.fixture
async def cluster(world: World) -> World:
    """Three idlers: one with room, one dead for a minute, one with fewer slots than users; and a free shard.

    Users are made one after the other from id 1 on, so that user n is in shard n.
    """
    partner = await world.partner()
    await world.provider("127.0.0.1", 1)
    await world.connection(partner)
    for number in range(1, 8):
        await world.user(partner, f"tag{number}", login=f"user{number}", password="pw")
    await world.rows("UPDATE users SET archived = true WHERE id = 7")
    await world.rows(
        """
        INSERT INTO idlers (name, version, capacity, sessions, is_full, heartbeat_at) VALUES
            ('alive', '1', 10, 1, false, now()), ('dead', '1', 10, 9, false, now() - interval '1 minute'),
            ('full', '1', 1, 1, true, now())
        """
    )
    for shard, owner in ((1, ALIVE), (2, DEAD), (3, DEAD), (4, FULL), (5, FULL), (7, ALIVE)):
        await world.rows("UPDATE shards SET owner = $2, changed_at = now() WHERE shard = $1", shard, owner)
    await world.rows("UPDATE shards SET changed_at = now() - interval '2 hours' WHERE shard = 1")
    await world.rows("UPDATE users SET status = 'watching', last_login_at = now() WHERE id IN (1, 2, 4)")
    return world


def command(world: World, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    monkeypatch.setenv("DATABASE_URL", world.database_url)
    monkeypatch.setenv("ENCRYPTION_KEY", world.encryption_key)
    result = CliRunner().invoke(app, ["cluster", *words])
    return result.exit_code, result.output


async def ask(world: World, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    return await asyncio.to_thread(command, world, monkeypatch, *words)


async def test_users_of_dead_idlers_free_shards_and_full_idlers_are_unserved(cluster, monkeypatch):
    code, output = await ask(cluster, monkeypatch, "--json")
    seen = json.loads(output)

    assert code == 0
    assert seen["users"] == {
        "wanted": 6,
        "watched": 2,
        "unserved": 4,
    }  # 2 and 3 dead, 6 free, 5 without a slot
    assert seen["shards"] == {"owned": 4, "free": 4090, "expired": 2}
    assert seen["moved"] == 5
    assert [(each["name"], each["is_alive"], each["users"], each["unserved"]) for each in seen["idlers"]] == [
        ("alive", True, 1, 0),
        ("dead", False, 2, 2),
        ("full", True, 2, 1),
    ]
    assert 60 <= seen["idlers"][1]["heartbeat_age"] < 90


async def test_the_table_shows_each_idler_and_its_state(cluster, monkeypatch):
    _, output = await ask(cluster, monkeypatch)

    lines = {line.split()[1]: line for line in output.splitlines() if line[:1].isdigit()}
    assert "ready" in lines["alive"] and "silent" in lines["dead"] and "full" in lines["full"]
    assert "6 wanted, 2 watched, 4 unserved" in output


async def test_check_fails_while_a_user_is_unserved(cluster, monkeypatch):
    assert (await ask(cluster, monkeypatch, "--check"))[0] == 1

    await cluster.rows("UPDATE shards SET owner = $1 WHERE shard = ANY('{2,3,5,6}')", ALIVE)

    assert (await ask(cluster, monkeypatch, "--check"))[0] == 0


async def test_a_user_whose_shard_moved_to_a_full_idler_is_no_longer_reported_as_watched(
    cluster, monkeypatch
):
    await cluster.rows("UPDATE users SET status = 'watching', last_login_at = now() WHERE id = 5")

    _, output = await ask(cluster, monkeypatch, "--json")

    assert json.loads(output)["users"] == {"wanted": 6, "watched": 2, "unserved": 4}


async def counted(world: World) -> dict[str, int]:
    async with engine.sessions(world.database_url) as sessions, sessions() as db:
        return (await statuses.read_cluster_status(db, expiry=30)).as_dict()["users"]


async def test_a_user_is_watched_again_only_once_the_new_owner_has_a_session(cluster):
    await cluster.rows("UPDATE shards SET owner = $1, changed_at = now() WHERE shard = 1", ALIVE)

    assert (await counted(cluster))["watched"] == 1, "of users 1 and 4; 1 has no session at its owner"

    await cluster.rows("UPDATE users SET last_login_at = now() WHERE id = 1")
    assert (await counted(cluster))["watched"] == 2


async def test_users_of_an_idler_are_unserved_from_the_moment_at_which_its_process_ends(cluster):
    process = await asyncpg.connect(cluster.database_url)
    await process.execute("SELECT pg_advisory_lock($1, 7)", IDLER_LOCK_SPACE)
    await cluster.rows(
        "UPDATE idlers SET presence = 7, presence_server = pg_postmaster_start_time() WHERE id = $1", ALIVE
    )
    assert await counted(cluster) == {"wanted": 6, "watched": 2, "unserved": 4}

    await process.close()

    assert await counted(cluster) == {"wanted": 6, "watched": 1, "unserved": 5}


@pytest.mark.parametrize(
    ("change", "watched"),
    [
        ("presence_server = pg_postmaster_start_time() - interval '1 hour'", 2),  # it may be about to return
        ("absent_since = now()", 1),
    ],
)
async def test_an_idler_of_another_server_is_alive_by_its_lease_until_it_is_marked(cluster, change, watched):
    await cluster.rows(f"UPDATE idlers SET presence = 7, {change} WHERE id = $1", ALIVE)

    assert (await counted(cluster))["watched"] == watched


async def test_without_any_idler_every_user_is_unserved(cluster, monkeypatch):
    await cluster.rows("DELETE FROM idlers")

    code, output = await ask(cluster, monkeypatch, "--check")

    assert code == 1
    assert "No idler is running." in output and "6 unserved" in output


@contextlib.asynccontextmanager
async def client(world: World, **overrides: object) -> AsyncIterator[httpx.AsyncClient]:
    world.overrides = overrides
    async with engine.sessions(world.database_url, pool_size=1) as sessions:
        transport = httpx.ASGITransport(create_app(world.settings, sessions, world.vault))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as api:
            yield api


@pytest.mark.parametrize("headers", [{"x-operator-key": KEY}, {"authorization": f"Bearer {KEY}"}])
async def test_the_api_shows_operators_the_same_status(cluster, headers):
    async with client(cluster, operator_key=KEY) as api:
        answer = await api.get("/operators/cluster", headers=headers)

    assert answer.status_code == 200
    assert answer.json()["users"] == {"wanted": 6, "watched": 2, "unserved": 4}
    async with engine.sessions(cluster.database_url) as sessions, sessions() as db:
        names = (await statuses.read_cluster_status(db, expiry=30)).as_dict()["idlers"][0].keys()
    assert answer.json()["idlers"][0].keys() == names


async def test_other_keys_are_refused_and_no_key_is_logged(world, caplog):
    partner = await world.partner()
    caplog.set_level("DEBUG")
    async with client(world, operator_key=KEY) as api:
        for headers in (
            {},
            {"x-operator-key": partner.api_key},
            {"x-api-key": partner.api_key},
            {"x-api-key": KEY},
            {"x-operator-key": KEY + "x"},
            {"x-operator-key": KEY[:-1]},
            {"authorization": f"Basic {KEY}"},
            {"x-operator-key": b"\xff\xfe"},
        ):
            answer = await api.get("/operators/cluster", headers=headers)
            assert answer.status_code == 401, headers
            assert KEY not in answer.text
        assert (await api.get("/operators/cluster", params={"api_key": KEY})).status_code == 401
        assert (await api.get("/api/v1/connections", headers={"x-api-key": KEY})).status_code == 401
    assert KEY not in "".join(each.getMessage() for each in caplog.records if each.name != "httpx")


async def test_without_an_operator_key_the_route_does_not_exist(world):
    async with client(world) as api:
        answer = await api.get("/operators/cluster", headers={"x-operator-key": ""})

        assert answer.status_code == 404
        assert "/operators/cluster" not in openapi(world.settings)["paths"]


async def test_openapi_describes_the_route_with_its_own_tag_and_keys(world):
    shown = openapi()["paths"]["/operators/cluster"]["get"]

    assert shown["tags"] == ["operators"]
    assert {name for each in shown["security"] for name in each} == {"OperatorKeyHeader", "OperatorKeyBearer"}


@pytest.mark.parametrize("key", ["short", "ümlaut-ümlaut-ümlaut"])
def test_a_weak_operator_key_is_refused_without_being_shown(key):
    with pytest.raises(SettingsError, match="OPERATOR_KEY must have 16 or more characters") as refusal:
        World("postgresql://x", "redis://x", overrides={"operator_key": key}).settings  # noqa: B018

    assert key not in str(refusal.value)


def exported(name: str) -> dict[str, float]:
    return {
        sample.labels["state"]: sample.value
        for family in prometheus_client.REGISTRY.collect()
        for sample in family.samples
        if sample.name == name
    }


async def test_the_sweeping_dispatcher_exports_cluster_metrics_until_it_stops(cluster):
    cluster_metrics = ClusterMetrics(expiry=30, interval=15)
    db = await asyncpg.connect(cluster.database_url)
    try:
        await cluster_metrics.update(db)
        assert exported("superimap_cluster_users") == {}, "users are not counted yet"

        for shards in (range(2048), range(2048, 4096)):
            survey = await shard_survey.survey_shards(db, shards)
            cluster_metrics.set_watched(survey.watched, is_complete=shards.stop == 4096)
        await cluster_metrics.update(db)

        assert exported("superimap_cluster_users") == {"wanted": 6, "watched": 2, "unserved": 4}
        assert exported("superimap_cluster_shards") == {"owned": 4, "free": 4090, "expired": 2}
        assert exported("superimap_cluster_idlers") == {"ready": 1, "full": 1, "stopping": 0, "silent": 1}
    finally:
        cluster_metrics.clear()
        await db.close()

    assert exported("superimap_cluster_users") == {}
