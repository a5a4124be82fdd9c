"""The operator's token of a request: who calls, with which role, and the transaction of the request."""

import math
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.api.errors import Problem
from superimap.api.operator_transaction import (
    READ_TIMEOUT_SECONDS,
    WRITE_TIMEOUT_SECONDS,
    OperatorTransaction,
)
from superimap.api.pages.try_limits import counted_address
from superimap.api.resources import AppResources, Resources
from superimap.api.source_address import source_address
from superimap.core.crypto import OPERATOR_TOKEN_PREFIX, digest
from superimap.db import audit
from superimap.db.accounts.link_usage import TriesExceeded, TryLimit, count_try
from superimap.db.models import Operator, OperatorToken
from superimap.db.operators import tokens
from superimap.domain.audit import Actor, ActorKind
from superimap.domain.operators import OperatorRole, allows

REQUESTS_PER_SECOND = 20
"""Of a token, in each process; ten seconds of them may come at once."""
MAX_REFUSALS_PER_ADDRESS = 30
REFUSALS_SECONDS = 600
OPERATOR_PROBLEMS = (401, 403, 429, 503)
"""Error statuses of every route that needs a token."""

_TOKEN = re.compile(re.escape(OPERATOR_TOKEN_PREFIX) + r"[A-Za-z0-9_-]{43}")
_bearer = HTTPBearer(
    scheme_name="OperatorToken",
    auto_error=False,
    description="Token of an operator, made on the page of the account or by `superimap admins tokens create`.",
)


@dataclass(frozen=True, slots=True)
class CallingOperator:
    """An operator, and the token with which a program acts for that operator."""

    operator: Operator
    token: OperatorToken
    address: str

    @property
    def role(self) -> OperatorRole:
        """The role of the token, which is not above the operator's."""
        return OperatorRole(self.token.role)

    def allows(self, needed: OperatorRole) -> bool:
        """Whether the token has this role, or a higher one."""
        return allows(self.role, needed)

    def require_confirmed(self) -> None:
        """Raise Problem 403 for a token that may not do what needs a confirmed identity."""
        if not self.token.is_confirmed:
            raise Problem(
                403,
                "In the dashboard this needs a confirmed identity. Use a token that was made for such actions.",
                kind="unconfirmed",
            )


async def calling_operator(
    request: Request,
    resources: AppResources,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> CallingOperator:
    """Return who calls: 401 without a valid token, which only the header Authorization may have."""
    address = str(source_address(request, resources.settings.trusted_proxies) or "unknown")
    secret = bearer.credentials if bearer else ""
    if not _TOKEN.fullmatch(secret):
        raise _unauthorized()
    async with OperatorTransaction(resources, READ_TIMEOUT_SECONDS) as db:
        # The use of the token is noted even if the request fails.
        found = await tokens.find(db, secret)
    if found is None:
        await _count_refusal(resources, address)
        raise _unauthorized()
    wait = resources.token_buckets.take(found.token.id, per_second=REQUESTS_PER_SECOND, now=time.monotonic())
    if wait > 0:
        raise _too_many("This token sends too many requests", math.ceil(wait))
    return CallingOperator(found.operator, found.token, address)


async def _count_refusal(resources: Resources, address: str) -> None:
    """Count an unknown token of this address. Raises Problem 429; valid tokens are accepted all the same."""
    key = digest(f"operator token\0{counted_address(address) or address}")
    limit = TryLimit(key, MAX_REFUSALS_PER_ADDRESS, REFUSALS_SECONDS, "from your address")
    try:
        async with OperatorTransaction(resources, READ_TIMEOUT_SECONDS) as db:
            await count_try(db, [limit])
    except TriesExceeded as exceeded:
        raise _too_many("Too many unknown tokens from your address", exceeded.seconds) from None


def _unauthorized() -> Problem:
    return Problem(
        401,
        "Send a valid token of an operator as Authorization: Bearer. API keys of partners are not accepted here.",
        headers={"WWW-Authenticate": 'Bearer realm="superimap operator"'},
    )


def _too_many(what: str, seconds: int) -> Problem:
    return Problem(429, f"{what}. Try again in {seconds} s.", headers={"Retry-After": str(seconds)})


Caller = Annotated[CallingOperator, Depends(calling_operator)]


async def operator_database(
    request: Request, resources: AppResources, caller: Caller
) -> AsyncIterator[AsyncSession]:
    """Open one transaction for the route, whose changes are recorded as the operator's, by this token."""
    seconds = READ_TIMEOUT_SECONDS if request.method == "GET" else WRITE_TIMEOUT_SECONDS
    async with OperatorTransaction(resources, seconds) as db:
        details = {"address": caller.address, "role": caller.role.value, "token": caller.token.name}
        audit.set_actor(db, Actor(ActorKind.OPERATOR, caller.operator.email, details))
        yield db


# With this scope the commit precedes the response, so a response never reports a change that is not stored.
OperatorDb = Annotated[AsyncSession, Depends(operator_database, scope="function")]


def needs_role(role: OperatorRole, *, confirmed: bool = False) -> Any:
    """Return a dependency of a route: 403 for a token below this role.

    `confirmed`: also 403 for one that may not do what needs a confirmed identity.
    """

    async def check_role(caller: Caller) -> None:
        if not caller.allows(role):
            raise Problem(403, f"This needs a token of the role {role}; yours is {caller.role}.", kind="role")
        if confirmed:
            caller.require_confirmed()

    check_role.role, check_role.is_confirmed = role, confirmed  # type: ignore[attr-defined]
    return Depends(check_role)


READS = needs_role(OperatorRole.VIEWER)
ACTS = needs_role(OperatorRole.OPERATOR)
DELETES = needs_role(OperatorRole.OPERATOR, confirmed=True)
OWNS = needs_role(OperatorRole.OWNER, confirmed=True)
"""The four kinds of routes, as in the dashboard."""
