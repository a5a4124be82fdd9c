"""Archiving all mailboxes of a connection: planned and confirmed by a person, carried out by a job."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from sqlalchemy import text

from superimap.api.job_runner import JobRunner
from superimap.api.resources import no_doorbell
from superimap.db.accounts import jobs
from superimap.db.delivery import bulk_jobs
from superimap.domain.operators import OperatorRole
from tests.support.api import ApiWorld
from tests.support.dashboard import signed_in

PAGE = "/partners/1/connections/1/archive"
COUNTS = """
    SELECT count(*) FILTER (WHERE archived AND status = 'archived' AND credentials_version > 0),
           count(*) FILTER (WHERE NOT archived), (SELECT room FROM partner_usage WHERE quota = 'users'),
           (SELECT count(*) FROM audit_log WHERE action = 'user.update' AND actor = 'operator@example.com'
                AND details->>'job' = '1' AND details->>'archived' = 'true')
    FROM users
"""


async def run_jobs(world: ApiWorld) -> None:
    shared = world.app.state.resources
    runner = JobRunner(shared.sessionmaker, shared.dashboard_sessions, no_doorbell, woken=asyncio.Event())
    await runner.run_waiting(asyncio.Event())


async def read(world: ApiWorld, sql: str) -> tuple[object, ...]:
    async with world.sessionmaker.begin() as db:
        return tuple((await db.execute(text(sql))).one())


async def test_all_mailboxes_that_exist_are_archived_in_batches_and_their_quota_is_given_back(
    world, monkeypatch
):
    monkeypatch.setattr(bulk_jobs, "BATCH_ROWS", 2)
    partner = world.client(world.acme)
    await partner.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
    users = "/api/v1/connections/PLAIN/users"
    for name in ("ann", "bob", "cyd", "dan", "eve"):
        fields = {"tag": name, "email": f"{name}@example.com", "login_username": name, "login_password": "p"}
        assert (await partner.post(users, json=fields)).status_code == 201
    await partner.delete(f"{users}/eve")
    before = await read(world, COUNTS)
    person, viewer = (
        await signed_in(world, OperatorRole.OPERATOR),
        await signed_in(world, OperatorRole.VIEWER),
    )

    refused = await viewer.post(PAGE, {"code": "PLAIN"}, page="/account")
    asked = await person.get(PAGE)
    mistyped = await person.post(PAGE, {"code": "GMAIL"}, page=PAGE)
    started = await person.post(PAGE, {"code": "PLAIN"}, page=PAGE)
    await partner.post(users, json={"tag": "late", "email": "late@example.com"})
    await run_jobs(world)

    assert (refused.status_code, mistyped.status_code) == (403, 422)
    assert "Mailboxes to archive: 4." in asked.text
    assert started.headers["location"] == "/admin/jobs/1"
    archived, live, room, recorded = await read(world, COUNTS)
    assert (archived, live, recorded) == (5, 1, 4)
    assert room == before[2] + 4 - 1  # the late one
    shown = (await person.get("/jobs/1")).text
    assert "Archive all mailboxes of PLAIN" in shown and "/partners/1/connections/1" in shown
    state, done, total = await read(world, "SELECT state, done, total FROM jobs")
    assert (state, done, total) == ("done", 4, 4)
    again = await person.post(PAGE, {"code": "PLAIN"}, page=PAGE)
    assert again.status_code == 303  # for the late one


async def test_who_is_restored_during_the_job_is_not_archived_again(world, monkeypatch):
    monkeypatch.setattr(bulk_jobs, "BATCH_ROWS", 2)
    partner = world.client(world.acme)
    await partner.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
    users = "/api/v1/connections/PLAIN/users"
    for name in ("ann", "Bob", "cyd"):
        await partner.post(users, json={"tag": name, "email": f"{name}@example.com"})
    person = await signed_in(world, OperatorRole.OPERATOR)
    await person.post(PAGE, {"code": "PLAIN"}, page=PAGE)
    holder = uuid4()
    async with world.app.state.resources.dashboard_sessions.begin() as db:
        job = await jobs.lock(db, await jobs.claim(db, holder), holder)
        await bulk_jobs.run_batch(db, job)
        await jobs.release(db, job.id, holder)

    restored = await partner.put(f"{users}/ann", json={"archived": False})
    await run_jobs(world)

    assert restored.status_code == 200
    assert await read(world, "SELECT string_agg(tag, ',') FROM users WHERE NOT archived") == ("ann",)
    assert await read(world, "SELECT state, done, total FROM jobs") == ("done", 3, 3)
