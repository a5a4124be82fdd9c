"""Start-up check: the database is reachable, its schema is recent enough, and the vault decrypts its values."""

import asyncio
import logging
from collections.abc import Callable

import asyncpg

from superimap.core.backoff import Backoff
from superimap.core.crypto import Vault
from superimap.core.errors import SuperImapError
from superimap.core.setting_types import mask_password
from superimap.db import canaries, postgres
from superimap.db.failures import UNAVAILABLE, explain
from superimap.db.revisions import known_revisions

log = logging.getLogger(__name__)

NOT_READY: tuple[type[BaseException], ...] = (asyncpg.PostgresError, *UNAVAILABLE)


class NotMigrated(SuperImapError):
    """The schema is older than this code; `superimap migrate` brings it up to date."""


async def wait(
    url: str,
    vault: Vault,
    *,
    session_url: str | None = None,
    report: Callable[[str | None], None] = lambda _: None,
) -> None:
    """Return once the database is reachable, migrated and opened by `vault`; there is no time limit.

    If there is a `session_url`, it is tested too: processes that need a session connect to it.

    `report` is called with the reason of the wait, and with None at its end.

    Processes start in any order: one that starts first waits for PostgreSQL and for `superimap migrate`.
    Raises VaultError if no key of the vault opens this database, and SessionNotKept if `session_url` leads to a
    pooler in transaction mode: waiting would not change that.
    """
    backoff = Backoff(first=0.5, longest=5.0)
    while True:
        try:
            async with postgres.transaction(url) as connection:
                await _check_schema(connection)
                await canaries.verify_vault(connection, vault)
            if session_url is not None:
                await (await postgres.connect(session_url, needs_session=True)).close()
            report(None)
            return
        except NotMigrated as error:
            log.warning("waiting for the schema: %s", error)
            report(str(error))
        except NOT_READY as error:
            report(explain(error))
            reason = str(error) or type(error).__name__
            log.warning("waiting for PostgreSQL at %s: %s", mask_password(url), reason)
        await asyncio.sleep(0.2 + backoff.next())


async def _check_schema(connection: asyncpg.Connection) -> None:
    """Raise NotMigrated if the schema is older than this code; a newer one, unknown here, is accepted."""
    known = known_revisions()
    head = known[-1]
    if not await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL"):
        raise NotMigrated("the database is empty; run `superimap migrate`")
    version = await connection.fetchval("SELECT version_num FROM alembic_version")
    if version != head and version in known:
        raise NotMigrated(f"it is at {version}, this code needs {head}; run `superimap migrate`")
