"""Is the process alive, and can it serve? /healthz and /readyz"""

import asyncio

from fastapi import APIRouter
from sqlalchemy import select

from superimap.api.deps import Opened
from superimap.api.openapi import problems
from superimap.api.schemas import Health
from superimap.db.models import Partner

router = APIRouter(tags=["health"])

PATIENCE = 1.0


@router.get("/healthz", summary="Alive?")
async def healthz() -> Health:
    """Answers as long as the process does, whatever became of the database."""
    return Health(status="ok")


@router.get("/readyz", summary="Ready?", responses=problems(503))
async def readyz(opened: Opened) -> Health:
    """Whether the database answers within a second and has its schema."""
    async with asyncio.timeout(PATIENCE), opened.sessionmaker() as db:
        await db.execute(select(Partner.id).limit(1))
    return Health(status="ready")
