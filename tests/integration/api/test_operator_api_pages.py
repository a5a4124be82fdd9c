"""The operator API: large jobs, pages of lists, and what the documentation says about it."""

from __future__ import annotations

import re
import shlex
from collections.abc import AsyncIterator

import httpx
import pytest_asyncio
from sqlalchemy import func, select

from superimap.db.models import Job, Partner
from superimap.domain.operators import OperatorRole
from tests.support.api import ApiWorld
from tests.support.api import world as make_world
from tests.support.dashboard import with_token
from tests.support.operator_api import BASE, OPERATOR_ROUTES, is_confirmed, one_waits, role_of
from tests.support.pages import ROOT, section

SECTION = section(ROOT / "docs/dashboard.md", "Operator API")


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[ApiWorld]:
    async with make_world(database_url) as made:
        yield made


async def test_a_large_job_needs_a_token_for_what_needs_a_confirmed_identity(world, monkeypatch):
    monkeypatch.setattr("superimap.db.delivery.bulk_jobs.MAX_UNCONFIRMED_ROWS", 0)
    plain = await with_token(world, OperatorRole.OPERATOR)
    confirmed = await with_token(world, OperatorRole.OPERATOR, confirmed=True, name="large")
    body = {"kind": "cancel_deliveries", "partner_id": 1}
    nothing = await plain.post(f"{BASE}/jobs", json=body)
    await one_waits(world)

    planned = (await plain.post(f"{BASE}/jobs/plan", json=body)).json()
    refused = await plain.post(f"{BASE}/jobs", json=body)
    started = await confirmed.post(f"{BASE}/jobs", json=body)

    assert (nothing.status_code, nothing.json()["type"].split(":")[-1]) == (409, "nothing-to-do")
    assert (planned["count"], planned["needs_confirmation"]) == (1, True)
    assert (refused.status_code, started.status_code) == (403, 201)
    assert started.json()["actor_kind"] == "operator"
    assert world.app.state.resources.new_job.is_set()
    async with world.sessionmaker.begin() as db:
        (job,) = await db.scalars(select(Job))
        assert (job.made_by, job.total) == ("large-operator@example.com", 1)


async def test_lists_have_pages_and_a_viewer_sees_no_path_of_a_webhook(world):
    viewer: httpx.AsyncClient = await with_token(world, OperatorRole.VIEWER)
    actor = await with_token(world, OperatorRole.OPERATOR)
    await actor.patch(f"{BASE}/partners/1", json={"new_mail_webhook": "https://a.example/token-in-path"})

    first = await viewer.get(f"{BASE}/partners", params={"limit": 1})
    second = await viewer.get(first.links["next"]["url"])
    named = (await viewer.get(f"{BASE}/partners", params={"name": "GLO"})).json()
    entries = await viewer.get(f"{BASE}/audit_log", params={"partner_id": 1, "limit": 1})
    situation = (await viewer.get(f"{BASE}/problems")).json()
    cluster = (await viewer.get(f"{BASE}/cluster")).json()
    counted = (await viewer.get(f"{BASE}/cluster", params={"count_watched": True})).json()

    assert [each["name"] for page in (first, second) for each in page.json()] == ["acme", "globex"]
    assert "next" not in second.links
    assert [each["name"] for each in named] == ["globex"]
    assert entries.json()[0]["details"]["token"] == "script"
    assert entries.links["next"]
    assert situation["headline"].startswith("No mailbox is connected yet")
    assert (cluster["users"]["watched"], counted["users"]["watched"]) == (None, 0)
    seen = [(await each.get(f"{BASE}/partners/1")).json()["new_mail_webhook"] for each in (viewer, actor)]
    assert seen == ["https://a.example/…", "https://a.example/token-in-path"]
    in_portal = (await world.client(world.acme).get("/api/v1/audit_log")).json()[0]
    assert (in_portal["actor"], in_portal["details"].get("token")) == (None, None)
    async with world.sessionmaker.begin() as db:
        assert await db.scalar(select(func.count()).select_from(Partner)) == 2


def documented_operations() -> dict[tuple[str, str], str]:
    """Method and path of each operation in the table of the page, with its role."""
    found: dict[tuple[str, str], str] = {}
    for operations, role in re.findall(r"^\| (`.+?) \| .+ \| (`\w+`.*) \|$", SECTION, re.M):
        methods, pending = [], []
        for words in re.findall(r"`([^`]+)`", operations):
            method, _, path = words.rpartition(" ")
            if words.isupper():
                pending.append(words)
                continue
            methods, pending = ([*pending, method], []) if method else (methods, [])
            found |= {(each, BASE + path): role for each in methods}
    return found


def test_the_page_lists_every_operation_with_its_role():
    listed = documented_operations()

    assert listed.keys() == {(*route.methods, route.path_format) for route in OPERATOR_ROUTES}
    for route in OPERATOR_ROUTES:
        (method,) = route.methods
        assert listed[method, route.path_format] == f"`{role_of(route)}`" + (
            ", confirmed" if is_confirmed(route) else ""
        )


async def test_the_commands_of_the_page_work(world):
    client = await with_token(world, OperatorRole.OPERATOR)
    token = client.headers["Authorization"].removeprefix("Bearer ")
    (block,) = re.findall(r"^```sh\n(.*?)^```$", SECTION, re.M | re.S)
    lines = block.replace("\\\n", " ").replace("$TOKEN", token).splitlines()
    assert len(lines) == 4
    for line in lines:
        words = shlex.split(line)
        given = {"-H": [], "-d": [], "-X": []}
        while (option := words.pop(1)) in given:
            given[option].append(words.pop(1))
        method = (given["-X"] or ["POST" if given["-d"] else "GET"])[0]
        headers = dict(each.split(": ", 1) for each in given["-H"])
        path = option.removeprefix("https://superimap.example.com")

        answer = await world.client().request(method, path, headers=headers, content="".join(given["-d"]))

        assert answer.is_success, (line, answer.text)
