"""API keys: what a key may do, from where, what it may pass on, and when it was used."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from alembic import command
from fastapi.routing import APIRoute
from sqlalchemy import select, text

from superimap.api.app import create_app, enabled_modules, openapi
from superimap.api.dependencies import calling_key
from superimap.db import migrate
from superimap.db.accounts import api_keys, partner_keys
from superimap.db.engine import sessions
from superimap.db.models import ApiKey
from superimap.domain.api_keys import Scope
from tests.support.api import world as make_world

KEYS = "/api/v1/api_keys"
SAMPLE = {"imap_provider_code": "PLAIN", "tag": "ann", "id": "1", "kind": "new_mail"}


async def add_key(client: httpx.AsyncClient, **fields: object) -> dict:
    answer = await client.post(KEYS, json={"name": "test", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def partner_routes() -> list[APIRoute]:
    routes = [route for module in enabled_modules(None) for route in module.router.routes]
    return [route for route in routes if isinstance(route, APIRoute) and needs_key(route.dependant)]


def needs_key(dependant) -> bool:
    return dependant.call is calling_key or any(map(needs_key, dependant.dependencies))


def scopes_of(dependant) -> list[Scope]:
    own = [dependant.call.scope] if hasattr(dependant.call, "scope") else []
    return own + [scope for each in dependant.dependencies for scope in scopes_of(each)]


def test_every_route_with_a_key_needs_one_scope_and_reading_routes_change_nothing():
    found = {}
    for route in partner_routes():
        (scope,) = scopes_of(route.dependant)
        found[f"{'/'.join(sorted(route.methods))} {route.path}"] = scope

    assert len(found) >= 30
    assert {path for path, scope in found.items() if scope is Scope.READ} == {
        path for path in found if path.startswith("GET ") and "api_keys" not in path and "secret" not in path
    }
    assert {
        path.split("/api/v1/")[1].split("/")[0] for path, scope in found.items() if scope is Scope.KEYS
    } == {
        "api_keys",
        "webhooks",  # its signing secrets
        "portal",  # a person who opens it acts without a key
    }


async def test_abuse_56_a_key_without_the_scope_gets_a_403_that_names_it_on_every_route(world, acme):
    narrow = {}
    for missing in Scope:
        granted = [scope for scope in Scope if scope is not missing]
        narrow[missing] = (await add_key(acme, scopes=granted))["api_key"]
    for route in partner_routes():
        (scope,) = scopes_of(route.dependant)
        path = route.path.format(**SAMPLE)
        for method in route.methods:
            async with world.client(narrow[scope]) as client:
                answer = await client.request(method, path)
            assert answer.status_code == 403, (method, path)
            assert answer.json()["type"] == "urn:superimap:problem:scope-missing"
            assert f"the scope {scope};" in answer.json()["detail"]


async def test_abuse_25_a_key_reaches_no_key_of_another_partner(world, acme, globex):
    (own,) = (await acme.get(KEYS)).json()

    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/sign")):
        answer = await globex.request(method, f"{KEYS}/{own['id']}{path}")
        assert answer.status_code == 404, method
    assert (await acme.get(KEYS)).json() == [own]


async def test_abuse_26_further_fields_set_no_internal_columns(world, acme, globex):
    internal = {"id": 999, "partner_id": 1, "digest": "x", "hint": "x", "signs_from": "2020-01-01T00:00:00Z",
                "last_used_at": "2020-01-01T00:00:00Z", "connected_at": "2020-01-01T00:00:00Z",
                "status": "watching", "credentials_version": 77, "shard": 5}  # fmt: skip
    key = await add_key(globex, **internal)
    users = "/api/v1/connections/PLAIN/users"
    user = (await acme.post(users, json={"tag": "ann", **internal})).json()
    await acme.patch(f"{users}/ann", json=internal)
    async with world.sessionmaker.begin() as db:
        row = (await db.execute(text("SELECT * FROM users"))).mappings().one()
        owner = await db.scalar(
            text("SELECT p.name FROM partners p JOIN api_keys k ON k.partner_id = p.id WHERE k.id = :id"),
            {"id": key["id"]},
        )

    assert owner == "globex"
    assert (key["hint"], key["is_signing"], key["last_used_at"]) == (key["api_key"][:8], False, None)
    assert user["status"] == row["status"] == "not_connected"
    assert (row["connected_at"], row["credentials_version"], row["shard"]) == (None, 1, row["id"] % 4096)


async def test_a_new_key_is_shown_once_and_works_with_its_scopes(world, acme):
    created = await add_key(acme, name="billing", scopes=["read"], networks=["127.0.0.1"])
    listed = (await acme.get(f"{KEYS}/{created['id']}")).json()

    assert created["api_key"].startswith(created["hint"])
    assert "api_key" not in listed
    assert (listed["name"], listed["scopes"], listed["networks"]) == ("billing", ["read"], ["127.0.0.1/32"])
    assert (listed["is_valid"], listed["is_signing"]) == (True, False)
    async with world.client(created["api_key"]) as client:
        assert (await client.get("/api/v1/connections")).status_code == 200
        assert (await client.delete("/api/v1/connections/PLAIN")).status_code == 403


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"scopes": ["read", "admin"]}, "scopes"),
        ({"networks": ["10.0.0.0/33"]}, "networks"),
        ({"networks": ["example.com"]}, "networks"),
        ({"networks": [f"10.0.0.{last}" for last in range(51)]}, "networks"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ],
)
async def test_an_invalid_field_of_a_key_is_named(acme, fields, field):
    answer = await acme.post(KEYS, json={"name": "test", **fields})

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_no_key_creates_or_changes_a_key_with_more_rights_than_its_own(world, acme):
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    manager = await add_key(acme, scopes=["keys", "read"], networks=["127.0.0.0/8"], expires_at=tomorrow)
    (full, _) = (await acme.get(KEYS)).json()

    async with world.client(manager["api_key"]) as client:
        refused = [
            await client.post(KEYS, json={"name": "x", "scopes": ["write"]}),
            await client.post(KEYS, json={"name": "x", "networks": []}),
            await client.post(KEYS, json={"name": "x", "networks": ["0.0.0.0/0"]}),
            await client.post(KEYS, json={"name": "x", "networks": ["::/0"]}),
            await client.post(KEYS, json={"name": "x", "expires_at": None}),
            await client.patch(f"{KEYS}/{manager['id']}", json={"scopes": ["keys", "write"]}),
            await client.patch(f"{KEYS}/{manager['id']}", json={"networks": []}),
            await client.patch(f"{KEYS}/{full['id']}", json={"name": "mine"}),
            await client.delete(f"{KEYS}/{full['id']}"),
            await client.post(f"{KEYS}/{full['id']}/sign"),
        ]
        allowed = await client.post(KEYS, json={"name": "x"})

    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert {answer.json()["type"] for answer in refused} == {"urn:superimap:problem:more-rights"}
    assert allowed.status_code == 201
    assert allowed.json()["scopes"] == ["keys", "read"]
    assert allowed.json()["networks"] == ["127.0.0.0/8"]
    assert allowed.json()["expires_at"] == manager["expires_at"]


@pytest.mark.parametrize(
    ("networks", "forwarded", "status"),
    [
        (["127.0.0.1"], None, 200),
        (["192.0.2.0/24"], None, 403),
        (["192.0.2.0/24"], "192.0.2.7", 200),
        (["192.0.2.0/24"], "192.0.2.7, 198.51.100.1", 403),  # the client wrote the first address
        (["2001:db8::/32"], "[2001:db8::1]:4711", 200),
        (["192.0.2.0/24"], "::ffff:192.0.2.7", 200),
        (["192.0.2.0/24"], "nonsense", 403),
    ],
)
async def test_a_key_works_from_its_networks_only(database_url, networks, forwarded, status):
    async with make_world(database_url, trusted_proxies="127.0.0.1" if forwarded else "") as world:
        async with world.client(world.acme) as client:
            key = await add_key(client, networks=networks)
        async with world.client(key["api_key"]) as client:
            headers = {"x-forwarded-for": forwarded} if forwarded else {}
            answer = await client.get("/api/v1/connections", headers=headers)

    assert answer.status_code == status
    if status == 403:
        assert answer.json()["type"] == "urn:superimap:problem:source-refused"


async def test_a_forwarded_address_of_an_untrusted_peer_is_ignored(world, acme):
    key = await add_key(acme, networks=["192.0.2.0/24"])

    async with world.client(key["api_key"]) as client:
        answer = await client.get("/api/v1/connections", headers={"x-forwarded-for": "192.0.2.7"})

    assert answer.status_code == 403


async def test_the_last_use_is_stored_once_a_minute_and_also_for_requests_that_fail(world):
    async def writes() -> int:
        async with world.sessionmaker.begin() as db:
            return await db.scalar(text("SELECT xmin::text::bigint FROM api_keys ORDER BY id LIMIT 1"))

    before = await writes()
    async with world.client(world.acme) as client:
        assert (await client.get("/api/v1/connections/NONE")).status_code == 404
        first = await writes()
        for _ in range(3):
            await client.get("/api/v1/connections")
        again = await writes()
        other = create_app(world.settings, world.sessionmaker, world.vault)  # another process
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(other), base_url="http://testserver", headers={"x-api-key": world.acme}
    ) as client:
        (listed,) = (await client.get(KEYS)).json()

    assert before != first == again == await writes()
    assert datetime.now(UTC) - datetime.fromisoformat(listed["last_used_at"]) < timedelta(minutes=1)


async def test_a_key_that_may_not_write_gets_no_link_that_connects_or_disconnects_the_user(world, acme):
    created = (await acme.post("/api/v1/connections/PLAIN/users", json={"tag": "ann"})).json()
    async with world.client((await add_key(acme, scopes=["read"]))["api_key"]) as reader:
        shown = (await reader.get("/api/v1/connections/PLAIN/users/ann")).json()

    assert (shown["connect_url"], shown["disconnect_url"]) == (None, None)
    assert created["connect_url"]
    assert created["disconnect_url"]


async def test_exactly_one_key_signs_and_the_mark_moves_by_request(world, acme):
    created = await add_key(acme, scopes=[])
    marked = (await acme.post(f"{KEYS}/{created['id']}/sign")).json()
    keys = (await acme.get(KEYS)).json()
    async with world.sessionmaker.begin() as db:
        partner_id = (await api_keys.find_caller(db, world.acme)).partner.id
        signing = await partner_keys.signing_keys(db, world.vault, partner_id)

    assert marked["is_signing"]
    assert [key["is_signing"] for key in keys] == [False, True]
    assert signing.api_keys == (created["api_key"], world.acme)


async def test_a_key_that_does_not_sign_is_in_no_signature(world, acme):
    await add_key(acme, scopes=["read"])
    async with world.sessionmaker.begin() as db:
        partner_id = (await api_keys.find_caller(db, world.acme)).partner.id

        assert (await partner_keys.signing_keys(db, world.vault, partner_id)).api_keys == (world.acme,)


async def test_the_signing_key_cannot_be_retired_without_a_successor_nor_a_temporary_one_sign(world, acme):
    (first,) = (await acme.get(KEYS)).json()
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    temporary = await add_key(acme, expires_at=tomorrow)

    assert (await acme.delete(f"{KEYS}/{first['id']}")).json()["type"] == "urn:superimap:problem:signing-key"
    assert (await acme.post(f"{KEYS}/{temporary['id']}/sign")).status_code == 409
    assert (await acme.delete(f"{KEYS}/{temporary['id']}")).status_code == 204
    async with world.client(temporary["api_key"]) as client:
        assert (await client.get(KEYS)).status_code == 401


async def test_the_successor_of_a_key_that_ends_cannot_be_retired(world, acme):
    """Once the overlap ended, nothing would sign, and no webhook would be sent."""
    await add_key(acme, name="reader", scopes=["read"])
    async with world.sessionmaker.begin() as db:
        partner_id = (await api_keys.find_caller(db, world.acme)).partner.id
        new = (await api_keys.rotate(db, world.vault, partner_id, overlap=timedelta(hours=1))).key

    refused = await acme.delete(f"{KEYS}/{new.id}")

    assert (refused.status_code, refused.json()["type"]) == (409, "urn:superimap:problem:signing-key")


async def test_rotation_keeps_the_rights_of_the_signing_key_and_leaves_other_keys_alone(world, acme):
    reader = await add_key(acme, name="reader", scopes=["read"])
    async with world.sessionmaker.begin() as db:
        partner_id = (await api_keys.find_caller(db, world.acme)).partner.id
        await api_keys.rotate(db, world.vault, partner_id, overlap=timedelta(hours=1))

    old, kept, new = (await acme.get(KEYS)).json()
    assert (old["is_signing"], new["is_signing"], kept["id"]) == (True, False, reader["id"])
    assert kept["expires_at"] is None
    assert (new["name"], new["scopes"]) == (old["name"], old["scopes"])
    assert (await acme.delete(f"{KEYS}/{old['id']}")).status_code == 204
    async with world.sessionmaker.begin() as db:
        assert await api_keys.signing_key_id(db, partner_id) == new["id"]


async def test_keys_are_limited_and_old_expired_ones_are_deleted(world, acme, monkeypatch):
    monkeypatch.setattr(api_keys, "MAX_VALID_KEYS", 3)
    monkeypatch.setattr(api_keys, "MAX_KEPT_KEYS", 4)
    for _ in range(6):
        created = await add_key(acme)
        assert (await acme.delete(f"{KEYS}/{created['id']}")).status_code == 204
    await add_key(acme)
    await add_key(acme)

    refused = await acme.post(KEYS, json={"name": "one too many"})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:superimap:problem:quota-exceeded")
    assert len((await acme.get(KEYS)).json()) <= 5


async def test_the_migration_marks_the_oldest_valid_key_and_gives_all_scopes(database_url):
    config = migrate.configuration(database_url)
    await asyncio.to_thread(command.downgrade, config, "0025")
    async with sessions(database_url) as sessionmaker, sessionmaker.begin() as db:
        await db.execute(text("INSERT INTO partners (id, name) OVERRIDING SYSTEM VALUE VALUES (1, 'acme')"))
        for number, end in enumerate(("- interval '1 day'", "+ interval '1 day'", None), 1):
            value = f"now() {end}" if end else "NULL"
            await db.execute(
                text(
                    "INSERT INTO api_keys (id, partner_id, digest, secret, hint, created_at, expires_at) "
                    f"OVERRIDING SYSTEM VALUE VALUES ({number}, 1, '\\x0{number}', '\\x00', 'sip_', "
                    f"now() - interval '9 days', {value})"
                )
            )
    await asyncio.to_thread(command.upgrade, config, "head")

    async with sessions(database_url) as sessionmaker, sessionmaker.begin() as db:
        keys = (await db.scalars(select(ApiKey).order_by(ApiKey.id))).all()
        signing = await api_keys.signing_key_id(db, 1)
        assert signing == 2
        assert keys[2].signs_from == keys[1].expires_at
        assert {tuple(sorted(key.scopes)) for key in keys} == {tuple(sorted(Scope))}


OLD_INSERT = "INSERT INTO api_keys (partner_id, digest, secret, hint) VALUES (1, :digest, '', 'sip_')"


async def test_keys_of_processes_that_do_not_know_the_mark_sign_after_those_before_them(database_url):
    """During a rolling deployment: a partner that an older process creates, and a key that it rotates."""
    async with sessions(database_url) as sessionmaker, sessionmaker.begin() as db:
        await db.execute(text("INSERT INTO partners (id, name) OVERRIDING SYSTEM VALUE VALUES (1, 'acme')"))
        await db.execute(text(OLD_INSERT), {"digest": b"1"})
        first = await api_keys.signing_key_id(db, 1)
        end = await db.scalar(
            text("UPDATE api_keys SET expires_at = now() + interval '1 h' RETURNING expires_at")
        )
        await db.execute(text(OLD_INSERT), {"digest": b"2"})
        keys = (await db.scalars(select(ApiKey).order_by(ApiKey.id))).all()

        assert first == keys[0].id == await api_keys.signing_key_id(db, 1)
        assert keys[1].signs_from == end


async def test_the_migration_marks_a_key_of_partners_of_which_none_signs(database_url):
    config = migrate.configuration(database_url)
    await asyncio.to_thread(command.downgrade, config, "0029")
    async with sessions(database_url) as sessionmaker, sessionmaker.begin() as db:
        await db.execute(text("INSERT INTO partners (id, name) OVERRIDING SYSTEM VALUE VALUES (1, 'acme')"))
        await db.execute(text(OLD_INSERT), {"digest": b"1"})
        await db.execute(text("UPDATE api_keys SET expires_at = now() + interval '1 h'"))
        await db.execute(text(OLD_INSERT), {"digest": b"2"})
        await db.execute(text(OLD_INSERT), {"digest": b"3"})
        await db.execute(text("UPDATE api_keys SET name = 'reader', scopes = '{read}' WHERE digest = '3'"))
        assert await api_keys.signing_key_id(db, 1) is None
    await asyncio.to_thread(command.upgrade, config, "head")

    async with sessions(database_url) as sessionmaker, sessionmaker.begin() as db:
        keys = (await db.scalars(select(ApiKey).order_by(ApiKey.id))).all()
        assert await api_keys.signing_key_id(db, 1) == keys[0].id
        assert [key.signs_from for key in keys[1:]] == [keys[0].expires_at, None]


def test_the_description_says_of_every_route_with_a_key_that_a_403_is_possible():
    operations = [operation for path in openapi()["paths"].values() for operation in path.values()]
    with_key = [each for each in operations if "ApiKeyHeader" in str(each.get("security"))]

    assert len(with_key) >= 30
    assert all("403" in each["responses"] for each in with_key)
