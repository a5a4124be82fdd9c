"""Connect and disconnect links that were used, and limits on how often links, people and mailboxes may try."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.errors import Conflict, TooMany
from superimap.db.models import UsedLink, User

USED_LINK_RETENTION = timedelta(hours=2)
"""Used links are deleted after it. By then the link's half hour and a consent begun within it are over."""


class LinkUsed(Conflict):
    """The link was used before."""


@dataclass(frozen=True, slots=True)
class TryLimit:
    """At most `at_most` tries under `key` in a window of `seconds`, which begins with its first try.

    `what` completes the sentence "Too many attempts …".
    """

    key: bytes
    at_most: int
    seconds: int
    what: str


class TriesExceeded(TooMany):
    """A try is over a limit, for `seconds` more. Raised through the transaction, it undoes the count."""

    def __init__(self, limit: TryLimit, wait_seconds: int) -> None:
        super().__init__(f"over {limit.at_most} tries in {limit.seconds} s", seconds=wait_seconds)
        self.limit = limit


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


async def count_try(db: AsyncSession, limits: Collection[TryLimit]) -> None:
    """Count one try under every limit, by PostgreSQL's clock. Raises TriesExceeded for the first one exceeded.

    Each call also deletes expired rows. That is last, and skips locked rows, so that two tries wait for each other
    only in the order of their keys.
    """
    values = {"keys": [each.key for each in limits], "seconds": [each.seconds for each in limits]}
    found = {key: (tries, wait) for key, tries, wait in await db.execute(_COUNT, values)}
    for limit in limits:
        tries, wait_seconds = found[limit.key]
        if tries > limit.at_most:
            raise TriesExceeded(limit, wait_seconds)
    await db.execute(_DELETE_EXPIRED)


async def give_back(db: AsyncSession, keys: Iterable[bytes]) -> None:
    """Count one try less under each key: it succeeded."""
    await db.execute(_GIVE_BACK, {"keys": list(keys)})


_COUNT = text("""
    INSERT INTO login_tries AS t (key, ends_at)
    SELECT key, now() + make_interval(secs => seconds)
    FROM unnest(CAST(:keys AS bytea[]), CAST(:seconds AS int[])) AS tries (key, seconds)
    ORDER BY key
    ON CONFLICT (key) DO UPDATE SET
        count = CASE WHEN t.ends_at <= now() THEN 1 ELSE t.count + 1 END,
        ends_at = CASE WHEN t.ends_at <= now() THEN excluded.ends_at ELSE t.ends_at END
    RETURNING t.key, t.count, CAST(ceil(extract(epoch FROM t.ends_at - now())) AS int) AS wait_seconds
""")
_GIVE_BACK = text("""
    UPDATE login_tries SET count = greatest(count - 1, 0)
    WHERE key IN (
        SELECT key FROM login_tries WHERE key = ANY (CAST(:keys AS bytea[])) ORDER BY key FOR UPDATE)
""")

# At most 100 of each, so that no process has to sweep. Locked rows are left to the next call.
_DELETE_EXPIRED = text("""
    WITH
    -- Consents that nobody finished.
    consents AS (
        DELETE FROM oauth_states WHERE id IN (
            SELECT id FROM oauth_states WHERE expires_at < now() LIMIT 100 FOR UPDATE SKIP LOCKED)
    ),
    -- Links that would have expired by themselves.
    links AS (
        DELETE FROM used_links WHERE link_digest IN (
            SELECT link_digest FROM used_links WHERE used_at < now() - :retention
            LIMIT 100 FOR UPDATE SKIP LOCKED)
    )
    -- Counts of windows that have ended.
    DELETE FROM login_tries WHERE key IN (
        SELECT key FROM login_tries WHERE ends_at < now() LIMIT 100 FOR UPDATE SKIP LOCKED)
""").bindparams(retention=USED_LINK_RETENTION)
