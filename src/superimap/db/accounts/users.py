"""Users: create, read, change and list. A change notifies the idler that owns the user's shard."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import literal, select, tuple_, union_all
from sqlalchemy import update as sql_update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import Vault
from superimap.db import audit
from superimap.db.accounts import history, new_users, quotas
from superimap.db.accounts.announcements import ring_users
from superimap.db.accounts.connections import ProviderConnection
from superimap.db.accounts.constraints import raise_conflict
from superimap.db.accounts.hidden_secrets import load_password_presence
from superimap.db.accounts.onboarding import Onboarding
from superimap.db.accounts.user_changes import (
    as_stored,
    check_password_has_server,
    check_shared_mailbox_has_address,
    further_changes,
    is_changed,
    used_values,
)
from superimap.db.accounts.validation.accounts import (
    UserFields,
    validate_account,
)
from superimap.db.engine import driver_connection
from superimap.db.errors import NotFound
from superimap.db.models import Connection, User
from superimap.domain.audit import AuditAction
from superimap.domain.destinations import USER_FIELDS, misdirected_secrets
from superimap.domain.quotas import Quota


class UserRow(NamedTuple):
    """A user as it is listed; `email` and `id` of the last row start the next page."""

    id: int
    tag: str
    email: str | None


class PageStart(NamedTuple):
    """The last user of the previous page."""

    email: str | None
    id: int


async def create(db: AsyncSession, vault: Vault, linked: ProviderConnection, fields: UserFields) -> User:
    """Create a user. Raises Invalid, or ValueTaken if an unarchived user has the tag or the email.

    Letter case is ignored. After ValueTaken the transaction must be rolled back.
    """
    connection, provider = linked
    driver = await driver_connection(db)
    target = new_users.UserTarget(
        connection_id=connection.id,
        partner_id=connection.partner_id,
        code=provider.code,
        kind=provider.kind,
        imap_host=provider.imap_host,
        host_by_user=provider.host_by_user,
        is_app_only=provider.is_app_only,
        user_ids=await new_users.draw_ids(driver, 1),
    )
    onboarding = Onboarding(driver, vault, target, actor=audit.actor_of(db), policy=quotas.policy_of(db))
    created = await onboarding.create_one(fields)
    return (await db.scalars(select(User).where(User.id == created.id))).one()


async def by_tag(db: AsyncSession, connection: Connection, tag: str, *, lock: bool = False) -> User | None:
    """Return the user with this tag, or None: the unarchived user, else the newest archived user.

    `lock` locks the user against other changes until the transaction ends.
    """
    if "\0" in tag:  # PostgreSQL's text cannot hold NUL, so no tag contains it
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


async def update(
    db: AsyncSession, vault: Vault, linked: ProviderConnection, user: User, fields: UserFields
) -> User:
    """Change the given fields of a user that `by_tag` locked. Raises Invalid, NotFound, or ValueTaken.

    A change of credentials, tag or archiving increments `credentials_version`, so that a running session is
    replaced or ended, and resets the status. Another server or account name without its secret clears the secret.
    A new connection with days of history creates its sweep.
    """
    await load_password_presence(db, user)
    given = used_values(linked.provider, user, validate_account(fields))
    cleared = {
        secret: field
        for secret, field in misdirected_secrets(USER_FIELDS, user, given).items()
        if getattr(user, secret) is not None
    }
    values = given | dict.fromkeys(cleared)
    check_password_has_server(linked.provider, user, values)
    check_shared_mailbox_has_address(user, values)
    changes = as_stored(vault, user.partner_id, user.id, values) | further_changes(
        linked.provider, user, values
    )
    if cleared and "status" in changes:
        changes["status_reason"] = "; ".join(
            f"a changed {field} cleared {secret}: send both in one request"
            for secret, field in cleared.items()
        )
    if not changes:
        return user
    await _reserve_change(db, user, values, changes)
    before = history.UserBefore.of(user)
    changed_values = {name: value for name, value in values.items() if is_changed(user, name, value)}
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
    await db.refresh(changed, ["last_proven_alive_at"])  # RETURNING has columns only
    await history.begin(db, linked.connection, changed, before)
    if changed_values:
        await _record(db, AuditAction.USER_UPDATE, linked, changed, changed_values)
    await ring_users(db, changed.shard)
    return changed


async def archive(db: AsyncSession, vault: Vault, linked: ProviderConnection, user: User) -> User:
    """Stop watching the user and keep its rows; `update` with `archived=False` restores it."""
    return await update(db, vault, linked, user, {"archived": True})


async def _reserve_change(
    db: AsyncSession, user: User, values: Mapping[str, Any], changes: Mapping[str, Any]
) -> None:
    """Reserve what a restored or connected user needs; give back what an archived or disconnected one had."""
    is_live = not values.get("archived", user.archived)
    has_session = is_live and changes.get("connected_at", user.connected_at) is not None
    had_session = not user.archived and user.connected_at is not None
    for quota, had, has in (
        (Quota.USERS, not user.archived, is_live),
        (Quota.SESSIONS, had_session, has_session),
    ):
        if has and not had:
            await quotas.reserve(db, user.partner_id, quota)
        if had and not has:
            await quotas.give_back(db, user.partner_id, quota)


async def _record(
    db: AsyncSession, action: AuditAction, linked: ProviderConnection, user: User, values: Mapping[str, Any]
) -> None:
    await audit.record(
        db,
        action,
        partner_id=user.partner_id,
        object_id=user.id,
        fields=values,
        details={**values, "tag": user.tag, "imap_provider_code": linked.provider.code},
    )


async def list(
    db: AsyncSession,
    connection: Connection,
    *,
    archived: bool | None = None,
    after: PageStart | None = None,
    limit: int,
) -> Sequence[UserRow]:
    """Return at most `limit` of the connection's users by email, users without an email last.

    `archived` None returns both kinds.
    """
    statement = select(User.id, User.tag, User.email).where(
        User.partner_id == connection.partner_id, User.connection_id == connection.id
    )
    if archived is not None:
        statement = statement.where(User.archived == archived)
    statement = statement.order_by(User.email, User.id).limit(limit)
    if after is None:
        return [UserRow(*row) for row in await db.execute(statement)]
    # Each part is a range of the index: an OR of both would be a filter, which reads all earlier pages again.
    parts = [statement.where(User.email.is_(None), User.id > (after.id if after.email is None else 0))]
    if after.email is not None:
        last = tuple_(literal(after.email), literal(after.id))
        parts.append(statement.where(tuple_(User.email, User.id) > last))
    page = union_all(*parts).subquery()
    following = select(page.c.id, page.c.tag, page.c.email).order_by(page.c.email, page.c.id).limit(limit)
    return [UserRow(*row) for row in await db.execute(following)]
