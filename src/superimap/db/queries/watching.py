"""What an idler must know of the users it watches, and what it tells of their sessions."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from asyncpg import Pool

from superimap.db.models.user import ProviderKind, UserStatus


@dataclass(frozen=True, slots=True)
class Wanted:
    """A user who should be watched; another `version` means other credentials."""

    user_id: int
    shard: int
    version: int


@dataclass(frozen=True, slots=True)
class Watched:
    """What a session needs, read anew at each connect."""

    user_id: int
    partner_id: int
    shard: int
    tag: str
    email: str | None
    login_username: str | None
    login_password: bytes | None
    oauth2_refresh_token: bytes | None
    connected_at: datetime
    version: int
    provider_code: str
    provider_kind: str
    imap_host: str
    imap_port: int
    imap_tls: Literal["tls", "starttls", "none"]

    @property
    def account(self) -> str:
        """The name that the user signs in with."""
        name = self.email if self.provider_kind == ProviderKind.OAUTH2 else self.login_username
        return (name or "").lower()


async def wanted(pool: Pool, shards: Iterable[int]) -> list[Wanted]:
    """The users of these shards who should be watched."""
    sql = """
        SELECT id, shard, credentials_version FROM users
        WHERE shard = ANY($1::smallint[]) AND NOT archived AND connected_at IS NOT NULL
        ORDER BY id
    """
    return [Wanted(*row) for row in await pool.fetch(sql, list(shards))]


async def load(pool: Pool, user_id: int) -> Watched | None:
    """The user with provider; None if there is nobody to watch any more."""
    sql = """
        SELECT u.id, u.partner_id, u.shard, u.tag, u.email, u.login_username, u.login_password,
               u.oauth2_refresh_token, u.connected_at, u.credentials_version,
               p.code, p.kind, p.imap_host, p.imap_port, p.imap_tls
        FROM users u JOIN connections c ON c.id = u.connection_id JOIN providers p ON p.id = c.provider_id
        WHERE u.id = $1 AND NOT u.archived AND u.connected_at IS NOT NULL
    """
    row = await pool.fetchrow(sql, user_id)
    return Watched(*row) if row else None


async def logged_in(pool: Pool, user_id: int, *, version: int) -> None:
    """A session stands: note it, unless the credentials have changed since."""
    sql = """
        UPDATE users SET last_login_at = now(), last_proven_alive_at = now(), status = 'watching',
            status_reason = NULL,
            status_since = CASE WHEN status = 'watching' THEN status_since ELSE now() END
        WHERE id = $1 AND credentials_version = $2 AND NOT archived
    """
    await pool.execute(sql, user_id, version)


async def alive(pool: Pool, user_id: int) -> None:
    """The mail server has just answered."""
    await pool.execute("UPDATE users SET last_proven_alive_at = now() WHERE id = $1", user_id)


async def tell(pool: Pool, user_id: int, status: UserStatus, *, reason: str, version: int) -> None:
    """Set the status with its reason, which a person reads; `since` moves when the status does."""
    sql = """
        UPDATE users SET status = $2, status_reason = $3,
            status_since = CASE WHEN status = $2 THEN status_since ELSE now() END
        WHERE id = $1 AND credentials_version = $4 AND NOT archived
          AND (status, status_reason) IS DISTINCT FROM ($2, $3)
    """
    await pool.execute(sql, user_id, status.value, reason.replace("\0", "")[:500], version)
