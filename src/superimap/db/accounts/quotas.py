"""Quotas of a partner: reservation of users and sessions, the limits in force, and their change by operators."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.accounts import room
from superimap.db.accounts.room import QuotaExceeded, QuotaPolicy
from superimap.db.engine import driver_connection
from superimap.db.errors import Invalid
from superimap.db.models import PartnerQuota, PartnerUsage
from superimap.domain.audit import AuditAction
from superimap.domain.quotas import DEFAULT_QUOTAS, Quota

__all__ = ["LIMITS", "REFUSALS", "QuotaExceeded", "QuotaRow"]

LIMITS = "superimap.quotas"
"""Key in the `info` of a session under which the defaults of the installation are kept."""

REFUSALS = "superimap.refusals"
"""Key under which a process that serves partners keeps its `RecentRefusals`."""

MAX_MAXIMUM = 10**15


class QuotaRow(NamedTuple):
    """A quota of a partner: the limit in force, whether an operator set it, and what is used, if it is known."""

    quota: Quota
    maximum: int
    is_default: bool
    used: int | None
    is_held: bool


async def reserve(db: AsyncSession, partner_id: int, quota: Quota) -> None:
    """Reserve a user or a session, in the caller's transaction. Raises QuotaExceeded."""
    await room.reserve(await driver_connection(db), partner_id, quota, policy=policy_of(db))


def policy_of(db: AsyncSession) -> QuotaPolicy:
    """Return the defaults of the installation, and what the process knows of partners at their quotas."""
    return QuotaPolicy(_defaults(db), db.info.get(REFUSALS))


async def give_back(db: AsyncSession, partner_id: int, quota: Quota, *, count: int = 1) -> None:
    """Give back users or sessions that are archived or disconnected, so that the next ones need no count."""
    mine = (PartnerUsage.partner_id == partner_id, PartnerUsage.quota == quota.value)
    await db.execute(update(PartnerUsage).where(*mine).values(room=PartnerUsage.room + count))


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
        if quota in room.COUNTED:
            used = await room.count(await driver_connection(db), partner_id, quota)
        elif row is not None:
            used = row.maximum - row.room
        is_held = row is not None and row.held_since is not None
        rows.append(QuotaRow(quota, maximum, quota.value not in own, used, is_held))
    return rows


def _defaults(db: AsyncSession) -> Mapping[Quota, int]:
    found: Mapping[Quota, int] = db.info.get(LIMITS, DEFAULT_QUOTAS)
    return found
