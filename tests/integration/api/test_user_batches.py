"""Creation of many users by one request: a result for each, quotas, retries, and what is never echoed."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import undefer

from fixtures.world import eventually
from superimap.api.app import openapi
from superimap.api.calling_key import USERS_PER_REQUEST
from superimap.core.crypto import Place
from superimap.db.accounts import room
from superimap.db.models import AuditEntry, PartnerUsage, User
from superimap.domain.quotas import DEFAULT_QUOTAS, Quota, RequestBuckets
from tests.integration.api.doorbells import rung_shards
from tests.support.api import served, settings_for
from tests.support.api import world as make_world
from tests.support.statement_log import StatementLog

USERS = "/api/v1/connections/PLAIN/users"
BATCH = f"{USERS}/batch"
SECRET = "a password of theirs"
WAITING = """
    SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())
"""


def person(tag: str, **fields: object) -> dict[str, object]:
    return {
        "tag": tag,
        "email": f"{tag}@example.com",
        "login_username": f"{tag}@example.com",
        "login_password": SECRET,
        **fields,
    }


async def create(client: httpx.AsyncClient, users: object) -> list[dict]:
    answer = await client.post(BATCH, json={"users": users})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def outcomes(results: list[dict]) -> list[str]:
    assert [each["index"] for each in results] == list(range(len(results)))
    return [each["outcome"] for each in results]


async def left_of(world, quota: Quota) -> int:
    async with world.sessionmaker() as db:
        return await db.scalar(select(PartnerUsage.room).where(PartnerUsage.quota == quota.value))


async def tries(world) -> int:
    async with world.sessionmaker() as db:
        return await db.scalar(text("SELECT coalesce(sum(count), 0) FROM login_tries"))


@pytest.fixture
async def small(database_url):
    """A world with quotas of 5 users and 3 sessions."""
    async with make_world(database_url, quota_users=5, quota_sessions=3) as made:
        yield made


@pytest.fixture
async def at_quota(small):
    async with small.client(small.acme) as client:
        await client.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
        yield client


async def test_a_thousand_users_are_created_recorded_and_rung_in_few_statements(database_url, monkeypatch):
    log = StatementLog()
    log.record(monkeypatch)
    async with make_world(database_url) as world, world.client(world.acme) as client:
        await client.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
        await create(client, [person("first")])
        async with rung_shards(database_url) as rings:
            await log.take()
            results = await create(client, [person(f"u{number}") for number in range(1000)])
            statements = await log.take()
            rung = {int(await rings.get()) for _ in range(1000)}
        async with world.sessionmaker() as db:
            users = (await db.scalars(select(User).options(undefer(User.login_password)))).all()
            entries = await db.scalar(select(func.count()).where(AuditEntry.action == "user.create"))
        left = await left_of(world, Quota.USERS)

    assert set(outcomes(results)) == {"created"}
    assert sum("INSERT INTO users" in each for each in statements) == 1
    assert len(statements) < 12
    assert len(users) == entries == 1001
    assert left == DEFAULT_QUOTAS[Quota.USERS] - 1001
    assert rung == {user.shard for user in users if user.tag != "first"}
    last = next(user for user in users if user.tag == "u999")
    place = Place("users", "login_password", last.partner_id, str(last.id))
    assert world.vault.open_text(last.login_password, place) == SECRET
    assert (last.status, last.connected_at is not None) == ("connecting", True)


async def test_a_created_user_is_shown_as_by_the_route_for_one(acme):
    await acme.post(USERS, json=person("one"))
    (result,) = await create(acme, [person("ADA")])

    shown = (await acme.get(f"{USERS}/ADA")).json()
    signed = {"connect_url", "disconnect_url"}
    assert {k: v for k, v in result["user"].items() if k not in signed} == {
        k: v for k, v in shown.items() if k not in signed
    }
    assert result["problem"] is None
    assert (await acme.get(result["user"]["connect_url"])).status_code == 200


async def test_of_duplicates_within_a_batch_the_first_is_created(acme):
    results = await create(
        acme,
        [
            person("ada"),
            person("ADA", email="other@example.com"),
            person("bob", email="ADA@example.com"),
            person("eve"),
            person("ada", archived=True),
        ],
    )

    assert outcomes(results) == ["created", "exists", "refused", "created", "created"]
    assert results[1]["user"]["tag"] == "ada"
    assert results[1]["problem"]["errors"] == [{"field": "tag", "message": "is taken"}]
    assert results[2]["problem"]["errors"] == [{"field": "email", "message": "is taken"}]
    assert results[4]["user"]["archived"] is True


INVALID = [
    {"tag": "a/b"},
    {"tag": ""},
    {},
    {"tag": "x" * 256},
    {"tag": "t", "imap_port": 70000},
    {"tag": "t", "email": "a\nb"},
    {"tag": ["t"]},
]


@pytest.mark.parametrize("fields", INVALID)
async def test_an_invalid_user_has_the_problem_of_the_route_for_one_and_the_others_are_created(acme, fields):
    alone = await acme.post(USERS, json=fields)

    results = await create(acme, [person("a"), fields, person("b")])

    assert outcomes(results) == ["created", "invalid", "created"]
    assert alone.status_code == 422
    assert results[1]["problem"] == alone.json()


async def test_conflicts_have_the_problems_of_the_route_for_one(acme):
    await acme.post(USERS, json=person("ada"))
    same_tag, same_email = person("ADA", email="x@example.com"), person("bob", email="Ada@example.com")
    alone = [(await acme.post(USERS, json=fields)).json() for fields in (same_tag, same_email)]

    results = await create(acme, [same_tag, same_email])

    assert outcomes(results) == ["exists", "refused"]
    assert [each["problem"] for each in results] == alone


@pytest.mark.parametrize("member", [None, 1, "x", []])
async def test_a_member_that_is_no_object_is_invalid(acme, member):
    results = await create(acme, [member, person("a")])

    assert outcomes(results) == ["invalid", "created"]
    assert results[0]["problem"]["errors"][0]["field"] == "users"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"users": []}, 422),
        ({"users": {"tag": "a"}}, 422),
        ({"users": [{"tag": "a"}] * 1001}, 422),
        ([], 422),
        ({"users": [{"tag": "x" * 300_000}]}, 413),
    ],
)
async def test_a_batch_has_1_to_1000_users_in_a_bounded_body(world, acme, body, status):
    answer = await acme.post(BATCH, json=body)

    assert answer.status_code == status
    async with world.sessionmaker() as db:
        assert await db.scalar(select(func.count()).select_from(User)) == 0


async def test_an_unknown_connection_is_a_404_and_creates_nothing(acme):
    answers = [
        await acme.post(f"/api/v1/connections/{code}/users/batch", json={"users": [person("a")]})
        for code in ("GMAIL_OAUTH2", "NONE", "A%00B")
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert answers[0].json()["detail"] == "Connection not found."
    assert answers[1].json()["detail"] == "Imap Provider not found for 'NONE'."


async def test_a_quota_of_users_is_used_up_exactly_and_archived_users_take_nothing(small, at_quota):
    await at_quota.post(USERS, json={"tag": "first"})

    results = await create(
        at_quota,
        [{"tag": "a"}, {"tag": "first"}, {"tag": "z", "archived": True}]
        + [{"tag": tag} for tag in "bcdef"]
        + [{"tag": "y", "archived": True}],
    )

    assert outcomes(results) == [
        *("created", "exists", "created", "created", "created", "created"),
        *("refused", "refused", "created"),
    ]
    assert results[6]["problem"]["type"] == "urn:superimap:problem:quota-exceeded"
    assert results[6]["problem"] == (await at_quota.post(USERS, json={"tag": "g"})).json()
    async with small.sessionmaker() as db:
        assert await db.scalar(select(func.count()).where(~User.archived)) == 5
    assert await left_of(small, Quota.USERS) == 0
    assert (await at_quota.delete(f"{USERS}/a")).status_code == 204
    assert outcomes(await create(at_quota, [{"tag": "g"}, {"tag": "h"}])) == ["created", "refused"]


async def test_a_quota_of_sessions_refuses_connected_users_only(small, at_quota):
    results = await create(at_quota, [*map(person, "abcd")])
    left = await left_of(small, Quota.USERS)
    others = await create(at_quota, [{"tag": "e"}, {"tag": "f"}])

    assert outcomes(results) == ["created", "created", "created", "refused"]
    assert "quota sessions is reached: 3" in results[3]["problem"]["detail"]
    assert (left, outcomes(others)) == (2, ["created", "created"])
    assert await left_of(small, Quota.USERS) == 0
    async with small.sessionmaker() as db:
        assert await db.scalar(select(func.count()).select_from(User)) == 5


async def test_a_repeated_request_that_has_used_up_a_quota_finds_its_users(small, at_quota):
    users = [*map(person, "abcd"), {"tag": "e"}, {"tag": "f"}, {"tag": "g"}]
    first = await create(at_quota, users)
    left = [await left_of(small, quota) for quota in room.COUNTED]

    again = await create(at_quota, users)

    alone = [await at_quota.post(USERS, json=users[0]), await at_quota.post(USERS, json=users[3])]
    assert outcomes(first) == [*["created"] * 3, "refused", "created", "created", "refused"]
    assert outcomes(again) == [*["exists"] * 3, "refused", "exists", "exists", "refused"]
    assert [each["problem"] for each in (again[0], again[3])] == [answer.json() for answer in alone]
    assert left == [await left_of(small, quota) for quota in room.COUNTED] == [0, 0]


@pytest.mark.parametrize("quota", ["users", "sessions"])
async def test_a_batch_at_a_quota_takes_few_statements(database_url, monkeypatch, quota):
    """Its batches wait for one another, on connections that other partners need."""
    log = StatementLog()
    log.record(monkeypatch)
    async with make_world(database_url, **{f"quota_{quota}": 1}) as world, world.client(world.acme) as client:
        await client.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
        await create(client, [person("first")])
        await log.take()
        results = await create(client, [person(f"u{number}") for number in range(100)])
        statements = await log.take()

    assert set(outcomes(results)) == {"refused"}
    assert len(statements) < 25


async def test_concurrent_batches_never_exceed_the_quota(small, at_quota):
    batches = [[{"tag": f"{name}{number}"} for number in range(3)] for name in "abcd"]

    found = await asyncio.gather(*(create(at_quota, batch) for batch in batches))

    assert [each for results in found for each in outcomes(results)].count("created") == 5
    assert await left_of(small, Quota.USERS) == 0


async def test_batches_of_a_partner_that_wait_leave_connections_to_other_partners(world, acme):
    """They wait for its quota, which another transaction has locked."""
    await create(acme, [{"tag": "first"}])
    async with world.client(world.globex) as globex:
        async with world.sessionmaker.begin() as db:
            await db.execute(text("SELECT FROM partner_usage FOR UPDATE"))
            waiting = [asyncio.create_task(create(acme, [{"tag": f"u{number}"}])) for number in range(12)]
            await eventually(lambda: are_waiting(db))
            answer = await asyncio.wait_for(globex.get("/api/v1/connections"), 2)
        results = await asyncio.gather(*waiting)

    assert answer.status_code == 200
    assert [outcomes(each) for each in results] == [["created"]] * 12


async def are_waiting(db) -> bool:
    return await db.scalar(text(WAITING))


async def test_users_that_are_not_created_reserve_nothing(world, acme):
    await create(acme, [person("a")])
    before = [await left_of(world, quota) for quota in room.COUNTED]

    results = await create(acme, [person("a"), person("b", email="a@example.com"), person("c/d")])

    assert outcomes(results) == ["exists", "refused", "invalid"]
    assert [await left_of(world, quota) for quota in room.COUNTED] == before


async def test_passwords_are_counted_for_their_mailbox_and_only_of_users_that_are_created(world, acme):
    guess = {"login_username": "ann@example.com"}
    results = await create(acme, [person(f"u{number}", **guess) for number in range(12)])
    after = await tries(world)
    again = await create(
        acme,
        [person("u0", **guess), person("x", **guess), person("y"), person("u0", archived=True, **guess)],
    )

    assert outcomes(results) == ["created"] * 10 + ["refused"] * 2
    assert results[10]["problem"]["status"] == 429
    assert "passwords were set for this mailbox" in results[10]["problem"]["detail"]
    assert after == 2 * 10
    assert outcomes(again) == ["exists", "refused", "created", "refused"]
    assert await tries(world) == after + 2


async def test_a_retry_after_a_cut_connection_creates_no_user_twice(database_url):
    async with make_world(database_url) as world, served(settings_for(database_url)) as base:
        headers = {"x-api-key": world.acme}
        users = [person(f"u{number}") for number in range(300)]
        async with httpx.AsyncClient(base_url=base, headers=headers) as client:
            await client.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
            await send_and_cut(base, world.acme, users)

            async def stored() -> bool:
                async with world.sessionmaker() as db:
                    return await db.scalar(select(func.count()).select_from(User)) == 300

            await eventually(stored, what="the users")
            results = await create(client, users)

        assert set(outcomes(results)) == {"exists"}
        assert [each["user"]["tag"] for each in results] == [user["tag"] for user in users]
        assert await left_of(world, Quota.USERS) == DEFAULT_QUOTAS[Quota.USERS] - 300
        assert await stored()


async def send_and_cut(base: str, key: str, users: list[dict]) -> None:
    """Send a batch, and close the connection before the response."""
    url = httpx.URL(base)
    body = json.dumps({"users": users}).encode()
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        b"POST %s HTTP/1.1\r\nHost: %s\r\nx-api-key: %s\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % (BATCH.encode(), url.netloc, key.encode(), len(body))
    )
    writer.write(body)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_no_secret_is_echoed_or_recorded(world, acme, caplog):
    caplog.set_level("DEBUG")
    results = await create(
        acme,
        [
            person("a"),
            person("b/c"),
            person("a"),
            {"tag": "d", "oauth2_refresh_token": SECRET},
            {"tag": ["x"], "login_password": SECRET},
        ],
    )

    async with world.sessionmaker() as db:
        entries = (await db.scalars(select(AuditEntry).where(AuditEntry.action == "user.create"))).all()
    assert SECRET not in json.dumps(results)
    assert SECRET not in caplog.text
    assert all(SECRET not in json.dumps(entry.details) for entry in entries)
    assert entries[0].fields == ["email", "login_password", "login_username", "tag"]
    assert (entries[0].details, entries[0].actor_kind) == (
        {"tag": "a", "imap_provider_code": "PLAIN"},
        "api_key",
    )


async def test_a_limited_key_creates_no_users(world, acme):
    made = await acme.post("/api/v1/api_keys", json={"name": "reader", "scopes": ["read", "replay", "keys"]})
    far = await acme.post("/api/v1/api_keys", json={"name": "far", "networks": ["192.0.2.0/24"]})
    async with world.client(made.json()["api_key"]) as reader, world.client(far.json()["api_key"]) as thief:
        answers = [await each.post(BATCH, json={"users": [person("a")]}) for each in (reader, thief)]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].json()["type"] == "urn:superimap:problem:scope-missing"
    async with world.sessionmaker() as db:
        assert await db.scalar(select(func.count()).select_from(User)) == 0


async def test_a_batch_counts_as_a_request_for_each_twenty_users(database_url):
    async with (
        make_world(database_url, quota_requests_per_second=1) as world,
        world.client(world.acme) as client,
    ):
        await client.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
        # It takes tens of seconds until the next request is accepted, longer than a busy machine needs here.
        users = [{"tag": f"u{number}"} for number in range(49 * USERS_PER_REQUEST)]
        assert set(outcomes(await create(client, users))) == {"created"}
        answer = await client.post(BATCH, json={"users": [{"tag": "x"}]})

    assert answer.status_code == 429


def test_a_charge_beyond_what_is_left_delays_the_next_request_and_no_other_partner():
    buckets = RequestBuckets()
    assert buckets.take(1, per_second=10, now=100.0) == 0.0
    buckets.charge(1, 149, per_second=10, now=100.0)

    assert buckets.take(1, per_second=10, now=100.0) == pytest.approx(5.1)
    assert buckets.take(1, per_second=10, now=105.2) == 0.0
    assert buckets.take(2, per_second=10, now=100.0) == 0.0


async def test_a_connection_that_is_deleted_meanwhile_is_a_404(world, acme, monkeypatch):
    from superimap.db.accounts import new_users

    insert = new_users.insert

    async def delete_first(db, *args, **options):
        async with world.sessionmaker.begin() as other:
            await other.execute(text("DELETE FROM connections"))
        return await insert(db, *args, **options)

    monkeypatch.setattr(new_users, "insert", delete_first)
    answer = await acme.post(BATCH, json={"users": [person("a")]})

    assert (answer.status_code, answer.json()["detail"]) == (404, "Connection not found.")


async def test_a_conflict_that_vanished_meanwhile_is_reported_as_such(world, acme, monkeypatch):
    from superimap.db.accounts import new_users

    await acme.post(USERS, json=person("a"))
    find_conflicts = new_users.find_conflicts

    async def archive_first(*args):
        async with world.sessionmaker.begin() as other:
            await other.execute(update(User).values(archived=True))
        return await find_conflicts(*args)

    monkeypatch.setattr(new_users, "find_conflicts", archive_first)
    (result,) = await create(acme, [person("a")])

    assert (result["outcome"], result["user"]) == ("refused", None)
    assert "changed by another request" in result["problem"]["detail"]


def test_the_description_has_examples_of_request_and_results():
    described = openapi()
    operation = described["paths"]["/api/v1/connections/{imap_provider_code}/users/batch"]["post"]
    schemas = described["components"]["schemas"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    result = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]

    assert schemas[body]["properties"]["users"]["maxItems"] == 1000
    assert len(schemas[body]["example"]["users"]) == 2
    assert [each["outcome"] for each in schemas[result]["example"]["results"]] == ["created", "refused"]
