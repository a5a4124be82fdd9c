"""Jobs, for operators: /api/v1/operator/jobs."""

from typing import Annotated

from fastapi import BackgroundTasks, Depends, Path, Query, Request, Response

from superimap.api.dependencies import AppResources, base_url
from superimap.api.openapi import problem_responses, request_body
from superimap.api.operator_api.caller import ACTS, OPERATOR_PROBLEMS, READS, Caller, OperatorDb
from superimap.api.operator_api.partners import get_partner
from superimap.api.paging import NEXT_PAGE, link_next
from superimap.api.request_body import read_body
from superimap.api.resources import Resources
from superimap.api.router import Router
from superimap.api.routes.connections import BODY_PROBLEMS
from superimap.api.schemas.operator_jobs import JobOut, JobPlan, NewJob
from superimap.db.accounts import jobs
from superimap.db.delivery import bulk_jobs
from superimap.db.delivery.bulk_jobs import BulkPlan
from superimap.db.errors import Invalid
from superimap.db.monitoring.selections import select_deliveries
from superimap.domain.deliveries import DeliveryState
from superimap.domain.jobs import JobKind

router = Router(prefix="/api/v1/operator/jobs", tags=["operator: jobs"])

JobId = Annotated[int, Path(ge=1, lt=2**63)]
JobBody = Annotated[NewJob, Depends(read_body(NewJob))]
CHANGES = (*OPERATOR_PROBLEMS, 404, *BODY_PROBLEMS)
_DEFAULT_STATES = {
    JobKind.REPLAY_DELIVERIES: DeliveryState.FAILED,
    JobKind.CANCEL_DELIVERIES: DeliveryState.PENDING,
}


@router.get(
    "",
    dependencies=[READS],
    summary="List jobs",
    responses={
        200: {"description": "OK", "headers": NEXT_PAGE},
        **problem_responses(*OPERATOR_PROBLEMS, 422),
    },
)
async def list_jobs(
    *,
    request: Request,
    response: Response,
    db: OperatorDb,
    base: Annotated[str, Depends(base_url)],
    partner_id: Annotated[int | None, Query(ge=1, lt=2**63, description="Only jobs of this partner.")] = None,
    before: Annotated[
        int | None, Query(ge=1, lt=2**63, description="Only jobs before the one with this id.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Jobs per page.")] = 100,
) -> list[JobOut]:
    """List jobs, the latest first."""
    found = await jobs.list_latest(db, limit=limit + 1, before=before, partner_id=partner_id)
    page = found[:limit]
    if len(page) < len(found):
        link_next(request, response, base, "before", page[-1].id)
    return [JobOut.model_validate(each) for each in page]


@router.get(
    "/{id:int}",
    dependencies=[READS],
    summary="Show a job",
    responses=problem_responses(*OPERATOR_PROBLEMS, 404, 422),
)
async def show_job(id: JobId, db: OperatorDb) -> JobOut:
    """Show a job with its progress."""
    return JobOut.model_validate(await jobs.get(db, id))


@router.post(
    "/plan",
    dependencies=[ACTS],
    summary="Plan a job",
    openapi_extra=request_body(NewJob),
    responses=problem_responses(*CHANGES),
)
async def plan_job(body: JobBody, db: OperatorDb) -> JobPlan:
    """Count what a job would change. Nothing is changed."""
    planned = await _plan(db, body)
    return JobPlan(
        kind=planned.kind,
        partner_id=planned.which.partner_id,
        count=planned.count,
        erased=planned.erased,
        blocked=planned.blocked,
        needs_confirmation=planned.needs_confirmation,
    )


@router.post(
    "",
    status_code=201,
    dependencies=[ACTS],
    summary="Start a job",
    openapi_extra=request_body(NewJob),
    responses=problem_responses(*CHANGES, 409),
)
async def start_job(
    body: JobBody, caller: Caller, db: OperatorDb, resources: AppResources, background: BackgroundTasks
) -> JobOut:
    """Start a job for the webhooks that match now. It runs in batches, and survives the end of any process."""
    planned = await _plan(db, body)
    if planned.needs_confirmation:
        caller.require_confirmed()
    started = await bulk_jobs.start(db, planned, tag=body.user_tag or "")
    background.add_task(wake, resources)
    return JobOut.model_validate(started)


@router.post(
    "/{id:int}/cancel",
    dependencies=[ACTS],
    summary="Cancel a job",
    responses=problem_responses(*OPERATOR_PROBLEMS, 404, 409, 422),
)
async def cancel_job(id: JobId, db: OperatorDb) -> JobOut:
    """End a job after its present batch. What it has done stays."""
    await jobs.cancel(db, id)
    return JobOut.model_validate(await jobs.get(db, id))


async def wake(resources: Resources) -> None:
    """Have this process run new jobs at once."""
    resources.new_job.set()


async def _plan(db: OperatorDb, body: NewJob) -> BulkPlan:
    if body.kind is JobKind.ARCHIVE_USERS:
        raise Invalid("kind", "must be replay_deliveries or cancel_deliveries")
    await get_partner(db, body.partner_id)
    which = await select_deliveries(
        db,
        body.partner_id,
        state=body.state or _DEFAULT_STATES[body.kind],
        kind=body.event_kind,
        tag=body.user_tag,
        since=body.since,
        until=body.until,
    )
    return await bulk_jobs.plan(db, body.kind, which)
