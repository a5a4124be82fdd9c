"""What is needed to get a user's access token, and where the one we have is kept."""

from dataclasses import dataclass
from datetime import datetime

from asyncpg import Pool


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A user's OAuth 2.0 grant with its client and provider; secrets are sealed."""

    user_id: int
    partner_id: int
    connection_id: int
    token_url: str | None
    client_id: str | None
    client_secret: bytes | None
    refresh_token: bytes | None
    access_token: bytes | None
    is_fresh: bool


async def load(pool: Pool, user_id: int, *, margin: float) -> GrantRow | None:
    """The grant; its access token is fresh if it lives `margin` seconds longer. None if the user is gone."""
    sql = """
        SELECT u.id, u.partner_id, u.connection_id, p.oauth2_token_url, c.oauth2_client_id,
               c.oauth2_client_secret, u.oauth2_refresh_token, u.oauth2_access_token,
               coalesce(u.oauth2_access_token_expires_at > now() + make_interval(secs => $2), false)
        FROM users u JOIN connections c ON c.id = u.connection_id JOIN providers p ON p.id = c.provider_id
        WHERE u.id = $1
    """
    row = await pool.fetchrow(sql, user_id, margin)
    return GrantRow(*row) if row else None


async def store(
    pool: Pool,
    user_id: int,
    *,
    old_refresh_token: bytes,
    access_token: bytes,
    expires_in: int,
    refresh_token: bytes | None,
) -> datetime | None:
    """Keep what the provider gave, unless the user has another grant by now; when it expires."""
    sql = """
        UPDATE users SET oauth2_access_token = $3,
            oauth2_access_token_expires_at = now() + make_interval(secs => $4),
            oauth2_refresh_token = coalesce($5, oauth2_refresh_token)
        WHERE id = $1 AND oauth2_refresh_token = $2
        RETURNING oauth2_access_token_expires_at
    """
    expires_at: datetime | None = await pool.fetchval(
        sql, user_id, old_refresh_token, access_token, float(expires_in), refresh_token
    )
    return expires_at


async def forget(pool: Pool, user_id: int) -> bool:
    """Drop the access token that is kept: the mail server would not take it. Whether there was one."""
    sql = """
        UPDATE users SET oauth2_access_token = NULL
        WHERE id = $1 AND oauth2_access_token IS NOT NULL RETURNING true
    """
    return bool(await pool.fetchval(sql, user_id))
