"""Lists of partners, their connections and the providers, for people. No sealed column is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, ScalarSelect, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from superimap.db.accounts import quotas
from superimap.db.accounts.room import COUNTED
from superimap.db.errors import Invalid, NotFound
from superimap.db.models import Connection, Partner, PartnerQuota, PartnerUsage, Provider, User
from superimap.domain.quotas import Quota

MAX_COUNT = 1000
"""Users are counted up to one more than this, which is shown as `1,000+`."""


class ListedPartner(NamedTuple):
    """A partner with the number of its connections."""

    id: int
    name: str
    created_at: datetime
    connections: int


@dataclass(frozen=True, slots=True)
class ConnectionSeen:
    """A connection with its provider; `users` counts at most MAX_COUNT + 1, archived ones included."""

    connection: Connection
    provider: Provider
    has_client_secret: bool
    users: int


class ProviderRow(NamedTuple):
    """A provider with the number of its connections."""

    provider: Provider
    connections: int


class QuotaUse(NamedTuple):
    """A quota of a partner. `used` None: not known. `is_estimate`: at most so many are used."""

    quota: Quota
    maximum: int
    is_default: bool
    used: int | None
    is_estimate: bool
    is_held: bool


async def list_partners(
    db: AsyncSession, *, prefix: str = "", after: int | None = None, limit: int
) -> list[ListedPartner]:
    """Return partners by name whose names begin with `prefix`. `after` is the id of the last one before.

    Raises Invalid if that one was deleted: an empty page would look like the end of the list.
    """
    name = func.lower(Partner.name)
    connections = select(func.count()).where(Connection.partner_id == Partner.id).scalar_subquery()
    statement = select(Partner.id, Partner.name, Partner.created_at, connections)
    if prefix:
        statement = statement.where(name.startswith(prefix.lower(), autoescape=True))
    if after is not None:
        last = await db.scalar(select(func.lower(Partner.name)).where(Partner.id == after))
        if last is None:
            raise Invalid("after", "names no partner; begin with the first page again")
        statement = statement.where(name > last)
    return [ListedPartner(*row) for row in await db.execute(statement.order_by(name).limit(limit))]


async def count_users(db: AsyncSession, partner_id: int) -> int:
    """Count the partner's users that are not archived, up to MAX_COUNT + 1."""
    mine = (User.partner_id == partner_id, ~User.archived)
    return await db.scalar(select(_capped(*mine))) or 0


async def list_connections(db: AsyncSession, partner_id: int) -> list[ConnectionSeen]:
    """Return the partner's connections by provider code."""
    return await _connections(db, Connection.partner_id == partner_id)


async def get_connection(db: AsyncSession, partner_id: int, connection_id: int) -> ConnectionSeen:
    """Return one connection of the partner. Raises NotFound."""
    found = await _connections(db, Connection.partner_id == partner_id, Connection.id == connection_id)
    if not found:
        raise NotFound("Connection not found.")
    return found[0]


async def list_providers(db: AsyncSession) -> list[ProviderRow]:
    """Return every provider by code."""
    connections = select(func.count()).where(Connection.provider_id == Provider.id).scalar_subquery()
    rows = await db.execute(select(Provider, connections).order_by(Provider.code))
    return [ProviderRow(*row) for row in rows]


async def count_connections(db: AsyncSession, provider: Provider) -> int:
    """Count the connections to a provider, at most one for each partner."""
    return await db.scalar(select(func.count()).where(Connection.provider_id == provider.id)) or 0


async def list_unused_providers(db: AsyncSession, partner_id: int) -> Sequence[Provider]:
    """Return the providers that the partner has no connection to, by code."""
    used = select(Connection.provider_id).where(Connection.partner_id == partner_id)
    return (await db.scalars(select(Provider).where(Provider.id.not_in(used)).order_by(Provider.code))).all()


async def list_quota_uses(db: AsyncSession, partner_id: int, *, looked: int = MAX_COUNT) -> list[QuotaUse]:
    """Return each quota of a partner with what is used of it.

    Users are counted if the partner has at most `looked` that are not archived. Of more, what is used at most is
    known: the quota for which the room was counted, without what is left.
    """
    own = set(await db.scalars(select(PartnerQuota.quota).where(PartnerQuota.partner_id == partner_id)))
    usage = await db.scalars(select(PartnerUsage).where(PartnerUsage.partner_id == partner_id))
    measured = {row.quota: row for row in usage}
    counted = await _count_live(db, partner_id, looked)
    uses = []
    for quota, maximum in (await quotas.maximums(db, partner_id)).items():
        row = measured.get(quota.value)
        used = counted.get(quota, None if row is None else max(0, row.maximum - row.room))
        is_estimate = quota in COUNTED and quota not in counted
        is_held = row is not None and row.held_since is not None
        uses.append(QuotaUse(quota, maximum, quota.value not in own, used, is_estimate, is_held))
    return uses


async def _count_live(db: AsyncSession, partner_id: int, looked: int) -> dict[Quota, int]:
    """Count the partner's users, and those with a session; empty if there are more than `looked`."""
    mine = (User.partner_id == partner_id, ~User.archived)
    # An index alone tells how many there are. Only those of a small partner are read from the table.
    users = await db.scalar(select(_capped(*mine, most=looked))) or 0
    if users > looked:
        return {}
    sessions = await db.scalar(select(func.count()).where(*mine, User.connected_at.is_not(None)))
    return {Quota.USERS: users, Quota.SESSIONS: sessions or 0}


async def _connections(db: AsyncSession, *which: ColumnElement[bool]) -> list[ConnectionSeen]:
    has_secret = Connection.oauth2_client_secret.is_not(None)
    sealed = (Connection.oauth2_client_secret, Connection.oauth2_access_token)
    statement = (
        select(Connection, Provider, has_secret, _capped(User.connection_id == Connection.id))
        .join(Provider, Provider.id == Connection.provider_id)
        .where(*which)
        .order_by(Provider.code)
        .options(*(defer(column, raiseload=True) for column in sealed))
    )
    return [ConnectionSeen(*row) for row in await db.execute(statement)]


def _capped(*which: ColumnElement[bool], most: int = MAX_COUNT) -> ScalarSelect[int]:
    """Count the users that match, up to `most` + 1."""
    found = select(literal(1)).select_from(User).where(*which).limit(most + 1)
    return select(func.count()).select_from(found.correlate(Connection).subquery()).scalar_subquery()
