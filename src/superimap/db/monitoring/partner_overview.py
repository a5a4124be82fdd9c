"""What one partner wants to know first: its endpoints, and which of its mailboxes are not watched."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.models import Connection, Delivery, Endpoint, Provider, TroubledUser, User
from superimap.domain.deliveries import DeliveryState
from superimap.domain.users import TROUBLED

MAX_COUNTED = 1000
MAX_LISTED = 100
LOOKED_AT = 100
"""Pending deliveries whose attempts are looked at."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Pending deliveries of an endpoint. `are_tried`: some had an attempt, which failed or was refused."""

    count: int
    are_tried: bool


@dataclass(frozen=True, slots=True)
class PartnerOverview:
    """Endpoints with the deliveries that wait, connections, and troubled users by status.

    Numbers above MAX_COUNTED are only known to be larger.
    """

    endpoints: list[tuple[Endpoint, Waiting]]
    connections: list[tuple[int, str, str]]
    troubled: dict[str, int]


@dataclass(frozen=True, slots=True)
class TroubledRow:
    """A user that is not watched, since when and why."""

    id: int
    tag: str
    email: str | None
    status: str
    since: datetime
    reason: str | None


async def read(db: AsyncSession, partner_id: int) -> PartnerOverview:
    """Return the overview of a partner."""
    endpoints = await db.scalars(
        select(Endpoint).where(Endpoint.partner_id == partner_id).order_by(Endpoint.kind)
    )
    connections = await db.execute(
        select(Connection.id, Provider.code, Provider.title)
        .join(Provider, Provider.id == Connection.provider_id)
        .where(Connection.partner_id == partner_id)
        .order_by(Provider.code)
    )
    return PartnerOverview(
        [(each, await count_waiting(db, each.id)) for each in endpoints.all()],
        [(row[0], row[1], row[2]) for row in connections],
        {status: await _count_troubled(db, partner_id, status) for status in sorted(TROUBLED)},
    )


async def list_troubled(db: AsyncSession, partner_id: int, *, status: str | None) -> Sequence[TroubledRow]:
    """Return at most MAX_LISTED users of the partner that are not watched, those of each status by time."""
    statement = (
        select(User.id, User.tag, User.email, User.status, TroubledUser.since, User.status_reason)
        .join(TroubledUser, TroubledUser.user_id == User.id)
        .where(TroubledUser.partner_id == partner_id)
        .order_by(TroubledUser.status, TroubledUser.since)
        .limit(MAX_LISTED)
    )
    if status is not None:
        statement = statement.where(TroubledUser.status == status)
    return [TroubledRow(*row) for row in await db.execute(statement)]


async def _count_troubled(db: AsyncSession, partner_id: int, status: str) -> int:
    rows = select(TroubledUser.user_id).where(
        TroubledUser.partner_id == partner_id, TroubledUser.status == status
    )
    return await db.scalar(select(func.count()).select_from(rows.limit(MAX_COUNTED + 1).subquery())) or 0


async def count_waiting(db: AsyncSession, endpoint_id: int) -> Waiting:
    """Count the pending deliveries of an endpoint, and look for attempts among those that are due last."""
    is_pending = Delivery.state == literal(DeliveryState.PENDING.value, literal_execute=True)
    rows = select(Delivery.due_at, Delivery.attempts).where(Delivery.endpoint_id == endpoint_id, is_pending)
    counted = rows.with_only_columns(Delivery.due_at).limit(MAX_COUNTED + 1).subquery()
    # A webhook that was not accepted is due after those that were not sent yet.
    last = rows.order_by(Delivery.due_at.desc()).limit(LOOKED_AT).subquery()
    are_tried = exists().where(last.c.attempts > 0)
    row = (
        await db.execute(select(select(func.count()).select_from(counted).scalar_subquery(), are_tried))
    ).one()
    return Waiting(*row)
