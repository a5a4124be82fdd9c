"""Batches of bulk replays and cancellations, each in the transaction of its caller."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Select, Subquery, func, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.models import Delivery, Endpoint
from superimap.db.monitoring.history import IS_BEING_SENT, DeliveryFilter
from superimap.domain.audit import AuditAction
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind

REPLAY_VALUES = {
    "state": DeliveryState.PENDING,
    "due_at": func.now(),
    "settled_at": None,
    "attempts_before": Delivery.attempts,
}
CANCEL_VALUES = {"state": DeliveryState.CANCELLED, "settled_at": func.now()}


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch changed. `last` is its greatest id, `found` counts also what was found and not changed.

    Ring the doorbells of `endpoints` after the commit.
    """

    count: int
    found: int
    endpoints: frozenset[int] = frozenset()
    last: UUID | None = None


async def replay_batch(
    db: AsyncSession, which: DeliveryFilter, *, limit: int, above: UUID | None = None
) -> Batch:
    """Replay at most `limit` of these deliveries, oldest first, starting after the id `above`.

    `which.state` is FAILED or CANCELLED. Deliveries that another replay has locked are skipped, and so are those
    without content and those whose endpoint has no URL or is disabled.
    """
    following = [Delivery.id > above] if above is not None else []
    branches = [[*each, *following] for each in await _replayable(db, which)]
    if not branches:
        return Batch(0, 0)
    chosen = oldest([select(Delivery.id).where(*branch) for branch in branches], limit=limit)
    statement = (
        update(Delivery)
        .where(Delivery.partner_id == which.partner_id, Delivery.id == chosen.c.id)
        .values(REPLAY_VALUES)
        .returning(Delivery.id, Delivery.endpoint_id)
    )
    done = (await db.execute(statement.execution_options(synchronize_session=False))).all()
    await _record(db, AuditAction.DELIVERY_REPLAY, which, len(done))
    last = max((row.id for row in done), default=None)
    return Batch(len(done), len(done), frozenset(row.endpoint_id for row in done), last)


async def cancel_batch(db: AsyncSession, which: DeliveryFilter, *, limit: int) -> Batch:
    """Cancel at most `limit` of these deliveries, oldest first. `which.state` is PENDING."""
    branches = [select(Delivery.id).where(*branch) for branch in which.branches()]
    locked = (await db.scalars(select(oldest(branches, limit=limit).c.id))).all()
    # Another statement: the lease of a claim that was faster than the lock is not seen by that of the lock.
    statement = (
        update(Delivery)
        .where(Delivery.partner_id == which.partner_id, Delivery.id.in_(locked), ~IS_BEING_SENT)
        .values(CANCEL_VALUES)
        .returning(Delivery.id)
    )
    done = (await db.scalars(statement.execution_options(synchronize_session=False))).all()
    await _record(db, AuditAction.DELIVERY_CANCEL, which, len(done))
    return Batch(len(done), len(locked), last=max(done, default=None))


async def count_replayable(db: AsyncSession, which: DeliveryFilter, *, most: int) -> int:
    """Count the deliveries that `replay_batch` would replay, `most` at most."""
    branches = [select(Delivery.id).where(*branch) for branch in await _replayable(db, which)]
    return await count(db, branches, most=most) if branches else 0


async def count_pending(db: AsyncSession, which: DeliveryFilter, *, most: int) -> int:
    """Count the deliveries that `cancel_batch` would cancel, `most` at most."""
    return await count(db, [select(Delivery.id).where(*branch) for branch in which.branches()], most=most)


async def count(db: AsyncSession, branches: Sequence[Select[Any]], *, most: int) -> int:
    """Count the rows of these selections, `most` at most."""
    return await db.scalar(select(func.count()).select_from(first_rows(branches, most=most))) or 0


def first_rows(branches: Sequence[Select[*tuple[Any, ...]]], *, most: int) -> Subquery:
    """Select the rows of these selections, `most` at most."""
    pages = union_all(*(branch.limit(most) for branch in branches)).subquery()
    return select(pages).limit(most).subquery()


def oldest(branches: Sequence[Select[Any]], *, limit: int) -> CTE:
    """The oldest deliveries of these selections. Of each, a page is read and locked in the order of its index."""
    pages = [
        branch.order_by(Delivery.id).limit(limit).with_for_update(of=Delivery, skip_locked=True).cte()
        for branch in branches
    ]
    page = union_all(*(select(each.c.id) for each in pages)).subquery()
    return select(page.c.id).order_by(page.c.id).limit(limit).cte("chosen")


async def _replayable(db: AsyncSession, which: DeliveryFilter) -> list[list[ColumnElement[bool]]]:
    """Return the branches of the kinds whose endpoint takes webhooks, as ranges of an index.

    A join with the endpoints would read every delivery of a disabled one.
    """
    mine = (
        Endpoint.partner_id == which.partner_id,
        Endpoint.url.is_not(None),
        Endpoint.disabled_at.is_(None),
    )
    kinds = {EventKind(kind) for kind in await db.scalars(select(Endpoint.kind).where(*mine))}
    chosen = [kind for kind in EventKind if kind in kinds and which.kind in {None, kind}]
    return [
        [*branch, Delivery.content.is_not(None)]
        for kind in chosen
        for branch in replace(which, kind=kind).branches()
    ]


async def _record(db: AsyncSession, action: AuditAction, which: DeliveryFilter, changed: int) -> None:
    if changed:
        details = {"count": changed, "state": which.state, "kind": which.kind}
        await audit.record(db, action, partner_id=which.partner_id, details=details)
