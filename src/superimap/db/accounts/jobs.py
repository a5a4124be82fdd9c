"""Jobs: their creation, their list, and the right to carry out their next batch.

A batch locks the row of its job, so that no two processes carry out the same one. The lease only keeps processes
from waiting for one another; a process that lost it finds itself no longer the holder.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, delete, exists, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.accounts import allowances
from superimap.db.accounts.allowances import Action
from superimap.db.errors import Conflict, NotFound
from superimap.db.models import Job
from superimap.domain.audit import ActorKind, AuditAction
from superimap.domain.jobs import HISTORY_TIME, LEASE_TIME, MAX_PORTAL_HISTORY_ROWS, JobKind, JobState

PURGED_JOBS = 100
"""Old jobs that a new one deletes at most."""
MAX_ERROR_CHARACTERS = 200

# A literal, which a plan compares with the partial index.
_IS_RUNNING = Job.state == literal(JobState.RUNNING.value, literal_execute=True)
_IS_OURS = and_(_IS_RUNNING, Job.kind.in_([kind.value for kind in JobKind]))  # none of a later version
_IS_WAITING = and_(_IS_OURS, Job.lease_until <= func.now())


async def create(
    db: AsyncSession, kind: JobKind, *, partner_id: int, plan: Mapping[str, Any], total: int | None
) -> Job:
    """Create a job of the session's actor, which any process may run at once. Wake one after the commit."""
    old = select(Job.id).where(Job.finished_at < func.now() - HISTORY_TIME).limit(PURGED_JOBS)
    await db.execute(delete(Job).where(Job.id.in_(old)).execution_options(synchronize_session=False))
    actor = audit.actor_of(db)
    job = Job(
        kind=kind, partner_id=partner_id, plan=dict(plan), actor_kind=actor.kind, made_by=actor.name, total=total
    )  # fmt: skip
    db.add(job)
    await db.flush()
    await db.refresh(job)
    details = {"kind": kind, "state": plan.get("state"), "count": total}
    await audit.record(db, AuditAction.JOB_START, partner_id=partner_id, object_id=job.id, details=details)
    return job


async def make_room_in_portal(db: AsyncSession, partner_id: int) -> None:
    """Let the portal of a partner start a job: one at a time, and so many within a minute.

    Jobs that the portal started long ago are deleted. Raises Conflict while one runs, and TooMany.
    """
    await allowances.use(db, partner_id, Action.JOB)  # a concurrent start waits here
    mine = (Job.partner_id == partner_id, Job.actor_kind == ActorKind.PORTAL)
    if await db.scalar(select(exists().where(_IS_RUNNING, *mine))):
        raise Conflict("Another job of this portal runs. Wait until it has ended, or cancel it.")
    kept = select(Job.id).where(*mine).order_by(Job.id.desc()).limit(MAX_PORTAL_HISTORY_ROWS)
    old = delete(Job).where(*mine, Job.id.not_in(kept))
    await db.execute(old.execution_options(synchronize_session=False))


async def cancel(db: AsyncSession, job_id: int, *, partner_id: int | None = None) -> None:
    """End a job after its present batch. Raises NotFound, or Conflict if it has ended already.

    With `partner_id`, only a job that the portal of that partner has started.
    """
    job = await get(db, job_id, partner_id=partner_id, lock=True)
    if partner_id is not None and job.actor_kind != ActorKind.PORTAL:
        raise Conflict("Only the operator, who has started this job, can cancel it.")
    if job.state != JobState.RUNNING:
        raise Conflict(f"The job is {job.state} already.")
    job.state, job.finished_at = JobState.CANCELLED.value, func.now()
    await db.flush()
    await db.refresh(job)
    await audit.record(db, AuditAction.JOB_CANCEL, partner_id=job.partner_id, object_id=job.id)


async def get(db: AsyncSession, job_id: int, *, partner_id: int | None = None, lock: bool = False) -> Job:
    """Return a job; with `partner_id`, only if it is that partner's. Raises NotFound."""
    statement = select(Job).where(Job.id == job_id).execution_options(populate_existing=True)
    if partner_id is not None:
        statement = statement.where(Job.partner_id == partner_id)
    found = (await db.scalars(statement.with_for_update() if lock else statement)).one_or_none()
    if found is None:
        raise NotFound("Job not found.")
    return found


async def list_latest(
    db: AsyncSession, *, limit: int, before: int | None = None, partner_id: int | None = None
) -> Sequence[Job]:
    """Return jobs, the latest first, with ids below `before`."""
    statement = select(Job).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(Job.id < before)
    if partner_id is not None:
        statement = statement.where(Job.partner_id == partner_id)
    return (await db.scalars(statement.execution_options(populate_existing=True))).all()


async def seconds_to_next(db: AsyncSession) -> float | None:
    """Return the seconds until a job waits for a process, 0 or less if one waits; None if all have ended.

    Reads the index of unfinished jobs, which is small.
    """
    left = func.extract("epoch", func.min(Job.lease_until) - func.now())
    seconds = await db.scalar(select(left).where(_IS_OURS))
    return None if seconds is None else float(seconds)


async def claim(db: AsyncSession, holder: UUID) -> int | None:
    """Take the lease of the job that has waited longest for a process; return its id, or None."""
    waiting = (
        select(Job.id).where(_IS_WAITING).order_by(Job.lease_until).limit(1).with_for_update(skip_locked=True)
    )
    statement = (
        update(Job)
        .where(Job.id == waiting.scalar_subquery())
        .values(holder=holder, lease_until=func.now() + LEASE_TIME)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    return (await db.scalars(statement)).one_or_none()


async def lock(db: AsyncSession, job_id: int, holder: UUID) -> Job | None:
    """Return the job for its next batch, locked until the transaction ends.

    None: it was cancelled or deleted, or another process holds it.
    """
    statement = (
        select(Job)
        .where(Job.id == job_id, _IS_RUNNING, Job.holder == holder)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await db.scalars(statement)).one_or_none()


async def record_batch(db: AsyncSession, job: Job, *, count: int, failed: int, state: JobState) -> None:
    """Record the progress of a batch, in its transaction, and keep the lease."""
    job.done += count
    job.failed += failed
    job.state = state.value
    job.heartbeat_at = func.clock_timestamp()
    job.lease_until = func.clock_timestamp() + LEASE_TIME
    if state is not JobState.RUNNING:
        job.finished_at = func.clock_timestamp()
    await db.flush()
    await db.refresh(job)


async def postpone(db: AsyncSession, job: Job, *, seconds: float) -> None:
    """Give the lease back, so that a process continues the job after these seconds."""
    job.holder, job.lease_until = None, func.clock_timestamp() + timedelta(seconds=seconds)
    await db.flush()
    await db.refresh(job)


async def release(db: AsyncSession, job_id: int, holder: UUID) -> None:
    """Give the lease back, so that any process may continue the job."""
    statement = update(Job).where(Job.id == job_id, _IS_RUNNING, Job.holder == holder)
    values = {"lease_until": func.now(), "holder": None}
    await db.execute(statement.values(values).execution_options(synchronize_session=False))


async def fail(db: AsyncSession, job_id: int, holder: UUID, error: str) -> None:
    """End a job whose batch raises an error that would come again. `error` is shown to people."""
    job = await lock(db, job_id, holder)
    if job is not None:
        job.error = error[:MAX_ERROR_CHARACTERS]
        await record_batch(db, job, count=0, failed=0, state=JobState.FAILED)
