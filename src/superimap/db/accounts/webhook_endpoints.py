"""Endpoints of a partner: one URL for each kind of webhook, with its health."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.errors import NotFound
from superimap.db.models import Delivery, Endpoint
from superimap.domain.audit import AuditAction
from superimap.domain.deliveries import HEALTHY, DeliveryState
from superimap.domain.events import EventKind


async def list_endpoints(db: AsyncSession, partner_id: int) -> Sequence[Endpoint]:
    """Return the partner's endpoints, one per kind of webhook, with their health."""
    statement = select(Endpoint).where(Endpoint.partner_id == partner_id).order_by(Endpoint.id)
    return (await db.scalars(statement.execution_options(populate_existing=True))).all()


async def urls_by_kind(db: AsyncSession, partner_id: int) -> dict[EventKind, str | None]:
    """Return the URL of each kind of webhook. None: that kind is not sent."""
    statement = select(Endpoint.kind, Endpoint.url).where(Endpoint.partner_id == partner_id)
    found = {row.kind: row.url for row in await db.execute(statement)}
    return {kind: found.get(kind) for kind in EventKind}


async def get_endpoint(db: AsyncSession, partner_id: int, kind: EventKind) -> Endpoint:
    """Return the partner's endpoint for this kind of webhook. Raises NotFound if it has no URL."""
    statement = select(Endpoint).where(Endpoint.partner_id == partner_id, Endpoint.kind == kind)
    found = (await db.scalars(statement.execution_options(populate_existing=True))).one_or_none()
    if found is None or found.url is None:
        raise _no_url(kind)
    return found


async def enable(db: AsyncSession, partner_id: int, kind: EventKind) -> Endpoint:
    """Enable the endpoint and reset its health to that of a new one. Raises NotFound if it has no URL.

    All its pending deliveries become due at once. Ring the doorbell after the commit.
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
        raise _no_url(kind)
    waiting = (
        Delivery.endpoint_id == found.id,
        Delivery.state == DeliveryState.PENDING,
        Delivery.due_at > func.now(),
    )
    await db.execute(update(Delivery).where(*waiting).values(due_at=func.now()))
    await audit.record(db, AuditAction.ENDPOINT_ENABLE, partner_id=partner_id, object_id=kind)
    return found


async def record_test(db: AsyncSession, partner_id: int, kind: EventKind) -> None:
    """Record that a test webhook is about to be sent."""
    await audit.record(db, AuditAction.ENDPOINT_TEST, partner_id=partner_id, object_id=kind)


async def set_url(db: AsyncSession, partner_id: int, kind: EventKind, url: str | None) -> None:
    """Set the URL of an endpoint. A changed URL counts as a new endpoint: its health is reset."""
    statement = insert(Endpoint).values(partner_id=partner_id, kind=kind, url=url)
    statement = statement.on_conflict_do_update(
        index_elements=[Endpoint.partner_id, Endpoint.kind],
        set_={"url": statement.excluded.url} | asdict(HEALTHY),
        where=Endpoint.url.is_distinct_from(statement.excluded.url),
    )
    await db.execute(statement)


def _no_url(kind: EventKind) -> NotFound:
    return NotFound(f"There is no URL for {kind} webhooks; set one first.")
