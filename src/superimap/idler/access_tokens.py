"""How does a user's grant become an access token? Refreshed once for all who ask, in whatever process they are.

PostgreSQL says who asks the provider: a lease in the row that holds the token, which runs out by itself if its
holder dies. Nothing of the database is held while the provider is asked, and what it gave is stored before it is
used: where refresh tokens rotate, the old one is dead by then.
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
from superimap.oauth import token_lifetime
from superimap.oauth.token_endpoint import OAuthClient, TokenResponse, client_credentials, refresh, token_url
from superimap.oauth.token_errors import TokenRefusal, TokenRefused, TokenUnavailable, refusal_of

log = logging.getLogger(__name__)

Turn = Callable[[str], AbstractAsyncContextManager[None]]
"""Waits for one's turn to ask at this URL."""

PATIENCE = 45.0
"""Seconds that one waits for a token that others are asking for, or that cannot be stored."""
LOOK_AGAIN = 0.1
"""Seconds until one looks whether they have it; then longer, up to LOOK_AGAIN_AT_MOST."""
LOOK_AGAIN_AT_MOST = 0.5
STORE_AT_MOST = 2.0
"""Seconds between tries to store what a provider gave, while PostgreSQL is away."""
CLOSING = 5.0
"""Seconds that answers under way have when the process stops."""

CLIENT_PAUSE = 300.0
"""Seconds for which nobody asks with a client secret that is wrong: one question, not one per user."""
THROTTLED_PAUSE = 60.0
"""Seconds for which a whole connection asks nothing, at most, though one user was told to wait longer."""
SHARED_PAUSE = 5.0
"""Seconds between tries for a token of a whole connection, while the provider is away."""


@dataclass(frozen=True, slots=True)
class Access:
    """An access token. It was given for `life` seconds and ends at the event loop's time `ends_at`.

    `is_new`: made for whoever got this; `is_shared`: it opens every mailbox of a connection.
    """

    token: str = field(repr=False)
    life: float
    ends_at: float
    version: int
    is_new: bool
    is_shared: bool

    @property
    def left(self) -> float:
        """Seconds that it still lives."""
        return self.ends_at - asyncio.get_running_loop().time()

    @property
    def is_aged(self) -> bool:
        """Whether it is one to replace."""
        return token_lifetime.is_aged(self.life, self.left, is_shared=self.is_shared)

    def rolls_over_in(self, chance: float) -> float:
        """Seconds until a session with it should come back with another; `chance` is uniform in [0, 1)."""
        return token_lifetime.roll_over_delay(
            self.life, self.left, chance, is_new=self.is_new, is_shared=self.is_shared
        )


class Tokens:
    """The access tokens of users. On the way out, answers under way are awaited for a while and stored."""

    def __init__(self, pool: Pool, vault: Vault, http: httpx.AsyncClient, *, turn: Turn) -> None:
        self._pool = pool
        self._vault = vault
        self._http = http
        self._turn = turn
        self._under_way: dict[tuple[str, int], asyncio.Task[Access]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._under_way.values())
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSING)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def get(self, user_id: int, *, after: Access | None = None) -> Access:
        """The token that is kept while it is not aged, else a new one; the aged one where there is none to be had.

        `after` a token that one has already: another one, which is not aged. Raises TokenRefused,
        TokenUnavailable, VaultError, or what an absent database raises.
        """
        deadline = asyncio.get_running_loop().time() + PATIENCE
        pause = LOOK_AGAIN
        while True:
            grant = await queries.load(self._pool, user_id)
            if grant is None:
                raise TokenRefused("the user is gone")
            held = self._held(grant)
            if after is not None and held is not None and held.version == after.version:
                held = None
            if held is not None and not held.is_aged:
                return held
            will_do = held if after is None and held is not None and held.left > 0 else None
            try:
                access = await self._ask_once(grant, deadline)
            except (TokenUnavailable, TokenRefused) as error:
                if will_do is not None and (isinstance(error, TokenUnavailable) or error.keeps_current_token):
                    return will_do
                raise
            if access is not None:
                return access
            if asyncio.get_running_loop().time() > deadline:
                raise TokenUnavailable("another process asks for the access token, and does not get it")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LOOK_AGAIN_AT_MOST)

    async def forget(self, user_id: int) -> None:
        """The mail server would not take the token that is kept."""
        await queries.forget(self._pool, user_id)

    def _held(self, grant: GrantRow) -> Access | None:
        if grant.access_token is None or grant.left is None:
            return None
        return Access(
            self._vault.open_text(grant.access_token, grant.place("oauth2_access_token")),
            life=grant.life or life_before(grant.left),
            ends_at=asyncio.get_running_loop().time() + grant.left,
            version=grant.version,
            is_new=False,
            is_shared=grant.is_shared,
        )

    async def _ask_once(self, grant: GrantRow, deadline: float) -> Access | None:
        """Ask the provider, or join who does in this process; None if that is another process."""
        client = self._client(grant)
        key = (grant.table, grant.row)
        task = self._under_way.get(key)
        if task is None:
            _must_not_pause(grant)
            async with self._turn(client.token_url):
                if key not in self._under_way and not await queries.claim(self._pool, grant):
                    return None
                # Between the claim and this nothing is awaited, and who is cancelled leaves it to finish.
                task = self._under_way.get(key) or self._begin(key, grant, client)
                return await _patiently(task, deadline)
        return await _patiently(task, deadline)

    def _begin(self, key: tuple[str, int], grant: GrantRow, client: OAuthClient) -> asyncio.Task[Access]:
        task = asyncio.create_task(self._ask_and_store(grant, client), name=f"token of {key[0]} {key[1]}")
        self._under_way[key] = task

        def ended(_: asyncio.Task[Access]) -> None:
            del self._under_way[key]
            if not task.cancelled():
                task.exception()  # somebody was told, or nobody waits any more

        task.add_done_callback(ended)
        return task

    async def _ask_and_store(self, grant: GrantRow, client: OAuthClient) -> Access:
        try:
            given = await self._ask(grant, client)
        except (TokenRefused, TokenUnavailable, VaultError) as error:
            await self._give_up(grant, error)
            raise
        metrics.TOKEN_REQUESTS.labels(outcome="given").inc()
        return await self._store(grant, given)

    async def _give_up(self, grant: GrantRow, error: Exception) -> None:
        refused = not isinstance(error, TokenUnavailable)
        metrics.TOKEN_REQUESTS.labels(outcome="refused" if refused else "unavailable").inc()
        with suppress(*UNAVAILABLE):  # the lease runs out by itself
            if (pause := pause_of(error, is_shared=grant.is_shared)) is not None:
                await queries.pause(self._pool, grant, seconds=pause[0], reason=pause[1])
            await queries.give_up(self._pool, grant)

    async def _ask(self, grant: GrantRow, client: OAuthClient) -> TokenResponse:
        if grant.is_shared:
            return await client_credentials(self._http, client, scope=grant.scope or "")
        sealed = grant.refresh_token or b""
        opened = self._vault.open_text(sealed, grant.place("oauth2_refresh_token"))
        return await refresh(self._http, client, refresh_token=opened)

    async def _store(self, grant: GrantRow, given: TokenResponse) -> Access:
        """Keep it, however long PostgreSQL is away: a refresh token that replaced another is nowhere else."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + given.expires_in
        seal, place = self._vault.seal_text, grant.place
        access_token = seal(given.access_token, place("oauth2_access_token"))
        rotated = given.refresh_token and seal(given.refresh_token, place("oauth2_refresh_token"))
        backoff = Backoff(first=0.1, longest=STORE_AT_MOST)
        while True:
            try:
                version = await queries.store(
                    self._pool,
                    grant,
                    access_token=access_token,
                    life=given.expires_in,
                    left=ends_at - loop.time(),
                    refresh_token=rotated or None,
                )
                break
            except (asyncpg.PostgresError, *UNAVAILABLE) as error:  # a lock that another holds too long, too
                log.warning("an access token is not stored yet: %s", error, extra={"user_id": grant.user_id})
                await asyncio.sleep(backoff.next())
        if version is None:
            raise TokenUnavailable("the user has other credentials by now")
        is_shared = grant.is_shared
        return Access(
            given.access_token, given.expires_in, ends_at, version, is_new=True, is_shared=is_shared
        )

    def _client(self, grant: GrantRow) -> OAuthClient:
        """Who we are to the provider. Raises TokenRefused if something is missing, VaultError."""
        if not grant.is_shared and grant.refresh_token is None:
            raise TokenRefused("no refresh token is stored")
        if grant.token_url is None or grant.client_id is None or grant.client_secret is None:
            raise TokenRefused("the connection has no OAuth 2.0 client", TokenRefusal.CLIENT)
        url = token_url(grant.token_url, grant.tenant)
        at_connection = Place(
            "connections", "oauth2_client_secret", grant.partner_id, str(grant.connection_id)
        )
        return OAuthClient(url, grant.client_id, self._vault.open_text(grant.client_secret, at_connection))


def pause_of(error: Exception, *, is_shared: bool) -> tuple[float, str] | None:
    """Seconds for which nobody should ask for this connection, and why; None if it concerns one user alone.

    A refusal of the client is told by its code, so that the others are refused for the same reason.
    """
    if isinstance(error, TokenRefused):
        return (CLIENT_PAUSE, error.code) if is_shared or error.code == "invalid_client" else None
    if isinstance(error, TokenUnavailable) and error.retry_after is not None:
        return min(error.retry_after, THROTTLED_PAUSE), str(error)
    return (SHARED_PAUSE, str(error)) if is_shared else None


def life_before(left: float) -> float:
    """How long a token was given for of which only the end is known: an hour, as most are."""
    return max(3600.0, left)


def _must_not_pause(grant: GrantRow) -> None:
    if grant.pause <= 0:
        return
    reason = grant.pause_reason or "the provider was asked not long ago"
    if (refusal := refusal_of(reason)) is not None:
        raise TokenRefused(reason, refusal)
    # What is over in a moment is nothing to tell a person: the usual wait will do.
    raise TokenUnavailable(reason, retry_after=grant.pause if grant.pause > SHARED_PAUSE else None)


async def _patiently(task: asyncio.Task[Access], deadline: float) -> Access:
    """What comes of it. Who stops waiting does not end it: the answer must not be lost."""
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncio.shield(task)
    except TimeoutError:
        raise TokenUnavailable("an access token is long in coming") from None
