"""Rate limits of a partner for actions that make webhooks. Counted in PostgreSQL, for all processes."""

from enum import StrEnum

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.errors import NotFound, TooMany
from superimap.db.models import Allowance

WINDOW_SECONDS = 60
"""Length of a window. It begins with the first use after the previous window has ended."""


class Action(StrEnum):
    """Actions that are counted."""

    REPLAY = "replay"
    TEST = "test"
    JOB = "job"


MAX_PER_WINDOW = {Action.REPLAY: 1_000, Action.TEST: 10, Action.JOB: 10}


async def use(db: AsyncSession, partner_id: int, action: Action, wanted: int = 1) -> int:
    """Count up to `wanted` uses and return how many are granted, at least one. Raises TooMany.

    Concurrent calls for the same partner and action wait for the commit. A rollback returns the uses. Raises
    NotFound for a partner that was just deleted, whose key is remembered for a second.
    """
    row = {"partner_id": partner_id, "action": action}
    try:
        await db.execute(insert(Allowance).values(row).on_conflict_do_nothing())
    except IntegrityError:
        raise NotFound("This partner was deleted.") from None
    elapsed = func.extract("epoch", func.clock_timestamp() - Allowance.since)
    mine = (Allowance.partner_id == partner_id, Allowance.action == action)
    found = await db.execute(select(Allowance.used, elapsed).where(*mine).with_for_update())
    used, seconds = found.one()
    values: dict[str, object] = {}
    if seconds >= WINDOW_SECONDS:
        used, values = 0, {"since": func.clock_timestamp()}
    granted = min(wanted, MAX_PER_WINDOW[action] - used)
    if granted <= 0:
        raise _too_many(action, wait=max(1, WINDOW_SECONDS - int(seconds)))
    await db.execute(update(Allowance).where(*mine).values(used=used + granted, **values))
    return granted


async def refund(db: AsyncSession, partner_id: int, action: Action, count: int) -> None:
    """Return `count` granted uses that were not needed."""
    statement = update(Allowance).where(Allowance.partner_id == partner_id, Allowance.action == action)
    await db.execute(statement.values(used=Allowance.used - count))


def _too_many(action: Action, *, wait: int) -> TooMany:
    limit = f"{MAX_PER_WINDOW[action]:,}"
    sentence = {
        Action.REPLAY: f"A partner can replay at most {limit} webhooks per minute",
        Action.TEST: f"A partner can send at most {limit} test webhooks per minute",
        Action.JOB: f"A partner can start at most {limit} jobs per minute",
    }[action]
    return TooMany(f"{sentence}; try again in {wait} s.", seconds=wait)
