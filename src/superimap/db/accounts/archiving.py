"""Archiving of all users of a connection by a job: its plan and its batches."""

from dataclasses import dataclass

from sqlalchemy import func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.accounts import jobs, quotas
from superimap.db.accounts.announcements import ring_users
from superimap.db.accounts.user_changes import with_status
from superimap.db.errors import Conflict, NotFound
from superimap.db.models import Connection, Job, Provider, User
from superimap.domain.audit import AuditAction
from superimap.domain.jobs import MAX_COUNTED_ROWS, JobKind
from superimap.domain.quotas import Quota
from superimap.domain.users import UserStatus

_IS_LIVE = ~User.archived


@dataclass(frozen=True, slots=True)
class ArchivePlan:
    """The connection whose users a job would archive; `count` of them now, MAX_COUNTED_ROWS + 1 at most."""

    partner_id: int
    connection_id: int
    code: str
    count: int


async def plan(db: AsyncSession, partner_id: int, connection_id: int) -> ArchivePlan:
    """Count the users that a job would archive now. Raises NotFound."""
    of_connection = select(Provider.code).join(Connection, Connection.provider_id == Provider.id)
    mine = (Connection.id == connection_id, Connection.partner_id == partner_id)
    code = await db.scalar(of_connection.where(*mine))
    if code is None:
        raise NotFound("Connection not found.")
    live = select(literal(1)).select_from(User).where(User.connection_id == connection_id, _IS_LIVE)
    counted = select(func.count()).select_from(live.limit(MAX_COUNTED_ROWS + 1).subquery())
    return ArchivePlan(partner_id, connection_id, code, await db.scalar(counted) or 0)


async def start(db: AsyncSession, planned: ArchivePlan) -> Job:
    """Create the job, for users that exist now. Raises Conflict if there is none."""
    if not planned.count:
        raise Conflict("The connection has no user to archive.", kind="nothing-to-do")
    # Users of all connections: the greatest id is found in the primary key.
    last_id = await db.scalar(select(func.max(User.id)))
    return await jobs.create(
        db,
        JobKind.ARCHIVE_USERS,
        partner_id=planned.partner_id,
        plan={"connection_id": planned.connection_id, "code": planned.code, "last_id": last_id},
        total=planned.count if planned.count <= MAX_COUNTED_ROWS else None,
    )


async def archive_batch(db: AsyncSession, job: Job, *, limit: int) -> int:
    """Archive at most `limit` users of the job's connection, as a change of each would; return their number.

    The job goes on behind the last one: who is restored meanwhile is not archived again.
    """
    mine = (User.partner_id == job.partner_id, User.connection_id == job.plan["connection_id"])
    # In the order of the index of live users: those that were archived are no longer in it.
    place = func.lower(User.tag)
    later = () if job.position is None else (place > job.position,)
    statement = (
        select(User.id, User.tag, User.shard, User.connected_at, place.label("place"))
        .where(*mine, _IS_LIVE, User.id <= job.plan["last_id"], *later)
        .order_by(place)
        .limit(limit)
        .with_for_update()
    )
    found = (await db.execute(statement)).all()
    if not found:
        return 0
    job.position = found[-1].place
    await db.execute(
        update(User)
        .where(*mine, User.id.in_([each.id for each in found]))
        .values(archived=True, **with_status(UserStatus.ARCHIVED))
        .execution_options(synchronize_session=False)
    )
    sessions = sum(each.connected_at is not None for each in found)
    await quotas.give_back(db, job.partner_id, Quota.USERS, count=len(found))
    await quotas.give_back(db, job.partner_id, Quota.SESSIONS, count=sessions)
    for each in found:
        details = {"archived": True, "tag": each.tag, "imap_provider_code": job.plan["code"]}
        await audit.record(
            db,
            AuditAction.USER_UPDATE,
            partner_id=job.partner_id,
            object_id=each.id,
            fields=["archived"],
            details=details,
        )
    for shard in {each.shard for each in found}:
        await ring_users(db, shard)
    return len(found)
