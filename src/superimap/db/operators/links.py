"""Links that are used once: an operator sets a password with one, or it opens a partner's portal."""

from datetime import timedelta

from sqlalchemy import Select, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.models import DashboardLink, Operator
from superimap.domain.audit import AuditAction
from superimap.domain.operators import INVITATION_TIME, PORTAL_LINK_TIME


async def invite(db: AsyncSession, operator: Operator, digest: bytes) -> None:
    """Store a link with which the operator sets a password. Earlier ones of the operator end."""
    await db.execute(delete(DashboardLink).where(DashboardLink.operator_id == operator.id))
    await _store(db, digest, INVITATION_TIME, operator_id=operator.id)
    await audit.record(db, AuditAction.OPERATOR_LINK, partner_id=None, object_id=operator.email)


async def open_portal(db: AsyncSession, partner_id: int, digest: bytes) -> None:
    """Store a link that opens the partner's portal."""
    await _store(db, digest, PORTAL_LINK_TIME, partner_id=partner_id)
    await audit.record(db, AuditAction.PORTAL_LINK, partner_id=partner_id)


async def find(db: AsyncSession, digest: bytes) -> DashboardLink | None:
    """Return the valid link with this digest, without using it."""
    return (await db.scalars(_valid(digest))).one_or_none()


async def use(db: AsyncSession, digest: bytes) -> DashboardLink | None:
    """Return the valid link with this digest and delete it: of two uses at once, one gets it."""
    found = (await db.scalars(_valid(digest).with_for_update())).one_or_none()
    if found is not None:
        await db.execute(delete(DashboardLink).where(DashboardLink.digest == digest))
    return found


async def _store(
    db: AsyncSession,
    digest: bytes,
    lifetime: timedelta,
    *,
    operator_id: int | None = None,
    partner_id: int | None = None,
) -> None:
    db.add(
        DashboardLink(
            digest=digest,
            operator_id=operator_id,
            partner_id=partner_id,
            made_by=audit.actor_of(db).name,
            expires_at=func.now() + lifetime,
        )
    )
    await db.flush()
    ended = select(DashboardLink.digest).where(DashboardLink.expires_at < func.now()).limit(100)
    await db.execute(delete(DashboardLink).where(DashboardLink.digest.in_(ended)))


def _valid(digest: bytes) -> Select[DashboardLink]:
    return select(DashboardLink).where(DashboardLink.digest == digest, DashboardLink.expires_at > func.now())
