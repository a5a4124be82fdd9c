"""Alembic environment: connects through asyncpg to the URL that it is given, or to DATABASE_URL."""

import asyncio
import time

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from superimap.core.environment import load_settings
from superimap.db.engine import connector
from superimap.db.migrate import LOCK_KEY, LOCK_RETRY_SECONDS
from superimap.db.models import Base


def run(connection: Connection) -> None:
    # If several processes start together, one migrates; the others wait and find nothing to do. They wait without
    # a snapshot: an index that is built concurrently waits for all older ones, which would be a deadlock.
    connection.execute(text("SET lock_timeout = 0"))
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_KEY}):
        connection.commit()
        time.sleep(LOCK_RETRY_SECONDS)
    connection.commit()
    context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_run() -> None:
    url = context.config.attributes.get("url") or load_settings().session_url
    connect = connector(
        url, statement_timeout=None, needs_session=True
    )  # for a lock that outlasts transactions
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(connect_and_run())
