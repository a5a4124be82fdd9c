"""Lists of a connection's users that are not watched, by status and since when, for people."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.models import Connection, Partner, Provider, TroubledUser, User
from superimap.db.monitoring.mailbox_lists import ListedMailbox
from superimap.db.monitoring.partner_lists import MAX_COUNT
from superimap.domain.users import TROUBLED, UserStatus

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ExportedMailbox(NamedTuple):
    """A mailbox that is not watched, for those who write to its owner."""

    address: str | None
    tag: str
    partner: str
    provider: str
    status: str
    since: datetime
    reason: str | None


class TroubledPlace(NamedTuple):
    """Where a page ends: microseconds since 1970 of the status of its last user, and the id of this user."""

    microseconds: int
    user_id: int


async def count_troubled(db: AsyncSession, connection_id: int) -> dict[UserStatus, int]:
    """Count the connection's users by status, each up to MAX_COUNT + 1; a status without one is left out."""
    counts = {}
    for status in sorted(TROUBLED):
        rows = (
            select(TroubledUser.user_id)
            .where(TroubledUser.status == status, TroubledUser.connection_id == connection_id)
            .limit(MAX_COUNT + 1)
            .subquery()
        )
        counts[UserStatus(status)] = await db.scalar(select(func.count()).select_from(rows)) or 0
    return {status: count for status, count in counts.items() if count}


async def list_troubled(
    db: AsyncSession,
    connection_id: int,
    status: UserStatus,
    *,
    after: TroubledPlace | None = None,
    limit: int,
) -> tuple[list[ListedMailbox], TroubledPlace | None]:
    """Return the users that have this status, the longest first, and the place after which the list goes on."""
    columns = (getattr(User, name) for name in ListedMailbox._fields)
    order = (TroubledUser.since, TroubledUser.user_id)
    statement = (
        select(*columns, TroubledUser.since.label("since"))
        .join(TroubledUser, TroubledUser.user_id == User.id)
        .where(TroubledUser.status == status, TroubledUser.connection_id == connection_id)
    )
    if after is not None:
        since = _EPOCH + timedelta(microseconds=after.microseconds)
        statement = statement.where(tuple_(*order) > tuple_(literal(since), literal(after.user_id)))
    found = (await db.execute(statement.order_by(*order).limit(limit + 1))).all()
    rows = [ListedMailbox(*row[: len(ListedMailbox._fields)]) for row in found[:limit]]
    if len(found) <= limit:
        return rows, None
    last = found[limit - 1]
    return rows, TroubledPlace((last.since - _EPOCH) // timedelta(microseconds=1), last.id)


async def export_troubled(
    db: AsyncSession, status: UserStatus, *, partner_id: int | None = None, limit: int
) -> list[ExportedMailbox]:
    """Return users with this status, of one partner or of all, by connection and the longest first."""
    mine = [] if partner_id is None else [TroubledUser.partner_id == partner_id]
    order = [TroubledUser.since] if mine else [TroubledUser.connection_id, TroubledUser.since]
    # The rows are selected first, so that the joins look up each of them by index.
    first = (
        select(TroubledUser.user_id, TroubledUser.since)
        .where(TroubledUser.status == status, *mine)
        .order_by(*order)
        .limit(limit)
        .subquery()
    )
    statement = (
        select(
            User.email, User.tag, Partner.name, Provider.code, User.status, first.c.since, User.status_reason
        )
        .join(first, first.c.user_id == User.id)
        .join(Partner, Partner.id == User.partner_id)
        .join(Connection, Connection.id == User.connection_id)
        .join(Provider, Provider.id == Connection.provider_id)
        .order_by(User.connection_id, first.c.since)
    )
    return [ExportedMailbox(*row) for row in await db.execute(statement)]
