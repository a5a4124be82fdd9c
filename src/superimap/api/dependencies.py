"""What do routes need? The database, who is calling, and the connection or user that the path names."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, APIKeyQuery
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from superimap.api.errors import Problem
from superimap.api.request_body import api_key_in_body
from superimap.api.schemas.accounts import UserOut
from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.core.egress import Guard
from superimap.db.accounts import connections, partner_keys, providers, users
from superimap.db.accounts.connections import Linked
from superimap.db.models import Partner, User
from superimap.oauth import links
from superimap.oauth.links import Purpose

# More than any name may hold; what is longer is not looked up.
MAX_NAME_LENGTH = 1024


Ring: TypeAlias = Callable[[int], Awaitable[object]]
"""The doorbell of an endpoint, rung after the commit."""


async def no_doorbell(_: int) -> None:
    """A doorbell that nobody hears: the sweeper finds the work within a second."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What the process opened for its requests."""

    settings: Settings
    sessionmaker: async_sessionmaker[AsyncSession]
    vault: Vault
    link_keys: tuple[bytes, ...]
    ring: Ring
    guard: Guard


def get_resources(request: Request) -> Resources:
    """The resources of the application that this request came to."""
    opened: Resources = request.app.state.resources
    return opened


AppResources = Annotated[Resources, Depends(get_resources)]


async def database(opened: AppResources) -> AsyncIterator[AsyncSession]:
    """One transaction around the route; nothing is sent to the server before the first statement."""
    async with opened.sessionmaker.begin() as db:
        yield db


# With this scope the commit comes before the answer: what was answered is in the database.
Db = Annotated[AsyncSession, Depends(database, scope="function")]

in_header = APIKeyHeader(
    name="x-api-key", scheme_name="ApiKeyHeader", auto_error=False, description="The partner's API key."
)
in_query = APIKeyQuery(
    name="api_key",
    scheme_name="ApiKeyQuery",
    auto_error=False,
    description="The same in the URL, where proxies may log it: prefer the header.",
)


async def calling_partner(
    request: Request,
    db: Db,
    header: Annotated[str | None, Depends(in_header)],
    query: Annotated[str | None, Depends(in_query)],
) -> Partner:
    """Whose API key was sent, in the header, the query or the body; 401 if it is nobody's."""
    api_key = header or query or await api_key_in_body(request)
    partner = await partner_keys.find_partner(db, api_key) if api_key else None
    if partner is None:
        raise Problem(
            401,
            "Partner not found. Check your api_key.",
            headers={"WWW-Authenticate": 'ApiKey realm="superimap"'},
        )
    return partner


CallingPartner = Annotated[Partner, Depends(calling_partner)]


async def partner_connection(imap_provider_code: str, partner: CallingPartner, db: Db) -> Linked:
    """The calling partner's connection of this code; 404 says which of provider and connection is unknown."""
    code = imap_provider_code if _is_a_name(imap_provider_code) else ""
    linked = await connections.by_code(db, partner.id, code)
    if linked is not None:
        return linked
    if await providers.by_code(db, code) is None:
        raise unknown_provider(imap_provider_code)
    raise Problem(404, "Connection not found.")


PartnerConnection = Annotated[Linked, Depends(partner_connection)]


async def connection_user(tag: str, linked: PartnerConnection, db: Db) -> User:
    """The connection's user of this tag; 404 if there is none."""
    return _require_user(tag, await users.by_tag(db, linked.connection, tag))


async def locked_user(tag: str, linked: PartnerConnection, db: Db) -> User:
    """The same user, which nobody else changes before this request ends."""
    return _require_user(tag, await users.by_tag(db, linked.connection, tag, lock=True))


ConnectionUser = Annotated[User, Depends(connection_user)]
LockedUser = Annotated[User, Depends(locked_user)]


def unknown_provider(code: str) -> Problem:
    """404 for a provider code; the sentence is the one that clients know."""
    return Problem(404, f"Imap Provider not found for '{code[:MAX_NAME_LENGTH]}'.")


def _is_a_name(text: str) -> bool:
    return len(text) <= MAX_NAME_LENGTH and text.isprintable()


def _require_user(tag: str, user: User | None) -> User:
    if user is None:
        raise Problem(404, f"User not found for '{tag[:MAX_NAME_LENGTH]}'.")
    return user


def base_url(request: Request, opened: AppResources) -> str:
    """The public address: BASE_URL, or else the one that the client used."""
    return opened.settings.base_url or f"{request.url.scheme}://{request.scope['superimap.host']}"


class UserPresenter:
    """Shows users, with links signed at this moment."""

    def __init__(self, opened: AppResources, base: Annotated[str, Depends(base_url)]) -> None:
        self._key = opened.link_keys[0]
        self._base = base

    def __call__(self, user: User) -> UserOut:
        """The user as the API shows it."""
        user_id, now = user.id, time.time()
        shown = {
            name: getattr(user, name) for name in UserOut.model_fields if not name.endswith("connect_url")
        }
        return UserOut(
            **shown,
            connect_url=links.url(self._base, Purpose.CONNECT, user_id, self._key, now=now),
            disconnect_url=links.url(self._base, Purpose.DISCONNECT, user_id, self._key, now=now),
        )


ShowUser = Annotated[UserPresenter, Depends(UserPresenter)]
