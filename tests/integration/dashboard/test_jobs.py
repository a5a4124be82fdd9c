"""Jobs: kills between and within batches, races of two processes, cancellation, plans and roles."""

from __future__ import annotations

import asyncio
import sys
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text

from fixtures.deliveries import DeliveryFactory
from fixtures.engines import as_role
from superimap.api.job_runner import JobRunner
from superimap.api.resources import no_doorbell
from superimap.db.accounts import jobs
from superimap.db.delivery import bulk_jobs
from superimap.db.models import Job
from superimap.db.monitoring.history import DeliveryFilter
from superimap.db.privileges import Role
from superimap.domain import jobs as rules
from superimap.domain.deliveries import DeliveryState
from superimap.domain.jobs import JobKind
from superimap.domain.operators import OperatorRole
from tests.support.api import ApiWorld, served, settings_for
from tests.support.dashboard import signed_in

HOOK = "https://app.example.com/hook"
BATCH = 5

CHILD = """
import asyncio, sys
from superimap.api.job_runner import JobRunner
from superimap.api.resources import no_doorbell
from superimap.db.delivery import bulk_jobs
from superimap.db.engine import sessions

url, batches, where = sys.argv[1], int(sys.argv[2]), sys.argv[3]
bulk_jobs.BATCH_ROWS = 5
run_batch, done = bulk_jobs.run_batch, 0

async def counted(db, job):
    global done
    if where == "between" and done == batches:
        print("here", flush=True)
        await asyncio.Event().wait()
    result = await run_batch(db, job)
    done += 1
    if where == "within" and done == batches:
        print("here", flush=True)
        await asyncio.Event().wait()
    return result

async def ring(_):
    return True

async def main():
    bulk_jobs.run_batch = counted
    async with sessions(url) as made:
        await JobRunner(made, made, ring, woken=asyncio.Event()).run_waiting(asyncio.Event())

asyncio.run(main())
"""


@pytest_asyncio.fixture
async def factory(world, monkeypatch) -> DeliveryFactory:
    """Deliveries for acme, and small batches."""
    monkeypatch.setattr(bulk_jobs, "BATCH_ROWS", BATCH)
    made = DeliveryFactory(world.sessionmaker, world.vault)
    await made.user("ann")
    await made.endpoint(HOOK)
    return made


async def acme_id(factory: DeliveryFactory) -> int:
    return int(str(await factory.value("SELECT id FROM partners WHERE name = 'acme'")))


async def start(
    world: ApiWorld, factory: DeliveryFactory, kind: JobKind = JobKind.REPLAY_DELIVERIES, **chosen: object
) -> int:
    state = DeliveryState.FAILED if kind is JobKind.REPLAY_DELIVERIES else DeliveryState.PENDING
    which = DeliveryFilter(partner_id=await acme_id(factory), state=state, **chosen)
    async with world.sessionmaker.begin() as db:
        return (await bulk_jobs.start(db, await bulk_jobs.plan(db, kind, which))).id


async def read(world: ApiWorld, job_id: int) -> Job:
    async with world.sessionmaker.begin() as db:
        return await jobs.get(db, job_id)


def runner(
    world: ApiWorld, ring=no_doorbell, *, woken: asyncio.Event | None = None, **options: float
) -> JobRunner:
    """A runner with the privileges of an API process."""
    shared = world.app.state.resources
    sessions = shared.sessionmaker, shared.dashboard_sessions
    return JobRunner(*sessions, ring, woken=woken or asyncio.Event(), **options)


async def audited(factory: DeliveryFactory, action: str = "delivery.replay") -> int:
    """How many deliveries were changed, by the entries of the committed batches."""
    sql = "SELECT coalesce(sum((details->>'count')::int), 0) FROM audit_log WHERE action = :action"
    return int(str(await factory.value(sql, action=action)))


async def count(factory: DeliveryFactory, state: str) -> int:
    return int(str(await factory.value("SELECT count(*) FROM deliveries WHERE state = :state", state=state)))


async def expire_leases(factory: DeliveryFactory) -> None:
    await factory.value("UPDATE jobs SET lease_until = now() RETURNING id")


@pytest.mark.parametrize("where", ["between", "within"])
async def test_a_job_whose_process_is_killed_repeats_nothing_and_leaves_nothing_out(
    world, factory, database_url, where
):
    made = await factory.deliveries(4 * BATCH - 2)
    job_id = await start(world, factory)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, database_url, "2", where, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await asyncio.wait_for(child.stdout.readline(), 20) == b"here\n"

    child.kill()
    await child.wait()

    # The batch that was under way is undone; those before it stay.
    kept = 2 * BATCH if where == "between" else BATCH
    async with asyncio.timeout(10):
        while await factory.value("SELECT count(*) FROM pg_locks WHERE relation = 'jobs'::regclass"):
            await asyncio.sleep(0.01)
    assert ((await read(world, job_id)).done, await count(factory, "pending")) == (kept, kept)
    # What fails again meanwhile is not replayed again.
    again = made[0]
    await factory.value(
        "UPDATE deliveries SET state = 'failed', settled_at = now() WHERE id = :id RETURNING id",
        id=again.removeprefix("msg_"),
    )
    await runner(world).run_waiting(asyncio.Event())
    assert (await read(world, job_id)).state == "running", "the lease of the killed process holds"
    await expire_leases(factory)
    await runner(world).run_waiting(asyncio.Event())

    job = await read(world, job_id)
    assert (job.state, job.done, job.total) == ("done", len(made), len(made))
    assert await audited(factory) == len(made)
    assert await factory.state(again) == "failed"


async def test_two_processes_race_and_change_each_delivery_once(world, factory, monkeypatch):
    monkeypatch.setattr(jobs, "LEASE_TIME", rules.LEASE_TIME * 0)  # each takes the job from the other at once
    made = await factory.deliveries(8 * BATCH)
    job_id = await start(world, factory)

    await asyncio.gather(*(runner(world).run_waiting(asyncio.Event()) for _ in range(2)))
    await expire_leases(factory)
    await runner(world).run_waiting(asyncio.Event())

    job = await read(world, job_id)
    assert (job.state, job.done, await audited(factory)) == ("done", len(made), len(made))
    assert await count(factory, "pending") == len(made)


async def test_a_lost_lease_ends_the_work_of_its_process(world, factory):
    await factory.deliveries(BATCH)
    job_id = await start(world, factory)
    first, second = uuid4(), uuid4()
    async with world.sessionmaker.begin() as db:
        assert await jobs.claim(db, first) == job_id
        assert await jobs.claim(db, second) is None
    await expire_leases(factory)
    async with world.sessionmaker.begin() as db:
        assert await jobs.claim(db, second) == job_id
        assert await jobs.lock(db, job_id, first) is None
        await jobs.release(db, job_id, first)
        assert await jobs.lock(db, job_id, second) is not None


async def test_a_cancelled_job_ends_between_two_batches(world, factory):
    await factory.deliveries(4 * BATCH)
    job_id = await start(world, factory)
    operator = await signed_in(world, OperatorRole.OPERATOR)

    async def cancel(_: int) -> None:
        if (await read(world, job_id)).state == "running":
            answer = await operator.post(f"/jobs/{job_id}/cancel", page=f"/jobs/{job_id}")
            assert answer.headers["location"] == f"/admin/jobs/{job_id}?done=job-cancelled"

    await runner(world, cancel).run_waiting(asyncio.Event())

    job = await read(world, job_id)
    assert (job.state, job.done, await count(factory, "failed")) == ("cancelled", BATCH, 3 * BATCH)
    again = await operator.post(f"/jobs/{job_id}/cancel", page=f"/jobs/{job_id}")
    assert (again.status_code, "cancelled already" in again.text) == (409, True)


async def test_what_cannot_be_replayed_is_counted_and_does_not_hold_the_job_up(world, factory):
    await factory.endpoint(HOOK, "user_connected")
    ready = await factory.deliveries(BATCH + 1)
    await factory.deliveries(2, has_content=False)
    await factory.deliveries(3, kind="user_connected")
    await factory.value("UPDATE endpoints SET disabled_at = now() WHERE kind = 'user_connected' RETURNING id")
    job_id = await start(world, factory)
    (later,) = await factory.deliveries()

    await runner(world).run_waiting(asyncio.Event())

    job = await read(world, job_id)
    assert (job.state, job.done, job.failed, job.total) == ("done", len(ready), 5, len(ready))
    assert await factory.state(later) == "failed"


async def test_a_job_cancels_what_waits_and_not_what_is_being_sent(world, factory):
    waiting = await factory.deliveries(2 * BATCH, state="pending")
    (sending,) = await factory.deliveries(state="sending")
    job_id = await start(world, factory, JobKind.CANCEL_DELIVERIES)
    (later,) = await factory.deliveries(state="pending")

    await runner(world).run_waiting(asyncio.Event())

    job = await read(world, job_id)
    assert (job.state, job.done) == ("done", len(waiting))
    assert await audited(factory, "delivery.cancel") == len(waiting)
    assert [await factory.state(each) for each in (sending, later)] == ["sending", "pending"]


async def test_an_error_that_would_come_again_fails_the_job_and_no_other(world, factory):
    await factory.deliveries(1)
    broken, whole = await start(world, factory), await start(world, factory)
    await factory.value("UPDATE jobs SET plan = '{}' WHERE id = :id RETURNING id", id=broken)

    await runner(world).run_waiting(asyncio.Event())

    job = await read(world, broken)
    assert (job.state, job.error) == ("failed", "An internal error: KeyError.")
    assert (await read(world, whole)).state == "done"
    viewer = await signed_in(world, OperatorRole.VIEWER)
    assert "An internal error" in (await viewer.get(f"/jobs/{broken}")).text
    assert (await viewer.get("/jobs")).status_code == 200


async def test_an_operator_plans_and_starts_a_job_and_a_viewer_only_sees_it(world, factory, monkeypatch):
    made = await factory.deliveries(3)
    acme = str(await acme_id(factory))
    viewer = await signed_in(world, OperatorRole.VIEWER)
    operator = await signed_in(world, OperatorRole.OPERATOR)
    fields = {"do": "replay", "partner": acme, "state": "failed", "kind": "new_mail", "tag": "ann"}
    listed = await operator.get("/deliveries", partner=acme, state="failed", tag="ann")

    assert "/admin/jobs/new?do=replay&amp;partner=" in listed.text
    assert "jobs/new" not in (await viewer.get("/deliveries", partner=acme, state="failed")).text
    assert (await viewer.get("/jobs/new", **fields)).status_code == 403
    assert (await viewer.post("/jobs/new", fields)).status_code == 403
    for wrong in ({"do": "x"}, {"state": "delivered"}, {"do": "cancel"}, {"tag": "nobody"}):
        assert (await operator.get("/jobs/new", **(fields | wrong))).status_code == 422
    assert "3 webhooks of acme will be sent again" in (await operator.get("/jobs/new", **fields)).text

    monkeypatch.setattr("superimap.db.delivery.bulk_jobs.MAX_UNCONFIRMED_ROWS", 2)
    await factory.value("UPDATE dashboard_sessions SET stepped_up_at = NULL RETURNING 1")
    refused = await operator.post("/jobs/new", fields)
    assert refused.headers["location"].startswith("/admin/confirm?next=%2Fjobs%2Fnew%3F")
    assert await factory.value("SELECT count(*) FROM jobs") == 0
    await factory.value("UPDATE dashboard_sessions SET stepped_up_at = now() RETURNING 1")
    started = await operator.post("/jobs/new", fields)
    page = started.headers["location"].removeprefix("/admin")
    assert world.app.state.resources.new_job.is_set()

    shown = await viewer.get(page)
    assert (
        "0 of 3" in shown.text and "operator@example.com" in shown.text and "Cancel the job" not in shown.text
    )
    assert (await viewer.post(f"{page}/cancel", page=page)).status_code == 403
    await runner(world).run_waiting(asyncio.Event())
    assert "3 of 3" in (await viewer.get("/jobs")).text
    assert {await factory.state(each) for each in made} == {"pending"}
    by = "SELECT count(*) FROM audit_log WHERE action = :action AND actor = 'operator@example.com'"
    assert [await factory.value(by, action=each) for each in ("job.start", "delivery.replay")] == [1, 1]
    assert (await operator.post("/jobs/new", fields)).status_code == 409
    assert (await viewer.get("/jobs/99")).status_code == 404
    assert "no earlier jobs" in (await viewer.get("/jobs", before="1")).text


async def test_an_api_process_runs_the_job_that_another_has_left_behind(world, factory, database_url):
    await factory.deliveries(BATCH)
    job_id = await start(world, factory)
    settings = settings_for(database_url, dashboard_database_url=as_role(database_url, Role.OPERATOR))

    async with asyncio.timeout(10), served(settings):
        while (await read(world, job_id)).state == "running":
            await asyncio.sleep(0.01)

    assert (await read(world, job_id)).done == BATCH


async def test_a_runner_works_at_once_when_a_job_is_made_in_its_process(world, factory):
    await factory.deliveries(1)
    stop, woken = asyncio.Event(), world.app.state.resources.new_job
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(runner(world, woken=woken).run(stop))
        job_id = await start(world, factory)
        woken.set()
        while (await read(world, job_id)).state == "running":
            await asyncio.sleep(0.01)
        stop.set()


async def test_the_look_for_jobs_reads_the_index_of_unfinished_ones(world, factory):
    async with world.sessionmaker.begin() as db:
        await db.execute(
            text(
                "INSERT INTO jobs (kind, partner_id, plan, actor_kind, made_by, state, finished_at) "
                "SELECT 'replay_deliveries', (SELECT min(id) FROM partners), '{}', 'operator', 'x', 'done', now() "
                "FROM generate_series(1, 20000)"
            )
        )
    async with world.sessionmaker.begin() as db:
        await db.execute(text("ANALYZE jobs"))
        plan = await db.scalars(
            text("EXPLAIN SELECT FROM jobs WHERE state = 'running' AND lease_until <= now()")
        )
        assert "ix_jobs_running" in "".join(plan)
