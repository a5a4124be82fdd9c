"""What is wrong at this moment: users that are not watched, and webhooks that are late, by what they share."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import statements
from superimap.db.engine import driver_connection
from superimap.db.monitoring import statuses
from superimap.db.monitoring.cluster_status import ClusterStatus
from superimap.domain import causes
from superimap.domain.causes import LATE_SECONDS, Cause, EndpointTrouble, UserTrouble
from superimap.domain.users import UserStatus

_STATEMENTS = statements.load(__file__)
_TROUBLED_GROUPS = _STATEMENTS["troubled_groups"]
_REASONS = _STATEMENTS["reasons"]
_UNREACHABLE = _STATEMENTS["unreachable_by_provider"]
_LATE_ENDPOINTS = _STATEMENTS["late_endpoints"]
_TROUBLED_ENDPOINTS = _STATEMENTS["troubled_endpoints"]

MAX_GROUPS = 100
"""Connections and endpoints that are looked at."""
MAX_COUNTED = 1000
"""Above it, a count is only known to be larger."""
REASON_SAMPLE = 10
"""Users of each group whose reasons are read."""


@dataclass(frozen=True, slots=True)
class Overview:
    """One sentence and the causes behind it. `is_grave`: a mailbox is not watched, or a webhook is late.

    `cluster` does not count the watched users.
    """

    headline: str
    is_grave: bool
    causes: Sequence[Cause]
    cluster: ClusterStatus


async def overview(db: AsyncSession, *, expiry: float) -> Overview:
    """Say what is wrong now. An idler is alive if its heartbeat is younger than `expiry` seconds."""
    seen = await statuses.read_cluster_status(db, expiry=expiry, count_watched=False)
    users = causes.group_users(await user_troubles(db))
    endpoints = await endpoint_troubles(db)
    wanted, unserved = seen.users.wanted, seen.users.unserved
    return Overview(
        headline=causes.headline(wanted=wanted, unserved=unserved, users=users, endpoints=endpoints),
        is_grave=bool(unserved or users or any(each.is_late for each in endpoints)),
        causes=[*users, *causes.endpoint_causes(endpoints)],
        cluster=seen,
    )


async def user_troubles(db: AsyncSession) -> list[UserTrouble]:
    """Return the troubled users by status and connection."""
    driver = await driver_connection(db)
    rows = await driver.fetch(*_TROUBLED_GROUPS.bind(groups=MAX_GROUPS, most=MAX_COUNTED))
    reasons = defaultdict[tuple[str, int], list[tuple[str, int]]](list)
    given = _REASONS.bind(
        statuses=[row["status"] for row in rows],
        connection_ids=[row["connection_id"] for row in rows],
        sample=REASON_SAMPLE,
    )
    for row in await driver.fetch(*given):
        reasons[row["status"], row["connection_id"]].append((row["reason"], row["users"]))
    return [
        UserTrouble(**dict(row), reasons=tuple(reasons[row["status"], row["connection_id"]])) for row in rows
    ]


async def count_unreachable(db: AsyncSession) -> dict[int, int]:
    """Return the mailboxes of each provider whose sessions fail or whose server is silent, up to MAX_COUNTED.

    More than MAX_COUNTED of a connection count as MAX_COUNTED + 1. Providers without one are left out.
    """
    driver = await driver_connection(db)
    given = _UNREACHABLE.bind(
        statuses=[UserStatus.BACKING_OFF, UserStatus.STALLED], groups=MAX_GROUPS, most=MAX_COUNTED
    )
    return {row["provider_id"]: row["users"] for row in await driver.fetch(*given)}


async def endpoint_troubles(db: AsyncSession) -> list[EndpointTrouble]:
    """Return the endpoints that fail, are disabled, or whose deliveries are late."""
    driver = await driver_connection(db)
    late = await driver.fetch(
        *_LATE_ENDPOINTS.bind(groups=MAX_GROUPS, most=MAX_COUNTED, late=timedelta(seconds=LATE_SECONDS))
    )
    failing = await driver.fetch(*_TROUBLED_ENDPOINTS.bind(groups=MAX_GROUPS))
    found = {row["id"]: _endpoint(dict(row)) for row in failing} | {
        row["id"]: _endpoint(dict(row)) for row in late
    }
    return list(found.values())


def _endpoint(row: dict[str, Any]) -> EndpointTrouble:
    return EndpointTrouble(
        id=row["id"],
        kind=row["kind"],
        partner_id=row["partner_id"],
        partner=row["partner"],
        breaker=row["breaker"],
        failing_since=row["failing_since"],
        disabled_at=row["disabled_at"],
        disabled_reason=row["disabled_reason"],
        due_at=row.get("due_at"),
        deliveries=row.get("deliveries", 0),
        is_late=row.get("is_late", False),
    )
