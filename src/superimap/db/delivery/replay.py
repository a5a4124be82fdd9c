"""Replay of failed and cancelled deliveries, and cancellation of pending ones.

A replay keeps the `webhook-id`, goes to the endpoint's present URL, and starts the retry schedule again.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.delivery import batches
from superimap.db.errors import Conflict, NotFound
from superimap.db.models import Delivery, Endpoint
from superimap.db.monitoring.history import SHOWN_STATE, DeliveryFilter
from superimap.domain.audit import AuditAction
from superimap.domain.deliveries import DeliveryState

MAX_PER_CALL = 1_000
"""Deliveries that one call replays or cancels at most."""

MAX_COUNTED = 10_000
"""Remaining deliveries that one call counts at most."""


class ContentErased(Conflict):
    """The content was erased; nothing is left to send."""

    kind = "erased"


class StillPending(Conflict):
    """The delivery is still to be sent, or is being sent."""

    kind = "owed"


class AlreadySettled(Conflict):
    """The delivery is settled already."""

    kind = "settled"


class EndpointNotReady(Conflict):
    """The endpoint has no URL, or is disabled."""

    kind = "endpoint-not-ready"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one call replayed, and what is left of the selected deliveries.

    Ring the doorbells of `endpoints` after the commit. Another call could replay the `remaining`; the `erased`
    can never be replayed; the `blocked` can once their endpoint has a URL and is enabled. At most MAX_COUNTED are
    counted in all.
    """

    count: int
    endpoints: frozenset[int]
    last: UUID | None
    remaining: int
    erased: int
    blocked: int


@dataclass(frozen=True, slots=True)
class LeftDeliveries:
    """Numbers of deliveries that can be replayed, that cannot any more, and whose endpoint is not ready."""

    ready: int
    erased: int
    blocked: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Number of deliveries that were cancelled, and of those that are left (counted up to MAX_COUNTED)."""

    count: int
    remaining: int


def replay_conflict(
    state: DeliveryState, *, has_content: bool, has_url: bool, is_disabled: bool
) -> Conflict | None:
    """Return why a delivery cannot be replayed; None if it can."""
    if state in {DeliveryState.PENDING, DeliveryState.SENDING}:
        return StillPending("It is still pending and is sent without a replay; next_attempt_at says when.")
    if state is DeliveryState.DELIVERED:
        return ContentErased("It was delivered, and its content was erased then: nothing is left to send.")
    if not has_content:
        return ContentErased(
            "Its content was erased: it is kept for CONTENT_RETENTION_DAYS after a failure, and nothing is left "
            "to send."
        )
    if not has_url:
        return EndpointNotReady("There is no URL for webhooks of this kind; set one first.")
    if is_disabled:
        return EndpointNotReady(
            "Its endpoint is disabled; enable it first: POST /api/v1/webhooks/{kind}/enable."
        )
    return None


async def replay_one(db: AsyncSession, partner_id: int, delivery_id: UUID | None) -> int:
    """Replay a delivery; return its endpoint, whose doorbell to ring after the commit.

    Raises NotFound, or a Conflict (see `replay_conflict`).
    """
    row = await _lock(db, partner_id, delivery_id)
    if row is None:
        raise NotFound("Delivery not found.")
    conflict = replay_conflict(
        DeliveryState(row.state),
        has_content=row.has_content,
        has_url=row.url is not None,
        is_disabled=row.disabled_at is not None,
    )
    if conflict is not None:
        raise conflict
    mine = (Delivery.partner_id == partner_id, Delivery.id == delivery_id)
    await db.execute(update(Delivery).where(*mine).values(batches.REPLAY_VALUES))
    await audit.record(db, AuditAction.DELIVERY_REPLAY, partner_id=partner_id, object_id=delivery_id)
    return int(row.endpoint_id)


async def replay(
    db: AsyncSession, which: DeliveryFilter, *, limit: int, above: UUID | None = None
) -> Replayed:
    """Replay at most `limit` of these deliveries, oldest first, starting after the id `above`.

    `which.state` is FAILED or CANCELLED. Deliveries that another replay has locked are skipped.
    """
    done = await batches.replay_batch(db, which, limit=limit, above=above)
    left = await count_left(db, which, above=above)
    return Replayed(done.count, done.endpoints, done.last, left.ready, left.erased, left.blocked)


async def count_left(
    db: AsyncSession, which: DeliveryFilter, *, above: UUID | None = None, most: int = MAX_COUNTED
) -> LeftDeliveries:
    """Count the selected deliveries by whether they can be replayed, `most` at most in all."""
    ready = and_(Endpoint.url.is_not(None), Endpoint.disabled_at.is_(None))
    described = select(Delivery.content.is_(None).label("is_erased"), ready.label("is_ready")).join(
        Endpoint, and_(Endpoint.id == Delivery.endpoint_id, Endpoint.partner_id == Delivery.partner_id)
    )
    following = [Delivery.id > above] if above is not None else []
    rows = [described.where(*branch, *following) for branch in which.branches()]
    left = batches.first_rows(rows, most=most)
    counted = await db.execute(
        select(
            func.count().filter(~left.c.is_erased, left.c.is_ready),
            func.count().filter(left.c.is_erased),
            func.count().filter(~left.c.is_erased, ~left.c.is_ready),
        )
    )
    return LeftDeliveries(*counted.one())


async def cancel_one(db: AsyncSession, partner_id: int, delivery_id: UUID | None) -> None:
    """Cancel a pending delivery.

    Raises NotFound, StillPending while the delivery is being sent, or AlreadySettled.
    """
    row = await _lock(db, partner_id, delivery_id)
    if row is None:
        raise NotFound("Delivery not found.")
    if row.state == DeliveryState.SENDING:
        raise StillPending("It is being sent at this moment; try again in a few seconds.")
    if row.state != DeliveryState.PENDING:
        raise AlreadySettled(f"It is {row.state}, not pending; only a pending delivery can be cancelled.")
    mine = (Delivery.partner_id == partner_id, Delivery.id == delivery_id)
    await db.execute(update(Delivery).where(*mine).values(batches.CANCEL_VALUES))
    await audit.record(db, AuditAction.DELIVERY_CANCEL, partner_id=partner_id, object_id=delivery_id)


async def cancel(db: AsyncSession, which: DeliveryFilter, *, limit: int) -> Cancelled:
    """Cancel at most `limit` of these deliveries, oldest first. `which.state` is PENDING."""
    done = await batches.cancel_batch(db, which, limit=limit)
    return Cancelled(done.count, await batches.count_pending(db, which, most=MAX_COUNTED))


async def _lock(db: AsyncSession, partner_id: int, delivery_id: UUID | None) -> Row[*tuple[Any, ...]] | None:
    """Lock a delivery of the partner until the transaction ends, and describe it; None if there is none.

    Two statements: a claim that holds the lock leaves a lease, and not a change of the row that would be noticed.
    """
    mine = (Delivery.partner_id == partner_id, Delivery.id == delivery_id)
    await db.execute(select(Delivery.id).where(*mine).with_for_update())
    statement = (
        select(
            SHOWN_STATE,
            Delivery.endpoint_id,
            Delivery.content.is_not(None).label("has_content"),
            Endpoint.url,
            Endpoint.disabled_at,
        )
        .join(Endpoint, and_(Endpoint.id == Delivery.endpoint_id, Endpoint.partner_id == Delivery.partner_id))
        .where(*mine)
    )
    return (await db.execute(statement)).one_or_none()
