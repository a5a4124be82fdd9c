"""Health checks: /healthz and /readyz."""

import asyncio

from sqlalchemy import func, select

from superimap.api.dependencies import AppResources, Resources
from superimap.api.errors import RETRY_AFTER_SECONDS, Problem, temporary_failure
from superimap.api.openapi import problem_responses
from superimap.api.router import Router
from superimap.api.schemas.common import Health
from superimap.db.failures import explain
from superimap.db.models import Partner

router = Router(tags=["health"])

READY_TIMEOUT_SECONDS = 1.0
STOPPING = "The API is stopping. Send requests to another instance."


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Check that the process runs")
async def healthz() -> Health:
    """Answers 200 as long as the process runs, even without a database."""
    return Health(status="ok")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Check that the API can serve requests", responses=problem_responses(503))
async def readyz(resources: AppResources) -> Health:
    """Answers 200 if the database responds within a second, has its schema and can be written; else 503.

    It answers 503 while the process stops as well.
    """
    reason = await find_fault(resources)
    if reason == STOPPING:
        raise Problem(503, reason, kind="stopping")
    if reason is not None:
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        raise Problem(503, f"{reason}.", kind="unavailable", headers=headers)
    return Health(status="ready")


async def find_fault(resources: Resources) -> str | None:
    """Return why the API is not ready, or None."""
    if resources.stop.is_set():
        return STOPPING
    try:
        return await _find_database_fault(resources)
    except Exception as error:
        if temporary_failure(error) is None:
            raise
        return explain(error)


async def _find_database_fault(resources: Resources) -> str | None:
    """Return why the database cannot be used although it answers, or None."""
    async with asyncio.timeout(READY_TIMEOUT_SECONDS), resources.sessionmaker() as db:
        await db.execute(select(Partner.id).limit(1))
        if await db.scalar(select(func.current_setting("transaction_read_only"))) != "on":
            return None
        # A new connection may reach another server, or the same one when it can be written.
        await (await db.connection()).invalidate()
        return "PostgreSQL is read-only"
