"""Quotas of a partner: reservation of users and sessions, the limits in force, and their change by operators."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core import metrics
from superimap.db import audit
from superimap.db.errors import Conflict, Invalid
from superimap.db.models import PartnerQuota, PartnerUsage, User
from superimap.domain.audit import AuditAction
from superimap.domain.quotas import DEFAULT_QUOTAS, Quota, RecentRefusals

LIMITS = "superimap.quotas"
"""Key in the `info` of a session under which the defaults of the installation are kept."""

REFUSALS = "superimap.refusals"
"""Key under which a process that serves partners keeps its `RecentRefusals`."""

MAX_MAXIMUM = 10**15
_WHAT = {Quota.USERS: "users that are not archived", Quota.SESSIONS: "connected users"}

# The quota in force, and one unit of what is left of it. No row if the room is used up, or was counted for another
# quota.
_TAKE = text("""
    UPDATE partner_usage u SET room = u.room - 1
    WHERE u.partner_id = :partner_id AND u.quota = :quota AND u.room > 0
      AND u.maximum = coalesce((SELECT q.maximum FROM partner_quotas q
                                WHERE q.partner_id = :partner_id AND q.quota = :quota), :standard)
    RETURNING u.room
""")


class QuotaExceeded(Conflict):
    """The partner has reached a quota. `quota` names it."""

    kind = "quota-exceeded"

    def __init__(self, quota: Quota, maximum: int) -> None:
        super().__init__(
            f"The quota {quota} is reached: {maximum:,} {_WHAT[quota]}. Archive users, or ask the operator to "
            "raise it."
        )
        self.quota = quota


class QuotaRow(NamedTuple):
    """A quota of a partner: the limit in force, whether an operator set it, and what is used, if it is known."""

    quota: Quota
    maximum: int
    is_default: bool
    used: int | None
    is_held: bool


async def reserve(db: AsyncSession, partner_id: int, quota: Quota) -> None:
    """Reserve a user or a session, in the caller's transaction. Raises QuotaExceeded.

    Usually one statement on one row. When the room is used up, live users are counted: that is exact, because
    reservations of a partner wait for one another. A process counts once a second, so that a partner at its quota
    that goes on occupies no connections.
    """
    named = {"partner_id": partner_id, "quota": quota.value, "standard": _defaults(db)[quota]}
    if await db.scalar(_TAKE, named) is not None:
        return
    refusals: RecentRefusals | None = db.info.get(REFUSALS)
    maximum = (await maximums(db, partner_id))[quota]
    if refusals is not None and refusals.has(partner_id, quota, maximum):
        raise _exceeded(quota, maximum)
    row = {"partner_id": partner_id, "quota": quota.value}
    await db.execute(insert(PartnerUsage).values(**row, maximum=0, room=0).on_conflict_do_nothing())
    mine = (PartnerUsage.partner_id == partner_id, PartnerUsage.quota == quota.value)
    await db.execute(select(PartnerUsage.room).where(*mine).with_for_update())
    if await db.scalar(_TAKE, named) is not None:
        return
    room = maximum - await _count(db, partner_id, quota)
    if room <= 0:
        if refusals is not None:
            refusals.note(partner_id, quota, maximum)
        raise _exceeded(quota, maximum)
    await db.execute(update(PartnerUsage).where(*mine).values(maximum=maximum, room=room - 1))


async def give_back(db: AsyncSession, partner_id: int, quota: Quota) -> None:
    """Give back a user or a session that is archived or disconnected, so that the next one needs no count."""
    mine = (PartnerUsage.partner_id == partner_id, PartnerUsage.quota == quota.value)
    await db.execute(update(PartnerUsage).where(*mine).values(room=PartnerUsage.room + 1))


def _exceeded(quota: Quota, maximum: int) -> QuotaExceeded:
    metrics.QUOTA_REFUSALS.labels(quota.value).inc()
    return QuotaExceeded(quota, maximum)


async def maximums(db: AsyncSession, partner_id: int) -> dict[Quota, int]:
    """Return the quotas in force for a partner."""
    own = select(PartnerQuota.quota, PartnerQuota.maximum).where(PartnerQuota.partner_id == partner_id)
    return {**_defaults(db), **{Quota(row.quota): row.maximum for row in await db.execute(own)}}


async def set_maximums(db: AsyncSession, partner_id: int, changes: Mapping[Quota, int | None]) -> None:
    """Set quotas of a partner; None returns to the default. Raises Invalid."""
    for quota, maximum in changes.items():
        if maximum is None:
            own = (PartnerQuota.partner_id == partner_id, PartnerQuota.quota == quota.value)
            await db.execute(delete(PartnerQuota).where(*own))
            continue
        if not 1 <= maximum <= MAX_MAXIMUM:
            raise Invalid(quota.value, f"must be from 1 to {MAX_MAXIMUM}")
        row = insert(PartnerQuota).values(partner_id=partner_id, quota=quota.value, maximum=maximum)
        await db.execute(
            row.on_conflict_do_update(index_elements=["partner_id", "quota"], set_={"maximum": maximum})
        )
    if changes:
        details = {"quota": [f"{quota}={maximum or 'default'}" for quota, maximum in changes.items()]}
        fields = [quota.value for quota in changes]
        await audit.record(
            db,
            AuditAction.PARTNER_QUOTA,
            partner_id=partner_id,
            object_id=partner_id,
            fields=fields,
            details=details,
        )


async def list_quotas(db: AsyncSession, partner_id: int) -> list[QuotaRow]:
    """Return each quota of a partner with what is used. The backlog is as measured last; None: below a tenth."""
    own = set(await db.scalars(select(PartnerQuota.quota).where(PartnerQuota.partner_id == partner_id)))
    usage = await db.scalars(select(PartnerUsage).where(PartnerUsage.partner_id == partner_id))
    measured = {row.quota: row for row in usage}
    rows = []
    for quota, maximum in (await maximums(db, partner_id)).items():
        row, used = measured.get(quota.value), None
        if quota in _WHAT:
            used = await _count(db, partner_id, quota)
        elif row is not None:
            used = row.maximum - row.room
        is_held = row is not None and row.held_since is not None
        rows.append(QuotaRow(quota, maximum, quota.value not in own, used, is_held))
    return rows


async def _count(db: AsyncSession, partner_id: int, quota: Quota) -> int:
    live = select(func.count()).where(User.partner_id == partner_id, ~User.archived)
    if quota is Quota.SESSIONS:
        live = live.where(User.connected_at.is_not(None))
    return int(await db.scalar(live) or 0)


def _defaults(db: AsyncSession) -> Mapping[Quota, int]:
    found: Mapping[Quota, int] = db.info.get(LIMITS, DEFAULT_QUOTAS)
    return found
