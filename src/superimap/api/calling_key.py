"""The API key of a request: its owner, its rights, and the rate of its partner."""

import math
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, APIKeyQuery

from superimap.api.errors import Problem
from superimap.api.request_body import api_key_in_body
from superimap.api.resources import AppResources, Db, Resources
from superimap.api.source_address import source_address
from superimap.core import metrics
from superimap.db import audit
from superimap.db.accounts import callers
from superimap.db.accounts.callers import Caller
from superimap.domain.api_keys import Scope
from superimap.domain.audit import Actor, ActorKind
from superimap.domain.quotas import Quota

KEY_PATHS = ("/api/v1/api_keys", "/api/v1/webhooks/secret")
"""Beginnings of the paths under which keys and secrets are managed."""

USERS_PER_REQUEST = 20
"""Users of a batch that count as one request."""

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
    caller = None
    if api_key:
        caller = await resources.known_keys.find(
            api_key, partial(_look_up, resources, api_key), is_fresh=_is_about_keys(request)
        )
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


async def _look_up(resources: Resources, api_key: str) -> Caller | None:
    """Read a key and note its use, in a transaction of its own: the use counts even if the request fails."""
    async with resources.sessionmaker.begin() as db:
        caller = await callers.find_caller(db, api_key)
        if caller is not None and resources.key_uses.note(api_key):
            await callers.record_use(db, api_key)
        return caller


def _is_about_keys(request: Request) -> bool:
    """Whether the request is about keys or secrets: what a key no longer may must not be made to last by it."""
    path: str = request.scope["path"]
    return path.startswith(KEY_PATHS)


async def forget_keys(request: Request, resources: AppResources) -> AsyncIterator[None]:
    """Have this process read all keys again once the request has changed one; the commit comes first."""
    yield
    if request.method != "GET":
        resources.known_keys.forget()


ForgetsKeys = Depends(forget_keys, scope="function")


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
    if not caller.rights.allows_source(address):
        raise Problem(
            403,
            f"This API key may not be used from {address or 'an unknown address'}: its networks exclude it.",
            kind="source-refused",
        )


CallingKey = Annotated[Caller, Depends(calling_key)]


async def calling_partner(caller: CallingKey) -> callers.CallingPartner:
    """Return the partner whose API key was sent."""
    return caller.partner


CallingPartner = Annotated[callers.CallingPartner, Depends(calling_partner)]


def needs(scope: Scope) -> Any:
    """Return a dependency of a route: 403 for an API key without this scope."""

    async def check_scope(caller: CallingKey) -> None:
        if scope not in caller.key.scopes:
            raise Problem(
                403,
                f"This API key does not have the scope {scope}; use a key that has it.",
                kind="scope-missing",
            )

    check_scope.scope = scope  # type: ignore[attr-defined]
    return Depends(check_scope)
