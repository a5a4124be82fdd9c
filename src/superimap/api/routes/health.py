"""Is the process alive, and can it serve? /healthz and /readyz"""

import asyncio

from fastapi import APIRouter
from sqlalchemy import select

from superimap.api.dependencies import AppResources
from superimap.api.openapi import problems
from superimap.api.schemas.common import Health
from superimap.db.models import Partner

router = APIRouter(tags=["health"])

READY_TIMEOUT_SECONDS = 1.0


@router.get("/healthz", summary="Alive?")
async def healthz() -> Health:
    """Answers as long as the process does, whatever became of the database."""
    return Health(status="ok")


@router.get("/readyz", summary="Ready?", responses=problems(503))
async def readyz(opened: AppResources) -> Health:
    """Whether the database answers within a second and has its schema."""
    async with asyncio.timeout(READY_TIMEOUT_SECONDS), opened.sessionmaker() as db:
        await db.execute(select(Partner.id).limit(1))
    return Health(status="ready")
