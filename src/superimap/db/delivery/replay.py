"""How is a webhook sent again that failed, and how is one called off that is owed?

A replay keeps the `webhook-id`, goes to wherever the partner's endpoint is now, and begins the schedule anew.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, Select, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.errors import Conflict, NotFound
from superimap.db.models import Delivery, Endpoint
from superimap.db.monitoring.history import DeliveryFilter
from superimap.domain.deliveries import DeliveryState

MOST = 1_000
"""Deliveries that one call replays or cancels at most."""

MOST_COUNTED = 10_000
REPLAYABLE = (DeliveryState.FAILED, DeliveryState.CANCELLED)


class Erased(Conflict):
    """There is nothing left to send."""

    kind = "erased"


class Owed(Conflict):
    """It is still to be sent, or being sent."""

    kind = "owed"


class Settled(Conflict):
    """It is not owed any more."""

    kind = "settled"


class NowhereToGo(Conflict):
    """Its endpoint has no URL, or is disabled."""

    kind = "endpoint-not-ready"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one call did, and what is left of what it was asked for.

    `endpoints` are to be rung after the commit. `remaining` could be replayed by another call, `erased` never
    again, `blocked` once their endpoint has a URL and is enabled; each is counted up to MOST_COUNTED in all.
    """

    count: int
    endpoints: frozenset[int]
    last: UUID | None
    remaining: int
    erased: int
    blocked: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """How many were called off, and how many are left (counted up to MOST_COUNTED)."""

    count: int
    remaining: int


def obstacle(state: DeliveryState, *, has_content: bool, has_url: bool, is_disabled: bool) -> Conflict | None:
    """Why a delivery cannot be replayed, or None if it can."""
    if state in {DeliveryState.PENDING, DeliveryState.SENDING}:
        return Owed("It is still owed, and will be sent by itself; next_attempt_at says when.")
    if state is DeliveryState.DELIVERED:
        return Erased("It was delivered, and its content erased at that moment: nothing is left to send.")
    if not has_content:
        return Erased(
            "Its content was erased: it is kept for CONTENT_RETENTION_DAYS after a failure, and nothing is left "
            "to send."
        )
    if not has_url:
        return NowhereToGo("There is no URL for webhooks of this kind; have one set first.")
    if is_disabled:
        return NowhereToGo("Its endpoint is disabled; enable it first: POST /api/v1/webhooks/{kind}/enable.")
    return None


async def replay_one(db: AsyncSession, partner_id: int, delivery_id: UUID | None) -> int:
    """Have a delivery sent again; its endpoint, to be rung after the commit. Raises NotFound or a Conflict."""
    row = (await db.execute(_locked(partner_id, delivery_id))).one_or_none()
    if row is None:
        raise NotFound("Delivery not found.")
    stands_in_the_way = obstacle(
        DeliveryState(row.state),
        has_content=row.has_content,
        has_url=row.url is not None,
        is_disabled=row.disabled_at is not None,
    )
    if stands_in_the_way is not None:
        raise stands_in_the_way
    mine = (Delivery.partner_id == partner_id, Delivery.id == delivery_id)
    await db.execute(update(Delivery).where(*mine).values(AGAIN))
    return int(row.endpoint_id)


async def replay(
    db: AsyncSession, which: DeliveryFilter, *, limit: int, above: UUID | None = None
) -> Replayed:
    """Have at most `limit` of these sent again, oldest first, from the id `above` on.

    `which.state` is FAILED or CANCELLED. Those that another replay has in hand are passed over.
    """
    ready = and_(Endpoint.url.is_not(None), Endpoint.disabled_at.is_(None))
    wanted = [*which.conditions(), Delivery.state.in_(REPLAYABLE)]
    if above is not None:
        wanted.append(Delivery.id > above)
    joined = select(Delivery.id).join(
        Endpoint, and_(Endpoint.id == Delivery.endpoint_id, Endpoint.partner_id == Delivery.partner_id)
    )
    chosen = (
        joined.where(*wanted, ready, Delivery.content.is_not(None))
        .order_by(Delivery.id)
        .limit(limit)
        .with_for_update(of=Delivery, skip_locked=True)
        .cte("chosen")
    )
    statement = (
        update(Delivery)
        .where(Delivery.partner_id == which.partner_id, Delivery.id == chosen.c.id)
        .values(AGAIN)
        .returning(Delivery.id, Delivery.endpoint_id)
    )
    done = (await db.execute(statement.execution_options(synchronize_session=False))).all()
    left = (
        joined.add_columns(Delivery.content.is_(None).label("is_erased"), ready.label("is_ready"))
        .where(*wanted)
        .limit(MOST_COUNTED)
        .subquery()
    )
    counted = await db.execute(
        select(
            func.count().filter(~left.c.is_erased, left.c.is_ready),
            func.count().filter(left.c.is_erased),
            func.count().filter(~left.c.is_erased, ~left.c.is_ready),
        )
    )
    last = max((row.id for row in done), default=None)
    return Replayed(len(done), frozenset(row.endpoint_id for row in done), last, *counted.one())


async def cancel_one(db: AsyncSession, partner_id: int, delivery_id: UUID | None) -> None:
    """Call a pending delivery off. Raises NotFound, Owed while it is being sent, or Settled."""
    row = (await db.execute(_locked(partner_id, delivery_id))).one_or_none()
    if row is None:
        raise NotFound("Delivery not found.")
    if row.state == DeliveryState.SENDING:
        raise Owed("It is being sent at this moment; try again in a few seconds.")
    if row.state != DeliveryState.PENDING:
        raise Settled(f"It is {row.state}, and not owed any more.")
    mine = (Delivery.partner_id == partner_id, Delivery.id == delivery_id)
    await db.execute(update(Delivery).where(*mine).values(CALLED_OFF))


async def cancel(db: AsyncSession, which: DeliveryFilter, *, limit: int) -> Cancelled:
    """Call at most `limit` of these off that are pending, oldest first."""
    wanted = [*which.conditions(), Delivery.state == DeliveryState.PENDING]
    chosen: CTE = (
        select(Delivery.id)
        .where(*wanted)
        .order_by(Delivery.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    statement = (
        update(Delivery)
        .where(Delivery.partner_id == which.partner_id, Delivery.id == chosen.c.id)
        .values(CALLED_OFF)
        .returning(Delivery.id)
    )
    done = (await db.scalars(statement.execution_options(synchronize_session=False))).all()
    left = select(Delivery.id).where(*wanted).limit(MOST_COUNTED).subquery()
    return Cancelled(len(done), await db.scalar(select(func.count()).select_from(left)) or 0)


AGAIN = {
    "state": DeliveryState.PENDING,
    "due_at": func.now(),
    "settled_at": None,
    "attempts_before": Delivery.attempts,
}
CALLED_OFF = {"state": DeliveryState.CANCELLED, "settled_at": func.now()}


def _locked(partner_id: int, delivery_id: UUID | None) -> Select[*tuple[Any, ...]]:
    """A delivery of the partner's, closed to dispatchers and other requests until the transaction ends."""
    return (
        select(
            Delivery.state,
            Delivery.endpoint_id,
            Delivery.content.is_not(None).label("has_content"),
            Endpoint.url,
            Endpoint.disabled_at,
        )
        .join(Endpoint, and_(Endpoint.id == Delivery.endpoint_id, Endpoint.partner_id == Delivery.partner_id))
        .where(Delivery.partner_id == partner_id, Delivery.id == delivery_id)
        .with_for_update(of=Delivery)
    )
