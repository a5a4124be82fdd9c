"""Who are our customers, where do their webhooks go, and with which keys are those signed?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Unpack, cast

from sqlalchemy import ColumnElement, func, literal, or_, select, text, union_all
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import Place, Vault, digest, equal, generate_api_key, generate_signing_secret
from superimap.db.accounts.partner_values import WEBHOOKS, Changes, clean
from superimap.db.errors import Conflict, Invalid, NotFound
from superimap.db.models import ApiKey, Connection, Endpoint, Partner, SigningSecret, User
from superimap.domain.deliveries import HEALTHY
from superimap.domain.events import EventKind

HINT = 8
MOST_SECRETS = 5


@dataclass(frozen=True, slots=True)
class Created:
    """A new partner and its secrets in clear, which are never shown again."""

    partner: Partner
    api_key: str = field(repr=False)
    signing_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PartnerRow:
    """A partner with the number of its connections and of its users, archived ones included."""

    partner: Partner
    connections: int
    users: int


@dataclass(frozen=True, slots=True)
class SigningMaterial:
    """What signs a partner's webhooks: the first API key the body, every secret the headers.

    API keys come oldest first, so that the body's signature stays with the old key until that
    expires or is retired; secrets come newest first.
    """

    api_keys: tuple[str, ...] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


# Partners.


async def create(
    db: AsyncSession, vault: Vault, *, https_only: bool = False, **values: Unpack[Changes]
) -> Created:
    """A new partner with an API key, a signing secret, and an endpoint for every kind of webhook.

    Raises Invalid for a value that will not do, Conflict if the name is taken (in any case of letters).
    """
    checked = clean(dict(values), https_only=https_only)
    if "name" not in checked:
        raise Invalid("name", "is missing; give one, such as acme-production")
    row = {column: value for column, value in checked.items() if column not in WEBHOOKS}
    statement = insert(Partner).values(row).on_conflict_do_nothing().returning(Partner)
    partner = (await db.scalars(statement)).one_or_none()
    if partner is None:
        raise _taken(checked["name"])
    endpoints = [
        {"partner_id": partner.id, "kind": kind, "url": checked.get(name)} for name, kind in WEBHOOKS.items()
    ]
    await db.execute(insert(Endpoint).values(endpoints))
    api_key = await _add_api_key(db, vault, partner.id)
    return Created(partner, api_key, await _add_signing_secret(db, vault, partner.id))


async def by_id(db: AsyncSession, partner_id: int) -> Partner | None:
    """The partner of this id, or None."""
    return (await db.scalars(select(Partner).where(Partner.id == partner_id))).one_or_none()


async def by_name(db: AsyncSession, name: str) -> Partner | None:
    """The partner of this name, in any case of letters, or None."""
    statement = select(Partner).where(func.lower(Partner.name) == func.lower(name.strip()))
    return (await db.scalars(statement)).one_or_none()


async def list_with_counts(db: AsyncSession) -> list[PartnerRow]:
    """Every partner by name, with the numbers of its connections and users."""
    connections = select(func.count()).where(Connection.partner_id == Partner.id).scalar_subquery()
    users = select(func.count()).where(User.partner_id == Partner.id).scalar_subquery()
    statement = select(Partner, connections, users).order_by(func.lower(Partner.name))
    return [PartnerRow(*row) for row in await db.execute(statement)]


async def update(
    db: AsyncSession, partner_id: int, *, https_only: bool = False, **changes: Unpack[Changes]
) -> Partner:
    """Set what is given. Raises NotFound, Invalid, or Conflict if the new name is taken."""
    checked = clean(dict(changes), https_only=https_only)
    partner = await _locked(db, partner_id)
    try:
        for name, value in checked.items():
            if name in WEBHOOKS:
                await _set_webhook(db, partner_id, WEBHOOKS[name], value)
            else:
                setattr(partner, name, value)
        await db.flush()
    except IntegrityError:
        raise _taken(checked["name"]) from None
    return partner


async def delete(db: AsyncSession, partner_id: int) -> bool:
    """Remove a partner with all that is its own; False if there is none."""
    statement = sql_delete(Partner).where(Partner.id == partner_id).returning(Partner.id)
    return (await db.scalars(statement)).one_or_none() is not None


async def webhooks(db: AsyncSession, partner_id: int) -> dict[EventKind, str | None]:
    """Where each kind of webhook goes; None: that kind is not sent."""
    statement = select(Endpoint.kind, Endpoint.url).where(Endpoint.partner_id == partner_id)
    found = {row.kind: row.url for row in await db.execute(statement)}
    return {kind: found.get(kind) for kind in EventKind}


# Keys and secrets.


async def by_api_key(db: AsyncSession, api_key: str) -> Partner | None:
    """Whose unexpired API key this is, or None."""
    sought = digest(api_key)
    statement = (
        select(Partner, ApiKey.digest)
        .join(ApiKey, ApiKey.partner_id == Partner.id)
        .where(ApiKey.digest == sought, _unexpired(ApiKey))
    )
    row = (await db.execute(statement)).one_or_none()
    return row[0] if row is not None and equal(row[1], sought) else None


async def api_keys(db: AsyncSession, partner_id: int) -> Sequence[ApiKey]:
    """The partner's API keys, expired ones too, oldest first; `hint` is how each begins."""
    statement = select(ApiKey).where(ApiKey.partner_id == partner_id).order_by(ApiKey.id)
    return (await db.scalars(statement)).all()


async def signing_secrets(db: AsyncSession, partner_id: int) -> Sequence[SigningSecret]:
    """The partner's signing secrets, expired ones too, newest first."""
    statement = (
        select(SigningSecret).where(SigningSecret.partner_id == partner_id).order_by(SigningSecret.id.desc())
    )
    return (await db.scalars(statement)).all()


async def rotate_api_key(db: AsyncSession, vault: Vault, partner_id: int, *, overlap: timedelta) -> str:
    """A new API key, shown this once; the ones before expire after `overlap`, if not sooner."""
    await _locked(db, partner_id)
    await _expire(db, ApiKey, partner_id, overlap)
    return await _add_api_key(db, vault, partner_id)


async def rotate_signing_secret(
    db: AsyncSession, vault: Vault, partner_id: int, *, overlap: timedelta
) -> str:
    """A new signing secret, shown this once; the ones before expire after `overlap`, if not sooner.

    Raises Conflict if MOST_SECRETS would still be valid: a signature by each stands in every webhook.
    """
    await _locked(db, partner_id)
    await _expire(db, SigningSecret, partner_id, overlap)
    valid = select(func.count()).where(SigningSecret.partner_id == partner_id, _unexpired(SigningSecret))
    if (await db.scalar(valid) or 0) >= MOST_SECRETS:
        raise Conflict(
            f"There are {MOST_SECRETS} signing secrets that are still valid; wait until one expires, or "
            "rotate with no overlap, which ends them all."
        )
    return await _add_signing_secret(db, vault, partner_id)


async def retire_api_key(db: AsyncSession, partner_id: int, key_id: int) -> ApiKey:
    """Let an API key expire now. Raises NotFound, or Conflict if no other unexpired key would be left."""
    await _locked(db, partner_id)
    keys = await api_keys(db, partner_id)
    key = next((key for key in keys if key.id == key_id), None)
    if key is None:
        raise NotFound(f"The partner has no API key {key_id}.")
    live = await db.scalars(select(ApiKey.id).where(ApiKey.partner_id == partner_id, _unexpired(ApiKey)))
    if set(live) == {key_id}:
        raise Conflict(
            "This is the partner's only API key; rotate it first, so that another takes its place."
        )
    statement = (
        sql_update(ApiKey)
        .where(ApiKey.id == key_id)
        .values(expires_at=func.least(ApiKey.expires_at, func.now()))
        .returning(ApiKey)
        .execution_options(populate_existing=True)
    )
    return (await db.scalars(statement)).one()


async def signing_material(db: AsyncSession, vault: Vault, partner_id: int) -> SigningMaterial:
    """The unexpired API keys, oldest first, and signing secrets, newest first; empty for no such partner."""
    statement = union_all(
        *(
            select(literal(model.__tablename__).label("place"), model.id.label("id"), model.secret).where(
                model.partner_id == partner_id, _unexpired(model)
            )
            for model in (ApiKey, SigningSecret)
        )
    ).order_by(text("id"))
    keys: list[str] = []
    secrets: list[str] = []
    for table, row, sealed in await db.execute(statement):
        opened = vault.open_text(sealed, Place(table, "secret", partner_id, str(row)))
        (keys if table == ApiKey.__tablename__ else secrets).append(opened)
    return SigningMaterial(tuple(keys), tuple(reversed(secrets)))


# Steps.


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a partner named {name!r} already; choose another name.")


def _unexpired(model: type[ApiKey] | type[SigningSecret]) -> ColumnElement[bool]:
    return or_(model.expires_at.is_(None), model.expires_at > func.now())


async def _locked(db: AsyncSession, partner_id: int) -> Partner:
    """The partner, until the transaction ends closed to other changes of it or its keys."""
    statement = select(Partner).where(Partner.id == partner_id).with_for_update(key_share=True)
    partner = (await db.scalars(statement)).one_or_none()
    if partner is None:
        raise NotFound(f"There is no partner {partner_id}.")
    return partner


async def _set_webhook(db: AsyncSession, partner_id: int, kind: EventKind, url: str | None) -> None:
    """Another URL is another endpoint: nothing is held against it, and it is enabled."""
    statement = insert(Endpoint).values(partner_id=partner_id, kind=kind, url=url)
    statement = statement.on_conflict_do_update(
        index_elements=[Endpoint.partner_id, Endpoint.kind],
        set_={"url": statement.excluded.url} | asdict(HEALTHY),
        where=Endpoint.url.is_distinct_from(statement.excluded.url),
    )
    await db.execute(statement)


async def _expire(
    db: AsyncSession, model: type[ApiKey] | type[SigningSecret], partner_id: int, overlap: timedelta
) -> None:
    statement = sql_update(model).where(model.partner_id == partner_id)
    # least() passes over NULL, which stands for "never".
    await db.execute(statement.values(expires_at=func.least(model.expires_at, func.now() + overlap)))


async def _next_id(db: AsyncSession, table: str) -> int:
    """The id of the row to come, which its secret is sealed for."""
    drawn = await db.scalar(select(func.nextval(func.pg_get_serial_sequence(table, "id"))))
    return cast(int, drawn)


async def _add_api_key(db: AsyncSession, vault: Vault, partner_id: int) -> str:
    api_key, row = generate_api_key(), await _next_id(db, "api_keys")
    sealed = vault.seal_text(api_key, Place("api_keys", "secret", partner_id, str(row)))
    db.add(ApiKey(id=row, partner_id=partner_id, digest=digest(api_key), secret=sealed, hint=api_key[:HINT]))
    await db.flush()
    return api_key


async def _add_signing_secret(db: AsyncSession, vault: Vault, partner_id: int) -> str:
    secret, row = generate_signing_secret(), await _next_id(db, "signing_secrets")
    sealed = vault.seal_text(secret, Place("signing_secrets", "secret", partner_id, str(row)))
    db.add(SigningSecret(id=row, partner_id=partner_id, secret=sealed))
    await db.flush()
    return secret
