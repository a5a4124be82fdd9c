"""Health checks: /healthz and /readyz."""

import asyncio

from fastapi import APIRouter
from sqlalchemy import select

from superimap.api.dependencies import AppResources
from superimap.api.openapi import problem_responses
from superimap.api.schemas.common import Health
from superimap.db.models import Partner

router = APIRouter(tags=["health"])

READY_TIMEOUT_SECONDS = 1.0


@router.get("/healthz", summary="Check that the process runs")
async def healthz() -> Health:
    """Answers 200 as long as the process runs, even without a database."""
    return Health(status="ok")


@router.get("/readyz", summary="Check that the API can serve requests", responses=problem_responses(503))
async def readyz(resources: AppResources) -> Health:
    """Answers 200 if the database responds within a second and has its schema, else 503."""
    async with asyncio.timeout(READY_TIMEOUT_SECONDS), resources.sessionmaker() as db:
        await db.execute(select(Partner.id).limit(1))
    return Health(status="ready")
