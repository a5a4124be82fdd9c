"""A user whose session waits for its next try is tried now."""

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.accounts.announcements import ring_users
from superimap.db.errors import Conflict
from superimap.db.models import User
from superimap.domain.audit import AuditAction


async def try_now(db: AsyncSession, user: User) -> None:
    """Let the user's session start again at once, whatever it waits for. Raises Conflict if nobody watches it."""
    if user.archived or user.connected_at is None:
        raise Conflict("This mailbox is not to be watched: it is archived, or not connected.")
    await db.execute(
        update(User)
        .where(User.id == user.id, User.partner_id == user.partner_id)
        .values(credentials_version=User.credentials_version + 1, retry_at=None)
        .execution_options(synchronize_session=False)
    )
    await audit.record(
        db,
        AuditAction.USER_UPDATE,
        partner_id=user.partner_id,
        object_id=user.id,
        fields=["retry_at"],
        details={"tag": user.tag},
    )
    await ring_users(db, user.shard)
