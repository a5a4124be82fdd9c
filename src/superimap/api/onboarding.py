"""Creation of users by request: the checks of the API, and one transaction without SQLAlchemy."""

from collections.abc import Collection, Sequence
from typing import Annotated, Protocol

from asyncpg import Connection
from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.api.dependencies import (
    AppResources,
    CallingKey,
    Db,
    Resources,
    charge_users,
    partner_connection,
)
from superimap.api.errors import Problem
from superimap.api.mail_servers import check_mail_server
from superimap.api.pages.try_limits import set_password_limits
from superimap.api.request_body import read_body
from superimap.api.schemas.accounts import NewUser, UserChange
from superimap.core.config import Settings
from superimap.core.errors import SuperImapError
from superimap.db.accounts import new_users
from superimap.db.accounts.callers import Caller
from superimap.db.accounts.link_usage import TryLimit
from superimap.db.accounts.new_users import ShownUser, UserTarget
from superimap.db.accounts.onboarding import Onboarding
from superimap.db.accounts.validation.accounts import UserFields
from superimap.db.engine import driver_transaction
from superimap.db.errors import Invalid
from superimap.db.models import User
from superimap.domain.audit import Actor, ActorKind

_read_new_user = read_body(NewUser)


class _Server(Protocol):
    """Where the passwords of a provider's users are sent."""

    @property
    def imap_host(self) -> str: ...

    @property
    def host_by_user(self) -> bool: ...


class UserCreation:
    """Creates users for the calling partner."""

    def __init__(self, resources: Resources, caller: Caller, db: AsyncSession) -> None:
        self._resources = resources
        self._caller = caller
        self._db = db

    async def create_one(self, code: str, request: Request) -> ShownUser:
        """Create the user in the body of the request. Raises Problem and every RequestError."""
        async with driver_transaction(self._resources.sessionmaker) as db:
            target = await new_users.find_target(db, self._caller.partner.id, code, count=1)
            if target is not None:
                body = await _read_new_user(request)
                fields = checked_fields(body, self._resources.settings, host_by_user=target.host_by_user)
                limits = password_limits(target, fields, partner_id=target.partner_id)
                user = await self._onboarding(db, target).create_one(fields, limits)
                await self._resources.expired_rows.note_added(db, len(limits))
                return user
        raise await self._not_found(code)

    async def create_many(
        self, code: str, users: Sequence[NewUser | Problem]
    ) -> list[ShownUser | SuperImapError]:
        """Create those users that can be created, in one transaction. Raises Problem if there is no connection."""
        partner_id = self._caller.partner.id
        charge_users(self._resources, self._caller, len(users))
        async with (
            self._resources.batch_turns.of(partner_id),
            driver_transaction(self._resources.sessionmaker) as db,
        ):
            target = await new_users.find_target(db, partner_id, code, count=len(users))
            if target is not None:
                return await self._create_in(db, target, users)
        raise await self._not_found(code)

    async def _create_in(
        self, db: Connection, target: UserTarget, users: Sequence[NewUser | Problem]
    ) -> list[ShownUser | SuperImapError]:
        fields = [self._checked(user, target) for user in users]
        limits = [
            ()
            if isinstance(each, SuperImapError)
            else password_limits(target, each, partner_id=target.partner_id)
            for each in fields
        ]
        results = await self._onboarding(db, target).create(fields, limits)
        await self._resources.expired_rows.note_added(db, sum(map(len, limits)))
        return results

    def _checked(self, user: NewUser | Problem, target: UserTarget) -> UserFields | SuperImapError:
        """Return the fields of a user, or what is wrong with it."""
        if isinstance(user, Problem):
            return user
        try:
            return checked_fields(user, self._resources.settings, host_by_user=target.host_by_user)
        except Invalid as error:
            return error

    async def _not_found(self, code: str) -> Problem:
        """Return the 404, or raise one that says what does not exist; on another connection of the pool."""
        await partner_connection(code, self._caller.partner, self._db)
        return Problem(404, "Connection not found.")

    def _onboarding(self, db: Connection, target: UserTarget) -> Onboarding:
        actor = Actor(ActorKind.API_KEY, str(self._caller.key.id))
        return Onboarding(db, self._resources.vault, target, actor=actor, policy=self._resources.quota_policy)


async def user_creation(resources: AppResources, caller: CallingKey, db: Db) -> UserCreation:
    """Return the creation of users for the calling key."""
    return UserCreation(resources, caller, db)


CreateUsers = Annotated[UserCreation, Depends(user_creation)]


def checked_fields(change: UserChange, settings: Settings, *, host_by_user: bool) -> UserFields:
    """Return the fields that were sent. Raises Invalid for a mail server that this installation does not dial."""
    fields = change.fields()
    if host_by_user:
        check_mail_server(fields, settings)
    return fields


def password_limits(
    provider: _Server, fields: UserFields, *, partner_id: int, user: User | None = None
) -> Collection[TryLimit]:
    """Return the limits of a password for its mailbox; none without a password or a mailbox."""
    username = fields.get("login_username", user.login_username if user else None)
    server = provider.imap_host
    if provider.host_by_user:
        server = fields.get("imap_host", user.imap_host if user else None) or ""
    if not fields.get("login_password") or not username or not server:
        return ()
    return set_password_limits(server, username, partner_id=partner_id)
