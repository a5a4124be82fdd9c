"""Room within the quotas of users and sessions, from which creations take, and its count when it is used up."""

from collections.abc import Mapping
from dataclasses import dataclass

from asyncpg import Connection

from superimap.core import metrics
from superimap.db import statements
from superimap.db.errors import Conflict
from superimap.domain.quotas import Quota, RecentRefusals

_STATEMENTS = statements.load(__file__)
_TAKE_ROOM = _STATEMENTS["take_room"]
_MAXIMUM_IN_FORCE = _STATEMENTS["maximum_in_force"]
_LOCK_ROOM = _STATEMENTS["lock_room"]
_COUNT_LIVE_USERS = _STATEMENTS["count_live_users"]
_SET_ROOM = _STATEMENTS["set_room"]
_GIVE_BACK_ROOM = _STATEMENTS["give_back_room"]

COUNTED = {Quota.USERS: "users that are not archived", Quota.SESSIONS: "connected users"}


class QuotaExceeded(Conflict):
    """The partner has reached a quota. `quota` names it."""

    kind = "quota-exceeded"

    def __init__(self, quota: Quota, maximum: int) -> None:
        super().__init__(
            f"The quota {quota} is reached: {maximum:,} {COUNTED[quota]}. Archive users, or ask the operator to "
            "raise it."
        )
        self.quota = quota


@dataclass(frozen=True, slots=True)
class QuotaPolicy:
    """Defaults of an installation, and the partners that this process has lately found at their quotas."""

    defaults: Mapping[Quota, int]
    refusals: RecentRefusals | None = None


async def reserve(db: Connection, partner_id: int, quota: Quota, *, policy: QuotaPolicy) -> None:
    """Reserve a user or a session, in the caller's transaction. Raises QuotaExceeded.

    Usually one statement on one row.
    """
    if await _take(db, partner_id, quota, policy):
        return
    if await refill(db, partner_id, quota, policy=policy) <= 0 or not await _take(
        db, partner_id, quota, policy
    ):
        raise await exceeded(db, partner_id, quota, policy=policy)


async def refill(
    db: Connection, partner_id: int, quota: Quota, *, wanted: int = 1, policy: QuotaPolicy
) -> int:
    """Count the live users if less than `wanted` is left of a quota; return what is left.

    The count is exact, because reservations of a partner wait for one another. A process counts once a second, so
    that a partner at its quota that goes on occupies no connections.
    """
    named = {"partner_id": partner_id, "quota": quota.value}
    maximum = await _maximum(db, partner_id, quota, policy)
    if policy.refusals is not None and policy.refusals.has(partner_id, quota, maximum):
        return 0
    counted_for, left = await db.fetchrow(*_LOCK_ROOM.bind(**named))
    if counted_for == maximum and left >= wanted:
        return int(left)
    left = maximum - await count(db, partner_id, quota)
    if left <= 0 and policy.refusals is not None:
        policy.refusals.note(partner_id, quota, maximum)
    await db.execute(*_SET_ROOM.bind(**named, maximum=maximum, room=max(left, 0)))
    return left


async def give_back(db: Connection, partner_id: int, quota: Quota, number: int) -> None:
    """Give back what was reserved and is not used."""
    if number:
        await db.execute(*_GIVE_BACK_ROOM.bind(partner_id=partner_id, quota=quota.value, count=number))


async def count(db: Connection, partner_id: int, quota: Quota) -> int:
    """Count what is used of a quota."""
    is_connected = quota is Quota.SESSIONS
    found: int = await db.fetchval(*_COUNT_LIVE_USERS.bind(partner_id=partner_id, is_connected=is_connected))
    return found


async def _take(db: Connection, partner_id: int, quota: Quota, policy: QuotaPolicy) -> bool:
    named = {"partner_id": partner_id, "quota": quota.value, "standard": policy.defaults[quota]}
    return await db.fetchval(*_TAKE_ROOM.bind(**named, wanted=1)) is not None


async def exceeded(db: Connection, partner_id: int, quota: Quota, *, policy: QuotaPolicy) -> QuotaExceeded:
    """Return the error for a quota that is used up, and count it."""
    metrics.QUOTA_REFUSALS.labels(quota.value).inc()
    return QuotaExceeded(quota, await _maximum(db, partner_id, quota, policy))


async def _maximum(db: Connection, partner_id: int, quota: Quota, policy: QuotaPolicy) -> int:
    found: int = await db.fetchval(
        *_MAXIMUM_IN_FORCE.bind(partner_id=partner_id, quota=quota.value, standard=policy.defaults[quota])
    )
    return found
