"""What an idler must know of the users it watches, and what it tells of their sessions."""

# ruff: noqa: S608 - what is put into statements here are the words of our own enumerations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from asyncpg import Pool

from superimap.db.watching.events import telling
from superimap.domain.events import ReasonCode
from superimap.domain.providers import ProviderKind
from superimap.domain.users import StatusChange, UserStatus, status_after


@dataclass(frozen=True, slots=True)
class Wanted:
    """A user who should be watched; another `version` means other credentials."""

    user_id: int
    shard: int
    version: int


@dataclass(frozen=True, slots=True)
class WatchedUser:
    """What a session needs, read anew at each connect.

    `wait` is how many seconds to stay away, by PostgreSQL's clock. What differs by provider is None where it
    does not (see `providers.Preset`).
    """

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
    idle_renew: int | None
    poll_by: Literal["noop", "status"] | None
    poll_seconds: int | None
    logins_per_second: float | None
    folders: tuple[str, ...]
    has_own_server: bool
    wait: float

    @property
    def account(self) -> str:
        """The name that the user signs in with, and where, if that is not the provider's own server."""
        name = self.email if self.provider_kind == ProviderKind.OAUTH2 else self.login_username
        return (name or "").lower() + (f"\t{self.imap_host}" if self.has_own_server else "")


async def wanted(pool: Pool, shards: Iterable[int]) -> list[Wanted]:
    """The users of these shards who should be watched."""
    sql = """
        SELECT id, shard, credentials_version FROM users
        WHERE shard = ANY($1::smallint[]) AND NOT archived AND connected_at IS NOT NULL
        ORDER BY id
    """
    return [Wanted(*row) for row in await pool.fetch(sql, list(shards))]


async def load(pool: Pool, user_id: int) -> WatchedUser | None:
    """The user with provider; None if there is nobody to watch any more."""
    sql = """
        SELECT u.id AS user_id, u.partner_id, u.shard, u.tag, u.email, u.login_username, u.login_password,
               u.oauth2_refresh_token, u.connected_at, u.credentials_version AS version,
               p.code AS provider_code, p.kind AS provider_kind, own AS has_own_server,
               CASE WHEN own THEN u.imap_host ELSE p.imap_host END AS imap_host,
               CASE WHEN own THEN u.imap_port ELSE p.imap_port END AS imap_port,
               CASE WHEN own THEN u.imap_tls ELSE p.imap_tls END AS imap_tls,
               p.idle_renew, p.poll_by, p.poll_seconds, p.logins_per_second, p.folders,
               greatest(0, extract(epoch FROM u.retry_at - now()))::float8 AS wait
        FROM users u JOIN connections c ON c.id = u.connection_id JOIN providers p ON p.id = c.provider_id,
             LATERAL (SELECT p.host_by_user AND u.imap_host IS NOT NULL) servers(own)
        WHERE u.id = $1 AND NOT u.archived AND u.connected_at IS NOT NULL
    """
    row = await pool.fetchrow(sql, user_id)
    if row is None:
        return None
    values = dict(row)
    folders = values.pop("folders") or ""
    return WatchedUser(**values, folders=tuple(filter(None, map(str.strip, folders.split(",")))))


def _after(happening: StatusChange) -> str:
    """`status_after` as SQL, of the column `u.status`."""
    cases = (f"WHEN '{status}' THEN '{status_after(status, happening)}'" for status in UserStatus)
    return f"CASE u.status {' '.join(cases)} END"


def _stands(happening: StatusChange) -> str:
    """A session stands. Who was stalled has recovered, who had to sign in again has: told here, once."""
    return f"""
        WITH stands AS (
            UPDATE users u SET last_proven_alive_at = now(), status_reason = NULL, stalled_at = NULL,
                retry_at = NULL, reauth = NULL, status = {_after(happening)},
                last_login_at = CASE WHEN $3 THEN now() ELSE u.last_login_at END,
                status_since = CASE WHEN u.status = {_after(happening)} THEN u.status_since ELSE now() END
            FROM (SELECT id, stalled_at, reauth FROM users WHERE id = $1 FOR NO KEY UPDATE) was
            WHERE u.id = was.id AND u.credentials_version = $2 AND NOT u.archived
            RETURNING u.id AS user_id, u.partner_id, NULL AS code, NULL AS reason, was.stalled_at, was.reauth
        ), happened AS (
            SELECT *, 'recovered' AS kind FROM stands WHERE stalled_at IS NOT NULL
            UNION ALL
            SELECT *, 'restored' AS kind FROM stands WHERE reauth IS NOT NULL
        ), {telling("happened")}
        SELECT count(*) FROM told
    """


_STANDS, _LAGS = _stands(StatusChange.CAUGHT_UP), _stands(StatusChange.CATCHING_UP)
_TOLD = {
    happening: f"""
        UPDATE users u SET status = {_after(happening)}, status_reason = $2,
            retry_at = now() + make_interval(secs => $4::float8),
            status_since = CASE WHEN u.status = {_after(happening)} THEN u.status_since ELSE now() END
        WHERE u.id = $1 AND u.credentials_version = $3 AND NOT u.archived
          AND ((u.status, u.status_reason) IS DISTINCT FROM ({_after(happening)}, $2) OR $4::float8 IS NOT NULL)
    """
    for happening in (StatusChange.CONNECTION_LOST, StatusChange.THROTTLED, StatusChange.LOGIN_REFUSED)
}
_REFUSED = f"""
    WITH refused AS (
        UPDATE users u SET status = {_after(StatusChange.LOGIN_REFUSED)}, status_reason = $2, reauth = 'required',
            retry_at = now() + make_interval(secs => $4::float8),
            status_since = CASE WHEN u.status = {_after(StatusChange.LOGIN_REFUSED)}
                THEN u.status_since ELSE now() END
        FROM (SELECT id, reauth FROM users WHERE id = $1 FOR NO KEY UPDATE) was
        WHERE u.id = was.id AND u.credentials_version = $3 AND NOT u.archived
        RETURNING u.id, u.partner_id, was.reauth
    ), happened AS (
        SELECT partner_id, id AS user_id, 'reauth_required' AS kind, $5::text AS code, $2 AS reason
        FROM refused WHERE reauth IS DISTINCT FROM 'required'
    ), {telling("happened")}
    SELECT count(*) FROM told
"""


async def stands(pool: Pool, user_id: int, *, version: int, is_new: bool, lags: bool = False) -> None:
    """A session stands (it `is_new`: has just signed in), or stands and `lags`.

    Nothing is noted if the credentials have changed since.
    """
    await pool.execute(_LAGS if lags else _STANDS, user_id, version, is_new)


async def tell(
    pool: Pool,
    user_id: int,
    happening: StatusChange,
    *,
    reason: str,
    version: int,
    retry_in: float | None = None,
) -> None:
    """Say what has come of the session, for a person to read; `since` moves when the status does.

    `retry_in` seconds from now no idler signs in, whichever it will be and however often it starts; None: no
    such wait.
    """
    await pool.execute(_TOLD[happening], user_id, reason.replace("\0", "")[:500], version, retry_in)


async def refuse(
    pool: Pool, user_id: int, *, code: ReasonCode, reason: str, version: int, retry_in: float
) -> bool:
    """`tell` that the credentials are refused, and that the person alone can mend it. Whether that is news.

    The partner is told the first time, and again only once the user has signed in, or other credentials have come.
    """
    told: int = await pool.fetchval(
        _REFUSED, user_id, reason.replace("\0", "")[:500], version, retry_in, code
    )
    return bool(told)
