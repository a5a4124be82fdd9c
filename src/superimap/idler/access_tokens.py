"""Access tokens of users, requested once for all processes that need the same one.

A token lease in the row that holds the token says which process asks the provider. It expires by itself if that
process dies. No database connection is held during the request. The answer is stored before it is used: where
refresh tokens rotate, the old one is void by then.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import asyncpg
import httpx
from asyncpg import Pool

from superimap.core import metrics
from superimap.core.backoff import Backoff
from superimap.core.crypto import Place, Vault, VaultError
from superimap.db.postgres import UNAVAILABLE
from superimap.db.watching import token_leases as queries
from superimap.db.watching.token_leases import GrantRow
from superimap.domain.providers import APP_ONLY_GRANTS, ClientAuth, GrantType
from superimap.idler.token_pauses import check_pause, pause_after
from superimap.oauth import token_lifetime
from superimap.oauth.client_auth import OAuthClient
from superimap.oauth.refusal_codes import TokenRefusal
from superimap.oauth.token_endpoint import TokenResponse, client_credentials, jwt_bearer, refresh, token_url
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable

log = logging.getLogger(__name__)

RequestSlot = Callable[[str], AbstractAsyncContextManager[None]]
"""Limiter of token requests: waits for a slot for the given URL, and holds it."""

TOKEN_WAIT_SECONDS = 45.0
"""Longest wait for a token that another task or process requests, or that cannot be stored."""
FIRST_POLL_SECONDS = 0.1
"""Interval in which to look whether another process has the token; it grows to MAX_POLL_SECONDS."""
MAX_POLL_SECONDS = 0.5
MAX_STORE_PAUSE_SECONDS = 2.0
"""Longest pause between attempts to store a provider's answer while PostgreSQL is unreachable."""
CLOSE_SECONDS = 5.0
"""Time that requests in progress have when the process stops."""
DEFAULT_LIFETIME_SECONDS = 3600.0
"""Lifetime of a token of which only the end is known; most live for an hour."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token, issued for `lifetime` seconds, that expires at the event loop's time `expires_at`.

    `is_new` says that it was issued for the caller that got it. `is_shared` says that it opens every mailbox of a
    connection.
    """

    token: str = field(repr=False)
    lifetime: float
    expires_at: float
    version: int
    is_new: bool
    is_shared: bool

    @property
    def seconds_left(self) -> float:
        """Seconds until it expires."""
        return self.expires_at - asyncio.get_running_loop().time()

    @property
    def is_aged(self) -> bool:
        """Whether it is to be replaced."""
        return token_lifetime.is_aged(self.lifetime, self.seconds_left, is_shared=self.is_shared)

    def rollover_delay(self, chance: float) -> float:
        """Return the seconds after which a session with it reconnects with a new one; `chance` is in [0, 1)."""
        return token_lifetime.roll_over_delay(
            self.lifetime, self.seconds_left, chance, is_new=self.is_new, is_shared=self.is_shared
        )


class AccessTokens:
    """Source of users' access tokens. On exit it waits CLOSE_SECONDS for answers in progress, to store them."""

    def __init__(
        self, pool: Pool, vault: Vault, http: httpx.AsyncClient, *, request_slot: RequestSlot
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._http = http
        self._request_slot = request_slot
        self._requests: dict[tuple[str, int], asyncio.Task[AccessToken]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._requests.values())
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def get(self, user_id: int, *, after: AccessToken | None = None) -> AccessToken:
        """Return the stored token, or a new one if it is aged; the aged one if the provider gives no new one.

        With `after`, a token that the caller has, return another one that is not aged. Raises TokenRefused,
        TokenUnavailable, VaultError, and what an unreachable database raises.
        """
        deadline = asyncio.get_running_loop().time() + TOKEN_WAIT_SECONDS
        pause = FIRST_POLL_SECONDS
        while True:
            grant = await queries.load(self._pool, user_id)
            if grant is None:
                raise TokenRefused("the user no longer exists")
            stored = self._stored(grant)
            if after is not None and stored is not None and stored.version == after.version:
                stored = None
            if stored is not None and not stored.is_aged:
                return stored
            fallback = stored if after is None and stored is not None and stored.seconds_left > 0 else None
            try:
                token = await self._request_once(grant, deadline)
            except (TokenUnavailable, TokenRefused) as error:
                if fallback is not None and (
                    isinstance(error, TokenUnavailable) or error.keeps_current_token
                ):
                    return fallback
                raise
            if token is not None:
                return token
            if asyncio.get_running_loop().time() > deadline:
                raise TokenUnavailable("another process requests the access token and does not get it")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, MAX_POLL_SECONDS)

    async def forget(self, user_id: int) -> None:
        """Drop the stored token, because the mail server refused it."""
        await queries.discard_token(self._pool, user_id)

    def _stored(self, grant: GrantRow) -> AccessToken | None:
        if grant.access_token is None or grant.left is None:
            return None
        return AccessToken(
            self._vault.open_text(grant.access_token, grant.place("oauth2_access_token")),
            lifetime=grant.life or max(DEFAULT_LIFETIME_SECONDS, grant.left),
            expires_at=asyncio.get_running_loop().time() + grant.left,
            version=grant.version,
            is_new=False,
            is_shared=grant.is_shared,
        )

    async def _request_once(self, grant: GrantRow, deadline: float) -> AccessToken | None:
        """Request a token, or join a request in progress in this process; None if another process requests it."""
        client = self._client(grant)
        key = (grant.table, grant.row)
        task = self._requests.get(key)
        if task is None:
            check_pause(grant)
            async with self._request_slot(client.token_url):
                if key not in self._requests and not await queries.claim(self._pool, grant):
                    return None
                # Nothing is awaited between the claim and this, and a cancelled caller leaves the task running.
                task = self._requests.get(key) or self._start_request(key, grant, client)
                return await _wait_for(task, deadline)
        return await _wait_for(task, deadline)

    def _start_request(
        self, key: tuple[str, int], grant: GrantRow, client: OAuthClient
    ) -> asyncio.Task[AccessToken]:
        task = asyncio.create_task(self._request_and_store(grant, client), name=f"token of {key[0]} {key[1]}")
        self._requests[key] = task

        def ended(_: asyncio.Task[AccessToken]) -> None:
            del self._requests[key]
            if not task.cancelled():
                task.exception()  # retrieved even if no caller waits any more

        task.add_done_callback(ended)
        return task

    async def _request_and_store(self, grant: GrantRow, client: OAuthClient) -> AccessToken:
        try:
            given = await self._request(grant, client)
        except (TokenRefused, TokenUnavailable, VaultError) as error:
            await self._end_lease(grant, error)
            raise
        metrics.TOKEN_REQUESTS.labels(outcome="given").inc()
        return await self._store(grant, given)

    async def _end_lease(self, grant: GrantRow, error: Exception) -> None:
        refused = not isinstance(error, TokenUnavailable)
        metrics.TOKEN_REQUESTS.labels(outcome="refused" if refused else "unavailable").inc()
        with suppress(*UNAVAILABLE):  # the lease expires by itself
            if (pause := pause_after(error, is_shared=grant.is_shared)) is not None:
                await queries.pause_connection(self._pool, grant, seconds=pause[0], reason=pause[1])
            await queries.release(self._pool, grant)

    async def _request(self, grant: GrantRow, client: OAuthClient) -> TokenResponse:
        if grant.is_shared:
            return await client_credentials(self._http, client, scope=grant.scope or "")
        if grant.grant_type == GrantType.JWT_BEARER:
            return await jwt_bearer(self._http, client, account=grant.email or "", scope=grant.scope or "")
        sealed = grant.refresh_token or b""
        opened = self._vault.open_text(sealed, grant.place("oauth2_refresh_token"))
        return await refresh(self._http, client, refresh_token=opened)

    async def _store(self, grant: GrantRow, given: TokenResponse) -> AccessToken:
        """Store the answer, however long PostgreSQL is unreachable: a rotated token exists nowhere else."""
        loop = asyncio.get_running_loop()
        expires_at = loop.time() + given.expires_in
        seal, place = self._vault.seal_text, grant.place
        access_token = seal(given.access_token, place("oauth2_access_token"))
        rotated = given.refresh_token and seal(given.refresh_token, place("oauth2_refresh_token"))
        backoff = Backoff(first=0.1, longest=MAX_STORE_PAUSE_SECONDS)
        while True:
            try:
                version = await queries.store_token(
                    self._pool,
                    grant,
                    access_token=access_token,
                    life=given.expires_in,
                    left=expires_at - loop.time(),
                    refresh_token=rotated or None,
                )
                break
            except (asyncpg.PostgresError, *UNAVAILABLE) as error:  # also if a lock is held for too long
                log.warning("an access token is not stored yet: %s", error, extra={"user_id": grant.user_id})
                await asyncio.sleep(backoff.next())
        if version is None:
            raise TokenUnavailable("the user has other credentials now")
        is_shared = grant.is_shared
        return AccessToken(
            given.access_token, given.expires_in, expires_at, version, is_new=True, is_shared=is_shared
        )

    def _client(self, grant: GrantRow) -> OAuthClient:
        """Return the connection's OAuth client. Raises TokenRefused if something is missing, and VaultError."""
        if grant.grant_type not in APP_ONLY_GRANTS and grant.refresh_token is None:
            raise TokenRefused("no refresh token is stored")
        if grant.token_url is None or grant.client_id is None or grant.client_secret is None:
            raise TokenRefused("the connection has no OAuth 2.0 client", TokenRefusal.CLIENT)
        url = token_url(grant.token_url, grant.tenant)
        at_connection = Place(
            "connections", "oauth2_client_secret", grant.partner_id, str(grant.connection_id)
        )
        secret = self._vault.open_text(grant.client_secret, at_connection)
        return OAuthClient(
            url, grant.client_id, secret, ClientAuth(grant.client_auth or ClientAuth.SECRET_POST)
        )


async def _wait_for(task: asyncio.Task[AccessToken], deadline: float) -> AccessToken:
    """Wait for a request until `deadline`. Cancelling the caller does not cancel it: no answer may be lost."""
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncio.shield(task)
    except TimeoutError:
        raise TokenUnavailable("the request for an access token takes too long") from None
