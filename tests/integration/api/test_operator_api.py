"""The operator API: who may do what, and that each change is recorded as the operator's, by its token."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import func, select, text, update

from superimap.api.operator_api.caller import (
    MAX_REFUSALS_PER_ADDRESS,
    REQUESTS_PER_SECOND,
)
from superimap.db.models import AuditEntry, Operator, OperatorToken
from superimap.db.operators import accounts, tokens
from superimap.domain.operators import OperatorRole, allows
from tests.support.api import ApiWorld
from tests.support.api import world as make_world
from tests.support.dashboard import with_token
from tests.support.operator_api import (
    BASE,
    OPERATOR_ROUTES,
    PARTNER_ROUTES,
    ROUTES,
    is_confirmed,
    one_waits,
    request_of,
    role_of,
)


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[ApiWorld]:
    async with make_world(database_url) as made:
        yield made


def test_every_route_has_one_role_and_what_is_grave_is_for_owners():
    assert len(OPERATOR_ROUTES) >= 30
    assert {route.path for route in OPERATOR_ROUTES} == {
        route.path for route in ROUTES if route.path.startswith(BASE)
    }
    for route in OPERATOR_ROUTES:
        method, _ = request_of(route)
        is_grave = any(word in route.path for word in ("api_keys", "secrets", "providers", "operators"))
        expected = OperatorRole.OWNER if is_grave else OperatorRole.OPERATOR
        assert role_of(route) is (OperatorRole.VIEWER if method == "GET" else expected), route.path


async def test_no_token_does_more_than_its_role_and_none_opens_what_is_not_the_operators(world):
    clients = {role: await with_token(world, role) for role in OperatorRole}
    partner = world.client(world.acme)
    partner.headers["Authorization"] = f"Bearer {world.acme}"
    owner = clients[OperatorRole.OWNER]
    secret = owner.headers["Authorization"].removeprefix("Bearer ")
    for route in OPERATOR_ROUTES:
        method, path = request_of(route)
        assert (await partner.request(method, path)).status_code == 401, path
        in_query = await world.client().request(method, path, params={"token": secret, "api_key": secret})
        assert in_query.status_code == 401, path
        for role, client in clients.items():
            if not allows(role, role_of(route)):
                answer = await client.request(method, path)
                assert (answer.status_code, answer.json()["type"].split(":")[-1]) == (403, "role"), path
        assert is_confirmed(route) or not (role_of(route) is OperatorRole.OWNER or method == "DELETE"), path
        if is_confirmed(route):
            answer = await owner.request(method, path)
            assert (answer.status_code, answer.json()["type"].split(":")[-1]) == (403, "unconfirmed"), path
    for route in PARTNER_ROUTES:
        method, path = request_of(route)
        for client in (owner, world.client(secret)):
            assert (await client.request(method, path)).status_code == 401, path
    async with world.sessionmaker.begin() as db:
        changes = [row for row in await db.scalars(select(AuditEntry.action)) if "operator" not in row]
        assert set(changes) <= {"partner.create", "api_key.create", "signing_secret.rotate"}  # of the set-up


CHANGES = (
    ("POST", "/partners", {"name": "initech"}, "partner.create"),
    ("PATCH", "/partners/{partner}", {"new_mail_webhook": "https://a.example/s3cret"}, "partner.update"),
    ("PATCH", "/partners/{partner}/quotas", {"users": 5}, "partner.quota"),
    ("POST", "/partners/{partner}/api_keys", {"name": "reader", "scopes": ["read"]}, "api_key.create"),
    ("PATCH", "/partners/{partner}/api_keys/{key}", {"name": "other"}, "api_key.update"),
    ("POST", "/partners/{partner}/api_keys/{key}/sign", None, "api_key.sign"),
    ("POST", "/partners/{partner}/api_keys/rotate", {"overlap_hours": 0}, "api_key.create"),
    ("DELETE", "/partners/{partner}/api_keys/{first}", None, "api_key.retire"),
    ("POST", "/partners/{partner}/signing_secrets/rotate", {}, "signing_secret.rotate"),
    (
        "POST",
        "/providers",
        {"code": "MINE", "title": "Mine", "imap_host": "i.example.com"},
        "provider.create",
    ),
    ("PATCH", "/providers/mine", {"imap_port": 1993, "stored_secrets": "keep"}, "provider.update"),
    ("DELETE", "/providers/MINE", None, "provider.delete"),
    ("POST", "/partners/1/connections/1/archive", None, "job.start"),
    ("POST", "/jobs", {"kind": "cancel_deliveries", "partner_id": 1}, "job.start"),
    ("POST", "/jobs/1/cancel", None, "job.cancel"),
    ("PATCH", "/operators/1", {"role": "operator", "is_disabled": True}, "operator.update"),
    ("DELETE", "/partners/{partner}", None, "partner.delete"),
)
"""Changes in order, and the action that each must leave."""


async def test_each_change_is_recorded_in_its_transaction_with_operator_and_token(world):
    await with_token(world, OperatorRole.VIEWER, name="first")
    client = await with_token(world, confirmed=True)
    known = {"partner": "1"}
    await one_waits(world)
    async with world.sessionmaker.begin() as db:
        last = await db.scalar(select(func.max(AuditEntry.id)))
    for method, path, body, action in CHANGES:
        answer = await client.request(method, BASE + path.format(**known), json=body)

        assert answer.is_success, (path, answer.text)
        async with world.sessionmaker.begin() as db:
            entries = (await db.scalars(select(AuditEntry).where(AuditEntry.id > last))).all()
        last = entries[-1].id
        assert action in {each.action for each in entries}, path
        for each in entries:
            assert (each.actor_kind, each.actor) == ("operator", "script-owner@example.com")
            assert each.details["token"] == "script"
            assert "s3cret" not in str(each.details)
        if path == "/partners":
            known["partner"] = str(answer.json()["id"])
            (first,) = (await client.get(f"{BASE}/partners/{known['partner']}/api_keys")).json()
            known["first"] = str(first["id"])
            async with world.sessionmaker.begin() as db:
                both = text(
                    "SELECT p.xmin = a.xmin FROM partners p, audit_log a WHERE p.id = :id AND a.id = :last"
                )
                assert await db.scalar(both, {"id": int(known["partner"]), "last": last})
        if path.endswith("/api_keys"):
            known["key"] = str(answer.json()["id"])
    tried = {(method, re.sub(r"{\w+}|/\d+|/(MINE|mine)(?=$)", "*", path)) for method, path, *_ in CHANGES}
    changing = {request_of(route)[0] for route in OPERATOR_ROUTES}
    assert changing == {"GET", "POST", "PATCH", "DELETE"}
    assert len(tried) == len([each for each in OPERATOR_ROUTES if each.methods != {"GET"}]) - 1  # the plan


TAKEN = ({"name": "ACME"}, {"code": "PLAIN", "title": "x", "imap_host": "a.example"})


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/partners", TAKEN[0], "name"),
        ("POST", "/providers", TAKEN[1], "code"),
        ("POST", "/partners", {}, "name"),
        ("POST", "/partners", {"name": "7"}, "name"),
        ("PATCH", "/partners/1", {"new_mail_webhook": "ftp://a.example"}, "new_mail_webhook"),
        ("PATCH", "/partners/1", {"return_origins": None}, "return_origins"),
        ("PATCH", "/partners/1/quotas", {"users": 0}, "users"),
        ("PATCH", "/partners/1/quotas", {"mails": 1}, "mails"),
        ("POST", "/partners/1/api_keys", {"name": "x", "scopes": ["all"]}, "scopes"),
        ("POST", "/providers", {"code": "A B", "title": "x", "imap_host": "a.example"}, "code"),
        ("PATCH", "/providers/PLAIN", {"imap_port": 0}, "imap_port"),
        ("PATCH", "/providers/PLAIN", {"stored_secrets": "sell"}, "stored_secrets"),
        ("POST", "/jobs", {"kind": "replay_deliveries", "partner_id": 1, "state": "delivered"}, "state"),
        ("POST", "/jobs", {"kind": "replay_deliveries", "partner_id": 1, "user_tag": None}, "user_tag"),
        ("POST", "/jobs", {"kind": "drop", "partner_id": 1}, "kind"),
        ("PATCH", "/operators/1", {"role": "king"}, "role"),
        ("GET", "/audit_log?action=nonsense", None, "action"),
        ("GET", "/partners?limit=0", None, "limit"),
        ("GET", "/partners?after=999", None, "after"),
        ("PATCH", "/providers/PLAIN", {"oauth2_token_url": "https://["}, "oauth2_token_url"),
    ],
)
async def test_an_error_names_the_field(world, method, path, body, field):
    client = await with_token(world, confirmed=True)

    answer = await client.request(method, BASE + path, json=body)

    assert answer.status_code == (409 if body in TAKEN else 422), answer.text
    assert [each["field"] for each in answer.json()["errors"]] == [field]


async def test_a_token_ends_at_once_and_unknown_ones_are_counted_by_address(world):
    client, other = await with_token(world), await with_token(world, name="other")

    async def status() -> int:
        return (await client.get(f"{BASE}/token")).status_code

    shown = (await client.get(f"{BASE}/token")).json()
    async with world.sessionmaker.begin() as db:
        used_at = await db.scalar(select(OperatorToken.last_used_at).where(OperatorToken.id == 1))
        await db.execute(update(Operator).where(Operator.id == 1).values(role="operator"))
    lowered = await status()
    async with world.sessionmaker.begin() as db:
        await db.execute(update(Operator).where(Operator.id == 1).values(role="owner"))
    restored = await status()
    async with world.sessionmaker.begin() as db:
        await accounts.change(db, await accounts.get(db, 1), disabled=True)
    disabled = await status()
    async with world.sessionmaker.begin() as db:
        await tokens.revoke(db, 2)

    assert (shown["operator"], shown["role"], shown["is_confirmed"]) == (
        "script-owner@example.com",
        "owner",
        False,
    )
    assert used_at is not None
    assert (lowered, restored, disabled) == (401, 200, 401)
    assert (await other.get(f"{BASE}/token")).status_code == 401
    unknown = [await status() for _ in range(MAX_REFUSALS_PER_ADDRESS)]
    assert unknown[-1] == 429
    valid = await with_token(world, name="third")
    assert (await valid.get(f"{BASE}/token")).status_code == 200
    buckets = world.app.state.resources.token_buckets
    buckets.charge(3, 1000, per_second=REQUESTS_PER_SECOND, now=time.monotonic())
    limited = await valid.get(f"{BASE}/token")
    assert (limited.status_code, "Retry-After" in limited.headers) == (429, True)
    assert "Retry-After" in (await client.get(f"{BASE}/token")).headers
