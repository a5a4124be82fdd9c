"""Where do a partner's webhooks go, how is each place doing, and what is sent there for a try?"""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.errors import NotFound
from superimap.db.models import Delivery, Endpoint
from superimap.domain.deliveries import HEALTHY, DeliveryState
from superimap.domain.events import EventKind


async def endpoints(db: AsyncSession, partner_id: int) -> Sequence[Endpoint]:
    """The partner's endpoints, one per kind of webhook, with their health."""
    statement = select(Endpoint).where(Endpoint.partner_id == partner_id).order_by(Endpoint.id)
    return (await db.scalars(statement.execution_options(populate_existing=True))).all()


async def endpoint(db: AsyncSession, partner_id: int, kind: EventKind) -> Endpoint:
    """The partner's endpoint for webhooks of this kind. Raises NotFound if it has no URL."""
    statement = select(Endpoint).where(Endpoint.partner_id == partner_id, Endpoint.kind == kind)
    found = (await db.scalars(statement.execution_options(populate_existing=True))).one_or_none()
    if found is None or found.url is None:
        raise NotFound(f"There is no URL for {kind} webhooks; have one set first.")
    return found


async def enable(db: AsyncSession, partner_id: int, kind: EventKind) -> Endpoint:
    """Send to this endpoint again as to a new one: enabled, its breaker closed. Raises NotFound.

    What it is owed is due at once, whatever it was waiting for: ring it after the commit.
    """
    statement = (
        update(Endpoint)
        .where(Endpoint.partner_id == partner_id, Endpoint.kind == kind, Endpoint.url.is_not(None))
        .values(asdict(HEALTHY))
        .returning(Endpoint)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    found = (await db.scalars(statement)).one_or_none()
    if found is None:
        raise NotFound(f"There is no URL for {kind} webhooks; have one set first.")
    waiting = (
        Delivery.endpoint_id == found.id,
        Delivery.state == DeliveryState.PENDING,
        Delivery.due_at > func.now(),
    )
    await db.execute(update(Delivery).where(*waiting).values(due_at=func.now()))
    return found
