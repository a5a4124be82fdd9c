"""Requests that the API refuses, and the errors that it returns."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from superimap.api.middleware import MAX_BODY_BYTES, MAX_DISCARDED_BYTES
from superimap.db.models import ApiKey

USERS = "/api/v1/connections/PLAIN/users"
JSON = {"content-type": "application/json"}
ROUTES = [
    ("GET", "/api/v1/connections"),
    ("POST", "/api/v1/connections"),
    ("GET", "/api/v1/connections/PLAIN"),
    ("PUT", "/api/v1/connections/PLAIN"),
    ("PATCH", "/api/v1/connections/PLAIN"),
    ("DELETE", "/api/v1/connections/PLAIN"),
    ("GET", USERS),
    ("POST", USERS),
    ("GET", f"{USERS}/ADA"),
    ("PUT", f"{USERS}/ADA"),
    ("PATCH", f"{USERS}/ADA"),
    ("DELETE", f"{USERS}/ADA"),
]


def is_problem(answer, status):
    body = answer.json()
    return (
        answer.status_code == body["status"] == status
        and answer.headers["content-type"] == "application/problem+json"
        and {"type", "title", "status", "detail", "errors"} == set(body)
    )


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_no_route_answers_without_a_known_key(world, acme, method, path):
    async with world.client() as anonymous:
        missing = await anonymous.request(method, path)
        wrong = await anonymous.request(method, path, headers={"x-api-key": world.acme + "x"})
        in_query = await anonymous.request(method, path, params={"api_key": "\0ż"})

    for answer in (missing, wrong, in_query):
        assert is_problem(answer, 401)
        assert "www-authenticate" in answer.headers
        assert answer.json()["detail"] == "Partner not found. Check your api_key."


async def test_the_key_is_accepted_in_the_query(world, acme):
    async with world.client() as anonymous:
        answer = await anonymous.get(USERS, params={"api_key": world.acme})

    assert answer.status_code == 200


async def test_the_key_is_accepted_in_the_body_as_in_the_original(world, acme):
    async with world.client() as anonymous:
        form = await anonymous.post(USERS, data={"api_key": world.acme, "tag": "by-form"})
        json = await anonymous.post(USERS, json={"api_key": world.acme, "tag": "by-json"})
        wrong = await anonymous.post(USERS, json={"api_key": "sip_wrong", "tag": "nobody"})

    assert (form.status_code, json.status_code, wrong.status_code) == (201, 201, 401)
    assert form.json()["tag"] == "by-form"


async def test_an_expired_key_is_refused(world, acme):
    async with world.sessionmaker.begin() as db:
        await db.execute(update(ApiKey).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    world.app.state.resources.known_keys.forget()

    answer = await acme.get(USERS)

    assert is_problem(answer, 401)


@pytest.mark.parametrize(("method", "path"), ROUTES[2:])
async def test_a_partner_cannot_reach_the_rows_of_another(world, acme, globex, method, path):
    """Globex has the same connection, and no user ADA."""
    await acme.post(USERS, json={"tag": "ADA", "email": "ada@example.com"})
    if path.startswith(USERS):
        await globex.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
    before = (await acme.get(f"{USERS}/ADA")).json()

    answer = await globex.request(method, path, json={"tag": "GLOBEX"} if method != "GET" else None)

    if path == USERS:
        assert (answer.json() == []) or answer.json()["tag"] == "GLOBEX"
    else:
        assert is_problem(answer, 404)
    after = (await acme.get(f"{USERS}/ADA")).json()
    fresh = {"connect_url", "disconnect_url"}
    assert {k: v for k, v in before.items() if k not in fresh} == {
        k: v for k, v in after.items() if k not in fresh
    }
    assert (await acme.get(USERS)).json() == [{"tag": "ADA", "email": "ada@example.com"}]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{}", 422, "tag"),
        (b"[]", 422, "body"),
        (b"{", 422, "body"),
        (b"\xff", 422, "body"),
        (b'{"tag": "A", "tag": "B"}', 422, "body"),
        (b'{"tag": "A", "x": {"y": 1, "y": 2}}', 422, "body"),
        (b'{"tag": "A", "x": NaN}', 422, "body"),
        (b'{"tag": "A", "x": -Infinity}', 422, "body"),
        (b'{"tag": "A", "x": ' + b"9" * 5000 + b"}", 422, "body"),
        (b"[" * 100_000, 422, "body"),
        (b'{"tag":' * 20_000, 422, "body"),
        (b'{"tag": {"$ne": 1}}', 422, "tag"),
        (b'{"tag": "A", "email": "a\\u0000b"}', 422, "email"),
        (b'{"tag": "A", "login_username": "a\\r\\nA2 LOGOUT"}', 422, "login_username"),
        (b'{"tag": "A", "login_password": "\\ud800"}', 422, "login_password"),
        (b'{"tag": "A", "email": "' + b"x" * 321 + b'"}', 422, "email"),
        (b'{"tag": "A", "archived": "perhaps"}', 422, "archived"),
        (b'{"tag": "' + b"x" * 1_000_000 + b'"}', 413, None),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else None,
)
async def test_a_bad_body_is_refused_and_its_field_named(acme, body, status, field):
    answer = await acme.post(USERS, content=body, headers=JSON)

    assert is_problem(answer, status)
    assert [fault["field"] for fault in answer.json()["errors"]] == ([field] if field else [])
    assert (await acme.get(USERS)).json() == []


@pytest.mark.parametrize("body", ["tag=A&tag=B", "tag=%FF", "&".join(f"f{n}=1" for n in range(200)), "x=1"])
async def test_a_bad_form_is_refused(acme, body):
    headers = {"content-type": "application/x-www-form-urlencoded"}

    answer = await acme.post(USERS, content=body, headers=headers)

    assert is_problem(answer, 422)


async def test_a_body_without_declared_length_is_limited_while_it_is_read(acme):
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 65536
            yield b" " * 65536

    answer = await acme.post(USERS, content=endless(), headers=JSON)

    assert is_problem(answer, 413)
    assert sent <= MAX_BODY_BYTES + MAX_DISCARDED_BYTES + 2 * 65536


async def test_other_types_of_body_are_refused(acme):
    untyped = await acme.post(USERS, content=b'{"tag": "A"}')
    multipart = await acme.post(USERS, files={"tag": b"A"})

    assert is_problem(untyped, 415)
    assert is_problem(multipart, 415)
    assert "application/x-www-form-urlencoded" in multipart.json()["detail"]


async def test_fields_in_the_query_are_ignored(acme):
    answer = await acme.post(USERS, params={"tag": "A"})

    assert is_problem(answer, 422)


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/docs/assets/../deps.py", "/docs/assets/%00"])
async def test_an_unknown_address_is_a_problem(acme, path):
    assert is_problem(await acme.get(path), 404)


async def test_an_unknown_method_is_405_with_the_allowed_methods(acme):
    answer = await acme.request("OPTIONS", f"{USERS}/ADA")

    assert is_problem(answer, 405)
    assert answer.headers["allow"] == "DELETE, GET, PATCH, PUT"
    # The patterns /deliveries/{id} and /users/{tag} match too, but their methods are not offered.
    for path in ("/api/v1/deliveries/replay", f"{USERS}/batch"):
        assert (await acme.request("OPTIONS", path)).headers["allow"] == "POST"


async def test_a_trailing_slash_changes_nothing(acme):
    answer = await acme.get("/api/v1/connections/")

    assert (answer.status_code, len(answer.json())) == (200, 1)


async def test_neither_secrets_nor_addresses_are_logged(acme, caplog, monkeypatch):
    """This also holds after an unexpected error."""
    from superimap.db.accounts.onboarding import Onboarding

    async def break_down(*_, **__):
        raise RuntimeError(f"INSERT {person}")

    monkeypatch.setattr(Onboarding, "create", break_down)
    caplog.set_level(logging.DEBUG)
    person = {"tag": "ADA", "email": "ada@example.com", "login_username": "a", "login_password": "pass-1"}

    answer = await acme.post(USERS, json=person, params={"api_key": "in-the-query"})

    assert is_problem(answer, 500)
    logged = "\n".join(str(vars(record)) for record in caplog.records if record.name != "httpx")
    assert "break_down" in logged
    for secret in ("pass-1", "ada@example.com", "in-the-query", acme.headers["x-api-key"]):
        assert secret not in logged + answer.text
