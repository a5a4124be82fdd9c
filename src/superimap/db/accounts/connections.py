"""Connections: the providers that a partner uses, each with its OAuth 2.0 client."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from sqlalchemy import Select, Text, func, select
from sqlalchemy import cast as sql_cast
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import Place, Vault
from superimap.core.private_keys import UnusableKey, read_signing_key
from superimap.db import audit
from superimap.db.accounts.connection_settings import change_settings, given_settings
from superimap.db.accounts.constraints import raise_conflict
from superimap.db.accounts.deletions import refuse_many_users
from superimap.db.accounts.validation.accounts import ConnectionFields, validate_account
from superimap.db.errors import Invalid, NotFound
from superimap.db.models import Connection, Provider, User
from superimap.domain.audit import AuditAction
from superimap.domain.destinations import CONNECTION_FIELDS, misdirected_secrets
from superimap.domain.providers import ClientAuth, ProviderKind
from superimap.domain.shards import USERS_CHANNEL
from superimap.domain.users import UserStatus

CLIENT_FIELDS = ("oauth2_client_id", "oauth2_client_secret")
TENANT_PLACEHOLDER = "{tenant}"
"""Part of a token URL that the tenant of the connection replaces."""

# Where a partner finds the value of a required field.
_HINTS = {
    "oauth2_client_id": "copy it from your OAuth 2.0 client",
    "oauth2_client_secret": "copy it from your OAuth 2.0 client",
    "oauth2_tenant": "it is the id of the directory whose mailboxes are watched",
}


# What changes with the client: the access token was issued to another client or for another tenant.
_NEW_CLIENT: Mapping[str, Any] = {
    "oauth2_access_token": None,
    "oauth2_token_version": Connection.oauth2_token_version + 1,
    "oauth2_lease_until": None,
    "oauth2_pause_until": None,
}


class ProviderConnection(NamedTuple):
    """A connection with its provider."""

    connection: Connection
    provider: Provider


class ConnectionRow(NamedTuple):
    """Provider code of a connection, the number of its users, and the defaults of its users."""

    imap_provider_code: str
    users_count: int
    history_days: int | None
    folders: list[str] | None
    change_events: bool | None


async def by_code(
    db: AsyncSession, partner_id: int, code: str, *, lock: bool = False
) -> ProviderConnection | None:
    """Return the partner's connection to this provider, or None.

    `lock` locks the connection, so that no users are added until the transaction ends.
    """
    if "\0" in code:  # PostgreSQL's text cannot hold NUL, so no code contains it
        return None
    statement = (
        select(Connection, Provider)
        .join(Provider, Provider.id == Connection.provider_id)
        .where(Connection.partner_id == partner_id, func.upper(Provider.code) == code.upper())
    )
    if lock:
        statement = statement.with_for_update(of=Connection)
    row = (await db.execute(statement)).one_or_none()
    return ProviderConnection(*row) if row is not None else None


async def list_with_counts(db: AsyncSession, partner_id: int) -> list[ConnectionRow]:
    """Return the partner's connections, by provider code."""
    statement = _with_user_count().where(Connection.partner_id == partner_id).order_by(Provider.code)
    return [ConnectionRow(*row) for row in (await db.execute(statement))]


async def with_count(db: AsyncSession, connection_id: int) -> ConnectionRow:
    """Return one connection as `list_with_counts` does. Raises NotFound if it was deleted meanwhile."""
    row = (await db.execute(_with_user_count().where(Connection.id == connection_id))).one_or_none()
    if row is None:
        raise NotFound("Connection not found.")
    return ConnectionRow(*row)


async def create(
    db: AsyncSession, vault: Vault, partner_id: int, provider: Provider, fields: ConnectionFields
) -> ProviderConnection:
    """Create a connection. Raises Invalid if a field that the provider requires is missing.

    Raises ValueTaken if the partner has a connection to this provider; the transaction must then be rolled back.
    """
    values = _validate(provider, fields)
    settings = given_settings(fields)
    for name in required_fields(provider):
        if name not in values:
            raise Invalid(name, f"is required for this provider; {_HINTS[name]}")
    drawn = await db.scalar(select(func.nextval(func.pg_get_serial_sequence("connections", "id"))))
    row = cast(int, drawn)
    connection = Connection(
        id=row,
        partner_id=partner_id,
        provider_id=provider.id,
        **_as_stored(vault, partner_id, row, values),
        **settings,
    )
    db.add(connection)
    try:
        await db.flush()
    except IntegrityError as error:
        raise_conflict(error)
    linked = ProviderConnection(connection, provider)
    await _record(db, AuditAction.CONNECTION_CREATE, linked, {**values, **settings})
    return linked


async def update(
    db: AsyncSession, vault: Vault, linked: ProviderConnection, fields: ConnectionFields
) -> ProviderConnection:
    """Change the given fields. Users in `authentication_failed` sign in again with the new client.

    With other folders or `change_events` the users without a value of their own start again.

    Raises Invalid for another client id or tenant without its secret: the stored one is not sent for it.
    """
    connection, provider = linked
    given, settings = _validate(provider, fields), given_settings(fields)
    _check_secret_is_sent(connection, given)
    values = _as_stored(vault, connection.partner_id, connection.id, given)
    if await change_settings(db, connection, settings):
        await notify_shards(db, connection.id)
        if not values:
            await _record(db, AuditAction.CONNECTION_UPDATE, linked, settings)
    if not values:
        return linked
    is_client_changed = not given.keys().isdisjoint(required_fields(provider))
    statement = (
        sql_update(Connection)
        .where(Connection.id == connection.id, Connection.partner_id == connection.partner_id)
        .values({**values, **(_NEW_CLIENT if is_client_changed else {})})
        .returning(Connection)
        .execution_options(populate_existing=True)
    )
    changed = (await db.scalars(statement)).one_or_none()
    if changed is None:
        raise NotFound("Connection not found.")
    if is_client_changed:
        await _retry_failed_users(db, connection.id)
    await _record(db, AuditAction.CONNECTION_UPDATE, linked, {**given, **settings})
    return ProviderConnection(changed, provider)


async def delete(db: AsyncSession, partner_id: int, code: str, *, most_users: int | None = None) -> bool:
    """Delete the connection with its users and all their rows; False if it does not exist.

    Raises Conflict if it has more than `most_users`: they would take too long for a request.
    """
    linked = await by_code(db, partner_id, code, lock=True)
    if linked is None:
        return False
    if most_users is not None:
        await refuse_many_users(
            db, Connection.id == linked.connection.id, most_users, f"connections delete {partner_id} {code}"
        )
    await notify_shards(db, linked.connection.id)
    count = (await with_count(db, linked.connection.id)).users_count
    await db.execute(sql_delete(Connection).where(Connection.id == linked.connection.id))
    await _record(db, AuditAction.CONNECTION_DELETE, linked, {}, count=count)
    return True


def required_fields(provider: Provider) -> tuple[str, ...]:
    """Fields that a connection to this provider requires."""
    if provider.kind != ProviderKind.OAUTH2:
        return ()
    return (
        (*CLIENT_FIELDS, "oauth2_tenant")
        if TENANT_PLACEHOLDER in (provider.oauth2_token_url or "")
        else CLIENT_FIELDS
    )


async def _record(
    db: AsyncSession,
    action: AuditAction,
    linked: ProviderConnection,
    values: Mapping[str, Any],
    **details: int,
) -> None:
    code = linked.provider.code
    partner_id = linked.connection.partner_id
    recorded = {**values, "imap_provider_code": code, **details}
    await audit.record(db, action, partner_id=partner_id, object_id=code, fields=values, details=recorded)


def _with_user_count() -> Select[str, int, int | None, list[str] | None, bool | None]:
    users = select(func.count()).where(User.connection_id == Connection.id).scalar_subquery()
    columns = Provider.code, users, Connection.history_days, Connection.folders, Connection.change_events
    return select(*columns).select_from(Connection).join(Provider)


def _validate(provider: Provider, fields: ConnectionFields) -> dict[str, Any]:
    """Validate the given fields that the provider uses. None of its client may be blank."""
    used = required_fields(provider)
    values = validate_account(
        {name: value for name, value in fields.items() if name in {*used, "history_days"}}
    )
    for name in used:
        if values.get(name, "") is None:
            raise Invalid(name, f"must not be blank; {_HINTS[name]}")
    if "oauth2_client_secret" in values and provider.client_auth is ClientAuth.PRIVATE_KEY_JWT:
        _check_private_key(values["oauth2_client_secret"])
    return values


def _check_private_key(text: str) -> None:
    try:
        read_signing_key(text)
    except UnusableKey:
        raise Invalid(
            "oauth2_client_secret",
            "must be a private key that is not encrypted, in PEM, as a JWK, or the JSON file of a Google service "
            "account (RSA of 2048 bits, EC or Ed25519): the provider takes private_key_jwt",
        ) from None


def _check_secret_is_sent(connection: Connection, values: Mapping[str, Any]) -> None:
    for secret, field in misdirected_secrets(CONNECTION_FIELDS, connection, values).items():
        if getattr(connection, secret) is not None:
            raise Invalid(
                secret, f"must be sent with another {field}; the stored one belongs to the present one"
            )


def _as_stored(vault: Vault, partner_id: int, connection_id: int, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values as they are stored: the client secret encrypted for this row."""
    name = "oauth2_client_secret"
    if name not in values:
        return {**values}
    place = Place("connections", name, partner_id, str(connection_id))
    return {**values, name: vault.seal_text(values[name], place)}


async def notify_shards(db: AsyncSession, connection_id: int) -> None:
    """Notify the owner of every shard that has a user of this connection, in one statement."""
    shards = select(User.shard).where(User.connection_id == connection_id).distinct().subquery()
    await db.execute(select(func.pg_notify(USERS_CHANNEL, sql_cast(shards.c.shard, Text))))


async def _retry_failed_users(db: AsyncSession, connection_id: int) -> None:
    """Let users in `authentication_failed` connect again, and notify the idlers."""
    statement = (
        sql_update(User)
        .where(
            User.connection_id == connection_id,
            User.status == UserStatus.AUTHENTICATION_FAILED,
            ~User.archived,
        )
        .values(
            credentials_version=User.credentials_version + 1,
            status=UserStatus.CONNECTING,
            status_reason=None,
            status_since=func.now(),
            retry_at=None,
            refusals=0,
            refused_since=None,
        )
    )
    await db.execute(statement.execution_options(synchronize_session=False))
    await notify_shards(db, connection_id)
