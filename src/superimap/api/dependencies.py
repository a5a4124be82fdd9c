"""Dependencies of routes: the database, the calling partner, and the connection or user in the path."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, APIKeyQuery
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from superimap.api.errors import Problem
from superimap.api.key_uses import KeyUses
from superimap.api.login_check import LoginSlots
from superimap.api.public_path import PREFIX
from superimap.api.request_body import api_key_in_body
from superimap.api.schemas.accounts import UserOut
from superimap.api.source_address import source_address
from superimap.core import metrics
from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.core.egress import Guard
from superimap.core.resolver import Resolver
from superimap.db import audit
from superimap.db.accounts import api_keys, connections, providers, users
from superimap.db.accounts.api_keys import Caller
from superimap.db.accounts.connections import ProviderConnection
from superimap.db.accounts.link_usage import ExpiredRows
from superimap.db.accounts.new_users import ShownUser
from superimap.db.accounts.room import QuotaPolicy
from superimap.db.models import Partner, User
from superimap.domain.api_keys import Scope
from superimap.domain.audit import Actor, ActorKind
from superimap.domain.quotas import DEFAULT_QUOTAS, Quota, RequestBuckets
from superimap.oauth import links
from superimap.oauth.links import Purpose

MAX_NAME_LENGTH = 1024
"""Longer than any valid name; a longer one is not looked up."""

USERS_PER_REQUEST = 20
"""Users of a batch that count as one request."""

Ring: TypeAlias = Callable[[int], Awaitable[object]]
"""Rings the doorbell of the endpoint with this id, after the commit."""


async def no_doorbell(_: int) -> None:
    """Ring no doorbell: the sweeper finds the delivery within a second."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources that the process shares among its requests."""

    settings: Settings
    sessionmaker: async_sessionmaker[AsyncSession]
    vault: Vault
    link_keys: tuple[bytes, ...]
    ring: Ring
    guard: Guard
    resolver: Resolver
    login_slots: LoginSlots
    stop: asyncio.Event
    key_uses: KeyUses = field(default_factory=KeyUses)
    buckets: RequestBuckets = field(default_factory=RequestBuckets)
    quota_policy: QuotaPolicy = field(default_factory=lambda: QuotaPolicy(DEFAULT_QUOTAS))
    expired_rows: ExpiredRows = field(default_factory=ExpiredRows)


def get_resources(request: Request) -> Resources:
    """Return the resources of the application that handles the request."""
    resources: Resources = request.app.state.resources
    return resources


AppResources = Annotated[Resources, Depends(get_resources)]


async def database(resources: AppResources) -> AsyncIterator[AsyncSession]:
    """Open one transaction for the route; nothing is sent to PostgreSQL before the first statement."""
    async with resources.sessionmaker.begin() as db:
        yield db


# With this scope the commit precedes the response, so a response never reports a change that is not stored.
Db = Annotated[AsyncSession, Depends(database, scope="function")]

in_header = APIKeyHeader(
    name="x-api-key", scheme_name="ApiKeyHeader", auto_error=False, description="The partner's API key."
)
in_query = APIKeyQuery(
    name="api_key",
    scheme_name="ApiKeyQuery",
    auto_error=False,
    description="The partner's API key in the URL, where proxies may log it. Prefer the header.",
)


async def calling_key(
    request: Request,
    db: Db,
    resources: AppResources,
    header: Annotated[str | None, Depends(in_header)],
    query: Annotated[str | None, Depends(in_query)],
) -> Caller:
    """Return the owner of the API key that is in the header, the query or the body, and the key.

    401 if there is no valid key, 403 if it may not be used from the client's address.
    """
    api_key = header or query or await api_key_in_body(request)
    if api_key and resources.key_uses.note(api_key):
        async with resources.sessionmaker.begin() as own:  # its own: the use counts even if the request fails
            await api_keys.record_use(own, api_key)
    caller = await api_keys.find_caller(db, api_key) if api_key else None
    if caller is None:
        raise Problem(
            401,
            "Partner not found. Check your api_key.",
            headers={"WWW-Authenticate": 'ApiKey realm="superimap"'},
        )
    _check_source(request, resources, caller)  # first, so that a stolen key uses up no quota from elsewhere
    _check_rate(resources, caller)
    audit.set_actor(db, Actor(ActorKind.API_KEY, str(caller.key.id)))
    return caller


def _check_rate(resources: Resources, caller: Caller) -> None:
    """Raise a 429 beyond the requests per second of the partner. Counted in each process for itself."""
    per_second = caller.requests_per_second or resources.settings.quota_requests_per_second
    wait = resources.buckets.take(caller.partner.id, per_second=per_second, now=time.monotonic())
    if wait > 0:
        metrics.QUOTA_REFUSALS.labels(Quota.REQUESTS_PER_SECOND.value).inc()
        raise Problem(
            429,
            f"The quota requests_per_second is reached: {per_second:,}. Slow down, or have the operator raise it.",
            kind="quota-exceeded",
            headers={"Retry-After": str(math.ceil(wait))},
        )


def charge_users(resources: Resources, caller: Caller, count: int) -> None:
    """Count a request for many users as one for each USERS_PER_REQUEST of them; the next requests wait for it."""
    per_second = caller.requests_per_second or resources.settings.quota_requests_per_second
    further = (count - 1) // USERS_PER_REQUEST
    resources.buckets.charge(caller.partner.id, further, per_second=per_second, now=time.monotonic())


def _check_source(request: Request, resources: Resources, caller: Caller) -> None:
    """Raise a 403 for a key that may not be used from the client's address."""
    address = source_address(request, resources.settings.trusted_proxies)
    if not api_keys.rights_of(caller.key).allows_source(address):
        raise Problem(
            403,
            f"This API key may not be used from {address or 'an unknown address'}: its networks exclude it.",
            kind="source-refused",
        )


CallingKey = Annotated[Caller, Depends(calling_key)]


def calling_partner(caller: CallingKey) -> Partner:
    """Return the partner whose API key was sent."""
    return caller.partner


CallingPartner = Annotated[Partner, Depends(calling_partner)]


def needs(scope: Scope) -> Any:
    """Return a dependency of a route: 403 for an API key without this scope."""

    def check_scope(caller: CallingKey) -> None:
        if scope not in caller.key.scopes:
            raise Problem(
                403,
                f"This API key does not have the scope {scope}; use a key that has it.",
                kind="scope-missing",
            )

    check_scope.scope = scope  # type: ignore[attr-defined]
    return Depends(check_scope)


async def partner_connection(imap_provider_code: str, partner: CallingPartner, db: Db) -> ProviderConnection:
    """Return the calling partner's connection; 404 says whether the provider or the connection is unknown."""
    code = imap_provider_code if _can_be_name(imap_provider_code) else ""
    linked = await connections.by_code(db, partner.id, code)
    if linked is not None:
        return linked
    if await providers.by_code(db, code) is None:
        raise unknown_provider(imap_provider_code)
    raise Problem(404, "Connection not found.")


PartnerConnection = Annotated[ProviderConnection, Depends(partner_connection)]


async def connection_user(tag: str, linked: PartnerConnection, db: Db) -> User:
    """Return the connection's user with this tag; 404 if there is none."""
    return _require_user(tag, await users.by_tag(db, linked.connection, tag))


async def locked_user(tag: str, linked: PartnerConnection, db: Db) -> User:
    """Return the same user, locked until this request ends."""
    return _require_user(tag, await users.by_tag(db, linked.connection, tag, lock=True))


ConnectionUser = Annotated[User, Depends(connection_user)]
LockedUser = Annotated[User, Depends(locked_user)]


def unknown_provider(code: str) -> Problem:
    """Return a 404 for a provider code, with the sentence of the original, which clients know."""
    return Problem(404, f"Imap Provider not found for '{code[:MAX_NAME_LENGTH]}'.")


def _can_be_name(text: str) -> bool:
    return len(text) <= MAX_NAME_LENGTH and text.isprintable()


def _require_user(tag: str, user: User | None) -> User:
    if user is None:
        raise Problem(404, f"User not found for '{tag[:MAX_NAME_LENGTH]}'.")
    return user


def base_url(request: Request, resources: AppResources) -> str:
    """Return the public URL: BASE_URL, or else the URL that the client used."""
    scope = request.scope
    return resources.settings.base_url or f"{request.url.scheme}://{scope['superimap.host']}{scope[PREFIX]}"


class UserPresenter:
    """Converts users to responses, with links signed at that moment.

    Who has a link can connect or disconnect the user: a key that may not write gets none.
    """

    def __init__(
        self, resources: AppResources, caller: CallingKey, base: Annotated[str, Depends(base_url)]
    ) -> None:
        self._key = resources.link_keys[0]
        self._may_write = Scope.WRITE in caller.key.scopes
        self._base = base

    def __call__(self, user: User | ShownUser) -> UserOut:
        """Return the user as the API shows it."""
        columns = {
            name: getattr(user, name) for name in UserOut.model_fields if not name.endswith("connect_url")
        }
        return UserOut(
            **columns,
            connect_url=self._link(Purpose.CONNECT, user.id),
            disconnect_url=self._link(Purpose.DISCONNECT, user.id),
        )

    def _link(self, purpose: Purpose, user_id: int) -> str | None:
        return (
            links.url(self._base, purpose, user_id, self._key, now=time.time()) if self._may_write else None
        )


ShowUser = Annotated[UserPresenter, Depends(UserPresenter)]
