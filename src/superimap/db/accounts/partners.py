"""Partners: create, read, change and delete."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import Vault
from superimap.db import audit
from superimap.db.accounts import api_keys, connections, partner_keys, webhook_endpoints
from superimap.db.accounts.constraints import ValueTaken
from superimap.db.accounts.deletions import refuse_many_users
from superimap.db.accounts.validation.partners import WEBHOOK_FIELDS, PartnerFields, validate_partner
from superimap.db.errors import Invalid
from superimap.db.models import Connection, Endpoint, Partner, Provider, User
from superimap.domain.audit import AuditAction


@dataclass(frozen=True, slots=True)
class NewPartner:
    """A new partner and its secrets in clear, which cannot be read again."""

    partner: Partner
    api_key: str = field(repr=False)
    signing_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PartnerRow:
    """A partner with the number of its connections and of its users, archived users included."""

    partner: Partner
    connections: int
    users: int


async def create(
    db: AsyncSession, vault: Vault, *, https_only: bool = False, **fields: Unpack[PartnerFields]
) -> NewPartner:
    """Create a partner with an API key, a signing secret, and an endpoint for each kind of webhook.

    Raises Invalid if a value is not valid, ValueTaken if the name is taken (letter case is ignored).
    """
    values = validate_partner(fields, https_only=https_only)
    if "name" not in values:
        raise Invalid("name", "is missing; choose a name, such as acme-production")
    row = {column: value for column, value in values.items() if column not in WEBHOOK_FIELDS}
    statement = insert(Partner).values(row).on_conflict_do_nothing().returning(Partner)
    partner = (await db.scalars(statement)).one_or_none()
    if partner is None:
        raise _name_taken(values["name"])
    endpoints = [
        {"partner_id": partner.id, "kind": kind, "url": values.get(name)}
        for name, kind in WEBHOOK_FIELDS.items()
    ]
    await db.execute(insert(Endpoint).values(endpoints))
    await _record(db, AuditAction.PARTNER_CREATE, partner.id, values)
    api_key = await api_keys.add_first(db, vault, partner.id)
    return NewPartner(partner, api_key, await partner_keys.add_signing_secret(db, vault, partner.id))


async def by_id(db: AsyncSession, partner_id: int) -> Partner | None:
    """Return the partner with this id, or None."""
    return (await db.scalars(select(Partner).where(Partner.id == partner_id))).one_or_none()


async def by_name(db: AsyncSession, name: str) -> Partner | None:
    """Return the partner with this name (letter case is ignored), or None."""
    if "\0" in name:
        return None
    statement = select(Partner).where(func.lower(Partner.name) == func.lower(name.strip()))
    return (await db.scalars(statement)).one_or_none()


async def list_with_counts(db: AsyncSession) -> list[PartnerRow]:
    """Return every partner by name, with the numbers of its connections and users."""
    linked = select(func.count()).where(Connection.partner_id == Partner.id).scalar_subquery()
    users = select(func.count()).where(User.partner_id == Partner.id).scalar_subquery()
    statement = select(Partner, linked, users).order_by(func.lower(Partner.name))
    return [PartnerRow(*row) for row in await db.execute(statement)]


async def update(
    db: AsyncSession, partner_id: int, *, https_only: bool = False, **fields: Unpack[PartnerFields]
) -> Partner:
    """Change the given fields. Raises NotFound, Invalid, or ValueTaken if the new name is taken."""
    values = validate_partner(fields, https_only=https_only)
    partner = await partner_keys.lock_partner(db, partner_id)
    try:
        for name, value in values.items():
            if name in WEBHOOK_FIELDS:
                await webhook_endpoints.set_url(db, partner_id, WEBHOOK_FIELDS[name], value)
            else:
                setattr(partner, name, value)
        await db.flush()
    except IntegrityError:
        raise _name_taken(values["name"]) from None
    if values:
        await _record(db, AuditAction.PARTNER_UPDATE, partner_id, values)
    return partner


async def describe(db: AsyncSession, partner: Partner) -> dict[str, Any]:
    """Return the fields of a partner that people and programs see; no secrets."""
    names = (
        "id",
        "name",
        "success_url",
        "failure_url",
        "return_origins",
        "append_results",
        "send_traceparent",
        "created_at",
    )
    urls = await webhook_endpoints.urls_by_kind(db, partner.id)
    webhooks = {name: urls[kind] for name, kind in WEBHOOK_FIELDS.items()}
    return {name: getattr(partner, name) for name in names} | webhooks


async def delete(db: AsyncSession, partner_id: int, *, most_users: int | None = None) -> bool:
    """Delete a partner with all of its rows, and have its sessions end now; False if it does not exist.

    Raises Conflict if it has more than `most_users`: they would take too long for a request.
    """
    if most_users is not None:
        mine = Connection.partner_id == partner_id
        await refuse_many_users(db, mine, most_users, f"partners delete {partner_id}")
    codes = select(Provider.code).join(Connection, Connection.provider_id == Provider.id)
    for code in (await db.scalars(codes.where(Connection.partner_id == partner_id))).all():
        await connections.delete(db, partner_id, code)
    statement = sql_delete(Partner).where(Partner.id == partner_id).returning(Partner.name)
    name = (await db.scalars(statement)).one_or_none()
    if name is not None:
        await _record(db, AuditAction.PARTNER_DELETE, partner_id, {"name": name})
    return name is not None


async def _record(db: AsyncSession, action: AuditAction, partner_id: int, values: Mapping[str, Any]) -> None:
    await audit.record(db, action, partner_id=partner_id, object_id=partner_id, fields=values, details=values)


def _name_taken(name: str) -> ValueTaken:
    return ValueTaken("name", f"A partner named {name!r} already exists; choose another name.")
