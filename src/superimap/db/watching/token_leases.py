"""What is an access token made from, where is the one we have, and who is asking for the next?"""

# ruff: noqa: S608 - what is put into statements here are the names of our own tables

from dataclasses import dataclass, field

from asyncpg import Pool

from superimap.core.crypto import Place
from superimap.domain.providers import GrantType

LEASE = 20.0
"""Seconds for which one process alone asks the provider; longer than the longest answer takes."""

YOUNG = 60.0
"""Seconds for which a token of many users is kept although one of them was refused with it."""


@dataclass(frozen=True, slots=True)
class GrantRow:
    """What gives a user access, with client and provider; secrets are sealed, seconds are by PostgreSQL's clock.

    The token, its `version` and the lease are the user's, or their connection's where it `is_shared`. `left` and
    `life` are None without a token. `pause` is for how long nobody should ask, and `pause_reason` why.
    """

    user_id: int
    partner_id: int
    connection_id: int
    token_url: str | None
    tenant: str | None
    scope: str | None
    client_id: str | None
    client_secret: bytes | None = field(repr=False)
    refresh_token: bytes | None = field(repr=False)
    pause: float
    pause_reason: str | None
    is_shared: bool
    version: int
    access_token: bytes | None = field(repr=False)
    life: float | None
    left: float | None

    @property
    def table(self) -> str:
        """Whose row it is in."""
        return "connections" if self.is_shared else "users"

    @property
    def row(self) -> int:
        """Its id there."""
        return self.connection_id if self.is_shared else self.user_id

    def place(self, column: str) -> Place:
        """Where a secret of it is sealed for."""
        return Place(self.table, column, self.partner_id, str(self.row))


async def load(pool: Pool, user_id: int) -> GrantRow | None:
    """The grant as it is now; None if the user is gone."""
    held = """{0}.oauth2_token_version, {0}.oauth2_access_token, {0}.oauth2_access_token_life,
              extract(epoch FROM {0}.oauth2_access_token_expires_at - now())::float8"""
    sql = f"""
        SELECT u.id, u.partner_id, u.connection_id, p.oauth2_token_url, c.oauth2_tenant, p.oauth2_scope,
               c.oauth2_client_id, c.oauth2_client_secret, u.oauth2_refresh_token,
               coalesce(greatest(0, extract(epoch FROM c.oauth2_pause_until - now()))::float8, 0),
               c.oauth2_pause_reason, held.*
        FROM users u JOIN connections c ON c.id = u.connection_id JOIN providers p ON p.id = c.provider_id
        CROSS JOIN LATERAL (
            SELECT true, {held.format("c")} WHERE p.oauth2_grant_type = $2
            UNION ALL SELECT false, {held.format("u")} WHERE p.oauth2_grant_type IS DISTINCT FROM $2
        ) held
        WHERE u.id = $1
    """
    row = await pool.fetchrow(sql, user_id, GrantType.CLIENT_CREDENTIALS)
    return GrantRow(*row) if row else None


async def claim(pool: Pool, grant: GrantRow) -> bool:
    """Be the one who asks for the next token, for `LEASE` seconds.

    False if somebody else is, if the token or what it is made from has changed since `grant` was loaded, or if
    nobody should ask by now: thousands may have waited for their turn meanwhile.
    """
    sql = f"""
        UPDATE {grant.table} SET oauth2_lease_until = now() + make_interval(secs => $3)
        WHERE id = $1 AND oauth2_token_version = $2 AND coalesce(oauth2_lease_until <= now(), true)
          AND NOT EXISTS (SELECT FROM connections WHERE id = $4 AND oauth2_pause_until > now())
        RETURNING true
    """
    return bool(await pool.fetchval(sql, grant.row, grant.version, LEASE, grant.connection_id))


async def store(
    pool: Pool, grant: GrantRow, *, access_token: bytes, life: float, left: float, refresh_token: bytes | None
) -> int | None:
    """Keep what the provider gave, and its version; a late answer counts as long as nobody has stored another.

    None if the grant is another by now. Told twice, as the first answer was lost, it is kept again.
    """
    rotated = ", oauth2_refresh_token = coalesce($6, oauth2_refresh_token)" if not grant.is_shared else ""
    resumed = ", oauth2_pause_until = NULL, oauth2_pause_reason = NULL" if grant.is_shared else ""
    sql = f"""
        UPDATE {grant.table} SET oauth2_access_token = $3, oauth2_access_token_life = $4,
            oauth2_access_token_expires_at = now() + make_interval(secs => $5),
            oauth2_token_version = oauth2_token_version + 1, oauth2_lease_until = NULL {rotated}{resumed}
        WHERE id = $1 AND (oauth2_token_version = $2 OR oauth2_access_token = $3)
        RETURNING oauth2_token_version
    """
    given = [grant.row, grant.version, access_token, life, left]
    version: int | None = await pool.fetchval(sql, *given, *([] if grant.is_shared else [refresh_token]))
    return version


async def give_up(pool: Pool, grant: GrantRow) -> None:
    """Let others ask at once: there was no token to be had."""
    sql = f"UPDATE {grant.table} SET oauth2_lease_until = NULL WHERE id = $1 AND oauth2_token_version = $2"
    await pool.execute(sql, grant.row, grant.version)


async def pause(pool: Pool, grant: GrantRow, *, seconds: float, reason: str) -> None:
    """Have nobody ask for tokens of this connection so long, unless it has another client secret by now."""
    sql = """
        UPDATE connections SET oauth2_pause_until = now() + make_interval(secs => $3), oauth2_pause_reason = $4
        WHERE id = $1 AND oauth2_client_secret = $2
    """
    await pool.execute(sql, grant.connection_id, grant.client_secret, seconds, reason[:200])


async def forget(pool: Pool, user_id: int) -> None:
    """Drop the access token that is kept: the mail server would not take it.

    That of a whole connection only if it is not young: one user without rights must not have it made anew
    again and again.
    """
    sql = """
        WITH own AS (
            UPDATE users SET oauth2_access_token = NULL WHERE id = $1 AND oauth2_access_token IS NOT NULL
        )
        UPDATE connections SET oauth2_access_token = NULL
        WHERE id = (SELECT connection_id FROM users WHERE id = $1) AND oauth2_access_token IS NOT NULL
          AND oauth2_access_token_expires_at
              < now() + make_interval(secs => greatest(oauth2_access_token_life - $2, 0))
    """
    await pool.execute(sql, user_id, YOUNG)
