"""Connect and disconnect links that were used, and limits on how often a link or an address may try."""

from datetime import timedelta

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.errors import Conflict
from superimap.db.models import LoginTry, UsedLink, User

USED_LINK_RETENTION = timedelta(hours=2)
"""Used links are deleted after it. By then the link's half hour and a consent begun within it are over."""


class LinkUsed(Conflict):
    """The link was used before."""


async def is_used(db: AsyncSession, link_digest: bytes) -> bool:
    """Whether this link has connected or disconnected its user."""
    found = select(UsedLink.link_digest).where(UsedLink.link_digest == link_digest)
    return await db.scalar(found) is not None


async def mark_used(db: AsyncSession, user: User, link_digest: bytes) -> None:
    """Mark the link as used, in the caller's transaction. Raises LinkUsed if it was used before."""
    row = {"link_digest": link_digest, "partner_id": user.partner_id, "user_id": user.id}
    statement = insert(UsedLink).values(row).on_conflict_do_nothing().returning(UsedLink.user_id)
    if await db.scalar(statement) is None:
        raise LinkUsed("This link has been used; ask the application for a new one.")


async def count_try(db: AsyncSession, key: bytes, *, at_most: int, seconds: int) -> bool:
    """Count a try under `key`; False if the window already has `at_most` tries.

    A window of `seconds` begins with its first try. Each call also deletes expired rows.
    """
    await _delete_expired(db)
    end = func.now() + text(f"interval '{int(seconds)} seconds'")
    statement = insert(LoginTry).values(key=key, ends_at=end)
    is_over = LoginTry.ends_at <= func.now()
    statement = statement.on_conflict_do_update(
        index_elements=[LoginTry.key],
        set_={
            "count": text("CASE WHEN login_tries.ends_at <= now() THEN 1 ELSE login_tries.count + 1 END"),
            "ends_at": text("CASE WHEN login_tries.ends_at <= now() THEN excluded.ends_at"
                            " ELSE login_tries.ends_at END"),
        },
        where=(LoginTry.count < at_most) | is_over,
    )  # fmt: skip
    return await db.scalar(statement.returning(LoginTry.count)) is not None


_DELETE_EXPIRED = (
    text("""
        DELETE FROM oauth_states WHERE id IN (
            SELECT id FROM oauth_states WHERE expires_at < now() LIMIT 100 FOR UPDATE SKIP LOCKED)
    """),
    text("""
        DELETE FROM used_links WHERE link_digest IN (
            SELECT link_digest FROM used_links WHERE used_at < now() - :retention
            LIMIT 100 FOR UPDATE SKIP LOCKED)
    """).bindparams(retention=USED_LINK_RETENTION),
    text("""
        DELETE FROM login_tries WHERE key IN (
            SELECT key FROM login_tries WHERE ends_at < now() LIMIT 100 FOR UPDATE SKIP LOCKED)
    """),
)


async def _delete_expired(db: AsyncSession) -> None:
    """Delete expired consents, used links and tries, at most 100 of each, so that no process has to sweep."""
    for statement in _DELETE_EXPIRED:
        await db.execute(statement)
