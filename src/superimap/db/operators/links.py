"""Links that are used once: an operator sets a password with one, or it opens a partner's portal."""

import secrets
from datetime import timedelta

from sqlalchemy import Select, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import digest
from superimap.db import audit
from superimap.db.models import DashboardLink, Operator
from superimap.domain.audit import AuditAction
from superimap.domain.operators import INVITATION_TIME, PORTAL_LINK_TIME


async def invite(db: AsyncSession, operator: Operator) -> str:
    """Make a link with which the operator sets a password, and return its secret. Earlier ones end."""
    await db.execute(delete(DashboardLink).where(DashboardLink.operator_id == operator.id))
    secret = await _store(db, INVITATION_TIME, operator_id=operator.id)
    await audit.record(db, AuditAction.OPERATOR_LINK, partner_id=None, object_id=operator.email)
    return secret


async def open_portal(db: AsyncSession, partner_id: int) -> str:
    """Make a link that opens the partner's portal, and return its secret."""
    secret = await _store(db, PORTAL_LINK_TIME, partner_id=partner_id)
    await audit.record(db, AuditAction.PORTAL_LINK, partner_id=partner_id)
    return secret


async def find(db: AsyncSession, secret: str) -> DashboardLink | None:
    """Return the valid link with this secret, without using it."""
    return (await db.scalars(_valid(secret))).one_or_none()


async def use(db: AsyncSession, secret: str) -> DashboardLink | None:
    """Return the valid link with this secret and delete it: of two uses at once, one gets it."""
    found = (await db.scalars(_valid(secret).with_for_update())).one_or_none()
    if found is not None:
        await db.execute(delete(DashboardLink).where(DashboardLink.digest == found.digest))
    return found


async def _store(
    db: AsyncSession,
    lifetime: timedelta,
    *,
    operator_id: int | None = None,
    partner_id: int | None = None,
) -> str:
    secret = secrets.token_urlsafe(32)
    db.add(
        DashboardLink(
            digest=digest(secret),
            operator_id=operator_id,
            partner_id=partner_id,
            made_by=audit.actor_of(db).name,
            expires_at=func.now() + lifetime,
        )
    )
    await db.flush()
    ended = select(DashboardLink.digest).where(DashboardLink.expires_at < func.now()).limit(100)
    await db.execute(delete(DashboardLink).where(DashboardLink.digest.in_(ended)))
    return secret


def _valid(secret: str) -> Select[DashboardLink]:
    is_valid = DashboardLink.expires_at > func.now()
    return select(DashboardLink).where(DashboardLink.digest == digest(secret), is_valid)
