"""Connect and disconnect links that were used, and limits on how often links, people and mailboxes may try."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from asyncpg import Connection
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import statements
from superimap.db.engine import driver_connection
from superimap.db.errors import Conflict, TooMany
from superimap.db.models import UsedLink, User

_STATEMENTS = statements.load(__file__)
_COUNT_TRIES = _STATEMENTS["count_tries"]
_GIVE_BACK_TRIES = _STATEMENTS["give_back_tries"]
_DELETE_EXPIRED = _STATEMENTS["delete_expired"]

USED_LINK_RETENTION = timedelta(hours=2)
"""Used links are deleted after it. By then the link's half hour and a consent begun within it are over."""

MIN_DELETED_ROWS = 100
"""Rows to add before expired ones are looked for."""


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


class TooManyPasswords(TooMany):
    """Too many passwords were set for a mailbox by request."""

    def __init__(self, exceeded: TriesExceeded) -> None:
        seconds = exceeded.seconds
        super().__init__(
            f"Too many passwords were set for this mailbox; try again in {seconds} s.", seconds=seconds
        )


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
    driver = await driver_connection(db)
    (exceeded,) = await count_tries(driver, [limits])
    if exceeded is not None:
        raise exceeded
    await delete_expired(driver)


async def count_tries(db: Connection, tries: Sequence[Collection[TryLimit]]) -> list[TriesExceeded | None]:
    """Count tries, each under its limits, in their order; return for each the limit that it exceeds, or None.

    All of them count in the caller's transaction; `give_back_tries` undoes those that do not take place.
    """
    wanted = Counter(limit.key for limits in tries for limit in limits)
    seconds = {limit.key: limit.seconds for limits in tries for limit in limits}
    rows = await db.fetch(
        *_COUNT_TRIES.bind(
            keys=list(wanted), tries=list(wanted.values()), seconds=[seconds[key] for key in wanted]
        )
    )
    counts = {key: count - wanted[key] for key, count, _ in rows}
    waits = {key: wait for key, _, wait in rows}
    results: list[TriesExceeded | None] = []
    for limits in tries:
        limit = next((each for each in limits if counts[each.key] >= each.at_most), None)
        if limit is None:
            counts.update({each.key: counts[each.key] + 1 for each in limits})
            results.append(None)
        else:
            results.append(TriesExceeded(limit, waits[limit.key]))
    return results


async def give_back(db: AsyncSession, keys: Iterable[bytes]) -> None:
    """Count one try less under each key: it succeeded."""
    await _give_back(await driver_connection(db), Counter(keys))


async def give_back_tries(db: Connection, tries: Iterable[Collection[TryLimit]]) -> None:
    """Undo the count of tries that did not take place."""
    await _give_back(db, Counter(limit.key for limits in tries for limit in limits))


async def _give_back(db: Connection, tries: Mapping[bytes, int]) -> None:
    await db.execute(*_GIVE_BACK_TRIES.bind(keys=list(tries), tries=list(tries.values())))


async def delete_expired(db: Connection, *, limit: int = MIN_DELETED_ROWS) -> None:
    """Delete at most `limit` expired consents, used links and counts each."""
    await db.execute(*_DELETE_EXPIRED.bind(limit=limit, retention=USED_LINK_RETENTION))


class ExpiredRows:
    """Expired rows of this module, deleted twice as fast as this process adds rows."""

    def __init__(self) -> None:
        self._added = 0

    async def note_added(self, db: Connection, number: int) -> None:
        """Note tries that were counted in this transaction, whose last statement this is to be."""
        self._added += number
        if self._added >= MIN_DELETED_ROWS:
            limit, self._added = 2 * self._added, 0
            await delete_expired(db, limit=limit)
