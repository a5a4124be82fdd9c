"""Access tokens: the grant that each is made from, and the lease of the process that requests the next one."""

from dataclasses import dataclass, field

from asyncpg import Pool

from superimap.core.crypto import Place
from superimap.db import statements
from superimap.domain.providers import GrantType

LEASE_SECONDS = 20.0
"""Time for which one process alone asks the provider; longer than the longest answer takes."""

MIN_SHARED_TOKEN_AGE_SECONDS = 60.0
"""Age from which a token that many users share is discarded because one of them was refused with it."""

MAX_REASON_CHARACTERS = 200

_STATEMENTS = statements.load(__file__)
_LOAD_GRANT = _STATEMENTS["load_grant"]
_CLAIM_USER_LEASE = _STATEMENTS["claim_user_lease"]
_CLAIM_CONNECTION_LEASE = _STATEMENTS["claim_connection_lease"]
_STORE_USER_TOKEN = _STATEMENTS["store_user_token"]
_STORE_CONNECTION_TOKEN = _STATEMENTS["store_connection_token"]
_RELEASE_USER_LEASE = _STATEMENTS["release_user_lease"]
_RELEASE_CONNECTION_LEASE = _STATEMENTS["release_connection_lease"]
_PAUSE_CONNECTION = _STATEMENTS["pause_connection"]
_DISCARD_TOKEN = _STATEMENTS["discard_token"]


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A user's grant with its client and provider. Secrets are sealed; times are seconds by PostgreSQL's clock.

    The token, its `version` and its lease are in the user's row, or in the connection's row if the token
    `is_shared`. `left` and `life` are None without a token. For `pause` seconds no process may request a token;
    `pause_reason` says why. `email` is the account for which an application signs.
    """

    user_id: int
    partner_id: int
    connection_id: int
    token_url: str | None
    tenant: str | None
    scope: str | None
    client_id: str | None
    client_secret: bytes | None = field(repr=False)
    client_auth: str | None
    refresh_token: bytes | None = field(repr=False)
    pause: float
    pause_reason: str | None
    grant_type: str | None
    email: str | None
    is_shared: bool
    version: int
    access_token: bytes | None = field(repr=False)
    life: float | None
    left: float | None

    @property
    def table(self) -> str:
        """The table whose row holds the token."""
        return "connections" if self.is_shared else "users"

    @property
    def row(self) -> int:
        """The id of that row."""
        return self.connection_id if self.is_shared else self.user_id

    def place(self, column: str) -> Place:
        """Return the place for which a secret of that row is sealed."""
        return Place(self.table, column, self.partner_id, str(self.row))


async def load(pool: Pool, user_id: int) -> GrantRow | None:
    """Return the grant as it is now; None if the user no longer exists."""
    row = await pool.fetchrow(
        *_LOAD_GRANT.bind(user_id=user_id, shared_grant_type=GrantType.CLIENT_CREDENTIALS)
    )
    return GrantRow(*row) if row else None


async def claim(pool: Pool, grant: GrantRow) -> bool:
    """Take the lease to request the next token, for LEASE_SECONDS.

    Returns False if another process holds the lease, if the token or what it is made from has changed since
    `grant` was loaded, or if no process may ask by now: thousands may have waited for their turn meanwhile.
    """
    given = {"connection_id": grant.connection_id, "version": grant.version, "lease": LEASE_SECONDS}
    if grant.is_shared:
        return bool(await pool.fetchval(*_CLAIM_CONNECTION_LEASE.bind(**given)))
    return bool(await pool.fetchval(*_CLAIM_USER_LEASE.bind(user_id=grant.user_id, **given)))


async def store_token(
    pool: Pool, grant: GrantRow, *, access_token: bytes, life: float, left: float, refresh_token: bytes | None
) -> int | None:
    """Store the provider's answer and return the token's version; None if the grant has changed.

    A late answer counts as long as no other has been stored. An answer that is stored a second time, because the
    first result was lost, is stored again. The refresh token is not stored for a shared token, which has none.
    """
    given = {"version": grant.version, "access_token": access_token, "life": life, "left": left}
    if grant.is_shared:
        bound = _STORE_CONNECTION_TOKEN.bind(connection_id=grant.connection_id, **given)
    else:
        bound = _STORE_USER_TOKEN.bind(user_id=grant.user_id, refresh_token=refresh_token, **given)
    version: int | None = await pool.fetchval(*bound)
    return version


async def release(pool: Pool, grant: GrantRow) -> None:
    """Release the lease, so that another process may ask at once: this one received no token."""
    if grant.is_shared:
        bound = _RELEASE_CONNECTION_LEASE.bind(connection_id=grant.connection_id, version=grant.version)
    else:
        bound = _RELEASE_USER_LEASE.bind(user_id=grant.user_id, version=grant.version)
    await pool.execute(*bound)


async def pause_connection(pool: Pool, grant: GrantRow, *, seconds: float, reason: str) -> None:
    """Stop all requests for tokens of this connection for a time, unless it has another client secret by now."""
    await pool.execute(
        *_PAUSE_CONNECTION.bind(
            connection_id=grant.connection_id,
            client_secret=grant.client_secret,
            seconds=seconds,
            reason=reason[:MAX_REASON_CHARACTERS],
        )
    )


async def discard_token(pool: Pool, user_id: int) -> None:
    """Discard the stored access token, which the mail server refused.

    A token that the connection's users share is discarded only from a certain age on: one user without access must
    not cause a new one to be requested again and again.
    """
    await pool.execute(*_DISCARD_TOKEN.bind(user_id=user_id, min_age=MIN_SHARED_TOKEN_AGE_SECONDS))
