"""Audit log of the API: every route that changes something leaves a row of its key, readable by its partner."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from superimap.api.app import enabled_modules
from superimap.db.models import AuditEntry, Endpoint
from superimap.testing import WebhookSink
from tests.integration.api.test_api_keys import partner_routes

SECRET = "Sesame-open-7712"
CONNECTIONS = "/api/v1/connections"
PLAIN = f"{CONNECTIONS}/PLAIN"
USER = f"{PLAIN}/users/ann"
MESSAGE = """
    WITH box AS (INSERT INTO mailboxes (partner_id, user_id, account, name, uid_validity, last_uid)
        SELECT partner_id, id, 'a', 'INBOX', 1, 1 FROM users RETURNING *),
    mail AS (INSERT INTO messages (partner_id, user_id, mailbox_id, uid_validity, uid, size, outcome)
        SELECT partner_id, user_id, id, 1, 1, 1, 'unreadable' FROM box RETURNING *),
    owed AS (INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, state, content)
        SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, u.partner_id, e.id, u.id, 'new_mail',
            (ARRAY['failed', 'pending', 'failed', 'pending'])[n], 'x'
        FROM users u JOIN endpoints e ON e.partner_id = u.partner_id AND e.kind = 'new_mail',
            generate_series(1, 4) n RETURNING id)
    SELECT id FROM mail
"""


def delivery(number: int) -> str:
    return f"/api/v1/deliveries/msg_{number:032d}"


@pytest.fixture
async def sink():
    async with WebhookSink() as started:
        yield started


async def calls(world, sink) -> list[tuple[str, str, dict, str]]:
    """Calls in order: method, path, body, and the action that each must leave."""
    async with world.sessionmaker.begin() as db:
        url = Endpoint.__table__.update().where(Endpoint.kind == "new_mail").values(url=sink.url())
        await db.execute(url)
    credentials = {"login_username": "ann", "login_password": SECRET}
    return [
        ("POST", CONNECTIONS, {"imap_provider_code": "GMAIL_OAUTH2", "oauth2_client_id": "id",
                               "oauth2_client_secret": SECRET}, "connection.create"),
        ("PUT", f"{CONNECTIONS}/GMAIL_OAUTH2", {"oauth2_client_secret": SECRET + "2"}, "connection.update"),
        ("PATCH", f"{CONNECTIONS}/GMAIL_OAUTH2", {"oauth2_client_secret": SECRET + "3"}, "connection.update"),
        ("DELETE", f"{CONNECTIONS}/GMAIL_OAUTH2", {}, "connection.delete"),
        ("POST", f"{PLAIN}/users", {"tag": "ann", "email": "ann@secret.example", **credentials}, "user.create"),
        ("POST", f"{PLAIN}/users/batch", {"users": [{"tag": "eve", **credentials}]}, "user.create"),
        ("PUT", USER, {"login_password": SECRET + "4"}, "user.update"),
        ("PATCH", USER, {"email": "eve@secret.example"}, "user.update"),
        ("POST", f"{USER}/messages/{{message}}/retry", {}, "message.retry"),
        ("POST", f"{USER}/sweeps", {}, "sweep.create"),
        ("POST", f"{USER}/sweeps/{{sweep}}/pause", {}, "sweep.update"),
        ("POST", f"{USER}/sweeps/{{sweep}}/resume", {}, "sweep.update"),
        ("POST", f"{USER}/sweeps/{{sweep}}/cancel", {}, "sweep.update"),
        ("DELETE", USER, {}, "user.update"),
        ("POST", f"{delivery(1)}/replay", {}, "delivery.replay"),
        ("POST", f"{delivery(2)}/cancel", {}, "delivery.cancel"),
        ("POST", "/api/v1/deliveries/cancel", {}, "delivery.cancel"),
        ("POST", "/api/v1/deliveries/replay", {"state": "failed"}, "delivery.replay"),
        ("POST", "/api/v1/webhooks/new_mail/enable", {}, "endpoint.enable"),
        ("POST", "/api/v1/webhooks/test", {}, "endpoint.test"),
        ("POST", "/api/v1/webhooks/secret/rotate", {}, "signing_secret.rotate"),
        ("POST", "/api/v1/portal/links", {}, "portal.link"),
        ("POST", "/api/v1/api_keys", {"name": "spare"}, "api_key.create"),
        ("PATCH", "/api/v1/api_keys/{key}", {"name": "other"}, "api_key.update"),
        ("POST", "/api/v1/api_keys/{key}/sign", {}, "api_key.sign"),
        ("DELETE", "/api/v1/api_keys/{first}", {}, "api_key.retire"),
    ]  # fmt: skip


async def test_every_route_that_changes_something_leaves_a_row_of_its_key(world, acme, sink):
    known: dict[str, object] = {}
    done = set()
    own = (await acme.get("/api/v1/api_keys")).json()[0]["id"]
    for method, pattern, body, action in await calls(world, sink):
        path = pattern.format(**known)
        async with world.sessionmaker.begin() as db:
            last = await db.scalar(text("SELECT coalesce(max(id), 0) FROM audit_log"))

        answer = await acme.request(method, path, json=body)

        assert answer.status_code < 300, (method, path, answer.text)
        async with world.sessionmaker.begin() as db:
            added = (await db.scalars(select(AuditEntry).where(AuditEntry.id > last))).all()
            if action == "user.create" and "message" not in known:
                known["message"] = await db.scalar(text(MESSAGE))
        assert {(each.actor_kind, each.actor, each.action) for each in added} == {
            ("api_key", str(own), action)
        }
        if action == "sweep.create":
            known["sweep"] = answer.json()["id"]
        if action == "api_key.create":
            known |= {"key": answer.json()["id"], "first": own}
        routes = [
            route for route in partner_routes() if route.path_regex.match(path) and method in route.methods
        ]
        done.add((method, routes[0].path))

    changing = {
        (m, route.path) for route in partner_routes() for m in route.methods if m not in {"GET", "HEAD"}
    }
    assert done == changing
    async with world.sessionmaker.begin() as db:
        stored = str(await db.scalar(text("SELECT json_agg(a) FROM audit_log a")))
    assert SECRET not in stored
    assert "secret.example" not in stored
    assert sink.url() not in stored


async def test_a_partner_reads_its_own_entries_in_pages_and_no_names_of_operators(world, acme, globex):
    for number in range(5):
        await acme.post(f"{PLAIN}/users", json={"tag": f"u{number}"})
    first = await acme.get("/api/v1/audit_log", params={"limit": 4, "action": "user.create"})
    following = first.links["next"]["url"]
    second = await acme.get(following)
    system = (await acme.get("/api/v1/audit_log", params={"actor_kind": "system"})).json()

    tags = [entry["details"]["tag"] for entry in first.json() + second.json()]
    assert tags == ["u4", "u3", "u2", "u1", "u0"]
    assert "next" not in second.links
    assert {entry["actor"] for entry in system} == {None}
    others = (await globex.get("/api/v1/audit_log")).json()
    assert "user.create" not in {entry["action"] for entry in others}
    assert (await acme.get("/api/v1/audit_log", params={"action": "nonsense"})).status_code == 422


@pytest.mark.parametrize("module", enabled_modules(None), ids=lambda module: module.__name__.rsplit(".")[-1])
def test_every_page_that_changes_something_is_known_to_the_audit_tests(module):
    posts = {
        route.path for route in module.router.routes
        if "POST" in (getattr(route, "methods", None) or ()) and route.path.startswith("/users/")
    }  # fmt: skip

    # tests/integration/connect: the first two leave user.connect or user.disconnect; the callback after a consent
    # leaves user.connect, and the start of one changes nothing yet.
    assert posts <= {"/users/connect/password", "/users/disconnect", "/users/connect/consent"}
