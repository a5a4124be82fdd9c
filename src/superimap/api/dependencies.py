"""Dependencies of routes: the database, the calling partner, and the connection or user in the path."""

import time
from typing import Annotated

from fastapi import Depends, Request

from superimap.api.calling_key import (
    CallingKey,
    CallingPartner,
    ForgetsKeys,
    calling_key,
    charge_users,
    needs,
)
from superimap.api.errors import Problem
from superimap.api.public_path import PREFIX
from superimap.api.resources import AppResources, Db, Resources, Ring, database, get_resources, no_doorbell
from superimap.api.schemas.accounts import UserOut
from superimap.db.accounts import connections, providers, users
from superimap.db.accounts.callers import Caller
from superimap.db.accounts.connections import ProviderConnection
from superimap.db.accounts.new_users import ShownUser
from superimap.db.models import User
from superimap.domain.api_keys import Scope
from superimap.oauth import links
from superimap.oauth.links import Purpose

__all__ = [
    "AppResources", "CallingKey", "CallingPartner", "Db", "ForgetsKeys", "Resources", "Ring", "calling_key",
    "charge_users", "database", "get_resources", "needs", "no_doorbell",
]  # fmt: skip

MAX_NAME_LENGTH = 1024
"""Longer than any valid name; a longer one is not looked up."""


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


async def base_url(request: Request, resources: AppResources) -> str:
    """Return the public URL: BASE_URL, or else the URL that the client used."""
    scope = request.scope
    return resources.settings.base_url or f"{request.url.scheme}://{scope['superimap.host']}{scope[PREFIX]}"


class UserPresenter:
    """Converts users to responses, with links signed at that moment.

    Who has a link can connect or disconnect the user: a key that may not write gets none.
    """

    def __init__(self, resources: Resources, caller: Caller, base: str) -> None:
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


async def user_presenter(
    resources: AppResources, caller: CallingKey, base: Annotated[str, Depends(base_url)]
) -> UserPresenter:
    """Return the presenter of users for the calling key."""
    return UserPresenter(resources, caller, base)


ShowUser = Annotated[UserPresenter, Depends(user_presenter)]
