"""Jobs of a portal: its own webhooks, at the pace of its partner's allowance, one job at a time."""

from __future__ import annotations

import asyncio

import pytest_asyncio

from fixtures.deliveries import DeliveryFactory
from fixtures.world import eventually
from superimap.db.accounts import allowances
from superimap.db.accounts.allowances import Action
from superimap.db.delivery import bulk_jobs
from superimap.domain.operators import OperatorRole
from tests.integration.dashboard.test_jobs import acme_id, read, runner, start
from tests.integration.dashboard.test_portal import opened as opened_portal
from tests.support.api import ApiWorld
from tests.support.dashboard import signed_in

HOOK = "https://app.example.com/hook"
FAILED = {"do": "replay", "state": "failed"}
BATCH = 5
PER_MINUTE = 2 * BATCH


@pytest_asyncio.fixture
async def factory(world: ApiWorld, monkeypatch) -> DeliveryFactory:
    """Deliveries for acme, small batches and a small allowance."""
    monkeypatch.setattr(bulk_jobs, "BATCH_ROWS", BATCH)
    monkeypatch.setitem(allowances.MAX_PER_WINDOW, Action.REPLAY, PER_MINUTE)
    made = DeliveryFactory(world.sessionmaker, world.vault)
    await made.user("ann")
    await made.endpoint(HOOK)
    return made


async def pending(factory: DeliveryFactory) -> int:
    return int(str(await factory.value("SELECT count(*) FROM deliveries WHERE state = 'pending'")))


async def test_a_portal_replays_its_failed_webhooks_at_the_pace_of_its_allowance(world, factory, monkeypatch):
    monkeypatch.setattr(bulk_jobs, "MAX_UNCONFIRMED_ROWS", 1)  # nobody can be asked to confirm in a portal
    made = await factory.deliveries(PER_MINUTE + 3)
    acme = await opened_portal(world, world.acme)
    listed = await acme.get("/deliveries", state="failed")
    assert "/portal/jobs/new?do=replay&amp;state=failed" in listed.text
    planned = await acme.get("/jobs/new", **FAILED)
    assert (
        f"{len(made)} webhooks will be sent again" in planned.text and "at most 10 webhooks" in planned.text
    )

    started = await acme.post("/jobs/new", FAILED | {"since": "2020-01-01T00:00"})
    page = started.headers["location"].removeprefix("/portal")
    job_id = int(page.rpartition("/")[2])
    await runner(world).run_waiting(asyncio.Event())

    job = await read(world, job_id)
    assert (job.state, job.done, await pending(factory)) == ("running", PER_MINUTE, PER_MINUTE)
    waits = "SELECT extract(epoch FROM lease_until - now()) FROM jobs"
    assert 0 < float(str(await factory.value(waits))) <= allowances.WINDOW_SECONDS
    waiting = (await acme.get(page)).text
    assert f"{PER_MINUTE} of {len(made)}" in waiting and "The job continues after" in waiting
    assert "/portal/deliveries?state=failed&amp;since=2020-01-01T00%3A00" in waiting
    assert ">waiting<" in waiting and ">waiting<" in (await acme.get("/jobs")).text

    await factory.value("UPDATE allowances SET since = now() - interval '61 s' RETURNING 1")
    await factory.value("UPDATE jobs SET lease_until = now() + interval '0.3 s' RETURNING 1")
    stop = asyncio.Event()
    running = asyncio.create_task(runner(world, look_seconds=3600).run(stop))  # continues when it is due

    async def is_done() -> bool:
        return (await read(world, job_id)).state == "done"

    await eventually(is_done)
    stop.set()
    await running
    job = await read(world, job_id)
    assert (job.done, await pending(factory)) == (len(made), len(made))
    used = "SELECT used FROM allowances WHERE action = 'replay'"
    assert await factory.value(used) == 3, "what the last batch did not need is returned"
    by = "SELECT DISTINCT actor_kind FROM audit_log WHERE action IN ('job.start', 'delivery.replay')"
    assert await factory.value(by) == "portal"


async def test_a_portal_has_one_job_at_a_time_and_can_cancel_it(world, factory, monkeypatch):
    monkeypatch.setitem(allowances.MAX_PER_WINDOW, Action.JOB, 3)
    await factory.deliveries(2)
    acme = await opened_portal(world, world.acme)
    first = (await acme.post("/jobs/new", FAILED)).headers["location"].removeprefix("/portal")

    refused = await acme.post("/jobs/new", FAILED)
    assert (refused.status_code, "Another job of this portal runs" in refused.text) == (409, True)
    cancelled = await acme.post(f"{first}/cancel", page=first)
    assert cancelled.headers["location"].endswith("done=job-cancelled")
    assert (await acme.post(f"{first}/cancel", page=first)).status_code == 409

    await acme.post("/jobs/new", FAILED)
    limited = await acme.post("/jobs/new", FAILED)
    assert (limited.status_code, "3 jobs per minute" in limited.text) == (409, True)

    await factory.value("UPDATE endpoints SET disabled_at = now(), disabled_reason = 'gone' RETURNING 1")
    blocked = (await acme.get("/jobs/new", **FAILED)).text
    assert "No webhook that matches can be replayed now." in blocked
    assert "2 webhooks cannot be replayed now: the endpoint is disabled" in blocked


async def test_a_portal_sees_no_job_of_others_and_cannot_cancel_that_of_the_operator(world, factory):
    theirs = DeliveryFactory(world.sessionmaker, world.vault, "globex")
    await theirs.user("bob")
    await theirs.endpoint(HOOK)
    await theirs.deliveries(tag="bob")
    await factory.deliveries(1)
    globex = await opened_portal(world, world.globex)
    foreign = (await globex.post("/jobs/new", FAILED)).headers["location"].removeprefix("/portal")
    operator = await signed_in(world, OperatorRole.OPERATOR)
    given = FAILED | {"partner": str(await acme_id(factory))}
    own = (await operator.post("/jobs/new", given)).headers["location"].removeprefix("/admin")
    acme = await opened_portal(world, world.acme)

    listed, shown = (await acme.get("/jobs")).text, (await acme.get(own)).text
    assert f"/portal{own}" in listed and f"/portal{foreign}" not in listed
    assert "the operator" in shown and "operator@example.com" not in listed + shown
    assert "Cancel the job" not in shown
    assert (await acme.post(f"{own}/cancel", page=own)).status_code == 409
    assert (await acme.get(foreign)).status_code == 404
    assert (await acme.post(f"{foreign}/cancel")).status_code == 404
    assert (await read(world, int(own.rpartition("/")[2]))).state == "running"
    # The partner of a portal is its own, whatever a request names.
    named = await acme.get("/jobs/new", **FAILED, partner=await theirs.value("SELECT max(id) FROM partners"))
    assert "1 webhook will be sent again" in named.text
    # A kind that does not exist selects no webhooks, instead of those of all kinds.
    unknown = await acme.post("/jobs/new", FAILED | {"kind": "newmail"})
    assert unknown.status_code == 422
    assert await start(world, factory)
    # An operator sees which jobs a partner has started, and by whose link; nobody is taken for the operator.
    listed = (await operator.get("/jobs")).text
    assert listed.count("portal of the partner") == 1 and "by a link of API key" in listed
    assert "portal of the partner" in (await operator.get(foreign)).text
    of_acme = (await operator.get("/jobs", partner=given["partner"])).text
    assert f"/admin{own}" in of_acme and f"/admin{foreign}" not in of_acme
    named = {"partner": str(await theirs.value("SELECT max(id) FROM partners"))}
    assert f"/portal{foreign}" not in (await acme.get("/jobs", **named)).text


async def test_old_jobs_of_a_portal_leave_its_history(world, factory, monkeypatch):
    monkeypatch.setattr("superimap.db.accounts.jobs.MAX_PORTAL_HISTORY_ROWS", 2)
    acme = await opened_portal(world, world.acme)
    for _ in range(4):
        await factory.deliveries(1)
        assert (await acme.post("/jobs/new", FAILED)).status_code == 303
        await runner(world).run_waiting(asyncio.Event())

    assert await factory.value("SELECT array_agg(id ORDER BY id) FROM jobs") == [2, 3, 4]
    assert await factory.value("SELECT count(*) FROM audit_log WHERE action = 'job.start'") == 4
