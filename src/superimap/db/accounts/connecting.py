"""How does a link let somebody in, or out again? Consents under way, links used, and the change itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import Place, Vault, digest
from superimap.core.ids import uuid7
from superimap.db.accounts import announcements, users
from superimap.db.accounts.connections import Linked
from superimap.db.accounts.validation.accounts import UserFields
from superimap.db.errors import Conflict, NotFound
from superimap.db.models import (
    Connection,
    Delivery,
    Endpoint,
    LoginTry,
    OAuthState,
    Partner,
    Provider,
    UsedLink,
    User,
)
from superimap.domain.events import EventKind
from superimap.domain.providers import ProviderKind
from superimap.webhooks import payload

CONSENT_SECONDS = 3600
"""Seconds that a person may take to consent, whatever has become of the link meanwhile."""

USED_LINK_RETENTION = "2 hours"
"""Used links are forgotten after it: by then their half hour and a consent begun in it are over."""


class LinkUsed(Conflict):
    """The link has done already what it was for."""


class LinkedUser(NamedTuple):
    """Whom a link is about, of whom, and with which provider."""

    user: User
    partner: Partner
    connection: Connection
    provider: Provider

    @property
    def linked(self) -> Linked:
        """The connection with its provider, as other queries take them."""
        return Linked(self.connection, self.provider)


@dataclass(frozen=True, slots=True)
class Consent:
    """A consent that has come back. `state` was drawn for it, and `browser` holds the cookie it began with."""

    subject: LinkedUser
    browser_digest: bytes
    link_digest: bytes
    verifier: str = field(repr=False)
    success_url: str | None
    failure_url: str | None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """One that was just given; `expires_in` is in seconds."""

    value: str = field(repr=False)
    expires_in: int


async def subject(db: AsyncSession, user_id: int, *, lock: bool = False) -> LinkedUser | None:
    """The user with all around it, or None. `lock`: nobody else changes the user until the commit."""
    statement = (
        select(User, Partner, Connection, Provider)
        .join(Partner, Partner.id == User.partner_id)
        .join(Connection, Connection.id == User.connection_id)
        .join(Provider, Provider.id == Connection.provider_id)
        .where(User.id == user_id)
        .execution_options(populate_existing=True)
    )
    if lock:
        statement = statement.with_for_update(of=User, key_share=True)
    row = (await db.execute(statement)).one_or_none()
    return LinkedUser(*row) if row is not None else None


# Consents.


async def begin(
    db: AsyncSession,
    vault: Vault,
    about: LinkedUser,
    *,
    state: str,
    verifier: str,
    browser: str,
    link_digest: bytes,
    success_url: str | None,
    failure_url: str | None,
) -> None:
    """Remember a consent for an hour: the state and the browser hashed, the verifier sealed."""
    partner_id = about.user.partner_id
    row = await db.scalar(select(func.nextval(func.pg_get_serial_sequence("oauth_states", "id"))))
    values = {
        "id": row,
        "partner_id": partner_id,
        "user_id": about.user.id,
        "state_digest": digest(state),
        "browser_digest": digest(browser),
        "link_digest": link_digest,
        "verifier": vault.seal_text(verifier, Place("oauth_states", "verifier", partner_id, str(row))),
        "success_url": success_url,
        "failure_url": failure_url,
        "expires_at": func.now() + text(f"interval '{CONSENT_SECONDS} seconds'"),
    }
    await db.execute(insert(OAuthState).values(values))


async def take(db: AsyncSession, vault: Vault, state: str) -> Consent | None:
    """The consent of this state, which nobody gets a second time; None if there is none, or it is too old."""
    statement = (
        delete(OAuthState)
        .where(OAuthState.state_digest == digest(state), OAuthState.expires_at > func.now())
        .returning(OAuthState)
    )
    row = (await db.scalars(statement)).one_or_none()
    about = await subject(db, row.user_id) if row is not None else None
    if row is None or about is None:
        return None
    place = Place("oauth_states", "verifier", row.partner_id, str(row.id))
    return Consent(
        subject=about,
        browser_digest=row.browser_digest,
        link_digest=row.link_digest,
        verifier=vault.open_text(row.verifier, place),
        success_url=row.success_url,
        failure_url=row.failure_url,
    )


# Links.


async def is_used(db: AsyncSession, link_digest: bytes) -> bool:
    """Whether this link has connected or disconnected somebody."""
    found = select(UsedLink.link_digest).where(UsedLink.link_digest == link_digest)
    return await db.scalar(found) is not None


async def use(db: AsyncSession, user: User, link_digest: bytes) -> None:
    """This link has done what it was for, once the transaction commits. Raises LinkUsed if it had before."""
    row = {"link_digest": link_digest, "partner_id": user.partner_id, "user_id": user.id}
    statement = insert(UsedLink).values(row).on_conflict_do_nothing().returning(UsedLink.user_id)
    if await db.scalar(statement) is None:
        raise LinkUsed("This link has been used; ask the application for a new one.")


async def may_try(db: AsyncSession, key: bytes, *, at_most: int, seconds: int) -> bool:
    """Count a try under `key`; False if there were `at_most` in this window, which begins with its first try."""
    await _forget_old(db)
    end = func.now() + text(f"interval '{int(seconds)} seconds'")
    statement = insert(LoginTry).values(key=key, ends_at=end)
    is_over = LoginTry.ends_at <= func.now()
    statement = statement.on_conflict_do_update(
        index_elements=[LoginTry.key],
        set_={
            "count": text("CASE WHEN login_tries.ends_at <= now() THEN 1 ELSE login_tries.count + 1 END"),
            "ends_at": text("CASE WHEN login_tries.ends_at <= now() THEN excluded.ends_at"
                            " ELSE login_tries.ends_at END"),
        },
        where=(LoginTry.count < at_most) | is_over,
    )  # fmt: skip
    return await db.scalar(statement.returning(LoginTry.count)) is not None


# The change.


async def connected(
    db: AsyncSession,
    vault: Vault,
    about: LinkedUser,
    fields: UserFields,
    *,
    link_digest: bytes,
    access_token: AccessToken | None = None,
) -> int | None:
    """Store credentials of a user that `subject` locked, restore it, and owe `user_connected`.

    If the partner was told that the person must sign in again, it is told that this is done.

    All in the caller's transaction, with the link used: LinkUsed, Invalid or Taken undo all of it.
    The endpoint to ring after the commit; None if nothing is owed.
    """
    await use(db, about.user, link_digest)
    user = await users.update(db, vault, about.linked, about.user, {**fields, "archived": False})
    if access_token is not None:
        place = Place("users", "oauth2_access_token", user.partner_id, str(user.id))
        await db.execute(
            update(User)
            .where(User.id == user.id)
            .values(
                oauth2_access_token=vault.seal_text(access_token.value, place),
                oauth2_access_token_expires_at=func.now()
                + text(f"interval '{int(access_token.expires_in)} seconds'"),
                oauth2_access_token_life=access_token.expires_in,
            )
        )
    await announcements.record_restored(db, user.id)
    content = payload.user_connected(
        user_tag=user.tag, imap_provider_code=about.provider.code, email=user.email
    )
    return await _owe(db, vault, user, EventKind.USER_CONNECTED, content)


async def disconnected(
    db: AsyncSession, vault: Vault, about: LinkedUser, *, link_digest: bytes
) -> int | None:
    """Forget the credentials of a user that `subject` locked, and owe `user_disconnected`; as `connected`."""
    await use(db, about.user, link_digest)
    cleared: UserFields = {"email": None, "oauth2_refresh_token": None}
    if about.provider.kind == ProviderKind.PLAIN:
        cleared = {"email": None, "login_username": None, "login_password": None, "imap_host": None}
    user = await users.update(db, vault, about.linked, about.user, cleared)
    content = payload.user_disconnected(user_tag=user.tag, imap_provider_code=about.provider.code)
    return await _owe(db, vault, user, EventKind.USER_DISCONNECTED, content)


async def locked(db: AsyncSession, user_id: int) -> LinkedUser:
    """`subject`, locked. Raises NotFound."""
    found = await subject(db, user_id, lock=True)
    if found is None:
        raise NotFound("User not found.")
    return found


async def _owe(db: AsyncSession, vault: Vault, user: User, kind: EventKind, content: bytes) -> int | None:
    """A delivery, if the partner has a URL for it; the endpoint to ring."""
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


async def _forget_old(db: AsyncSession) -> None:
    """What is over by the clock, a hundred of each at a time: no process of its own needs to sweep."""
    for table, key, past in (
        ("oauth_states", "id", "expires_at < now()"),
        ("used_links", "link_digest", f"used_at < now() - interval '{USED_LINK_RETENTION}'"),
        ("login_tries", "key", "ends_at < now()"),
    ):
        await db.execute(
            text(
                f"DELETE FROM {table} WHERE {key} IN"  # noqa: S608 - words of ours
                f" (SELECT {key} FROM {table} WHERE {past} LIMIT 100 FOR UPDATE SKIP LOCKED)"
            )
        )
