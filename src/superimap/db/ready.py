"""Is the database there, as new as the code, and does our key open it? Asked once, before any work."""

import asyncio
import logging

from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.backoff import Backoff
from superimap.core.config_values import mask_password
from superimap.core.crypto import Vault
from superimap.db import engine, vaults
from superimap.db.engine import UNAVAILABLE
from superimap.db.migrate import configuration

log = logging.getLogger(__name__)

UNREADY: tuple[type[BaseException], ...] = (SQLAlchemyError, *UNAVAILABLE)


class NotMigrated(Exception):
    """The schema is not what this code works with."""


async def wait(url: str, vault: Vault) -> None:
    """Return once the database is reachable, migrated and unlocked; tries for as long as it takes.

    Processes are started in any order: one that comes first waits for PostgreSQL and for `superimap
    migrate`. Raises VaultError if the ring opens nothing here: waiting would not change that.
    """
    backoff = Backoff(first=0.5, longest=5.0)
    async with engine.sessions(url, pool_size=2) as sessions:
        while True:
            try:
                async with sessions.begin() as db:
                    await _check_schema(db, url)
                    await vaults.unlock(db, vault)
                return
            except NotMigrated as error:
                log.warning("waiting for the schema: %s", error)
            except UNREADY as error:
                reason = str(getattr(error, "orig", None) or error) or type(error).__name__
                log.warning("waiting for PostgreSQL at %s: %s", mask_password(url), reason)
            await asyncio.sleep(0.2 + backoff.next())


async def _check_schema(db: AsyncSession, url: str) -> None:
    head = ScriptDirectory.from_config(configuration(url)).get_current_head()
    if not await db.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL")):
        raise NotMigrated("the database is empty; run `superimap migrate`")
    version = await db.scalar(text("SELECT version_num FROM alembic_version"))
    known = {script.revision for script in ScriptDirectory.from_config(configuration(url)).walk_revisions()}
    if version != head and version in known:
        raise NotMigrated(f"it is at {version}, this code wants {head}; run `superimap migrate`")
