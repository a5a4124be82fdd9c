"""How often may a partner do what costs others something? Counted in PostgreSQL, so by all processes together."""

from enum import StrEnum

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.errors import TooMany
from superimap.db.models import Allowance

WINDOW_SECONDS = 60
"""Seconds: a window begins with the first use after the one before has ended."""


class Action(StrEnum):
    """What is counted."""

    REPLAY = "replay"
    TEST = "test"


MAX_PER_WINDOW = {Action.REPLAY: 1_000, Action.TEST: 10}


async def use(db: AsyncSession, partner_id: int, action: Action, wanted: int = 1) -> int:
    """How many of `wanted` the partner may do now, at least one; they count as done. Raises TooMany.

    Others who ask for the same partner and action wait for the commit, and what is rolled back was not done.
    """
    row = {"partner_id": partner_id, "action": action}
    await db.execute(insert(Allowance).values(row).on_conflict_do_nothing())
    passed = func.extract("epoch", func.clock_timestamp() - Allowance.since)
    mine = (Allowance.partner_id == partner_id, Allowance.action == action)
    found = await db.execute(select(Allowance.used, passed).where(*mine).with_for_update())
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
    """So many of what was taken were not done after all."""
    statement = update(Allowance).where(Allowance.partner_id == partner_id, Allowance.action == action)
    await db.execute(statement.values(used=Allowance.used - count))


def _too_many(action: Action, *, wait: int) -> TooMany:
    most = f"{MAX_PER_WINDOW[action]:,}"
    sentence = {
        Action.REPLAY: f"A partner replays at most {most} webhooks a minute",
        Action.TEST: f"A partner sends at most {most} test webhooks a minute",
    }[action]
    return TooMany(f"{sentence}; go on in {wait} s.", seconds=wait)
