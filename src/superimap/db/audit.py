"""Audit log: entries written in the transaction of the change, lists of them, and their deletion."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.models import AuditEntry
from superimap.domain.audit import MIN_RETENTION_DAYS, Actor, ActorKind, AuditAction, recorded_details

ACTOR = "superimap.actor"
"""Key in the `info` of a session under which its actor is kept."""

MAX_ENTRIES = 1000
BATCH_ROWS = 1000
_NOBODY = Actor(ActorKind.SYSTEM, "superimap")


def set_actor(db: AsyncSession, actor: Actor) -> None:
    """Name who makes the changes of this session. Without an actor they are those of the system."""
    db.info[ACTOR] = actor


def actor_of(db: AsyncSession) -> Actor:
    """Return who makes the changes of this session."""
    actor: Actor = db.info.get(ACTOR, _NOBODY)
    return actor


async def record(
    db: AsyncSession,
    action: AuditAction,
    *,
    partner_id: int | None,
    object_id: object = None,
    fields: Iterable[str] = (),
    details: Mapping[str, Any] | None = None,
) -> None:
    """Record a change of the session's actor, in the caller's transaction.

    `details` may hold any values: only those are kept that are known to be no secret.
    """
    actor = actor_of(db)
    row = {
        "actor_kind": actor.kind.value,
        "actor": actor.name,
        "partner_id": partner_id,
        "action": action.value,
        "object_id": None if object_id is None else str(object_id),
        "fields": sorted(fields),
        "details": recorded_details({**actor.details, **(details or {})}),
    }
    await db.execute(insert(AuditEntry).values(row))


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Selects entries. None selects all; `before` is the id of the last entry of the previous page."""

    partner_id: int | None = None
    actor_kind: ActorKind | None = None
    action: AuditAction | None = None
    since: datetime | None = None
    before: int | None = None


async def list_entries(db: AsyncSession, which: AuditFilter, *, limit: int) -> Sequence[AuditEntry]:
    """Return the entries that match, latest first."""
    statement = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if which.partner_id is not None:
        statement = statement.where(AuditEntry.partner_id == which.partner_id)
    if which.actor_kind is not None:
        statement = statement.where(AuditEntry.actor_kind == which.actor_kind)
    if which.action is not None:
        statement = statement.where(AuditEntry.action == which.action)
    if which.since is not None:
        statement = statement.where(AuditEntry.at >= which.since)
    if which.before is not None:
        statement = statement.where(AuditEntry.id < which.before)
    return (await db.scalars(statement)).all()


async def find_change(
    db: AsyncSession, *, partner_id: int, object_id: int, at: datetime
) -> AuditEntry | None:
    """Return the entry about this object that was recorded in the transaction that began at this moment."""
    statement = select(AuditEntry).where(
        AuditEntry.at == at, AuditEntry.partner_id == partner_id, AuditEntry.object_id == str(object_id)
    )
    return (await db.scalars(statement.limit(1))).one_or_none()


_ALLOW_DELETE = text("GRANT DELETE ON audit_log TO CURRENT_USER")
_FORBID_DELETE = text("REVOKE DELETE ON audit_log FROM CURRENT_USER")
_DELETE_OLD = text("""
    WITH deleted AS (
        DELETE FROM audit_log WHERE id IN (
            SELECT id FROM audit_log WHERE at < now() - make_interval(days => :days) ORDER BY at LIMIT :limit
        ) RETURNING 1
    )
    SELECT count(*) FROM deleted
""")


async def delete_old(db: AsyncSession, *, days: int) -> int:
    """Delete up to BATCH_ROWS entries that are older than `days`, and return their number.

    The owner of the table has the privilege within this transaction only. Any other role is refused.
    """
    await db.execute(_ALLOW_DELETE)
    limited = {"days": max(days, MIN_RETENTION_DAYS), "limit": BATCH_ROWS}
    count = int(await db.scalar(_DELETE_OLD, limited) or 0)
    await db.execute(_FORBID_DELETE)
    return count
