"""Connecting and disconnecting a user by link: the change of the user and its webhook, in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import Place, Vault
from superimap.core.ids import uuid7
from superimap.db import audit
from superimap.db.accounts import announcements, link_usage, users
from superimap.db.accounts.connections import ProviderConnection
from superimap.db.accounts.validation.accounts import UserFields
from superimap.db.errors import Conflict, NotFound
from superimap.db.models import Connection, Delivery, Endpoint, Partner, Provider, User
from superimap.domain.audit import Actor, ActorKind, AuditAction
from superimap.domain.destinations import destinations_of
from superimap.domain.events import EventKind
from superimap.domain.providers import ProviderKind
from superimap.webhooks import payload


class ProviderChanged(Conflict):
    """An operator changed the servers or URLs of the provider while a person was signing in there."""

    kind = "provider-changed"

    def __init__(self) -> None:
        super().__init__("The settings of this mail provider have just changed. Open the link again.")


class LinkedUser(NamedTuple):
    """The user that a link is for, with its partner, connection and provider."""

    user: User
    partner: Partner
    connection: Connection
    provider: Provider

    @property
    def provider_connection(self) -> ProviderConnection:
        """The connection with its provider, as the functions of `users` take them."""
        return ProviderConnection(self.connection, self.provider)


@dataclass(frozen=True, slots=True)
class NewAccessToken:
    """An access token that the provider has just issued; `expires_in` is in seconds."""

    value: str = field(repr=False)
    expires_in: int


async def find_user(db: AsyncSession, user_id: int) -> LinkedUser | None:
    """Return the user with its partner, connection and provider, or None."""
    statement = (
        select(User, Partner, Connection, Provider)
        .join(Partner, Partner.id == User.partner_id)
        .join(Connection, Connection.id == User.connection_id)
        .join(Provider, Provider.id == Connection.provider_id)
        .where(User.id == user_id)
        .execution_options(populate_existing=True)
    )
    row = (await db.execute(statement)).one_or_none()
    return LinkedUser(*row) if row is not None else None


async def lock_user(db: AsyncSession, user_id: int) -> LinkedUser:
    """Return the user as `find_user` does, locked against other changes. Raises NotFound.

    The provider is read after the lock is held: the operator's command that changes it waits for this lock.
    """
    await db.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    found = await find_user(db, user_id)
    if found is None:
        raise NotFound("User not found.")
    return found


def check_destinations(now: Provider, then: Provider) -> None:
    """Raise ProviderChanged if a secret that was obtained `then` would go elsewhere `now`."""
    if destinations_of(now) != destinations_of(then):
        raise ProviderChanged


async def connect_user(
    db: AsyncSession,
    vault: Vault,
    linked_user: LinkedUser,
    fields: UserFields,
    *,
    link_digest: bytes,
    access_token: NewAccessToken | None = None,
    login_name: str | None = None,
) -> int | None:
    """Store the credentials of a user that `lock_user` locked, and create the `user_connected` delivery.

    `login_name` is the name of an OAuth 2.0 account at its provider, where it is not the user's address.
    An archived user is restored. If the partner was notified that the person must sign in again, `user_restored`
    is recorded too. Everything happens in the caller's transaction, the link being marked as used included:
    LinkUsed, Invalid and ValueTaken undo all of it. Returns the endpoint to ring after the commit; None if there
    is no delivery.
    """
    await link_usage.mark_used(db, linked_user.user, link_digest)
    await _record(db, AuditAction.USER_CONNECT, linked_user)
    user = await users.update(
        db, vault, linked_user.provider_connection, linked_user.user, {**fields, "archived": False}
    )
    if access_token is not None:
        await _store_access_token(db, vault, user, access_token)
        await db.execute(update(User).where(User.id == user.id).values(login_username=login_name))
    await announcements.record_restored(db, user.id)
    content = payload.user_connected(
        user_tag=user.tag, imap_provider_code=linked_user.provider.code, email=user.email
    )
    return await _create_delivery(db, vault, user, EventKind.USER_CONNECTED, content)


async def disconnect_user(
    db: AsyncSession, vault: Vault, linked_user: LinkedUser, *, link_digest: bytes
) -> int | None:
    """Clear the credentials of a user that `lock_user` locked, and create the `user_disconnected` delivery.

    Transaction, errors and result are as of `connect_user`.
    """
    await link_usage.mark_used(db, linked_user.user, link_digest)
    await _record(db, AuditAction.USER_DISCONNECT, linked_user)
    cleared: UserFields = {"oauth2_refresh_token": None}
    if (
        linked_user.user.sign_in_email is None
    ):  # a shared mailbox keeps its address: the person has another one
        cleared["email"] = None
    if linked_user.provider.kind == ProviderKind.PLAIN:
        cleared = {"email": None, "login_username": None, "login_password": None, "imap_host": None}
    user = await users.update(db, vault, linked_user.provider_connection, linked_user.user, cleared)
    content = payload.user_disconnected(user_tag=user.tag, imap_provider_code=linked_user.provider.code)
    return await _create_delivery(db, vault, user, EventKind.USER_DISCONNECTED, content)


async def _record(db: AsyncSession, action: AuditAction, linked_user: LinkedUser) -> None:
    """Record that a link was used; the fields that change are recorded with the update of the user."""
    user = linked_user.user
    audit.set_actor(db, Actor(ActorKind.LINK, str(user.id)))
    details = {"tag": user.tag, "imap_provider_code": linked_user.provider.code}
    await audit.record(db, action, partner_id=user.partner_id, object_id=user.id, details=details)


async def _store_access_token(db: AsyncSession, vault: Vault, user: User, token: NewAccessToken) -> None:
    place = Place("users", "oauth2_access_token", user.partner_id, str(user.id))
    await db.execute(
        update(User)
        .where(User.id == user.id)
        .values(
            oauth2_access_token=vault.seal_text(token.value, place),
            oauth2_access_token_expires_at=func.now() + text(f"interval '{int(token.expires_in)} seconds'"),
            oauth2_access_token_life=token.expires_in,
        )
    )


async def _create_delivery(
    db: AsyncSession, vault: Vault, user: User, kind: EventKind, content: bytes
) -> int | None:
    """Create a delivery if the partner has a URL for this kind of webhook. Returns the endpoint to ring."""
    delivery_id = uuid7()
    place = Place("deliveries", "content", user.partner_id, str(delivery_id))
    wanted = select(Endpoint.id).where(
        Endpoint.partner_id == user.partner_id, Endpoint.kind == kind, Endpoint.url.is_not(None)
    )
    endpoint_id = cast(int | None, await db.scalar(wanted))
    if endpoint_id is None:
        return None
    row: Mapping[str, Any] = {
        "id": delivery_id,
        "partner_id": user.partner_id,
        "endpoint_id": endpoint_id,
        "user_id": user.id,
        "kind": kind,
        "content": vault.seal(content, place),
    }
    await db.execute(insert(Delivery).values(row))
    return endpoint_id
