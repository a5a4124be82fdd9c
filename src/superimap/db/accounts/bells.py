"""How a change of users reaches the idlers: NOTIFY, which is part of the changing transaction."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

USERS = "superimap_users"


async def ring_users(db: AsyncSession, shard: int) -> None:
    """Tell whoever owns this shard, on commit, that one of its users changed."""
    await db.execute(text("SELECT pg_notify(:channel, :shard)"), {"channel": USERS, "shard": str(shard)})
