"""Stored secrets of a provider whose servers or URLs change: kept for the new ones, or forgotten."""

from collections.abc import Collection, Mapping
from enum import StrEnum

from sqlalchemy import ColumnElement, case, false, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.accounts import connections
from superimap.db.errors import Conflict
from superimap.db.models import Connection, Provider, User
from superimap.domain.destinations import CLIENT_SECRET, PASSWORD, REFRESH_TOKEN
from superimap.domain.users import UserStatus

_COLUMNS = {PASSWORD: User.login_password, REFRESH_TOKEN: User.oauth2_refresh_token}


class StoredSecrets(StrEnum):
    """What becomes of the secrets that are stored for the present servers and URLs of a provider."""

    KEEP = "keep"  # the new server belongs to the same service: they are sent there
    FORGET = "forget"  # they are deleted: people and partners enter them again


class SecretsUndecided(Conflict):
    """Secrets are stored for what changes, and nobody has said what becomes of them."""

    def __init__(self, users: int, clients: int, fields: Collection[str]) -> None:
        super().__init__(
            f"The secrets of {users} user(s) and {clients} OAuth 2.0 client(s) are stored for the present "
            f"{', '.join(fields)}. Say what becomes of them: --stored-secrets=keep sends them to the new one, "
            "--stored-secrets=forget deletes them."
        )
        self.users = users
        self.clients = clients
        self.fields = fields


async def decide(
    db: AsyncSession, provider: Provider, secrets: Mapping[str, str], decision: StoredSecrets | None
) -> None:
    """Apply the operator's decision about these secrets, each with the field that changes.

    Raises SecretsUndecided if some are stored and nothing was decided. `provider` is locked and not changed yet.
    """
    if not secrets or decision is StoredSecrets.KEEP:
        return
    await _await_stores(db, provider)
    users = _users_with(provider, secrets)
    clients = _clients_with(provider, secrets)
    if decision is None:
        user_count, client_count = [
            await db.scalar(select(func.count()).where(each)) or 0 for each in (users, clients)
        ]
        if user_count or client_count:
            raise SecretsUndecided(user_count, client_count, sorted(set(secrets.values())))
    else:
        await _forget(db, provider, secrets, users, clients)


async def _await_stores(db: AsyncSession, provider: Provider) -> None:
    """Wait until secrets that are being stored are visible, and let none be stored until this transaction ends."""
    mine = select(Connection.id).where(Connection.provider_id == provider.id)
    await db.execute(mine.order_by(Connection.id).with_for_update())
    users = select(User.id).where(_is_of(provider)).order_by(User.id).with_for_update(key_share=True)
    await db.execute(select(func.count()).select_from(users.subquery()))


async def _forget(
    db: AsyncSession,
    provider: Provider,
    secrets: Mapping[str, str],
    users: ColumnElement[bool],
    clients: ColumnElement[bool],
) -> None:
    fields = ", ".join(sorted(set(secrets.values())))
    await db.execute(
        update(User)
        .where(users)
        .values(
            login_password=None,
            oauth2_refresh_token=None,
            oauth2_access_token=None,
            oauth2_access_token_expires_at=None,
            oauth2_token_version=User.oauth2_token_version + 1,
            credentials_version=User.credentials_version + 1,
            connected_at=None,
            status=case((User.archived, UserStatus.ARCHIVED), else_=UserStatus.NOT_CONNECTED),
            status_reason=f"an operator changed the provider's {fields}: connect again",
            status_since=func.now(),
            retry_at=None,
            reauth=None,
            login_accepted=False,
            refusals=0,
            refused_since=None,
        )
        .execution_options(synchronize_session=False)
    )
    await db.execute(
        update(Connection)
        .where(clients)
        .values(
            oauth2_client_secret=None,
            oauth2_access_token=None,
            oauth2_token_version=Connection.oauth2_token_version + 1,
        )
        .execution_options(synchronize_session=False)
    )
    for connection_id in await db.scalars(select(Connection.id).where(Connection.provider_id == provider.id)):
        await connections.notify_shards(db, connection_id)


def _is_of(provider: Provider) -> ColumnElement[bool]:
    return User.connection_id.in_(select(Connection.id).where(Connection.provider_id == provider.id))


def _users_with(provider: Provider, secrets: Collection[str]) -> ColumnElement[bool]:
    """The provider's users that have one of the secrets."""
    return _is_of(provider) & or_(
        false(), *(column.is_not(None) for name, column in _COLUMNS.items() if name in secrets)
    )


def _clients_with(provider: Provider, secrets: Collection[str]) -> ColumnElement[bool]:
    """The provider's connections whose client secret is among the secrets."""
    stored = Connection.oauth2_client_secret.is_not(None)
    return (Connection.provider_id == provider.id) & stored if CLIENT_SECRET in secrets else false()
