"""Sessions of browsers in the dashboard and in portals: opened, found, confirmed and ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Update, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.models import DashboardSession, Operator, Partner
from superimap.domain.audit import AuditAction
from superimap.domain.operators import IDLE_TIME, SESSION_TIME, STEP_UP_TIME

SEEN_SECONDS = 60
"""Accuracy of `seen_at`, so that a page is not a write."""
MAX_BROWSER_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A valid session with its operator or its partner. `is_stepped_up`: the identity was confirmed of late."""

    session: DashboardSession
    operator: Operator | None
    partner: Partner | None
    is_stepped_up: bool


async def open_session(
    db: AsyncSession,
    digest: bytes,
    *,
    operator_id: int | None = None,
    partner_id: int | None = None,
    method: str,
    address: str,
    browser: str,
    opened_by: str | None = None,
    is_stepped_up: bool = True,
) -> None:
    """Open a session of an operator or of a partner's portal, known by the digest of its cookie.

    `is_stepped_up`: the operator's identity was proven just now.
    """
    db.add(
        DashboardSession(
            digest=digest,
            operator_id=operator_id,
            partner_id=partner_id,
            expires_at=func.now() + SESSION_TIME,
            stepped_up_at=func.now() if operator_id is not None and is_stepped_up else None,
            method=method,
            address=address,
            browser=browser[:MAX_BROWSER_CHARACTERS].replace("\0", ""),
            opened_by=opened_by,
        )
    )
    await db.flush()


async def find(db: AsyncSession, digest: bytes, *, is_person: bool = True) -> OpenSession | None:
    """Return the valid session with this digest; None for any other.

    A request of a person, and not of a page by itself, is noted: it puts off the end of an idle session.
    """
    stepped_up = DashboardSession.stepped_up_at > func.now() - STEP_UP_TIME
    is_old = DashboardSession.seen_at < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, SEEN_SECONDS)
    statement = (
        select(DashboardSession, Operator, Partner, func.coalesce(stepped_up, False), is_old)
        .outerjoin(Operator, Operator.id == DashboardSession.operator_id)
        .outerjoin(Partner, Partner.id == DashboardSession.partner_id)
        .where(DashboardSession.digest == digest, _IS_VALID, Operator.disabled_at.is_(None))
    )
    row = (await db.execute(statement)).one_or_none()
    if row is None:
        return None
    session, operator, partner, is_stepped_up, is_unseen = row
    if is_unseen and is_person:
        await db.execute(_of(digest).values(seen_at=func.now()))
    return OpenSession(session, operator, partner, bool(is_stepped_up))


async def step_up(db: AsyncSession, digest: bytes) -> None:
    """Note that the identity was confirmed now."""
    await db.execute(_of(digest).values(stepped_up_at=func.now()))


async def list_valid(
    db: AsyncSession, *, operator_id: int | None = None, partner_id: int | None = None, limit: int = 200
) -> Sequence[DashboardSession]:
    """Return the valid sessions of an operator or a partner, the latest first."""
    statement = select(DashboardSession).where(_IS_VALID, _owned(operator_id, partner_id))
    return (await db.scalars(statement.order_by(DashboardSession.seen_at.desc()).limit(limit))).all()


async def end(db: AsyncSession, digest: bytes) -> None:
    """End a session."""
    await db.execute(delete(DashboardSession).where(DashboardSession.digest == digest))


async def end_all(
    db: AsyncSession, *, operator_id: int | None = None, partner_id: int | None = None, keep: bytes = b""
) -> int:
    """End all sessions of an operator or a partner, except `keep`; return their number."""
    statement = delete(DashboardSession).where(
        _owned(operator_id, partner_id), DashboardSession.digest != keep
    )
    result = await db.execute(statement.returning(DashboardSession.digest))
    return len(result.all())


async def end_of(db: AsyncSession, operator: Operator, which: str, *, keep: bytes = b"") -> None:
    """End the session of an operator with this digest in hexadecimal; all but `keep` if it is empty."""
    statement = delete(DashboardSession).where(
        DashboardSession.operator_id == operator.id, DashboardSession.digest != keep
    )
    if which:
        try:
            statement = statement.where(DashboardSession.digest == bytes.fromhex(which))
        except ValueError:
            return  # no session has it
    ended = (await db.execute(statement.returning(DashboardSession.digest))).all()
    if ended:
        details = {"count": len(ended)}
        await audit.record(
            db, AuditAction.SESSION_END, partner_id=None, object_id=operator.email, details=details
        )


async def delete_expired(db: AsyncSession, *, limit: int = 100) -> None:
    """Delete some sessions that have ended, so that no process has to sweep."""
    ended = select(DashboardSession.digest).where(DashboardSession.expires_at < func.now()).limit(limit)
    await db.execute(
        delete(DashboardSession).where(DashboardSession.digest.in_(ended.with_for_update(skip_locked=True)))
    )


# A portal has no idle time: the partner's application decides who may open it.
_IS_VALID = and_(
    DashboardSession.expires_at > func.now(),
    or_(DashboardSession.operator_id.is_(None), DashboardSession.seen_at > func.now() - IDLE_TIME),
)


def _owned(operator_id: int | None, partner_id: int | None) -> ColumnElement[bool]:
    if operator_id is not None:
        return DashboardSession.operator_id == operator_id
    return DashboardSession.partner_id == partner_id


def _of(digest: bytes) -> Update:
    return (
        update(DashboardSession)
        .where(DashboardSession.digest == digest)
        .execution_options(synchronize_session=False)
    )
