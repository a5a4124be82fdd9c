"""Deliveries: claimed for a lease, and settled after an attempt.

Raw statements on asyncpg, one per function, each a transaction of its own. All times are PostgreSQL's.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from asyncpg import Connection, Pool, Record

from superimap.db import statements
from superimap.domain.deliveries import AttemptOutcome
from superimap.domain.events import ReasonCode, UserEventKind
from superimap.domain.shards import USERS_CHANNEL

Db: TypeAlias = Pool | Connection

MAX_CLAIM_CONTENT_BYTES = 65_536
"""Content that comes with the answer to a claim; more is fetched after the claim is committed."""

_STATEMENTS = statements.load(__file__)
_CLAIM = _STATEMENTS["claim_deliveries"]
_FETCH_CONTENTS = _STATEMENTS["fetch_contents"]
_SETTLE = _STATEMENTS["settle_attempts"]
_SETTLE_AND_ARCHIVE = _STATEMENTS["settle_attempts_and_archive"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this process may send until its lease ends; `attempt` is the number of the next attempt.

    The retry schedule counts from the last replay: `attempts_before` attempts came before it. If `event_id` is set
    there is no content; it is made from that event. `is_healthy` and `setbacks` are those of the endpoint at the
    time of the claim. The delivery was recorded at `recorded_at`, `age` seconds before `claimed_at`, a time of
    the monotonic clock.
    """

    id: UUID
    partner_id: int
    endpoint_id: int
    user_id: int
    kind: str
    url: str
    content: bytes | None
    attempt: int
    token: UUID
    attempts_before: int = 0
    event_id: int | None = None
    is_healthy: bool = True
    setbacks: int = 0
    recorded_at: datetime | None = None
    age: float = 0.0
    claimed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Claims:
    """Result of one claim.

    `is_all`: nothing more was due. `has_room`: another claim now could take more. `is_healthy`: the endpoint's
    last attempt succeeded and its breaker is closed. `is_held_back`: the endpoint is unhealthy, and the claim was
    for healthy endpoints only.
    """

    taken: Sequence[Claim]
    is_all: bool
    has_room: bool
    is_healthy: bool = True
    is_held_back: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """One attempt and what it means for its delivery.

    `age` is how many seconds ago the attempt began, `delay` how many seconds remain until the next one. `body` is
    sealed for the attempt's row; the sender makes the row's `id`.
    """

    id: UUID
    claim: Claim
    outcome: AttemptOutcome
    age: float
    milliseconds: int
    code: int | None = None
    error: str | None = None
    body: bytes | None = None
    delay: float = 0.0


async def claim(
    db: Db,
    endpoint_id: int,
    *,
    limit: int,
    max_posts: int,
    lease: float,
    token: UUID,
    holder: int | None = None,
    include_unhealthy: bool = True,
) -> Claims:
    """Take due deliveries of an endpoint for `lease` seconds, oldest first.

    Takes at most `limit`, and no more than bring the POSTs in flight to the endpoint, over all processes, to
    `max_posts` or to what its breaker admits. Due deliveries of an endpoint without a URL are cancelled instead.
    `holder` is the number of the claiming dispatcher. Without `include_unhealthy` nothing is taken for an
    endpoint that failed twice in a row or whose breaker is not closed.
    """
    rows = await db.fetch(
        *_CLAIM.bind(
            endpoint_id=endpoint_id,
            limit=limit,
            max_posts=max_posts,
            lease=lease,
            token=token,
            holder=holder,
            include_unhealthy=include_unhealthy,
            max_content_bytes=MAX_CLAIM_CONTENT_BYTES,
        )
    )
    if not rows:  # the endpoint no longer exists, nor do its deliveries
        return Claims((), is_all=True, has_room=True)
    room, url, is_healthy = rows[0]["room"], rows[0]["url"], rows[0]["is_healthy"]
    if room < 0:
        return Claims((), is_all=False, has_room=False, is_healthy=False, is_held_back=True)
    found = [row for row in rows if row["id"] is not None]
    is_lost = len(found) < rows[0]["due"]  # some to another claim
    is_all = len(found) < room and not is_lost
    if url is None:
        return Claims((), is_all=is_all, has_room=True)
    now = time.monotonic()
    taken = [_claim(row, endpoint_id, token, now) for row in found]
    if found and found[0]["is_big"]:
        taken = await _with_contents(db, taken)
    return Claims(taken, is_all=is_all, has_room=is_all or is_lost, is_healthy=is_healthy)


async def _with_contents(db: Db, taken: Sequence[Claim]) -> list[Claim]:
    """Add the contents, which were too big for the answer to the claim.

    A delivery that is not found was replaced or erased meanwhile, and its lease is no longer held.
    """
    ids, first = [each.id for each in taken], taken[0]
    found = _FETCH_CONTENTS.bind(
        ids=ids, partner_id=first.partner_id, endpoint_id=first.endpoint_id, token=first.token
    )
    contents = dict(await db.fetch(*found))
    return [replace(each, content=contents[each.id]) for each in taken if each.id in contents]


def _claim(row: Record, endpoint_id: int, token: UUID, now: float) -> Claim:
    return Claim(
        id=row["id"],
        partner_id=row["partner_id"],
        endpoint_id=endpoint_id,
        user_id=row["user_id"],
        kind=row["kind"],
        url=row["url"],
        content=row["content"],
        attempt=row["attempts"] + 1,
        token=token,
        attempts_before=row["attempts_before"],
        event_id=row["event_id"],
        is_healthy=row["is_healthy"],
        setbacks=row["setbacks"],
        recorded_at=row["created_at"],
        age=row["age"],
        claimed_at=now,
    )


async def settle(db: Db, settlements: Iterable[Settlement], *, keep_failed: bool = True) -> int:
    """Record attempts and what they mean for their deliveries; return how many users were archived.

    Erases the content of delivered deliveries, and without `keep_failed` also that of failed ones. Pending
    deliveries of an archived user stay: each is sent and gets its own answer.
    """
    given = list(settlements)
    if not given:
        return 0
    columns = {
        "id": [each.claim.id for each in given],
        "partner_id": [each.claim.partner_id for each in given],
        "endpoint_id": [each.claim.endpoint_id for each in given],
        "token": [each.claim.token for each in given],
        "number": [each.claim.attempt for each in given],
        "outcome": [each.outcome.value for each in given],
        "age": [each.age for each in given],
        "milliseconds": [each.milliseconds for each in given],
        "code": [each.code for each in given],
        "error": [each.error for each in given],
        "body": [each.body for each in given],
        "delay": [each.delay for each in given],
        "attempt_id": [each.id for each in given],
    }
    if not any(each.outcome is AttemptOutcome.ARCHIVE for each in given):
        return len(await db.fetch(*_SETTLE.bind(keep_failed=keep_failed, **columns)))
    archiving = _SETTLE_AND_ARCHIVE.bind(
        keep_failed=keep_failed,
        archived_kind=UserEventKind.ARCHIVED,
        archived_code=ReasonCode.APPLICATION_REFUSED,
        users_channel=USERS_CHANNEL,
        **columns,
    )
    return len(await db.fetch(*archiving))
