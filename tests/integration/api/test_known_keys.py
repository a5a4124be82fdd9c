"""API keys that are remembered for a second: what is read, and how soon a change applies."""

from __future__ import annotations

import inspect

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy import text

from superimap.api.app import enabled_modules
from superimap.api.known_keys import KNOWN_SECONDS
from tests.support.api import world as make_world
from tests.support.statement_log import StatementLog

KEYS = "/api/v1/api_keys"
LIST = "/api/v1/connections"


@pytest.fixture
async def world(database_url):
    """The application."""
    async with make_world(database_url) as made:
        yield made


@pytest.fixture
def log(world):
    """The statements of the application."""
    made = StatementLog()
    made.listen(world.app.state.resources.sessionmaker)
    return made


@pytest.fixture
async def acme(world):
    """A client of the partner acme."""
    async with world.client(world.acme) as client:
        yield client


@pytest.fixture
def pass_a_second(world):
    """A function that lets the time pass for which a key is known."""
    known = world.app.state.resources.known_keys
    clock, passed = known._clock, [0.0]
    known._clock = lambda: clock() + passed[0]

    def let_pass() -> None:
        passed[0] += KNOWN_SECONDS

    return let_pass


async def looks(log) -> int:
    return sum("FROM api_keys" in each for each in await log.take())


async def test_requests_within_a_second_read_their_key_once(acme, log, pass_a_second):
    await acme.get(LIST)
    await log.take()
    for _ in range(5):
        assert (await acme.get(LIST)).status_code == 200
    within = await looks(log)
    pass_a_second()
    await acme.get(LIST)

    assert (within, await looks(log)) == (0, 1)


async def test_an_unknown_key_is_read_once_and_leaves_no_use(world, log):
    async with world.client("sip_unknown") as client:
        answers = [(await client.get(LIST)).status_code for _ in range(3)]
    statements = [each for each in await log.take() if "api_keys" in each]

    assert answers == [401] * 3
    assert len(statements) == 1
    assert statements[0].startswith("SELECT")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE api_keys SET expires_at = now()", 401),
        ("UPDATE api_keys SET scopes = '{write}'", 403),
        ("UPDATE api_keys SET networks = '{192.0.2.0/24}'", 403),
        ("DELETE FROM partners WHERE name = 'acme'", 401),
    ],
)
async def test_a_change_by_another_process_applies_after_a_second(
    world, acme, pass_a_second, change, expected
):
    await acme.get(LIST)
    async with world.sessionmaker.begin() as db:
        await db.execute(text(change))
    pass_a_second()

    assert (await acme.get(LIST)).status_code == expected


async def test_a_key_whose_partner_was_just_deleted_changes_nothing_and_causes_no_internal_error(world, acme):
    await acme.post(LIST, json={"imap_provider_code": "PLAIN"})
    async with world.sessionmaker.begin() as db:
        await db.execute(text("DELETE FROM partners WHERE name = 'acme'"))

    answers = [
        await acme.post(LIST, json={"imap_provider_code": "PLAIN"}),
        await acme.post(f"{LIST}/PLAIN/users", json={"tag": "a"}),
        await acme.post(f"{LIST}/PLAIN/users/batch", json={"users": [{"tag": "a"}]}),
        await acme.post("/api/v1/deliveries/replay", json={}),
        await acme.post(KEYS, json={"name": "heir"}),
    ]

    assert [answer.status_code for answer in answers] == [409, 404, 404, 404, 401]


async def test_a_changed_rate_applies_after_a_second(world, acme, pass_a_second):
    await acme.get(LIST)
    async with world.sessionmaker.begin() as db:
        await db.execute(
            text(
                "INSERT INTO partner_quotas SELECT id, 'requests_per_second', 1 FROM partners WHERE name = 'acme'"
            )
        )
    pass_a_second()

    assert 429 in [(await acme.get(LIST)).status_code for _ in range(15)]


@pytest.mark.parametrize(
    ("method", "fields", "expected"),
    [("DELETE", {}, 401), ("PATCH", {"scopes": ["write"]}, 403), ("PATCH", {"networks": ["192.0.2.1"]}, 403)],
)
async def test_a_change_by_this_process_applies_to_the_next_request(world, acme, method, fields, expected):
    made = (await acme.post(KEYS, json={"name": "other"})).json()
    async with world.client(made["api_key"]) as client:
        before = await client.get(LIST)
        changed = await acme.request(method, f"{KEYS}/{made['id']}", json=fields)
        after = await client.get(LIST)

    assert (before.status_code, changed.is_success, after.status_code) == (200, True, expected)


async def test_requests_about_keys_and_secrets_always_read_their_key(world, acme):
    """Otherwise a key that was narrowed could make another one with its former rights within the second."""
    await acme.get(LIST)
    async with world.sessionmaker.begin() as db:
        await db.execute(text("UPDATE api_keys SET scopes = '{read}'"))
    created = await acme.post(KEYS, json={"name": "heir"})
    rotated = await acme.post("/api/v1/webhooks/secret/rotate")

    assert [created.status_code, rotated.status_code] == [403, 403]


def test_no_dependency_of_a_route_runs_in_a_thread():
    """FastAPI runs a function that is not asynchronous in a thread, which takes 0.1 ms of CPU time."""

    def calls(dependant: Dependant):
        yield dependant.call
        for each in dependant.dependencies:
            yield from calls(each)

    routes = [route for module in enabled_modules(None) for route in module.router.routes]
    found = {call for route in routes if isinstance(route, APIRoute) for call in calls(route.dependant)}
    synchronous = {
        call
        for call in found
        if not any(map(inspect.iscoroutinefunction, (call, type(call).__call__)))
        and not inspect.isasyncgenfunction(call)
    }

    assert len(found) > 50
    assert not synchronous
