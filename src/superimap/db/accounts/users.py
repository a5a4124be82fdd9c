"""Whose inboxes does a partner have watched, and how do they sign in?"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import and_, func, insert, or_, select
from sqlalchemy import update as sql_update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import Place, Vault
from superimap.db.accounts.announcements import ring_users
from superimap.db.accounts.connections import Linked
from superimap.db.accounts.constraints import raise_conflict
from superimap.db.accounts.validation.accounts import (
    BOOLEAN_FIELDS,
    UserFields,
    sign_in_fields,
    validate_account,
)
from superimap.db.accounts.validation.servers import SERVER_FIELDS, complete_server
from superimap.db.errors import NotFound
from superimap.db.models import Connection, Provider, User
from superimap.domain.providers import ProviderKind
from superimap.domain.users import Reauth, UserStatus

SECRETS = frozenset({"login_password", "oauth2_refresh_token"})


class UserRow(NamedTuple):
    """A user as it is listed; `email` and `id` are where the next page begins."""

    id: int
    tag: str
    email: str | None


class After(NamedTuple):
    """The user at which the page before ended."""

    email: str | None
    id: int


async def create(db: AsyncSession, vault: Vault, linked: Linked, fields: UserFields) -> User:
    """A new user. Raises Invalid, or Taken if a live user has the tag or the email, in any case of letters.

    After Taken the transaction is of no more use. Rings on commit.
    """
    connection, provider = linked
    values = _permitted(provider, None, validate_account({"tag": None, **fields}))
    row = cast(int, await db.scalar(select(func.nextval(func.pg_get_serial_sequence("users", "id")))))
    archived = values.get("archived", False)
    is_complete = all(values.get(name) for name in _needed(provider))
    statement = (
        insert(User)
        .values(
            id=row,
            partner_id=connection.partner_id,
            connection_id=connection.id,
            connected_at=func.now() if is_complete else None,
            status=_status(archived=archived, is_connected=is_complete),
            **_sealed(vault, connection.partner_id, row, values),
        )
        .returning(User)
    )
    try:
        user = (await db.scalars(statement)).one()
    except IntegrityError as error:
        raise_conflict(error)
    await ring_users(db, user.shard)
    return user


async def by_tag(db: AsyncSession, connection: Connection, tag: str, *, lock: bool = False) -> User | None:
    """The user of this tag, or None. A live one comes before archived ones, of which the newest counts.

    `lock`: nobody else changes the user until the commit.
    """
    if "\0" in tag:  # PostgreSQL's text holds none, so no tag does
        return None
    statement = (
        select(User)
        .where(User.partner_id == connection.partner_id, User.connection_id == connection.id, User.tag == tag)
        .order_by(User.archived, User.id.desc())
        .limit(1)
    )
    if lock:
        statement = statement.with_for_update(key_share=True)
    return (await db.scalars(statement)).one_or_none()


async def update(db: AsyncSession, vault: Vault, linked: Linked, user: User, fields: UserFields) -> User:
    """Set what is given on a user that `by_tag` locked. Raises Invalid, NotFound, or Taken as `create` does.

    Whatever a running session has in hand (how the user signs in, the tag) or that ends it raises
    `credentials_version`, so that the session is replaced, and begins the status anew. Rings on commit.
    """
    values = _permitted(linked.provider, user, validate_account(fields))
    changes = _sealed(vault, user.partner_id, user.id, values) | _consequences(linked.provider, user, values)
    if not changes:
        return user
    statement = (
        sql_update(User)
        .where(User.id == user.id, User.partner_id == user.partner_id)
        .values(changes)
        .returning(User)
        .execution_options(populate_existing=True, synchronize_session=False)
    )
    try:
        changed = (await db.scalars(statement)).one_or_none()
    except IntegrityError as error:
        raise_conflict(error)
    if changed is None:
        raise NotFound(f"User not found for '{user.tag}'.")
    await ring_users(db, changed.shard)
    return changed


async def archive(db: AsyncSession, vault: Vault, linked: Linked, user: User) -> User:
    """Watch the user no more, and keep its rows; `update` with `archived=False` restores it."""
    return await update(db, vault, linked, user, {"archived": True})


def _permitted(provider: Provider, user: User | None, values: dict[str, Any]) -> dict[str, Any]:
    """Those values that a user of this provider has a use for; of a mail server of its own all three or none."""
    permitted = {"tag", "email", *BOOLEAN_FIELDS, *sign_in_fields(provider)}
    kept = {name: value for name, value in values.items() if name in permitted}
    if provider.host_by_user and not values.keys().isdisjoint(SERVER_FIELDS):
        kept |= complete_server(
            values, (user.imap_host, user.imap_port, user.imap_tls) if user else (None, None, None)
        )
    return kept


def _needed(provider: Provider) -> tuple[str, ...]:
    """What must be there before anybody can sign in."""
    return (*sign_in_fields(provider), *(("imap_host",) if provider.host_by_user else ()))


def _sealed(vault: Vault, partner_id: int, user_id: int, values: dict[str, Any]) -> dict[str, Any]:
    """The values as they are stored: secrets sealed for this very row."""
    return {
        name: vault.seal_text(value, Place("users", name, partner_id, str(user_id)))
        if name in SECRETS and value is not None
        else value
        for name, value in values.items()
    }


def _status(*, archived: bool, is_connected: bool) -> UserStatus:
    """Where a user begins whose credentials have just changed."""
    if archived:
        return UserStatus.ARCHIVED
    return UserStatus.CONNECTING if is_connected else UserStatus.NOT_CONNECTED


def _consequences(provider: Provider, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """What else changes with these values: nothing, unless they concern whoever is watching the user."""
    account, *secrets = sign_in_fields(provider)
    is_signed_anew = any(
        name in values and values[name] != getattr(user, name) for name in (account, *SERVER_FIELDS)
    ) or any(
        not (values[secret] is None and getattr(user, secret) is None)
        for secret in secrets
        if secret in values
    )
    archived = values.get("archived", user.archived)
    is_renamed = values.get("tag", user.tag) != user.tag  # a running session has the old tag in hand
    if not is_signed_anew and not is_renamed and archived == user.archived:
        return {}
    is_complete = all(values.get(name, getattr(user, name)) for name in _needed(provider))
    changes: dict[str, Any] = {
        "credentials_version": User.credentials_version + 1,
        "status": _status(archived=archived, is_connected=is_complete),
        "status_reason": None,
        "status_since": func.now(),
        "retry_at": None,
    }
    if is_signed_anew:
        since = (
            func.now()
            if _is_other_account(account, user, values)
            else func.coalesce(User.connected_at, func.now())
        )
        changes["connected_at"] = since if is_complete else None
        if provider.kind == ProviderKind.OAUTH2:
            changes |= {
                "oauth2_access_token": None,
                "oauth2_access_token_expires_at": None,
                "oauth2_token_version": User.oauth2_token_version + 1,  # what is under way is of no more use
                "oauth2_lease_until": None,
            }
        if user.reauth is not None:
            changes["reauth"] = Reauth.RENEWED if is_complete else None
    return changes


def _is_other_account(account: str, user: User, values: dict[str, Any]) -> bool:
    """Whether the user is another mail account from now on, of which nothing is known."""
    before, after = getattr(user, account), values.get(account)
    return bool(before and after and before.lower() != after.lower())


async def list(
    db: AsyncSession,
    connection: Connection,
    *,
    archived: bool | None = None,
    after: After | None = None,
    limit: int | None = None,
) -> Sequence[UserRow]:
    """The connection's users by email, those without one last; `archived` None means both kinds."""
    statement = select(User.id, User.tag, User.email).where(
        User.partner_id == connection.partner_id, User.connection_id == connection.id
    )
    if archived is not None:
        statement = statement.where(User.archived == archived)
    if after is not None:
        rest = and_(User.email.is_(None), User.id > after.id)
        if after.email is not None:
            same = and_(User.email == after.email, User.id > after.id)
            rest = or_(User.email > after.email, same, User.email.is_(None))
        statement = statement.where(rest)
    statement = statement.order_by(User.email, User.id).limit(limit)
    return [UserRow(*row) for row in (await db.execute(statement))]
