"""Jobs that replay or cancel many deliveries: their plans; and the batches of all jobs.

A batch and its progress are one transaction: a process that is killed repeats nothing and leaves nothing out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.accounts import allowances, archiving, jobs
from superimap.db.accounts.allowances import Action
from superimap.db.delivery import batches
from superimap.db.delivery.replay import count_left
from superimap.db.errors import Conflict, Invalid, TooMany
from superimap.db.models import Job
from superimap.db.monitoring.history import DeliveryFilter
from superimap.domain.audit import Actor, ActorKind
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind
from superimap.domain.jobs import BATCH_ROWS, MAX_COUNTED_ROWS, MAX_UNCONFIRMED_ROWS, JobKind, JobState

MAX_DESCRIBED_ROWS = 200
"""Rows of the table that a plan reads; other counts are of entries of an index."""
_STATES = {
    JobKind.REPLAY_DELIVERIES: (DeliveryState.FAILED, DeliveryState.CANCELLED),
    JobKind.CANCEL_DELIVERIES: (DeliveryState.PENDING,),
}


@dataclass(frozen=True, slots=True)
class BulkPlan:
    """What a job would change: `count` deliveries, MAX_COUNTED_ROWS + 1 at most.

    Of the others that match, `erased` can never be replayed, and `blocked` not before their endpoint has a URL and
    is enabled. `is_partial`: there may be more of these, because only the first MAX_DESCRIBED_ROWS that match were
    looked at.
    """

    kind: JobKind
    which: DeliveryFilter
    count: int
    erased: int = 0
    blocked: int = 0
    is_partial: bool = False

    @property
    def needs_confirmation(self) -> bool:
        """Whether only somebody whose identity is confirmed may start the job."""
        return self.count > MAX_UNCONFIRMED_ROWS


async def plan(db: AsyncSession, kind: JobKind, which: DeliveryFilter) -> BulkPlan:
    """Count what a job would change now. Raises Invalid for a state that a job of this kind does not change."""
    if which.state not in _STATES[kind]:
        raise Invalid("state", f"must be {' or '.join(_STATES[kind])}")
    most = MAX_COUNTED_ROWS + 1
    if kind is JobKind.CANCEL_DELIVERIES:
        return BulkPlan(kind, which, await batches.count_pending(db, which, most=most))
    left = await count_left(db, which, most=MAX_DESCRIBED_ROWS)
    ready = await batches.count_replayable(db, which, most=most)
    is_partial = left.ready + left.erased + left.blocked == MAX_DESCRIBED_ROWS
    return BulkPlan(kind, which, ready, left.erased, left.blocked, is_partial)


async def start(db: AsyncSession, planned: BulkPlan, *, tag: str = "") -> Job:
    """Create the job, for deliveries that exist now. `tag` is what the selected users were found by.

    Raises Conflict if there is nothing to do. In a portal: also while another job runs, and TooMany.
    """
    if not planned.count:
        raise Conflict("No webhook would be changed.", kind="nothing-to-do")
    which = planned.which
    if audit.actor_of(db).kind is ActorKind.PORTAL:
        await jobs.make_room_in_portal(db, which.partner_id)
    now: datetime = (await db.execute(select(func.now()))).scalar_one()
    until = now if which.until is None else min(now, which.until)
    return await jobs.create(
        db,
        planned.kind,
        partner_id=which.partner_id,
        plan={
            "state": which.state,
            "kind": which.kind,
            "tag": tag or None,
            "user_ids": None if which.user_ids is None else list(which.user_ids),
            "since": None if which.since is None else which.since.isoformat(),
            "until": until.isoformat(),
            "has_until": which.until is not None,
        },
        total=planned.count if planned.count <= MAX_COUNTED_ROWS else None,
    )


def filter_of(partner_id: int, plan: Mapping[str, Any]) -> DeliveryFilter:
    """Return the filter of a job. Raises KeyError or ValueError for a plan that another version made."""
    since, kind = plan["since"], plan["kind"]
    return DeliveryFilter(
        partner_id=partner_id,
        state=DeliveryState(plan["state"]),
        kind=None if kind is None else EventKind(kind),
        user_ids=plan["user_ids"],
        since=None if since is None else datetime.fromisoformat(since),
        until=datetime.fromisoformat(plan["until"]),
    )


async def run_batch(db: AsyncSession, job: Job) -> frozenset[int]:
    """Carry out the next batch of a job that `jobs.lock` has locked; the last one finds nothing and ends the job.

    Return the endpoints whose doorbells to ring after the commit.
    """
    audit.set_actor(db, Actor(ActorKind(job.actor_kind), job.made_by, {"job": str(job.id)}))
    kind = JobKind(job.kind)
    if kind is JobKind.ARCHIVE_USERS:
        count = await archiving.archive_batch(db, job, limit=BATCH_ROWS)
        state = JobState.RUNNING if count else JobState.DONE
        await jobs.record_batch(db, job, count=count, failed=0, state=state)
        return frozenset()
    which, failed = filter_of(job.partner_id, job.plan), 0
    match kind:
        case JobKind.REPLAY_DELIVERIES:
            try:
                batch = await _replay(db, job, which)
            except TooMany as refusal:
                await jobs.postpone(db, job, seconds=refusal.seconds)
                return frozenset()
            if not batch.found:
                left = await count_left(db, which)
                failed = left.erased + left.blocked
        case JobKind.CANCEL_DELIVERIES:
            # Without a position: what is being sent now may wait again at the next batch.
            batch = await batches.cancel_batch(db, which, limit=BATCH_ROWS)
    if batch.last is not None:
        job.position = str(batch.last)
    state = JobState.RUNNING if batch.found else JobState.DONE
    await jobs.record_batch(db, job, count=batch.count, failed=failed, state=state)
    return batch.endpoints


async def _replay(db: AsyncSession, job: Job, which: DeliveryFilter) -> batches.Batch:
    """Replay the next deliveries of a job. Raises TooMany: a job of a portal has the allowance of its partner."""
    is_limited = job.actor_kind == ActorKind.PORTAL
    limit = BATCH_ROWS
    if is_limited:
        limit = await allowances.use(db, job.partner_id, Action.REPLAY, BATCH_ROWS)
    # By position: a delivery that fails again meanwhile is not replayed again.
    above = None if job.position is None else UUID(job.position)
    batch = await batches.replay_batch(db, which, limit=limit, above=above)
    if is_limited:
        await allowances.refund(db, job.partner_id, Action.REPLAY, limit - batch.count)
    return batch
